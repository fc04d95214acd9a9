"""GGUF files, as llama.cpp and Ollama have them, read and written."""
