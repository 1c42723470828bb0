"""Metrics of the whole ensemble: CRPS, spread, ranks, and the CRPS of block means."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from benchmark.metrics.base import Metric, mean, members

GNEITING = "Gneiting and Raftery 2007, doi 10.1198/016214506000001437"
FERRO = "Ferro 2014, doi 10.1002/qj.2270"
_FORTIN = "Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1"
_WILKS = "Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9"


def crps(error: str, spread: str, *, fair: bool) -> Callable[[xr.Dataset], xr.DataArray]:
    """<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / pairs, from the names of the two sums.

    pairs = M (M - 1) for the fair form, M^2 for the ecdf form. One member is a point forecast:
    its CRPS is the absolute error.
    """

    def compute(totals: xr.Dataset) -> xr.DataArray:
        count = members(totals)
        if count == 1:
            return mean(totals, error)
        pairs = count * (count - 1) if fair else count**2
        return mean(totals, error) - mean(totals, spread) / pairs

    return compute


def _spread_skill(totals: xr.Dataset) -> xr.DataArray:
    count = members(totals)
    if count == 1:
        return mean(totals, "squared_error") * np.nan
    spread = (count + 1) / count * mean(totals, "member_variance")
    error = mean(totals, "squared_error")
    return (spread / error.where(error > 0)) ** 0.5


def _outer_ranks(totals: xr.Dataset) -> xr.DataArray:
    count = members(totals)
    shares = mean(totals, "rank_weight")
    outer = shares.isel(rank=0, drop=True) + shares.isel(rank=count, drop=True)
    # Both ranks of one member are outer ones.
    return outer * ((count + 1) / 2 if count > 1 else np.nan)


METRICS = (
    Metric(
        name="crps_fair",
        title="CRPS (fair)",
        unit="variable",
        direction="lower",
        formula="<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / (M (M - 1)); MAE for M = 1",
        reference=FERRO,
        needs=("member_abs_error", "pair_spread"),
        compute=crps("member_abs_error", "pair_spread", fair=True),
    ),
    Metric(
        name="crps_ecdf",
        title="CRPS (ecdf)",
        unit="variable",
        direction="lower",
        formula="<mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / M^2",
        reference=GNEITING,
        needs=("member_abs_error", "pair_spread"),
        compute=crps("member_abs_error", "pair_spread", fair=False),
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
        name="rank_histogram",
        title="rank histogram",
        unit="1",
        direction="none",
        formula="share of truths with r members below, ties evenly, times M + 1",
        reference="Hamill 2001, doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2",
        needs=("rank_weight",),
        compute=lambda totals: mean(totals, "rank_weight") * (members(totals) + 1),
        over=("rank",),
    ),
    Metric(
        name="block_crps",
        title="CRPS of block means",
        unit="variable",
        direction="lower",
        formula="the board's CRPS (fair) of area means over blocks of n x n fine cells",
        reference=FERRO,
        needs=("scale_abs_error", "scale_pair_spread"),
        compute=crps("scale_abs_error", "scale_pair_spread", fair=True),
        over=("scale",),
    ),
)
