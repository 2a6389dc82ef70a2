"""The adapters of AWS. They know no rule."""
