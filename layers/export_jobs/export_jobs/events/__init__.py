"""The events: how they are built, their texts for people, and the outbox that publishes them."""
