"""The sweep: reads the world, decides what has changed, and puts things right."""
