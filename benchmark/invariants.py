"""What must hold of every result, whatever the model: checked when written and when shown."""

import numpy as np
import xarray as xr

from benchmark.errors import Problem
from benchmark.metrics import METRICS
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard
from benchmark.task import Task

RELATIVE = 1e-12
ULPS = 4.0
"""A hard layer holds where max |A y - x| <= 4 eps32 max |x|."""


CHECKED = ("mae", "rmse", "bias", "crps_ecdf")


def check_invariants(
    task: Task, card: ModelCard, cases: xr.Dataset, totals: xr.Dataset
) -> list[Problem]:
    """Every broken invariant of a case table, by case and in total; an empty list means none.

    MAE <= RMSE; bias^2 <= MSE; ranks, and the reliability tables, sum to the weight; predictions
    and truth have equal weight in the bins; no FSS sum is above its bound; the ecdf CRPS of one
    member is the MAE; a claimed hard constraint holds on the perfect-model track; every sum is
    finite.
    """
    values = {name: METRICS[name](totals) for name in CHECKED}
    squared = values["rmse"] ** 2
    weight = totals["weight"].sel(stratum="all", drop=True)
    known = totals["bin_t"].sum("bin") > 0
    fractions = totals["fss_p"] + totals["fss_t"]
    broken = {
        "MAE <= RMSE": values["mae"] > values["rmse"] * (1 + RELATIVE),
        "bias^2 <= MSE": values["bias"] ** 2 > squared * (1 + RELATIVE),
        "sum of ranks = weight": abs(totals["rank_weight"].sum("rank") - totals["weight"])
        > RELATIVE * totals["weight"],
        "sum of reliability = weight": abs(totals["reliability"].sum("rank") - weight)
        > RELATIVE * weight,
        "bins of predictions and truth have one weight": known
        & (totals["bin_p"].sum("bin") != totals["bin_t"].sum("bin")),
        "FSS >= 0": totals["fss_numerator"] > fractions * (1 + RELATIVE),
    }
    if int(totals.attrs["members"]) == 1:
        difference = abs(values["crps_ecdf"] - values["mae"])
        broken["ecdf CRPS of one member = MAE"] = difference > RELATIVE * values["mae"]
    if card.constraint in HARD_CONSTRAINTS and task.track == "perfect_model":
        allowed = ULPS * np.finfo(np.float32).eps * totals["coarse_max"]
        broken[f"max |A y - x| <= {ULPS:g} eps32 max |x|"] = ~(totals["residual_max"] <= allowed)
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


def _where(failed: xr.DataArray) -> str:
    if not bool(failed.any()):
        return ""
    first = np.argwhere(failed.values)[0]
    place = ", ".join(
        f"{dim} {failed[dim].values[k] if dim in failed.coords else k}"
        for dim, k in zip(failed.dims, first, strict=True)
    )
    return f"in {int(failed.sum())} places, first at {place}"
