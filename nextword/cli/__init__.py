"""The command line: parses arguments, calls a verb, prints its result."""
