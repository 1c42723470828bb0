"""How far each test region is from the regions trained on, in numbers, before any model is run.

Of the training period, so that no test truth is looked at. A model sees none of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from benchmark.distance import box_distance_km
from benchmark.distribution_metrics import wasserstein_1
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear
from benchmark.task import TEST_SPLITS, Split, Variable
from benchmark.zarr_io import steps_per_shard

Array = NDArray[np.float64]
Report = Callable[[int, int, str], None]
"""report(done, all, what): after each region of a variable."""


@dataclass(frozen=True)
class Shift:
    """One variable of one test region against the pooled training regions, itself left out.

    input_distance: Wasserstein-1 distance of the coarse values, in standard deviations of the
    sources' (shift of what models see); truth_distance: the same of the fine values; detail_ratio:
    root mean square of fine minus bilinear, over that of the sources (how much there is to add);
    nearest_km: from box to box on the sphere, 0 where they overlap. NaN where a side has no value.
    """

    variable: str
    region: str
    split: Split
    nearest_km: float
    input_distance: float
    truth_distance: float
    detail_ratio: float


@dataclass(frozen=True)
class _Summary:
    """Area-weighted sums of one region; adding them pools regions.

    counts: (bin,) by side; moments: (weight, sum, sum of squares) by side; detail: (weight, sum of
    squares) of fine minus bilinear.
    """

    counts: dict[str, Array]
    moments: dict[str, Array]
    detail: Array

    def __add__(self, other: "_Summary") -> "_Summary":
        return _Summary(
            {side: self.counts[side] + other.counts[side] for side in self.counts},
            {side: self.moments[side] + other.moments[side] for side in self.moments},
            self.detail + other.detail,
        )

    @property
    def nothing(self) -> "_Summary":
        """A summary of no cells."""
        return _Summary(
            {side: 0 * counts for side, counts in self.counts.items()},
            {side: 0 * sums for side, sums in self.moments.items()},
            0 * self.detail,
        )

    def spread(self, side: str) -> float:
        """The standard deviation of a side's values; NaN where there is none."""
        weight, total, squares = self.moments[side]
        if weight == 0:
            return math.nan
        return math.sqrt(max(squares / weight - (total / weight) ** 2, 0.0))

    @property
    def detail_rms(self) -> float:
        """Root mean square of fine minus bilinear."""
        weight, squares = self.detail
        return math.sqrt(squares / weight) if weight > 0 else math.nan


def shifts(
    store: PairStore, *, variables: Sequence[str] = (), report: Report = lambda *_: None
) -> list[Shift]:
    """Every test region against the training regions, by variable (default: all) and region.

    Distances come from the task's bins, so that memory is a shard whatever the period.
    """
    task = store.task
    chosen = [task.variable(name) for name in variables] or list(task.variables)
    regions = {region.name: region for region in store.regions(*TEST_SPLITS)}
    sources = [region.name for region in task.regions_of("train")]
    found: list[Shift] = []
    for number, variable in enumerate(chosen):
        known: dict[str, _Summary] = {}
        for done, (name, region) in enumerate(regions.items(), start=1):
            known[name] = _summary(region, variable)
            report(number * len(regions) + done, len(chosen) * len(regions), variable.name)
        for split in TEST_SPLITS:
            for target in task.regions_of(split):
                others = [name for name in sources if name != target.name]
                mine = known[target.name]
                # The only region trained on has none to be far from.
                pooled = _pool([known[name] for name in others]) if others else mine.nothing
                found.append(
                    Shift(
                        variable=variable.name,
                        region=target.name,
                        split=split,
                        nearest_km=min(
                            (box_distance_km(target, task.region(name)) for name in others),
                            default=math.nan,
                        ),
                        input_distance=_distance(mine, pooled, "coarse", variable),
                        truth_distance=_distance(mine, pooled, "fine", variable),
                        detail_ratio=_ratio(mine.detail_rms, pooled.detail_rms),
                    )
                )
    return found


def _pool(summaries: Sequence[_Summary]) -> _Summary:
    return reduce(add, summaries)


def _distance(mine: _Summary, pooled: _Summary, side: str, variable: Variable) -> float:
    found = wasserstein_1(mine.counts[side], pooled.counts[side], variable.bins.bins)
    return _ratio(float(found), pooled.spread(side))


def _ratio(number: float, scale: float) -> float:
    return number / scale if scale > 0 else math.nan


def _summary(region: RegionStore, variable: Variable) -> _Summary:
    """The sums of the training period, shard by shard."""
    task, grid = region.task, region.grid
    steps = region.steps(task.periods.train)
    size = steps_per_shard(4 * math.prod(grid.fine.shape), len(region.times))
    bins, bilinear = variable.bins.bins, Bilinear.on(grid)
    areas = {"coarse": grid.coarse.area, "fine": grid.fine.area}
    counts = {side: np.zeros(len(bins)) for side in areas}
    moments = {side: np.zeros(3) for side in areas}
    detail = np.zeros(2)
    for start in range(steps.start, steps.stop, size):
        block = slice(start, min(start + size, steps.stop))
        fields = {side: region.read(side, variable.name, block) for side in areas}
        for side, values in fields.items():
            known = np.isfinite(values)
            x, weight = values[known], np.broadcast_to(areas[side], values.shape)[known]
            counts[side] += np.bincount(bins.index(x), weights=weight, minlength=len(bins))
            moments[side] += [weight.sum(), weight @ x, weight @ np.square(x, dtype=np.float64)]
        away = fields["fine"] - bilinear(fields["coarse"])
        known = np.isfinite(away)
        weight = np.broadcast_to(areas["fine"], away.shape)[known]
        detail += [weight.sum(), weight @ np.square(away[known])]
    return _Summary(counts, moments, detail)
