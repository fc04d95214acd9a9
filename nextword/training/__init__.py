"""The training loop, and what surrounds it: plans, optimizers, checkpoints, processes."""
