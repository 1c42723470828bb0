"""Two claims, kept apart: *these regions* (days resampled) and *new regions* (regions vary).

Both speak about the mean over regions of a log-ratio of two scores. Seeds of a row are averaged
before either: how far they lie apart is shown beside the intervals, never mixed into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.hashing import text_digest

RESAMPLES = 1000
LEVEL = 0.95
POWER = 0.8
FEWEST_BLOCKS = 10
FEWEST_CLUSTERS = 6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StandardError:
    """The standard error of a mean log-ratio, and the degrees of freedom it was found with."""

    value: float
    freedom: float

    def interval(self, mean: float, *, level: float = LEVEL) -> tuple[float, float]:
        """The t interval: mean +- t_{freedom} error."""
        half = _quantile(self.freedom, (1 + level) / 2) * self.value
        return float(mean - half), float(mean + half)

    def resolvable(self, *, level: float = LEVEL, power: float = POWER) -> float:
        """The smallest true log-ratio whose interval leaves out 0 in the share `power` of worlds.

        delta error, with P(T <= t_{(1 + level) / 2}) = 1 - power for the noncentral t of delta.
        """
        from scipy.special import nctdtrinc

        critical = _quantile(self.freedom, (1 + level) / 2)
        return float(nctdtrinc(self.freedom, 1 - power, critical)) * self.value


def _quantile(freedom: float, share: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def new_regions_error(log_ratios: Array, clusters: Sequence[int]) -> StandardError | None:
    """The error of the mean log-ratio over regions like these, neighbours counted as one.

    The cluster-robust variance se^2 = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2 over G
    clusters of n regions, with G - 1 degrees of freedom (Cameron and Miller 2015,
    doi 10.3368/jhr.50.2.317; for clusters of one size it is the t interval of the cluster means).
    Returns None with fewer than 6 clusters, or where a log-ratio is not finite.
    """
    labels = np.asarray(clusters)
    count = len(np.unique(labels))
    if count < FEWEST_CLUSTERS or not np.isfinite(log_ratios).all():
        return None
    away = log_ratios - log_ratios.mean()
    sums = np.array([away[labels == g].sum() for g in np.unique(labels)])
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / len(log_ratios)
    return StandardError(float(error), count - 1)


@dataclass(frozen=True, eq=False)
class DayDraws:
    """Resamples of the days, the same for every model and region of a task.

    counts: (resample, day) how often each day is drawn; blocks: how many blocks the days hold;
    widths: (resample,) factors that turn a normal deviation into one of Student's t.
    """

    counts: Array
    blocks: float
    widths: Array


@lru_cache(maxsize=4)
def day_draws(
    days: int, *, block_days: int, seed: str, resamples: int = RESAMPLES
) -> DayDraws | None:
    """A circular block bootstrap of consecutive days.

    Blocks of `block_days` consecutive days start anywhere and wrap around; the last is cut so
    that every resample has as many days as the data. seed: `task@revision` and the release, so
    that all models and regions get the same draws.
    Returns None where the days hold fewer than 10 blocks: blocks are never shortened.
    (Politis and Romano 1992, A circular block-resampling procedure for stationary data.)
    """
    if days < FEWEST_BLOCKS * block_days:
        return None
    generator = np.random.default_rng(int(text_digest(seed)[:16], 16))
    starts = generator.integers(days, size=(resamples, -(-days // block_days)))
    drawn = (starts[:, :, None] + np.arange(block_days)) % days
    drawn = drawn.reshape(resamples, -1)[:, :days]
    counts = np.zeros((resamples, days))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    blocks = days / block_days
    chi2 = generator.chisquare(blocks - 1, resamples)
    return DayDraws(counts, blocks, _few_blocks(blocks) * np.sqrt((blocks - 1) / chi2))


def these_regions_error(resampled: Array, blocks: float) -> StandardError | None:
    """The error of the mean log-ratio over exactly these regions, from (resample,) of its values.

    The standard deviation of the resampled values, times sqrt(B / (B - 1)) for B blocks, with
    B - 1 degrees of freedom: a mean over few blocks is drawn from too narrow a world, and its
    deviations are Student's, not normal. (The percentiles of 10 blocks' resamples hold the truth
    in 87 of 100 worlds of days that depend on each other, this interval in 93.)
    Returns None where a value is not finite.
    """
    if not np.isfinite(resampled).all():
        return None
    return StandardError(float(resampled.std(ddof=1)) * _few_blocks(blocks), blocks - 1)


def _few_blocks(blocks: float) -> float:
    return float(np.sqrt(blocks / (blocks - 1)))
