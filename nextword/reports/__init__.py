"""Runs on one page: curves, data, samples and results."""
