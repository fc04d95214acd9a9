"""What is learned: the losses, given a model and a batch."""
