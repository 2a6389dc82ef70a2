"""The system on one laptop: the Segmentation service, AWS, the functions and their triggers."""
