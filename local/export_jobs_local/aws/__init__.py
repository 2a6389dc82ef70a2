"""AWS on one laptop: moto's services, the stack of `template.yaml`, and its triggers."""
