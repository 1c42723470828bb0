"""The command line: verbs that call plain functions and turn errors into text."""

from benchmark.cli.main import main

__all__ = ["main"]
