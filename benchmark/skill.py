"""Skill, gap and regret: means over regions of log-ratios of scores, from case tables alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark import RELEASE
from benchmark.case_table import total
from benchmark.distance import cluster_labels
from benchmark.inference import (
    DayDraws,
    StandardError,
    day_draws,
    new_regions_error,
    these_regions_error,
)
from benchmark.metrics import metric
from benchmark.task import Split, Task

Array = NDArray[np.float64]

FAILED = 100.0
"""A score of more than this many times the reference's, in one region and seed, is a failure."""


@dataclass(frozen=True, eq=False)
class LogScores:
    """ln S of each region: (region,), and (resample, region) under the task's draws of days.

    resampled is None where the days hold too few blocks.
    """

    points: Array
    resampled: Array | None

    def __sub__(self, other: "LogScores") -> "LogScores":
        """ln(S / S_other). Two scores of 0 give NaN: there is no ratio."""
        with np.errstate(invalid="ignore"):
            both = self.resampled is not None and other.resampled is not None
            resampled = self.resampled - other.resampled if both else None  # type: ignore[operator]
            return LogScores(self.points - other.points, resampled)

    @classmethod
    def mean(cls, several: Sequence["LogScores"]) -> "LogScores":
        """The mean over seeds, region by region and resample by resample."""
        drawn = [one.resampled for one in several if one.resampled is not None]
        whole = len(drawn) == len(several)
        resampled = np.mean(drawn, axis=0) if whole else None
        return cls(np.mean([one.points for one in several], axis=0), resampled)


@dataclass(frozen=True)
class Contrast:
    """The mean over regions of ln(S / S_other), with both claims where they can be made."""

    regions: tuple[str, ...]
    log_ratios: tuple[float, ...]
    clusters: int
    days_error: StandardError | None
    """Of the mean log-ratio when days are resampled."""
    regions_error: StandardError | None
    """Of the mean log-ratio for regions like these."""

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

    @property
    def these_regions(self) -> tuple[float, float] | None:
        """Interval of the mean log-ratio when days are resampled."""
        return None if self.days_error is None else self.days_error.interval(self.mean)

    @property
    def new_regions(self) -> tuple[float, float] | None:
        """Interval of the mean log-ratio for regions like these."""
        return None if self.regions_error is None else self.regions_error.interval(self.mean)


def as_skill(log_ratio: float) -> float:
    """1 - exp(log-ratio): 0 is as good as the reference, 1 perfect."""
    return float(1 - np.exp(log_ratio))


def as_gap(log_ratio: float) -> float:
    """exp(log-ratio) - 1: by which share the score is larger."""
    return float(np.exp(log_ratio) - 1)


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
    ratios = log_scores(task, *mine, variable, names) - log_scores(task, *other, variable, names)
    labels = cluster_labels(task.regions_of(split), within_km=task.cluster_km)
    return contrast_of(names, labels, ratios, blocks=blocks_of(task, mine[0]))


def contrast_of(
    names: Sequence[str], clusters: Sequence[int], ratios: LogScores, *, blocks: float
) -> Contrast:
    """Both claims about log-ratios that are known. blocks: how many the days hold."""
    return Contrast(
        regions=tuple(names),
        log_ratios=tuple(float(ratio) for ratio in ratios.points),
        clusters=len(set(clusters)),
        days_error=None
        if ratios.resampled is None
        else these_regions_error(ratios.resampled.mean(axis=1), blocks),
        regions_error=new_regions_error(ratios.points, clusters),
    )


def region_scores(cases: xr.Dataset, score: str, variable: str, regions: Sequence[str]) -> Array:
    """The score of each region, from pooled sums for stratum `all`."""
    chosen = _needed(cases, score).sel(variable=variable, stratum="all", region=list(regions))
    return np.asarray(metric(score)(total(chosen)).values, dtype=np.float64)


def failed(scores: Array, reference: Array) -> NDArray[np.bool_]:
    """(region,) where some seed of a row failed. scores: (seed, region); reference: (region,).

    There S is not finite although the reference's is, or S > FAILED S_ref. A region where the
    reference has no error or no score says nothing.
    """
    # NaN is not below anything.
    beyond = ~(scores <= FAILED * reference).all(axis=0)
    return np.asarray(beyond & np.isfinite(reference) & (reference > 0))


def log_scores(
    task: Task, cases: xr.Dataset, score: str, variable: str, regions: Sequence[str]
) -> LogScores:
    """ln S of each region; -inf for a score of 0, NaN for a missing one."""
    with np.errstate(divide="ignore"):
        points = np.log(region_scores(cases, score, variable, regions))
    return LogScores(points, resampled_log_scores(task, cases, score, variable, regions))


def resampled_log_scores(
    task: Task, cases: xr.Dataset, score: str, variable: str, regions: Sequence[str]
) -> Array | None:
    """(resample, region) ln S, pooled in each region over the days that each resample draws."""
    draws = draws_of(task, cases)
    if draws is None:
        return None
    chosen = _needed(cases, score).sel(variable=variable, stratum="all", region=list(regions))
    by_case = xr.DataArray(draws.counts[:, _days(cases)[1]], dims=("resample", "case"))
    sums = {
        str(name): xr.dot(by_case, chosen[name].drop_vars("case"), dim="case")
        for name in chosen.data_vars
    }
    totals = xr.Dataset(sums, attrs=chosen.attrs)
    with np.errstate(divide="ignore"):
        found = np.log(metric(score)(totals).transpose("resample", "region").values)
    return np.asarray(found, dtype=np.float64)


def draws_of(task: Task, cases: xr.Dataset) -> DayDraws | None:
    """The draws of days that all rows of a task share; None below 10 blocks of days."""
    days, _ = _days(cases)
    return day_draws(len(days), block_days=task.block_days, seed=f"{task.id} {RELEASE}")


def blocks_of(task: Task, cases: xr.Dataset) -> float:
    """How many blocks the days of the cases hold."""
    return len(_days(cases)[0]) / task.block_days


def _days(cases: xr.Dataset) -> tuple[NDArray[np.datetime64], NDArray[np.intp]]:
    """(the days, which of them each case is of)."""
    stamps = cases["case"].values.astype("datetime64[D]")
    days, place = np.unique(stamps, return_inverse=True)
    return days, place


def _needed(cases: xr.Dataset, score: str) -> xr.Dataset:
    """The statistics and weights that a metric is computed from."""
    found = metric(score)
    return cases[[*found.needs, *found.weights]]
