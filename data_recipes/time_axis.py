"""The times that a task wants, those that a product lacks, and axes that cannot be right."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.manifest import Interval
from benchmark.task import Period, Periods
from data_recipes.source import Times

_SHOWN = 4
_STEP = np.timedelta64(1, "s")


def expected_times(periods: Periods, *, every_hours: float, offset_hours: float = 0) -> Times:
    """All times of the train, val and test periods, ascending, each once; datetime64[s], UTC.

    every_hours: from one to the next, counted from midnight on 1 January 1970 plus offset_hours,
    so that 24 and 6 are 06 UTC of every day.
    Errors: InputError unless every_hours are above 0, and where no time lies in a period.
    """
    every, offset = round(every_hours * 3600), round(offset_hours * 3600)
    if every <= 0:
        raise InputError(
            Problem("every_hours", "more than 0", f"{every_hours:g}", "Correct the recipe.")
        )
    found = []
    for name in ("train", "val", "test"):
        times = _within(getattr(periods, name), every, offset)
        if not len(times):
            expected = f"a time every {every_hours:g} h in the period {name}"
            raise InputError(Problem("periods", expected, "none", "Correct the offset."))
        found.append(times)
    return np.unique(np.concatenate(found))


def missing(expected: Times, found: Times) -> tuple[Interval, ...]:
    """The expected times that are not found, as runs from the first to the last of each.

    A run ends where an expected time is found, and at a gap between periods.
    """
    lacking = np.flatnonzero(~np.isin(expected, found))
    if not len(lacking):
        return ()
    step = np.diff(expected).min() if len(expected) > 1 else _STEP
    ends = (np.diff(lacking) > 1) | (np.diff(expected[lacking]) > step)
    return tuple(
        Interval(first=expected[run[0]].item(), last=expected[run[-1]].item())
        for run in np.split(lacking, np.flatnonzero(ends) + 1)
    )


def by_month(times: Times) -> list[tuple[str, Times]]:
    """(month, its times) in order; the month as "2020-01"."""
    months = times.astype("datetime64[M]")
    return [(str(month), times[months == month]) for month in np.unique(months)]


def check_times(where: str, times: Times, *, gaps: bool = False) -> list[Problem]:
    """What is wrong with a product's times: their order, times twice, missing, or in between.

    The cadence is the most common step. gaps: whether whole steps may be missing, because they
    are recorded (`missing`); a time off the cadence may not.
    """
    steps = np.diff(times.astype("datetime64[s]")).astype(np.int64)
    forward = steps[steps > 0]
    fix = "Fetch the product again; if it stays so, report it to its provider."
    problems = []

    def found(what: str, wrong: NDArray[np.bool_], named: Times | Sequence[str]) -> None:
        if wrong.any():
            problems.append(Problem(f"{where}: time", what, _some(list(map(str, named))), fix))

    found("ascending times", steps < 0, [f"{t} after a later one" for t in times[1:][steps < 0]])
    found("every time once", steps == 0, [f"{t} twice" for t in times[1:][steps == 0]])
    if not len(forward):
        return problems
    sizes, counts = np.unique(forward, return_counts=True)
    cadence = int(sizes[np.argmax(counts)])
    off = (steps > 0) & (steps % cadence != 0)
    named = [f"{t}, {s / 3600:g} h later" for t, s in zip(times[1:][off], steps[off], strict=True)]
    found(f"times {cadence / 3600:g} h apart", off, named)
    if not gaps:
        wide = (steps > cadence) & (steps % cadence == 0)
        lacking = [
            f"none at {time + k * cadence * _STEP}"
            for time, step in zip(times[:-1][wide], steps[wide], strict=True)
            for k in range(1, int(step // cadence))
        ]
        found(f"times {cadence / 3600:g} h apart, without a gap", wide, lacking)
    return problems


def _within(period: Period, every: int, offset: int) -> Times:
    first, last = (
        int(np.datetime64(time, "s").astype(np.int64)) for time in (period.first, period.last)
    )
    start = offset + -(-(first - offset) // every) * every
    return np.arange(start, last + 1, every).astype("datetime64[s]")


def _some(named: Sequence[str]) -> str:
    more = len(named) - _SHOWN
    return ", ".join(named[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
