"""Many texts written at once by one model, each as if it were alone."""
