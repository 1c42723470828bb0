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
    compute: Callable[[xr.Dataset], xr.DataArray]

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
        Metric("bias", "bias", "variable", "zero", "<p - t>", _WILKS, _plain("error")),
        Metric("mae", "MAE", "variable", "lower", "<|p - t|>", _WILKS, _plain("abs_error")),
        Metric(
            "rmse", "RMSE", "variable", "lower", "sqrt <(p - t)^2>", _WILKS, _root("squared_error")
        ),
        Metric(
            "variance_ratio", "variance ratio", "1", "one",
            "var(p) / var(t), var(f) = <f^2> - <f>^2",
            _WILKS, _variance_ratio,
        ),
        Metric(
            "increment_correlation", "correlation of the increment", "1", "higher",
            "corr(p - b, t - b), b bilinear", _WILKS, _increment_correlation,
        ),
        Metric(
            "crps_fair", "CRPS (fair)", "variable", "lower",
            "<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / (M (M - 1)); MAE for M = 1",
            _FERRO, _crps_fair,
        ),
        Metric(
            "crps_ecdf", "CRPS (ecdf)", "variable", "lower",
            "<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / M^2", _GNEITING, _crps_ecdf,
        ),
        Metric(
            "spread_skill", "spread-skill ratio", "1", "one",
            "sqrt((M + 1) / M <var_m x_m> / <(p - t)^2>)", _FORTIN, _spread_skill,
        ),
        Metric(
            "outer_ranks", "outer-rank frequency", "1", "one",
            "share of truths in the two outer ranks over 2 / (M + 1)", _WILKS, _outer_ranks,
        ),
        Metric(
            "residual", "constraint residual", "variable", "lower", "<|A x_m - x|> over blocks",
            _HARDER, _plain("residual_abs"),
        ),
        Metric(
            "residual_rms", "constraint residual, RMS", "variable", "lower",
            "sqrt <(A x_m - x)^2> over blocks", _HARDER, _root("residual_squared"),
        ),
        Metric(
            "truth_residual", "residual against A t", "variable", "lower",
            "<|A x_m - A t|> over blocks with a whole truth", _HARDER, _plain("truth_residual_abs"),
        ),
        Metric(
            "residual_ulps", "largest residual", "1", "lower",
            "max |A x_m - x| / (eps32 max |x|)", _HARDER, _residual_ulps,
        ),
        Metric(
            "negatives", "negative values", "per million", "lower", "1e6 <x_m < 0>", _HARDER,
            _negatives,
        ),
    )
}  # fmt: skip

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
