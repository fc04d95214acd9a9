"""The Transformer, one for all families, and its heads."""
