"""What a model's page shows of one variable: which metrics, in which tables, and what is missing.

The numbers themselves are `Row.numbers`; here is only what stands in which column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from benchmark.domain import scored_names
from benchmark.metrics import (
    METRICS,
    Metric,
    conservation,
    distribution,
    ensemble,
    events,
    fields,
    moments,
)
from benchmark.task import Paper, Task, Variable
from leaderboard.legend import DIRECTIONS
from leaderboard.rows import Group

FAMILIES: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("Ensemble mean", moments.METRICS),
    ("Ensemble", ensemble.METRICS),
    ("Conservation", conservation.METRICS),
    ("Events", events.METRICS),
    ("Distribution", distribution.METRICS),
    ("Neighbourhood, spectrum and structure", fields.METRICS),
)
PAPERS = "Scores of single papers: each carries its paper's own definition"
OTHERS = "Other metrics"
"""Of no family above: a metric that was added is on the page before anybody gives it a place."""


@dataclass(frozen=True)
class Column:
    """One entry of a metric: what `Row.numbers` calls it, and the words above it."""

    entry: str
    title: str
    note: str
    """Units and what is better; empty where the whole table has one metric."""
    formula: str


@dataclass(frozen=True)
class Sheet:
    """One table: a family, or one metric by its own dims."""

    title: str
    note: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class FamilySheets:
    """A family's table (None where all its metrics have dims of their own) and those by dims."""

    title: str
    main: Sheet | None
    parts: tuple[Sheet, ...]


@dataclass(frozen=True)
class VariableSheets:
    """All tables of one variable; missing: titles of metrics without a value in any region.

    A metric whose sums a seed's case table lacks has a column: its dashes say what is lacking.
    """

    name: str
    long_name: str
    units: str
    families: tuple[FamilySheets, ...]
    missing: tuple[str, ...]


def sheets_of(task: Task, group: Group) -> tuple[VariableSheets, ...]:
    """The tables of every scored variable, the same for all seeds of a row."""
    return tuple(_variable(task, group, name) for name in scored_names(task))


def paper_score(metric: Metric) -> bool:
    """Whether a metric is defined as one paper does, and needed only to compare with it."""
    return metric.name.startswith(get_args(Paper))


def words_of(task: Task, name: str) -> tuple[str, str]:
    """(long name, units) of a scored variable, also of those that follow from a vector."""
    known = _whole(task)
    if name in known:
        return known[name].long_name, known[name].units
    return name.replace("_", " "), "s-1"


def _whole(task: Task) -> dict[str, Variable]:
    """The variables that every metric is of: of a divergence only spectra are scored."""
    return {v.name: v for v in task.scored_variables}


def _variable(task: Task, group: Group, name: str) -> VariableSheets:
    long_name, units = words_of(task, name)
    whole = name in _whole(task)
    shown = {
        entry
        for row in group.rows
        for entry, values in row.numbers[name].items()
        if np.isfinite(values).any() or (whole and entry.partition("[")[0] in row.lacks)
    }
    entries: dict[str, list[str]] = {}
    for entry in group.rows[0].numbers[name]:
        entries.setdefault(entry.partition("[")[0], [])
        if entry in shown:
            entries[entry.partition("[")[0]].append(entry)
    ours = [(title, [m for m in found if not paper_score(m)]) for title, found in FAMILIES]
    papers = [metric for metric in METRICS.values() if paper_score(metric)]
    placed = {metric.name for _, found in FAMILIES for metric in found}
    others = [m for key, m in METRICS.items() if key not in placed and not paper_score(m)]
    titled = [*ours, (OTHERS, others), (PAPERS, papers)]
    families = (_family(title, found, entries, units) for title, found in titled)
    return VariableSheets(
        name=name,
        long_name=long_name,
        units=units,
        families=tuple(family for family in families if family.main or family.parts),
        missing=tuple(METRICS[key].title for key, found in entries.items() if not found)
        if whole
        else ("all but spectra",),
    )


def _family(
    title: str, metrics: Sequence[Metric], entries: dict[str, list[str]], units: str
) -> FamilySheets:
    columns, parts = [], []
    for metric in metrics:
        found, note = entries.get(metric.name, []), _note(metric, units)
        if not metric.over:
            columns += [Column(entry, metric.title, note, metric.formula) for entry in found]
        elif found:
            places = (
                Column(entry, entry[len(metric.name) + 1 : -1], "", metric.formula)
                for entry in found
            )
            parts.append(Sheet(metric.title, f"{note}: {metric.formula}", tuple(places)))
    main = Sheet(title, "", tuple(columns)) if columns else None
    return FamilySheets(title, main, tuple(parts))


def _note(metric: Metric, units: str) -> str:
    """`K, lower is better`."""
    unit = {"variable": units, "variable squared": f"({units})²", "1": ""}.get(
        metric.unit, metric.unit
    )
    better = {"none": "descriptive"}.get(
        metric.direction, f"{DIRECTIONS[metric.direction]} is better"
    )
    return ", ".join(word for word in (unit, better) if word)
