"""Texts get labels: one of several classes, several at once, or an amount."""
