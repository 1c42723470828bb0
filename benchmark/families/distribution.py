"""Counts of predictions and truth in the task's fixed bins.

Weights are whole numbers (cell areas in 65536ths of the largest), so that sums are exact and the
order of steps, blocks and workers cannot matter; they are kept for the period, not for each case.
"""

import numpy as np

from benchmark.families.base import Array, Slab, Statistic, Sums

STATISTICS = (
    Statistic("bin_p", "distribution", "weight of one member a step by bin", "none",
              dims=("bin",), keep="period"),
    Statistic("bin_t", "distribution", "weight of the truth by bin", "none", dims=("bin",),
              keep="period"),
    Statistic("bin_cases", "distribution", "cases by the bin of their largest truth", "none",
              dims=("bin",), keep="period"),
    Statistic("cells", "distribution", "number of cells with a truth", "none"),
    Statistic("t_max", "distribution", "max t; -inf where there is none", "none", "max"),
)  # fmt: skip


def from_counts(counts: Array) -> Sums:
    """The counts of a slab by name, from (2, bins)."""
    return {"bin_p": counts[0], "bin_t": counts[1]}


def of_truth(slab: Slab) -> Sums:
    """(T,) number of cells with a truth, and the largest truth."""
    flat = slab.domain.crop(slab.truth).reshape(len(slab.truth), -1)
    known = np.isfinite(flat)
    return {
        "cells": known.sum(axis=1).astype(np.float64),
        "t_max": np.max(flat, axis=1, where=known, initial=-np.inf).astype(np.float64),
    }
