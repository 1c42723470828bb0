"""The fixed harness of Elsewhere: tasks, stores, statistics, metrics, claims and results.

Importing this package is cheap: nothing here pulls in torch, and SciPy's slow parts are
imported where they are used.
"""

from importlib.metadata import version

__version__ = version("elsewhere")

RELEASE = "2026.1"
"""How scores are computed. Scores of different releases are never put in one table."""
