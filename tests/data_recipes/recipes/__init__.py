"""Shipped recipes, built from played providers: helpers and tests."""
