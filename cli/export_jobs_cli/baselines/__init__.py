"""The baselines of a stack: finds and shows them, and accepts an unusual job as the new usual."""
