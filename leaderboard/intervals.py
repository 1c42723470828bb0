"""Intervals of log-ratios as intervals of what is shown, and why one is missing."""

from benchmark.inference import FEWEST_BLOCKS, FEWEST_CLUSTERS
from benchmark.skill import as_gap, as_skill

Interval = tuple[float, float]

MARKS = {
    "†": f"no claim about these regions: fewer than {FEWEST_BLOCKS} blocks of days",
    "‡": f"no claim about new regions: fewer than {FEWEST_CLUSTERS} clusters of regions",
}
"""Why an interval cannot be made, by the mark that stands in its place."""
THESE_MISSING, NEW_MISSING = MARKS


def skill_interval(interval: Interval | None) -> Interval | None:
    """An interval of log-ratios as one of skills: the order turns round."""
    return None if interval is None else (as_skill(interval[1]), as_skill(interval[0]))


def gap_interval(interval: Interval | None) -> Interval | None:
    """An interval of log-ratios as one of gaps (shares)."""
    return None if interval is None else (as_gap(interval[0]), as_gap(interval[1]))
