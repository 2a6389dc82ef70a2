"""Expected exports: what should have been exported by when."""
