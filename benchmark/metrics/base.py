"""A metric, and the means that most metrics are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from benchmark.bins import Bins
from benchmark.statistics import STATISTICS, weight_of

Direction = Literal["lower", "higher", "one", "zero", "none"]
Unit = Literal["variable", "1", "per million", "dB", "km", "cells", "variable squared"]


@dataclass(frozen=True)
class Metric:
    """One number from sums that were folded over cases.

    unit: `variable` for the variable's own; direction: what is better (`one`, `zero`: the nearer
    to it); formula: with <f> for sum(w f) / sum(w); reference: its definition. A metric whose
    weights are 0, or that is not defined for the member count, is NaN. over: its own dims, one
    number for each of their entries (a threshold, say).
    """

    name: str
    title: str
    unit: Unit
    direction: Direction
    formula: str
    reference: str
    needs: tuple[str, ...]
    """The statistics that it is computed from."""
    compute: Callable[[xr.Dataset], xr.DataArray]
    over: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[str, ...]:
        """The weights that divide its statistics."""
        found = [weight_of(name) for name in self.needs]
        if any(STATISTICS[name].family == "distribution" for name in self.needs):
            found.append("weight")
        return tuple(name for name in dict.fromkeys(found) if name is not None)

    @property
    def stratified(self) -> bool:
        """Whether it has a value for each stratum; otherwise it is of all cells."""
        return all(STATISTICS[name].strata for name in self.needs)

    def __call__(self, totals: xr.Dataset) -> xr.DataArray:
        """The metric for every entry of the remaining dims."""
        return self.compute(totals)


def mean(totals: xr.Dataset, name: str) -> xr.DataArray:
    """<f>: a summed statistic over its weight; NaN where the weight is 0.

    A statistic without strata is divided by the weight of all cells.
    """
    key = weight_of(name)
    if key is None:
        raise KeyError(f"{name} is not a weighted sum")
    weight = totals[key]
    if "stratum" in weight.dims and not STATISTICS[name].strata:
        weight = weight.sel(stratum="all", drop=True)
    return totals[name] / weight.where(weight > 0)


def plain(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """The mean of one statistic."""
    return lambda totals: mean(totals, name)


def root(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """The root of the mean of one statistic."""
    return lambda totals: mean(totals, name) ** 0.5


def covariance(totals: xr.Dataset, first: str, second: str, product: str) -> xr.DataArray:
    """<f g> - <f> <g>."""
    return mean(totals, product) - mean(totals, first) * mean(totals, second)


def members(totals: xr.Dataset) -> int:
    """The ensemble size M."""
    return int(totals.attrs["members"])


def contract(totals: xr.Dataset, variable: str) -> dict[str, Any] | None:
    """What the task says of a variable; None for those whose spectra alone are scored."""
    found: dict[str, Any] | None = json.loads(totals.attrs["contract"]).get(variable)
    return found


def by_variable(
    totals: xr.Dataset, compute: Callable[[xr.Dataset, dict[str, Any]], xr.DataArray]
) -> xr.DataArray:
    """A metric that depends on the variable's bins, units or range, one variable at a time.

    NaN for a variable that has no contract, or where `compute` raises nothing but gives NaN.
    """
    if "variable" not in totals.dims:
        known = contract(totals, str(totals["variable"].values))
        found = compute(totals, known or next(iter(json.loads(totals.attrs["contract"]).values())))
        return found if known is not None else found * np.nan
    parts = [by_variable(totals.sel(variable=name), compute) for name in totals["variable"].values]
    first = parts[0].drop_vars("variable")
    # What xr.concat does, without comparing the coordinates of every part.
    values = np.stack([part.transpose(*first.dims).values for part in parts])
    return first.expand_dims(variable=totals["variable"]).copy(data=values)


def bins_of(known: dict[str, Any]) -> Bins:
    """The bins of a variable's contract."""
    return Bins(**known["bins"])


def over_last(
    dim: str, function: Callable[..., np.ndarray], *arrays: xr.DataArray, **options: Any
) -> xr.DataArray:
    """A function of arrays over their last axis, which is `dim`, to one value a place."""
    moved = xr.broadcast(*arrays)
    moved = tuple(array.transpose(..., dim) for array in moved)
    values = function(*(array.values for array in moved), **options)
    return moved[0].isel({dim: 0}, drop=True).copy(data=values)
