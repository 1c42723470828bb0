"""Which of a task's times its products have: found before anything is written."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.manifest import Interval
from data_recipes.fields import needed
from data_recipes.recipe_file import Side
from data_recipes.source import Source, Times, Window
from data_recipes.time_axis import check_times, missing

Found = tuple[Times, tuple[Interval, ...]]
"""The times that there are, and the intervals that there are not."""

AT_ONCE = 64


def survey_times(
    region: str, sides: Mapping[str, tuple[Side, Source, Window]], expected: Times
) -> Found:
    """The expected times for which every side has every stamp.

    Errors: InputError naming stamps that are there twice or out of order, and times that a side
    lacks though it is not said to have gaps.
    """
    problems: list[Problem] = []
    there = np.ones(len(expected), bool)
    for name, (side, source, window) in sides.items():
        have = source.times(window)
        problems += check_times(f"{region}: {name}", have, gaps=True)
        whole = np.ones(len(expected), bool)
        for field in side.variables.values():
            whole &= np.isin(needed(field, expected), have).all(axis=1)
        if not whole.all() and not side.gaps:
            problems.append(_lacking(f"{region}: {name}", expected, expected[whole]))
        there &= whole
    if problems:
        raise InputError(problems)
    return expected[there], missing(expected, expected[there])


def complete_times(
    expected: Times, times: Times, is_whole: Callable[[Times], NDArray[np.bool_]]
) -> Found:
    """Of `times`, those at which no cell is missing: a mean over a gap is no mean."""
    parts = [is_whole(times[k : k + AT_ONCE]) for k in range(0, len(times), AT_ONCE)]
    kept = times[np.concatenate(parts)]
    return kept, missing(expected, kept)


def _lacking(where: str, expected: Times, found: Times) -> Problem:
    runs = missing(expected, found)
    shown = ", ".join(f"{run.first} to {run.last}" for run in runs[:3])
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return Problem(
        where,
        f"all {len(expected)} times of the task's periods",
        f"{len(found)}; none from {shown}{more}",
        "Fetch them, or state `gaps = true` so that they are left out and recorded.",
    )
