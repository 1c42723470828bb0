"""Providers played by real servers on loopback, and their payloads in the exact layout."""
