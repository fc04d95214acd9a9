"""Questions are answered by a passage of the text."""
