"""The same system on one laptop: the Segmentation service, AWS, the clock and the queue pump, the CLI."""
