"""What must hold of every result, whatever the model: checked when written and when shown."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from benchmark.errors import Problem
from benchmark.metrics import METRICS
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard
from benchmark.task import Task

RELATIVE = 1e-12
ULPS = 4.0
"""A hard layer holds where max |A y - x| <= 4 eps32 max |x|."""

Broken = Callable[[xr.Dataset], xr.DataArray]
"""From the totals: True where a rule does not hold."""


def check_invariants(
    task: Task, card: ModelCard, cases: xr.Dataset, totals: xr.Dataset
) -> list[Problem]:
    """Every broken invariant of a case table, by case and in total; an empty list means none.

    MAE <= RMSE; bias^2 <= MSE; ranks, and the reliability tables, sum to the weight; predictions
    and truth have equal weight in the bins; no FSS sum is above its bound; the ecdf CRPS of one
    member is the MAE; a claimed hard constraint holds on the perfect-model track; every sum is
    finite. A rule about a statistic that the table lacks (it is older) cannot be checked and is
    passed over: the metrics of that statistic are missing too.
    """
    rules = dict(_RULES)
    if int(totals.attrs["members"]) == 1:
        needs = ("member_abs_error", "pair_spread", "abs_error", "weight")
        rules["ecdf CRPS of one member = MAE"] = (needs, _crps_is_not_mae)
    if card.constraint in HARD_CONSTRAINTS and task.track == "perfect_model":
        rule = f"max |A y - x| <= {ULPS:g} eps32 max |x|"
        rules[rule] = (("residual_max", "coarse_max"), _is_loose)
    broken = {
        rule: failed(totals)
        for rule, (needs, failed) in rules.items()
        if all(name in totals.data_vars for name in needs)
    }
    for part, table in (("by case", cases), ("in total", totals)):
        for name in table.data_vars:
            # t_max is -inf where there is no truth; arrays first, as xarray is slow.
            if name != "t_max" and not np.isfinite(table[name].values).all():
                broken[f"{name} is finite {part}"] = xr.DataArray(~np.isfinite(table[name]))
    fix = "If the model does not do what its card says, correct the card; else report a bug."
    return [
        Problem("case table", rule, f"broken {where}", fix)
        for rule, failed in broken.items()
        if (where := _where(failed))
    ]


def _mae_exceeds_rmse(totals: xr.Dataset) -> xr.DataArray:
    return METRICS["mae"](totals) > METRICS["rmse"](totals) * (1 + RELATIVE)


def _bias_exceeds_mse(totals: xr.Dataset) -> xr.DataArray:
    squared = METRICS["rmse"](totals) ** 2
    return METRICS["bias"](totals) ** 2 > squared * (1 + RELATIVE)


def _ranks_are_not_the_weight(totals: xr.Dataset) -> xr.DataArray:
    difference = abs(totals["rank_weight"].sum("rank") - totals["weight"])
    return difference > RELATIVE * totals["weight"]


def _reliability_is_not_the_weight(totals: xr.Dataset) -> xr.DataArray:
    weight = totals["weight"].sel(stratum="all", drop=True)
    return abs(totals["reliability"].sum("rank") - weight) > RELATIVE * weight


def _bins_differ(totals: xr.Dataset) -> xr.DataArray:
    predicted, true = (totals[name].sum("bin") for name in ("bin_p", "bin_t"))
    return (true > 0) & (predicted != true)


def _fss_is_negative(totals: xr.Dataset) -> xr.DataArray:
    fractions = totals["fss_p"] + totals["fss_t"]
    return totals["fss_numerator"] > fractions * (1 + RELATIVE)


def _crps_is_not_mae(totals: xr.Dataset) -> xr.DataArray:
    mae = METRICS["mae"](totals)
    return abs(METRICS["crps_ecdf"](totals) - mae) > RELATIVE * mae


def _is_loose(totals: xr.Dataset) -> xr.DataArray:
    allowed = ULPS * np.finfo(np.float32).eps * totals["coarse_max"]
    return ~(totals["residual_max"] <= allowed)


_RULES: dict[str, tuple[tuple[str, ...], Broken]] = {
    "MAE <= RMSE": (("abs_error", "squared_error", "weight"), _mae_exceeds_rmse),
    "bias^2 <= MSE": (("error", "squared_error", "weight"), _bias_exceeds_mse),
    "sum of ranks = weight": (("rank_weight", "weight"), _ranks_are_not_the_weight),
    "sum of reliability = weight": (("reliability", "weight"), _reliability_is_not_the_weight),
    "bins of predictions and truth have one weight": (("bin_p", "bin_t"), _bins_differ),
    "FSS >= 0": (("fss_numerator", "fss_p", "fss_t"), _fss_is_negative),
}
"""{rule: (the statistics that it is about, where it is broken)}, for every row."""


def _where(failed: xr.DataArray) -> str:
    if not bool(failed.any()):
        return ""
    first = np.argwhere(failed.values)[0]
    place = ", ".join(
        f"{dim} {failed[dim].values[k] if dim in failed.coords else k}"
        for dim, k in zip(failed.dims, first, strict=True)
    )
    return f"in {int(failed.sum())} places, first at {place}"
