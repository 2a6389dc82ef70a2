"""The demo: the main job end to end, reconciled at its end against the service's own truth."""
