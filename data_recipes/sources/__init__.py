"""The providers: one file each, read through the protocol of `source.py`."""
