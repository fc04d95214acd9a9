"""Documents to tokens: the tokenizer, the store, and batches out of it."""
