"""What is remembered between runs, how a job is matched with a request, and the ports of the outside world."""
