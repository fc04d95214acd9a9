"""Models as files: Hugging Face directories, adapters and GGUF, read and written."""
