"""Per-region thresholds: percentiles of the training-period truth, kept beside the pair store."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.bins import Bins
from benchmark.distribution_metrics import quantile
from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.hashing import text_digest
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.toml_model import Frozen
from benchmark.zarr_io import steps_per_shard


class _File(Frozen):
    """`thresholds/KEY.json`: the values by region, under the key that they were computed for."""

    key: str
    regions: dict[str, tuple[float, ...]]


def training_percentiles(
    store: PairStore,
    variable: str,
    percentiles: tuple[float, ...],
    bins: Bins,
    *,
    floor: float = -math.inf,
) -> dict[str, tuple[float, ...]]:
    """{region: thresholds} of all scored regions, in the order of `percentiles`, variable's unit.

    threshold = max(floor, Q_q), q = percentile / 100: quantiles of the truth over all times of the
    training period and all cells of the scored interior that have one, each cell counting once
    (not by area), taken from the counts in `bins` and so right to the width of a bin. The result
    is kept in `store.folder / "thresholds"` under the data hash and everything above, and computed
    again where that file is absent or unreadable. Memory: one shard at a time.

    Missing data: cells without a truth are left out. Errors: InputError naming every region
    that has no truth in the training period, or a percentile outside the bins.
    """
    key = _key(store, variable, percentiles, bins, floor)
    path = store.folder / "thresholds" / f"{key[:16]}.json"
    kept = _read(path, key)
    if kept is not None:
        return kept
    found = {
        region.name: _percentiles(region, variable, percentiles, bins, floor)
        for region in expected_regions(store)
    }
    _refuse_missing(variable, percentiles, found)
    write_atomically(path, _File(key=key, regions=found).model_dump_json(indent=2) + "\n")
    return found


def training_counts(region: RegionStore, variable: str, bins: Bins) -> NDArray[np.int64]:
    """(n,) cells of the scored interior in each bin, over the training period."""
    steps = region.steps(region.task.periods.train)
    size = steps_per_shard(4 * math.prod(region.grid.fine.shape), len(region.times))
    counts = np.zeros(len(bins), np.int64)
    for start in range(steps.start, steps.stop, size):
        values = region.read("fine", variable, slice(start, min(start + size, steps.stop)))
        truth = region.grid.crop_fine(values)
        counts += np.bincount(bins.index(truth[np.isfinite(truth)]), minlength=len(bins))
    return counts


def _percentiles(
    region: RegionStore, variable: str, percentiles: tuple[float, ...], bins: Bins, floor: float
) -> tuple[float, ...]:
    counts = training_counts(region, variable, bins).astype(np.float64)
    return tuple(max(floor, float(quantile(counts, bins, p / 100))) for p in percentiles)


def _refuse_missing(
    variable: str, percentiles: tuple[float, ...], found: Mapping[str, tuple[float, ...]]
) -> None:
    problems = [
        Problem(
            f"{region}: {variable}",
            f"percentiles {percentiles} of its truth in the training period, inside the bins",
            f"{values}",
            "Widen the task's bins, or build the region with its training period.",
        )
        for region, values in found.items()
        if not np.isfinite(values).all()
    ]
    if problems:
        raise InputError(problems)


def _key(
    store: PairStore, variable: str, percentiles: tuple[float, ...], bins: Bins, floor: float
) -> str:
    period = store.task.periods.train
    words = {
        "data": store.data_hash,
        "task": store.task.id,
        "regions": [region.name for region in expected_regions(store)],
        "period": [period.first.isoformat(), period.last.isoformat()],
        "margin": store.task.margin,
        "variable": variable,
        "percentiles": [float(percentile) for percentile in percentiles],
        "bins": [bins.kind, bins.low, bins.high, bins.width, bins.per_octave],
        "floor": floor,
    }
    return text_digest(json.dumps(words, sort_keys=True))


def _read(path: Path, key: str) -> dict[str, tuple[float, ...]] | None:
    """The values kept under `key`; None where there are none."""
    try:
        kept = _File.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return kept.regions if kept.key == key else None
