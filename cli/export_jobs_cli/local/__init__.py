"""Commands that run the system on this machine: they need the extra dependencies of `.[local]`."""
