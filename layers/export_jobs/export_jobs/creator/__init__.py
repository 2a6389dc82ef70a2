"""Export requests: intake, admission and cancelling."""
