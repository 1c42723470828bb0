"""Metrics of the distribution of values, from counts in the task's bins."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from benchmark import distribution_metrics as of
from benchmark.bins import Bins
from benchmark.metrics.base import Direction, Metric, Unit, bins_of, by_variable

QUANTILES = {"p95": 0.95, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}
_WILKS = "Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9"
Counts = np.ndarray[Any, np.dtype[np.float64]]


def _counts(totals: xr.Dataset, name: str, bins: Bins) -> Counts:
    """(..., bins) counts of one variable without what fills up to the longest bins."""
    return totals[name].transpose(..., "bin").values[..., : len(bins)]


def _of_bins(
    function: Callable[[Counts, Counts, Bins], Counts], *, units: tuple[str, ...] = ()
) -> Callable[[xr.Dataset], xr.DataArray]:
    """A metric of the counts of p and t; with `units`, missing for a variable in others."""

    def compute(chosen: xr.Dataset, known: dict[str, Any]) -> xr.DataArray:
        bins = bins_of(known)
        like = chosen["bin_p"].isel(bin=0, drop=True)
        if units and known["units"] not in units:
            return like.copy(data=np.full(like.shape, np.nan))
        p, t = (_counts(chosen, name, bins) for name in ("bin_p", "bin_t"))
        return like.copy(data=np.asarray(function(p, t, bins)))

    return lambda totals: by_variable(totals, compute)


def _quantile_error(q: float) -> Callable[[xr.Dataset], xr.DataArray]:
    """Shown only with at least 100 exceeding cells in at least 10 cases."""

    def compute(chosen: xr.Dataset, known: dict[str, Any]) -> xr.DataArray:
        bins = bins_of(known)
        p, t, cases = (_counts(chosen, name, bins) for name in ("bin_p", "bin_t", "bin_cases"))
        true = of.quantile(t, bins, q)
        exceeding = of.share_at_least(t, bins, true) * chosen["cells"].values
        days = of.share_at_least(cases, bins, true) * cases.sum(axis=-1)
        enough = of.enough(exceeding, np.floor(np.nan_to_num(days)).astype(np.int64))
        error = np.where(enough, of.quantile_error(p, t, bins, q), np.nan)
        return chosen["cells"].copy(data=error)

    return lambda totals: by_variable(totals, compute)


def _lhd(totals: xr.Dataset) -> xr.DataArray:
    """Counts of cells: weights over the mean weight of a cell."""

    def compute(chosen: xr.Dataset, known: dict[str, Any]) -> xr.DataArray:
        bins = bins_of(known)
        like = chosen["cells"]
        if known["units"] != "mm d-1":
            return like.copy(data=np.full(like.shape, np.nan))
        p, t = (_counts(chosen, name, bins) for name in ("bin_p", "bin_t"))
        weight = t.sum(axis=-1)
        scale = np.divide(like.values, weight, where=weight > 0, out=np.zeros(weight.shape))
        cells_p, cells_t = (np.asarray(x * scale[..., None]) for x in (p, t))
        return like.copy(data=np.asarray(of.ganvsdiffusion_lhd(cells_p, cells_t, bins)))

    return by_variable(totals, compute)


def _metric(
    name: str, title: str, unit: Unit, direction: Direction, formula: str, reference: str,
    compute: Callable[[xr.Dataset], xr.DataArray], *more: str,
) -> Metric:  # fmt: skip
    needs = ("bin_p", "bin_t", *more)
    return Metric(name, title, unit, direction, formula, reference, needs, compute)


_RAIN = ("mm h-1", "mm d-1")

METRICS = (
    *(
        _metric(f"{name}_error", f"error of {name.upper().replace('_', '.')}", "variable", "zero",
                f"Q_{q:g}(x) - Q_{q:g}(t), pooled", _WILKS, _quantile_error(q), "bin_cases",
                "cells")
        for name, q in QUANTILES.items()
    ),
    _metric("wet_fraction_error", "error of the wet fraction", "1", "zero",
            "share of x >= 0.1 mm less that of t", _WILKS,
            _of_bins(lambda p, t, bins: of.wet_fraction(p, bins) - of.wet_fraction(t, bins),
                     units=_RAIN)),
    _metric("wasserstein_1", "Wasserstein-1", "variable", "lower", "integral |F_x - F_t|, pooled",
            "Villani 2009, doi 10.1007/978-3-540-71050-9", _of_bins(of.wasserstein_1)),
    _metric("perkins", "Perkins score", "1", "higher", "sum over bins of min(share_x, share_t)",
            "Perkins et al. 2007, doi 10.1175/JCLI4253.1", _of_bins(of.perkins)),
    _metric("ganvsdiffusion_lhd", "LHD (GAN vs diffusion)", "dB", "lower",
            "sqrt(mean_b (10 log10 n_t / n_x)^2), bins above 1 mm d-1 with 10 counts in both",
            "arXiv 2512.13987", _lhd, "cells"),
)  # fmt: skip
