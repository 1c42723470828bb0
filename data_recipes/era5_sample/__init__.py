"""The embedded ERA5 sample: a real week of weather, no download; and how it was packed."""
