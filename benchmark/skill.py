"""Skill, gap and regret: means over regions of log-ratios of scores, from case tables alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark import RELEASE
from benchmark.case_table import total
from benchmark.geometry import cluster_labels
from benchmark.inference import block_counts, new_regions_interval, percentile_interval
from benchmark.metrics import metric
from benchmark.task import Split, Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """The mean over regions of ln(S / S_other), with both claims where they can be made."""

    regions: tuple[str, ...]
    log_ratios: tuple[float, ...]
    clusters: int
    these_regions: tuple[float, float] | None
    """Interval of the mean log-ratio when days are resampled."""
    new_regions: tuple[float, float] | None
    """Interval of the mean log-ratio for regions like these."""

    @property
    def mean(self) -> float:
        """Equal weight for each region; NaN where one has no score."""
        return float(np.mean(self.log_ratios))

    @property
    def median(self) -> float:
        """The median log-ratio."""
        return float(np.median(self.log_ratios))

    @property
    def worst(self) -> tuple[str, float]:
        """The region with the largest log-ratio."""
        k = int(np.argmax(self.log_ratios))
        return self.regions[k], self.log_ratios[k]


def as_skill(log_ratio: float) -> float:
    """1 - exp(log-ratio): 0 is as good as the reference, 1 perfect."""
    return float(1 - np.exp(log_ratio))


def as_gap(log_ratio: float) -> float:
    """exp(log-ratio) - 1: by which share the score is larger."""
    return float(np.exp(log_ratio) - 1)


def region_scores(cases: xr.Dataset, score: str, variable: str, regions: Sequence[str]) -> Array:
    """The score of each region, from pooled sums for stratum `all`."""
    chosen = _needed(cases, score).sel(variable=variable, stratum="all", region=list(regions))
    return np.asarray(metric(score)(total(chosen)).values, dtype=np.float64)


def _needed(cases: xr.Dataset, score: str) -> xr.Dataset:
    """The statistics and weights that a metric is computed from."""
    found = metric(score)
    return cases[[*found.needs, *found.weights]]


def contrast(
    task: Task,
    split: Split,
    variable: str,
    mine: tuple[xr.Dataset, str],
    other: tuple[xr.Dataset, str],
) -> Contrast:
    """ln(S / S_other) over the regions of a split; `mine` and `other` are (cases, metric name).

    A score of 0 against a positive one is a log-ratio of -inf (perfect). Regions whose S_other
    is 0 too give NaN.
    """
    names = [region.name for region in task.regions_of(split)]
    ratios = _log_ratio(
        region_scores(mine[0], mine[1], variable, names),
        region_scores(other[0], other[1], variable, names),
    )
    labels = cluster_labels(task.regions_of(split), within_km=task.cluster_km)
    return Contrast(
        regions=tuple(names),
        log_ratios=tuple(float(ratio) for ratio in ratios),
        clusters=len(set(labels)),
        these_regions=_these_regions(task, names, variable, mine, other),
        new_regions=new_regions_interval(ratios, labels),
    )


def _log_ratio(scores: Array, others: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(scores / others))


def _these_regions(
    task: Task,
    names: list[str],
    variable: str,
    mine: tuple[xr.Dataset, str],
    other: tuple[xr.Dataset, str],
) -> tuple[float, float] | None:
    """Both scores under the same draws of days, pooled in each region, then the mean log-ratio."""
    stamps = mine[0]["case"].values.astype("datetime64[D]")
    days, day_of_case = np.unique(stamps, return_inverse=True)
    counts = block_counts(days, block_days=task.block_days, seed=f"{task.id} {RELEASE}")
    if counts is None:
        return None
    by_case = xr.DataArray(counts[:, day_of_case], dims=("resample", "case"))
    resampled = []
    for cases, score in (mine, other):
        chosen = _needed(cases, score).sel(variable=variable, stratum="all", region=names)
        sums = {
            str(name): xr.dot(by_case, chosen[name].drop_vars("case"), dim="case")
            for name in chosen.data_vars
        }
        totals = xr.Dataset(sums, attrs=chosen.attrs)
        resampled.append(metric(score)(totals).transpose("resample", "region").values)
    means = _log_ratio(resampled[0], resampled[1]).mean(axis=1)
    return percentile_interval(means) if np.isfinite(means).all() else None
