"""Quantile mapping of coarse precipitation from a target's climate to that of the sources.

    x_hat = F_source^-1(F_target(x))

with both laws those of coarse fields in the training period, after "multiplicative" quantile
mapping in RainShift (Harder et al. 2026, doi 10.1038/s41598-025-34557-4). Its details are not
published; the departures from what is known are stated at `QuantileMap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.pair_store import RegionStore
from benchmark.task import Task

Array = NDArray[np.float64]

QUANTILES = 1000
"""Quantiles of each law, at equal steps of probability from 0 to 1."""
MOST = 2**26
"""Values of one variable that a law is taken from; of more, every k-th step is read."""
BLOCK = 1024
"""Steps read at once."""
RATES = ("lwe_precipitation_rate",)
UNITS = ("mm h-1", "mm d-1")


@dataclass(frozen=True)
class QuantileMap:
    """A strictly increasing, piecewise linear map of precipitation, and its inverse.

    target, source: (K,) ascending knots, the quantiles of both laws. Both are the laws of *wet*
    values (> 0): zero stays zero, so a dry cell stays dry and a wet one wet, where a table of all
    values has a run of equal zeros whose end `np.interp` would make of every dry cell. Frequencies
    of wet cells are therefore not mapped. Beyond the outermost quantiles the ratio of the outermost
    pair is kept, which is what we read "multiplicative" as, and what fine values need, which
    exceed all coarse ones. Negative values, a network's noise, stay as they are. Missing data: NaN
    stays NaN.
    """

    target: Array
    source: Array

    def to_source(self, values: NDArray[np.floating]) -> Array:
        """Values of the target's law as values of the sources'."""
        return _through(self.target, self.source, values)

    def to_target(self, values: NDArray[np.floating]) -> Array:
        """The inverse: predictions for mapped inputs back in the target's range."""
        return _through(self.source, self.target, values)


def law(wet: NDArray[np.floating]) -> Array:
    """The (`QUANTILES`,) quantiles of wet values, from the least to the largest."""
    return np.quantile(wet.astype(np.float64), np.linspace(0.0, 1.0, QUANTILES))


def map_between(target: Array, source: Array) -> QuantileMap:
    """The map between two laws; ties share the mean of their partners, so it has an inverse."""
    mine, theirs = _untied(target, source)
    theirs, mine = _untied(theirs, mine)
    return QuantileMap(target=mine, source=theirs)


def wet_law(regions: Sequence[RegionStore], variable: str) -> Array:
    """The law of a coarse variable's wet values in the training period of `regions` together."""
    return law(wet_values(regions, variable))


def rain_channels(task: Task) -> dict[int, str]:
    """Number and name of each variable that is a rate of precipitation.

    Errors: InputError where the task has none.
    """
    found = {
        k: variable.name
        for k, variable in enumerate(task.variables)
        if variable.standard_name in RATES and variable.units in UNITS
    }
    if not found:
        raise InputError(
            Problem(
                f"{task.id}: variables", f"a {' or '.join(RATES)} in {' or '.join(UNITS)}", "none",
                "Quantile mapping acts on precipitation only.",
            )
        )  # fmt: skip
    return found


def wet_values(regions: Sequence[RegionStore], variable: str) -> Array:
    """All values > 0 of a coarse variable in the training period of `regions`, in order.

    Of more than `MOST` values every k-th step counts, k prime to 24 so that all hours do.
    Errors: InputError where there is none.
    """
    spans = [range(*_training(region).indices(len(region.times))) for region in regions]
    cells = [int(np.prod(region.grid.coarse.area.shape)) for region in regions]
    every = thinned(sum(len(span) * n for span, n in zip(spans, cells, strict=True)))
    parts = []
    for region, span in zip(regions, spans, strict=True):
        for steps in _parts(span, every):
            values = region.read("coarse", variable, steps)
            parts.append(values[values > 0])
    wet = np.concatenate(parts)
    if not wet.size:
        names = ", ".join(region.name for region in regions)
        raise InputError(
            Problem(
                f"{names}: coarse {variable}", "a wet value in the training period", "none",
                "Nothing can be mapped there.",
            )
        )  # fmt: skip
    return wet.astype(np.float64)


def thinned(values: int) -> int:
    """Every how many steps count, so that at most about `MOST` of so many values do."""
    every = max(1, -(-values // MOST))
    while gcd(every, 24) > 1 and every > 1:
        every += 1
    return every


def _training(region: RegionStore) -> slice:
    return region.steps(region.task.periods.train)


def _parts(span: range, every: int) -> list[slice]:
    """Blocks of steps, or single ones where not all count."""
    if every > 1:
        return [slice(step, step + 1) for step in span[::every]]
    return [slice(low, min(low + BLOCK, span.stop)) for low in span[::BLOCK]]


def _through(origin: Array, image: Array, values: NDArray[np.floating]) -> Array:
    """Linear between knots, a constant ratio outside of them, nothing below 0."""
    x = np.asarray(values, dtype=np.float64)
    y = np.interp(x, origin, image)
    y = np.where(x < origin[0], x * (image[0] / origin[0]), y)
    y = np.where(x > origin[-1], x * (image[-1] / origin[-1]), y)
    return np.where(x <= 0, x, y)


def _untied(knots: Array, partners: Array) -> tuple[Array, Array]:
    """Each knot once, with the mean of the partners that its ties have."""
    unique, first, group = np.unique(knots, return_index=True, return_inverse=True)
    # From the first one: equal partners have that mean exactly, or ties would become knots that
    # are a rounding apart, between which nothing can be told from its way back.
    above = np.bincount(group, weights=partners - partners[first][group]) / np.bincount(group)
    return unique, partners[first] + above
