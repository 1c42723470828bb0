"""How far apart a real pair's two products are: tables for a task's page and for machines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.mismatch import Mismatch
from benchmark.region import Region, Role
from benchmark.task import Task, Variable
from leaderboard.render import show
from leaderboard.rows import TaskRows

ROLES: dict[Role, str] = {
    "test_ood": "elsewhere (OOD)", "train": "in distribution (ID)", "val_ood": "validation",
}  # fmt: skip
"""In the order of the tables."""


@dataclass(frozen=True)
class MismatchTable:
    """One variable; octaves: the wavelengths of each, in words, from the shortest."""

    variable: Variable
    octaves: tuple[str, ...]
    lines: tuple[tuple[Region, str, Mismatch], ...]
    """(region, its role in words, the numbers)."""


@dataclass(frozen=True)
class MismatchOfRows:
    """What the rows of a task recorded; no tables where none did.

    without: the rows that did not, by their names; recorded: the others' number.
    """

    tables: tuple[MismatchTable, ...]
    recorded: int
    without: tuple[str, ...]


def mismatch_of(rows: TaskRows) -> MismatchOfRows | None:
    """The mismatch of a task's products; None on the perfect-model track, which has one product."""
    if rows.task.track != "real_pair":
        return None
    every = [(group, row) for group in rows.groups for row in group.rows]
    without = tuple(f"{g.slug} (seed {row.seed})" for g, row in every if not row.scores.mismatch)
    return MismatchOfRows(
        tables=_tables(rows.task, recorded(rows)),
        recorded=len(every) - len(without),
        without=without,
    )


def recorded(rows: TaskRows) -> tuple[Mismatch, ...]:
    """The mismatch that the first row with one has; all rows agree (`mismatches`)."""
    every = (row.scores.mismatch for group in rows.groups for row in group.rows)
    return next((found for found in every if found), ())


def mismatch_frame(task: Task, found: Sequence[Mismatch]) -> pd.DataFrame:
    """One line a variable and region; a missing number is NaN.

    finest_km: the shortest waves; coherence_1 is of those up to twice that, coherence_2 of the
    next octave, and so on.
    """
    most = max((len(one.coherence) for one in found), default=0)
    return pd.DataFrame(
        [
            {
                "variable": one.variable,
                "units": one.units,
                "region": one.region,
                "role": task.region(one.region).role,
                "bias": one.bias,
                "correlation": one.correlation,
                "variance_ratio": one.variance_ratio,
                "finest_km": one.coherence[0].shortest_km if one.coherence else math.nan,
                **dict.fromkeys((f"coherence_{k + 1}" for k in range(most)), math.nan),
                **{f"coherence_{k + 1}": o.coherence for k, o in enumerate(one.coherence)},
                "values": one.values,
                "whole_steps": one.whole_steps,
            }
            for one in found
        ]
    )


def _tables(task: Task, found: Sequence[Mismatch]) -> tuple[MismatchTable, ...]:
    if not found:
        return ()
    tables = []
    for variable in task.variables:
        mine = {one.region: one for one in found if one.variable == variable.name}
        lines = tuple(
            (region, words, mine[region.name])
            for role, words in ROLES.items()
            for region in sorted(task.regions, key=lambda region: region.name)
            if region.role == role
        )
        tables.append(MismatchTable(variable, _octaves(list(mine.values())), lines))
    return tuple(tables)


def _octaves(found: Sequence[Mismatch]) -> tuple[str, ...]:
    """`27.5 to 55.0 km`: what is in a column, from the shortest to the longest of all regions."""
    heads = []
    for number in range(max(len(one.coherence) for one in found)):
        km = [o.shortest_km for one in found for o in one.coherence[number : number + 1]]
        heads.append(f"{show(min(km))} to {show(2 * max(km))} km")
    return tuple(heads)
