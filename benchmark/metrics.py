"""Metrics: pure functions of summed case tables, each the owner of its name, unit and direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from benchmark.case_table import STATISTICS, WEIGHTS
from benchmark.errors import InputError, Problem
from benchmark.toml_model import nearest

Direction = Literal["lower", "higher", "one", "zero", "none"]


@dataclass(frozen=True)
class Metric:
    """One number from sums that were folded over cases.

    unit: `variable` for the variable's own; direction: what is better (`one`, `zero`: the nearer
    to it); formula: with <f> for sum(w f) / sum(w); reference: its definition. A metric whose
    weights are 0, or that is not defined for the member count, is NaN.
    """

    name: str
    title: str
    unit: Literal["variable", "1", "per million"]
    direction: Direction
    formula: str
    reference: str
    needs: tuple[str, ...]
    """The statistics that it is computed from."""
    compute: Callable[[xr.Dataset], xr.DataArray]

    @property
    def weights(self) -> tuple[str, ...]:
        """The weights that divide its statistics."""
        kinds = (STATISTICS[name].weight for name in self.needs)
        return tuple(dict.fromkeys(WEIGHTS[kind] for kind in kinds if kind in WEIGHTS))

    def __call__(self, totals: xr.Dataset) -> xr.DataArray:
        """The metric for every entry of the remaining dims."""
        return self.compute(totals)


def _mean(totals: xr.Dataset, name: str) -> xr.DataArray:
    """<f>: a summed statistic over its weight; NaN where the weight is 0."""
    weight = totals[WEIGHTS[STATISTICS[name].weight]]
    return totals[name] / weight.where(weight > 0)


def _root(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    return lambda totals: _mean(totals, name) ** 0.5


def _plain(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    return lambda totals: _mean(totals, name)


def _covariance(totals: xr.Dataset, first: str, second: str, product: str) -> xr.DataArray:
    return _mean(totals, product) - _mean(totals, first) * _mean(totals, second)


def _variance_ratio(totals: xr.Dataset) -> xr.DataArray:
    predicted = _covariance(totals, "p", "p", "pp")
    true = _covariance(totals, "t", "t", "tt")
    return predicted / true.where(true > 0)


def _increment_correlation(totals: xr.Dataset) -> xr.DataArray:
    names = ("increment_p", "increment_t")
    predicted = _covariance(totals, names[0], names[0], "increment_pp")
    true = _covariance(totals, names[1], names[1], "increment_tt")
    # A model that adds nothing to bilinear (up to rounding) has no increment to correlate.
    smallest = 1e-12 * true
    scale = (predicted.where(predicted > smallest) * true.where(true > 0)) ** 0.5
    return _covariance(totals, *names, "increment_pt") / scale


def _crps(totals: xr.Dataset, pairs: float) -> xr.DataArray:
    """<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / pairs."""
    if int(totals.attrs["members"]) == 1:
        return _mean(totals, "member_abs_error")
    return _mean(totals, "member_abs_error") - _mean(totals, "pair_spread") / pairs


def _crps_fair(totals: xr.Dataset) -> xr.DataArray:
    members = int(totals.attrs["members"])
    return _crps(totals, members * (members - 1))


def _crps_ecdf(totals: xr.Dataset) -> xr.DataArray:
    return _crps(totals, float(int(totals.attrs["members"]) ** 2))


def _spread_skill(totals: xr.Dataset) -> xr.DataArray:
    members = int(totals.attrs["members"])
    if members == 1:
        return _mean(totals, "squared_error") * np.nan
    spread = (members + 1) / members * _mean(totals, "member_variance")
    error = _mean(totals, "squared_error")
    return (spread / error.where(error > 0)) ** 0.5


def _outer_ranks(totals: xr.Dataset) -> xr.DataArray:
    members = int(totals.attrs["members"])
    outer = totals["rank_weight"].isel(rank=0, drop=True) + totals["rank_weight"].isel(
        rank=members, drop=True
    )
    if members == 1:
        outer = outer * np.nan  # both ranks are outer ones
    weight = totals[WEIGHTS["cell"]]
    return outer / weight.where(weight > 0) * (members + 1) / 2


def _residual_ulps(totals: xr.Dataset) -> xr.DataArray:
    scale = np.finfo(np.float32).eps * totals["coarse_max"]
    return totals["residual_max"] / scale.where(scale > 0)


def _negatives(totals: xr.Dataset) -> xr.DataArray:
    return _mean(totals, "negative") * 1e6


_GNEITING = "Gneiting and Raftery 2007, doi 10.1198/016214506000001437"
_FERRO = "Ferro 2014, doi 10.1002/qj.2270"
_FORTIN = "Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1"
_HARDER = "Harder et al. 2023, JMLR 24(365)"
_WILKS = "Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="bias",
            title="bias",
            unit="variable",
            direction="zero",
            formula="<p - t>",
            reference=_WILKS,
            needs=("error",),
            compute=_plain("error"),
        ),
        Metric(
            name="mae",
            title="MAE",
            unit="variable",
            direction="lower",
            formula="<|p - t|>",
            reference=_WILKS,
            needs=("abs_error",),
            compute=_plain("abs_error"),
        ),
        Metric(
            name="rmse",
            title="RMSE",
            unit="variable",
            direction="lower",
            formula="sqrt <(p - t)^2>",
            reference=_WILKS,
            needs=("squared_error",),
            compute=_root("squared_error"),
        ),
        Metric(
            name="variance_ratio",
            title="variance ratio",
            unit="1",
            direction="one",
            formula="var(p) / var(t), var(f) = <f^2> - <f>^2",
            reference=_WILKS,
            needs=("p", "t", "pp", "tt"),
            compute=_variance_ratio,
        ),
        Metric(
            name="increment_correlation",
            title="correlation of the increment",
            unit="1",
            direction="higher",
            formula="corr(p - b, t - b), b bilinear",
            reference=_WILKS,
            needs=("increment_p", "increment_t", "increment_pp", "increment_tt", "increment_pt"),
            compute=_increment_correlation,
        ),
        Metric(
            name="crps_fair",
            title="CRPS (fair)",
            unit="variable",
            direction="lower",
            formula="<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / (M (M - 1)); MAE for M = 1",
            reference=_FERRO,
            needs=("member_abs_error", "pair_spread"),
            compute=_crps_fair,
        ),
        Metric(
            name="crps_ecdf",
            title="CRPS (ecdf)",
            unit="variable",
            direction="lower",
            formula="<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / M^2",
            reference=_GNEITING,
            needs=("member_abs_error", "pair_spread"),
            compute=_crps_ecdf,
        ),
        Metric(
            name="spread_skill",
            title="spread-skill ratio",
            unit="1",
            direction="one",
            formula="sqrt((M + 1) / M <var_m x_m> / <(p - t)^2>)",
            reference=_FORTIN,
            needs=("member_variance", "squared_error"),
            compute=_spread_skill,
        ),
        Metric(
            name="outer_ranks",
            title="outer-rank frequency",
            unit="1",
            direction="one",
            formula="share of truths in the two outer ranks over 2 / (M + 1)",
            reference=_WILKS,
            needs=("rank_weight",),
            compute=_outer_ranks,
        ),
        Metric(
            name="residual",
            title="constraint residual",
            unit="variable",
            direction="lower",
            formula="<|A x_m - x|> over blocks",
            reference=_HARDER,
            needs=("residual_abs",),
            compute=_plain("residual_abs"),
        ),
        Metric(
            name="residual_rms",
            title="constraint residual, RMS",
            unit="variable",
            direction="lower",
            formula="sqrt <(A x_m - x)^2> over blocks",
            reference=_HARDER,
            needs=("residual_squared",),
            compute=_root("residual_squared"),
        ),
        Metric(
            name="truth_residual",
            title="residual against A t",
            unit="variable",
            direction="lower",
            formula="<|A x_m - A t|> over blocks with a whole truth",
            reference=_HARDER,
            needs=("truth_residual_abs",),
            compute=_plain("truth_residual_abs"),
        ),
        Metric(
            name="residual_ulps",
            title="largest residual",
            unit="1",
            direction="lower",
            formula="max |A x_m - x| / (eps32 max |x|)",
            reference=_HARDER,
            needs=("residual_max", "coarse_max"),
            compute=_residual_ulps,
        ),
        Metric(
            name="negatives",
            title="negative values",
            unit="per million",
            direction="lower",
            formula="1e6 <x_m < 0>",
            reference=_HARDER,
            needs=("negative",),
            compute=_negatives,
        ),
    )
}

BOARDS: dict[str, tuple[str, str]] = {
    "deterministic": ("rmse", "bilinear"),
    "probabilistic": ("crps_fair", "bilinear-dressed"),
}
"""Each board's score and the null that skill is measured against."""


def metric(name: str) -> Metric:
    """The metric called `name`; InputError with the nearest known name otherwise."""
    if name not in METRICS:
        raise InputError(
            Problem(f"metric {name!r}", "a known metric", "this", nearest(name, list(METRICS)))
        )
    return METRICS[name]


def board_score(board: str, members: str) -> str:
    """The metric a board ranks by: stratified members take the ecdf form, never the fair one."""
    score = BOARDS[board][0]
    return "crps_ecdf" if score == "crps_fair" and members == "stratified" else score
