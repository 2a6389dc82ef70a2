"""The adapters for AWS. They contain no rules."""
