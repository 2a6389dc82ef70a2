"""Expected exports: their file, and what the commands of `expectation` do with it."""
