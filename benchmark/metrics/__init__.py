"""Metrics: pure functions of summed case tables, each the owner of its name, unit and direction."""

import json
from collections.abc import Sequence

import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.metrics import conservation, distribution, ensemble, events, fields, moments
from benchmark.metrics.base import Direction, Metric
from benchmark.toml_model import nearest

__all__ = [
    "BOARDS",
    "METRICS",
    "Direction",
    "Metric",
    "board_score",
    "entries",
    "metric",
    "threshold_labels",
]

METRICS: dict[str, Metric] = {
    found.name: found
    for family in (moments, ensemble, conservation, events, distribution, fields)
    for found in family.METRICS
}

BOARDS: dict[str, tuple[str, str]] = {
    "deterministic": ("rmse", "bilinear"),
    "probabilistic": ("crps_fair", "bilinear-dressed"),
}
"""Each board's score and the null that skill is measured against."""


def metric(name: str) -> Metric:
    """The metric called `name`, or of which `name` is an entry: `csi[>= 1 mm h-1]` is one of csi.

    Errors: InputError with the nearest known name where there is none.
    """
    base = name.partition("[")[0]
    if base not in METRICS:
        raise InputError(
            Problem(f"metric {name!r}", "a known metric", "this", nearest(name, list(METRICS)))
        )
    return METRICS[base]


def board_score(board: str, members: str) -> str:
    """The metric a board ranks by: stratified members take the ecdf form, never the fair one."""
    score = BOARDS[board][0]
    return "crps_ecdf" if score == "crps_fair" and members == "stratified" else score


def entries(
    found: Metric, values: xr.DataArray, thresholds: Sequence[str]
) -> dict[str, xr.DataArray]:
    """{name: values} of one variable: `csi[>= 1 mm h-1]` for each place along the metric's dims.

    values: without the `variable` dim. thresholds: the names of those that the variable has;
    places beyond them only fill up to the longest list.
    """
    named: dict[str, xr.DataArray] = {"": values}
    for dim in found.over:
        if dim == "threshold":
            labels = list(thresholds)
        else:
            labels = [_LABELS[dim].format(place) for place in values[dim].values]
        named = {
            f"{prefix}, {label}" if prefix else label: part.isel({dim: k}, drop=True)
            for prefix, part in named.items()
            for k, label in enumerate(labels)
        }
    return {
        f"{found.name}[{label}]" if label else found.name: part for label, part in named.items()
    }


_LABELS = {
    "window": "{} cells", "scale": "{} cells", "lag": "{} cells", "axis": "{}", "rank": "rank {}"
}  # fmt: skip


def threshold_labels(totals: xr.Dataset, variable: str) -> list[str]:
    """The names of a variable's thresholds in a case table, in order."""
    known = json.loads(totals.attrs["contract"]).get(variable)
    return list(known["thresholds"]) if known else []
