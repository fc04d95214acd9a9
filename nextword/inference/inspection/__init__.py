"""What goes on in a model: surprise, layers, attention."""
