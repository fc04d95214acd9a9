"""Of two answers the better one is learned (direct preference optimisation)."""
