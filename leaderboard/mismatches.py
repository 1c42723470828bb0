"""The mismatch of two products in rows: of the whole task, and the same in all that have it."""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import Problem
from benchmark.mismatch import Mismatch
from benchmark.results import SCORES, Scores
from benchmark.task import Task

SAME = 1e-9
SAME_COHERENCE = 1e-4
"""Spectra are of float32 transforms, which round otherwise on other machines."""


def check_mismatch(task: Task, scores: Scores, where: Path) -> list[Problem]:
    """A problem where a row's mismatch is not of the task's regions and variables; it may lack it.

    Nothing else gives its numbers: they are of the training period, which no case table has.
    """
    real = task.track == "real_pair"
    regions = sorted(region.name for region in task.regions)
    whole = [(r, v.name, v.units) for r in regions for v in task.variables] if real else []
    found = [(one.region, one.variable, one.units) for one in scores.mismatch]
    if not found or found == whole:
        return []
    differing = [entry for entry in (*whole, *found) if (entry in whole) != (entry in found)]
    got = ", ".join(f"{r} {v} in {units}" for r, v, units in differing) or "another order"
    expected = "all regions and variables of the task" if real else f"none on {task.track}"
    return [_problem(where, expected, f"others, which differ in {got}" if real else got)]


def check_one_mismatch(rows: Sequence[tuple[Path, Scores]]) -> list[Problem]:
    """A problem wherever a row's mismatch is not that of the first row of the same data."""
    first: dict[str, tuple[Path, Scores]] = {}
    problems = []
    for where, scores in rows:
        if not scores.mismatch:
            continue
        known, other = first.setdefault(scores.data_hash, (where, scores))
        expected = {(one.region, one.variable): one for one in other.mismatch}
        for one in scores.mismatch:
            # One that is not there is of another contract, which is a problem of its own.
            differing = _differing(expected.get((one.region, one.variable), one), one)
            if differing:
                there = f"that of {known} in {one.region} for {one.variable}"
                problems.append(_problem(where, there, "; ".join(differing)))
    return problems


def _differing(first: Mismatch, other: Mismatch) -> list[str]:
    theirs, mine = _numbers(first), _numbers(other)
    if theirs.keys() != mine.keys():
        return ["other octaves"]
    return [
        f"{name}: {theirs[name]} there, {mine[name]} here"
        for name in mine
        if not _same(name, theirs[name], mine[name])
    ]


def _problem(where: Path, expected: str, got: str) -> Problem:
    fix = "Score the model again on the same pair store: scores.json is never edited."
    return Problem(f"{where}/{SCORES}: mismatch", expected, got, fix)


def _numbers(one: Mismatch) -> dict[str, float | None]:
    names = ("bias", "correlation", "variance_ratio", "values", "whole_steps")
    found: dict[str, float | None] = {name: getattr(one, name) for name in names}
    for number, octave in enumerate(one.coherence):
        found[f"coherence[{number}], shortest_km"] = octave.shortest_km
        found[f"coherence[{number}]"] = octave.coherence
    return found


def _same(name: str, first: float | None, other: float | None) -> bool:
    if first is None or other is None:
        return first is other
    if name.endswith("]"):
        return math.isclose(first, other, rel_tol=0, abs_tol=SAME_COHERENCE)
    # A bias is a small difference of large sums.
    return math.isclose(first, other, rel_tol=SAME, abs_tol=1e-12)
