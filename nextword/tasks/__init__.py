"""What a model is fine-tuned for: a folder a task."""
