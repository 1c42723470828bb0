"""Data recipes: how each task's pair store is made from its providers."""
