"""Answers, summaries, translations and conversations are written."""
