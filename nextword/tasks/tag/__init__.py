"""Words get tags, and texts the entities that these name."""
