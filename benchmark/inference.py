"""Two claims, kept apart: *these regions* (days resampled) and *new regions* (regions vary).

Both speak about the mean over regions of a log-ratio of two scores.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.hashing import text_digest

RESAMPLES = 1000
LEVEL = 0.95
FEWEST_BLOCKS = 10
FEWEST_CLUSTERS = 6

Array = NDArray[np.float64]


def new_regions_interval(
    log_ratios: Array, clusters: Sequence[int], *, level: float = LEVEL
) -> tuple[float, float] | None:
    """A t interval for the mean log-ratio over regions like these, neighbours counted as one.

    mean +- t_{G-1} se, with the cluster-robust variance
    se^2 = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2 over G clusters of n regions
    (Cameron and Miller 2015, doi 10.3368/jhr.50.2.317; for clusters of one size it is the t
    interval of the cluster means).
    Returns None with fewer than 6 clusters, or where a log-ratio is not finite.
    """
    labels = np.asarray(clusters)
    count = len(np.unique(labels))
    if count < FEWEST_CLUSTERS or not np.isfinite(log_ratios).all():
        return None
    from scipy.special import stdtrit

    mean = log_ratios.mean()
    sums = np.array([(log_ratios[labels == g] - mean).sum() for g in np.unique(labels)])
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / len(log_ratios)
    half = float(stdtrit(count - 1, (1 + level) / 2) * error)
    return float(mean - half), float(mean + half)


def block_counts(
    days: NDArray[np.datetime64], *, block_days: int, seed: str, resamples: int = RESAMPLES
) -> Array | None:
    """(resamples, days) how often each day is drawn by a circular block bootstrap.

    Blocks of `block_days` consecutive days start anywhere and wrap around; the last is cut so
    that every resample has as many days as the data. seed: `task@revision` and the release, so
    that all models and regions get the same draws.
    Returns None where the days hold fewer than 10 blocks: blocks are never shortened.
    (Politis and Romano 1992, A circular block-resampling procedure for stationary data.)
    """
    length = len(days)
    if length < FEWEST_BLOCKS * block_days:
        return None
    generator = np.random.default_rng(int(text_digest(seed)[:16], 16))
    starts = generator.integers(length, size=(resamples, -(-length // block_days)))
    drawn = (starts[:, :, None] + np.arange(block_days)) % length
    drawn = drawn.reshape(resamples, -1)[:, :length]
    counts = np.zeros((resamples, length))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    return counts


def percentile_interval(values: Array, *, level: float = LEVEL) -> tuple[float, float]:
    """The central percentile interval of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
