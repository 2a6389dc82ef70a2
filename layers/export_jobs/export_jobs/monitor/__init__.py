"""The sweep: observes the jobs, records and publishes changes, and settles what is unfinished."""
