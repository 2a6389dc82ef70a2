"""The demo: runs everything end to end, and reconciles it with the service's journal."""
