"""Readers of file formats: a source in, documents or records out."""
