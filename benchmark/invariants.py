"""What must hold of every result, whatever the model: checked when written and when shown."""

import numpy as np
import xarray as xr

from benchmark.case_table import total
from benchmark.errors import Problem
from benchmark.metrics import METRICS
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard
from benchmark.task import Task

RELATIVE = 1e-12
ULPS = 4.0
"""A hard layer holds where max |A y - x| <= 4 eps32 max |x|."""


def check_invariants(task: Task, card: ModelCard, cases: xr.Dataset) -> list[Problem]:
    """Every broken invariant of a case table; an empty list means none.

    MAE <= RMSE; bias^2 <= MSE; ranks sum to the weight; the ecdf CRPS of one member is the MAE;
    a claimed hard constraint holds on the perfect-model track; every sum is finite.
    """
    totals = total(cases)
    values = {name: metric(totals) for name, metric in METRICS.items()}
    squared = values["rmse"] ** 2
    broken = {
        "MAE <= RMSE": values["mae"] > values["rmse"] * (1 + RELATIVE),
        "bias^2 <= MSE": values["bias"] ** 2 > squared * (1 + RELATIVE),
        "sum of ranks = weight": abs(totals["rank_weight"].sum("rank") - totals["weight"])
        > RELATIVE * totals["weight"],
    }
    if int(cases.attrs["members"]) == 1:
        difference = abs(values["crps_ecdf"] - values["mae"])
        broken["ecdf CRPS of one member = MAE"] = difference > RELATIVE * values["mae"]
    if card.constraint in HARD_CONSTRAINTS and task.track == "perfect_model":
        allowed = ULPS * np.finfo(np.float32).eps * totals["coarse_max"]
        broken[f"max |A y - x| <= {ULPS:g} eps32 max |x|"] = ~(totals["residual_max"] <= allowed)
    for name in cases.data_vars:
        broken[f"{name} is finite"] = xr.DataArray(~np.isfinite(cases[name]))
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
