"""Files to documents: read, cleaned, freed of duplicates, split."""
