"""Trained models in use: text that is written, and words that are filled in."""
