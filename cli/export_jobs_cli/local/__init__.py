"""Commands that run the system on this machine, and need the dependencies of `.[local]`."""
