"""What the monitor and the creator share: contract, client, store, announcements and the core."""
