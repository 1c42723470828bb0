"""What stays the same in time for a region and a variable: its `Domain`, from task and stores."""

import math

import numpy as np
from numpy.typing import NDArray

from benchmark.climatology import training_mean
from benchmark.families.base import Domain
from benchmark.families.spectrum import Rings
from benchmark.grid import crop, overlap
from benchmark.pair_store import PairStore, RegionStore
from benchmark.strata import STATIC_CLASSES, static_labels
from benchmark.task import STATICS, Task, Variable
from benchmark.thresholds import training_percentiles

WETTEST_FLOOR = {"mm h-1": 0.1, "mm d-1": 2.4}
"""Percentile thresholds of precipitation are never below these."""


def region_domain(store: PairStore, region: RegionStore, variable: Variable) -> Domain:
    """The domain of a region for one variable.

    Percentile thresholds and the climatology come from the region's training-period truth; they
    are kept beside the pair store and never given to models.
    Errors: InputError where that truth is missing.
    """
    whole, scored, margin = region.grid, region.grid.scored, region.grid.fine_margin
    dy, dx = scored.fine.cell_km
    labels, classes = _labels(region)
    area = np.zeros(whole.fine.shape)
    crop(area, margin)[...] = scored.fine.area
    return Domain(
        area=area,
        labels=labels,
        classes=classes,
        intensity=variable.intensity,
        thresholds=_thresholds(store, region, variable),
        windows=store.task.windows,
        bins=variable.bins.bins,
        rings=Rings.on(*scored.fine.shape, dy_km=dy, dx_km=dx),
        lags=store.task.lags,
        data_range=variable.data_range,
        climatology=_climatology(store.task, region, variable),
        # From the whole fine box to the scored coarse cells: the border counts nowhere.
        overlap=overlap(whole.fine, scored.coarse),
        coarse_area=scored.coarse.area,
        margin=margin,
        image_every=store.task.image_every,
        papers=_papers(store.task, variable),
    )


def _labels(region: RegionStore) -> tuple[NDArray[np.uint8], int]:
    """The static class of each fine cell, and the number of classes: one where statics lack."""
    if set(STATICS) <= set(region.task.static):
        land, height = (region.static(name) for name in STATICS)
        return static_labels(land, height), len(STATIC_CLASSES)
    return np.zeros(region.grid.fine.shape, np.uint8), 1


def _climatology(task: Task, region: RegionStore, variable: Variable) -> NDArray[np.float64]:
    """NaN for a speed, of which no truth is stored: its scores of anomalies are missing."""
    if variable in task.variables:
        return training_mean(region, variable.name)
    return np.full(region.grid.fine.shape, np.nan)


def _papers(task: Task, variable: Variable) -> tuple[str, ...]:
    """The papers whose scores this variable has: two of them are for daily precipitation only."""
    daily = variable.units == "mm d-1"
    return tuple(paper for paper in task.papers if daily or paper == "orbit2")


def _thresholds(store: PairStore, region: RegionStore, variable: Variable) -> NDArray[np.float64]:
    """Absolute ones, then percentiles; NaN up to the largest number that a variable has."""
    found = [*variable.thresholds, *_percentiles(store, region, variable)]
    longest = max(len(v.thresholds) + len(v.percentiles) for v in store.task.scored_variables)
    return np.array(found + [np.nan] * (longest - len(found)))


def _percentiles(store: PairStore, region: RegionStore, variable: Variable) -> tuple[float, ...]:
    if not variable.percentiles:
        return ()
    floor = WETTEST_FLOOR.get(variable.units, -math.inf)
    by_region = training_percentiles(
        store, variable.name, variable.percentiles, variable.bins.bins, floor=floor
    )
    return by_region[region.name]


def padded(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(..., n) with zeros up to `length` along the last axis."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])])


def scored_names(task: Task) -> tuple[str, ...]:
    """The names along the case table's `variable` dim: what models predict, and what follows."""
    derived = [
        name
        for vector in task.vectors
        for name in (vector.speed.name, f"{vector.name}_divergence", f"{vector.name}_vorticity")
    ]
    return (*task.variable_names, *derived)
