"""Reference models: interpolation, constraint layers, networks, training."""
