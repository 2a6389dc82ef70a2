"""The events: how they are built, what people read of them, and the outbox they are published from."""
