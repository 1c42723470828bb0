"""Which of a task's times its products have: found before anything is written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.execution import run_tasks
from benchmark.files import write_atomically
from benchmark.manifest import Interval
from data_recipes.fields import needed
from data_recipes.recipe_file import Side
from data_recipes.source import Source, Times, Window, no_report
from data_recipes.time_axis import check_times, missing

Found = tuple[Times, tuple[Interval, ...]]
"""The times that there are, and the intervals that there are not."""

_UNSEEN, _LACKING, _WHOLE = b"?01"


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
    expected: Times,
    times: Times,
    is_whole: Callable[[slice], NDArray[np.bool_]],
    *,
    blocks: Sequence[slice],
    kept: Path,
    workers: int = 1,
    scheduler: str | None = None,
    report: Callable[[int, int], None] = no_report,
) -> Found:
    """Of `times`, those at which no cell is missing: a mean over a gap is no mean.

    is_whole: says it of a block's times, wherever it is called; blocks: of `times`. kept: a file
    named after all that decides the answer; what it has is not looked at again, whoever stopped
    the scan. workers, scheduler: see `run_tasks`. report: report(times looked at, all of them),
    before each block, and so never at the end.
    """
    found = _kept(kept, len(times))
    left = [block for block in blocks if _UNSEEN in found[block]]
    if left:
        report(len(times) - found.count(_UNSEEN), len(times))

    def arrived(block: slice, whole: NDArray[np.bool_]) -> None:
        found[block] = bytes(_WHOLE if one else _LACKING for one in whole)
        write_atomically(kept, bytes(found))
        if _UNSEEN in found:
            report(len(times) - found.count(_UNSEEN), len(times))

    run_tasks(is_whole, left, done=arrived, workers=workers, scheduler=scheduler)
    whole = times[np.frombuffer(found, np.uint8) == _WHOLE]
    return whole, missing(expected, whole)


def _kept(path: Path, count: int) -> bytearray:
    """What is known of each time, a byte each; nothing where the file is absent or damaged."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) == count and set(found) <= {_UNSEEN, _LACKING, _WHOLE}:
        return bytearray(found)
    return bytearray([_UNSEEN]) * count


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
