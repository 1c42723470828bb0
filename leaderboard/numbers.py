"""Every metric of a row as plain arrays, computed once from the totals of its case table."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.families.block_means import SCALES
from benchmark.metric_table import lacking
from benchmark.metrics import METRICS, Metric, entries, threshold_labels
from benchmark.task import Task

Array = NDArray[np.float64]
Numbers = dict[str, dict[str, Array]]
"""{variable: {entry: (region,) values over all cells}}, regions as in the case table.

An entry is a metric's name, or `csi[>= 1 mm h-1]` where the metric has dims of its own.
"""


def numbers_of(task: Task, totals: xr.Dataset) -> Numbers:
    """Every metric that this package knows, for stratum `all`; NaN where it is missing.

    A metric that was added after the row was scored is computed like any other. One whose sums
    the case table lacks (`metric_table.lacking`) is NaN everywhere.
    """
    variables = [str(name) for name in totals["variable"].values]
    labels = {variable: tuple(threshold_labels(totals, variable)) for variable in variables}
    found: Numbers = {variable: {} for variable in variables}
    places: dict[tuple[object, ...], dict[str, int]] = {}
    # xarray compares coordinates in every sum: they are kept where a metric may ask for them.
    bare = totals.drop_vars([name for name in totals.coords if name not in totals.dims])
    for name, metric in METRICS.items():
        value = _nowhere(task, metric, totals) if lacking(metric, totals) else None
        if value is None:
            needed = [*metric.needs, *metric.weights]
            spectral = any("ring" in totals[key].dims for key in needed)
            value = metric((totals if spectral else bare)[needed])
        if "stratum" in value.dims:
            value = value.sel(stratum="all", drop=True)
        value = value.transpose("variable", "region", *metric.over)
        for variable, values in zip(variables, value.values, strict=True):
            if not metric.over:
                found[variable][name] = values
                continue
            key = (metric.over, labels[variable] if "threshold" in metric.over else ())
            if key not in places:
                places[key] = _places(metric, value, labels[variable])
            flat = values.reshape(len(values), -1)
            found[variable] |= {f"{name}{label}": flat[:, k] for label, k in places[key].items()}
    return found


def lacks_of(totals: xr.Dataset) -> dict[str, tuple[str, ...]]:
    """{metric: the statistics of it that a case table lacks}; empty where it has them all."""
    found = {name: lacking(metric, totals) for name, metric in METRICS.items()}
    return {name: lacks for name, lacks in found.items() if lacks}


def _nowhere(task: Task, metric: Metric, totals: xr.Dataset) -> xr.DataArray:
    """NaN at each of the metric's places: those of the task, as the table may not say."""
    most = max(len(threshold_labels(totals, str(name))) for name in totals["variable"].values)
    known: dict[str, Sequence[object]] = {
        "threshold": range(most),
        "window": task.windows,
        "lag": task.lags,
        "scale": SCALES,
        "axis": ("y", "x"),
        "rank": range(int(totals.attrs["members"]) + 1),
    }
    coords = {dim: list(known[dim]) for dim in metric.over}
    coords |= {dim: totals[dim].values.tolist() for dim in ("variable", "region")}
    dims = ("variable", "region", *metric.over)
    return xr.DataArray(np.full([len(coords[dim]) for dim in dims], np.nan), coords, dims)


def _places(metric: Metric, value: xr.DataArray, thresholds: tuple[str, ...]) -> dict[str, int]:
    """{`[>= 1 mm h-1]`: position in the flattened dims of its own}, the same for all metrics."""
    alone = value.isel(variable=0, region=0, drop=True)
    numbered = alone.copy(data=np.arange(alone.size).reshape(alone.shape))
    return {
        entry.removeprefix(metric.name): int(part)
        for entry, part in entries(metric, numbered, thresholds).items()
    }
