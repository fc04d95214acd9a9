"""A run's directory: what it was asked for, what it has done, what may change on resuming."""
