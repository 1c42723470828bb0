"""From a displayed number back to the sums, weights, cases and hashes that made it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.metrics import Metric, entries, metric, threshold_labels
from benchmark.metrics.base import contract
from benchmark.results import SCORES, Scores, read_row
from benchmark.statistics import STATISTICS
from benchmark.task import load_task
from benchmark.toml_model import nearest


@dataclass(frozen=True)
class Explanation:
    """One metric of one variable, region and stratum, and what it was computed from.

    totals: each statistic and weight folded over cases (for the ranks: one value a rank);
    by_case: the same for each case, kept for stratum `all` only and empty for others.
    """

    metric: Metric
    variable: str
    region: str
    stratum: str
    unit: str
    value: float | None
    totals: dict[str, float | list[float]]
    meaning: dict[str, str]
    by_case: dict[str, dict[str, float | list[float]]]
    scores: Scores


def explain(
    where: Path, name: str, region: str, *, variable: str | None = None, stratum: str = "all"
) -> Explanation:
    """Explain a metric of a score folder (or its scores.json); the primary variable by default.

    Errors: InputError on an unknown metric, region, variable or stratum, or where the case table
    is not the one that the scores came from.
    """
    folder = where.parent if where.name == SCORES else where
    chosen = metric(name)
    scores, cases, totals = read_row(folder)
    task = load_task(scores.task.partition("@")[0])
    variable = variable or task.primary.variable
    _known("variable", variable, cases)
    _known("region", region, cases)
    _known("stratum", stratum, totals)
    if stratum != "all" and not chosen.stratified:
        fix = "Leave --stratum out."
        raise InputError(Problem(f"metric {name!r}", "stratum all", f"stratum {stratum}", fix))
    names = [*chosen.needs, *chosen.weights]
    picked = _pick(totals, names, variable, region, stratum)
    values = _entry(chosen, name, chosen(picked), threshold_labels(totals, variable))
    kept = [key for key in names if key in cases]
    by_case = _pick(cases, kept, variable, region, stratum) if kept and stratum == "all" else None
    return Explanation(
        metric=chosen,
        variable=variable,
        region=region,
        stratum=stratum,
        unit=_unit(chosen, totals, variable),
        value=float(values) if np.isfinite(values) else None,
        totals={key: _numbers(picked[key]) for key in names},
        meaning={key: STATISTICS[key].formula for key in chosen.needs},
        by_case={} if by_case is None else _by_case(by_case, kept),
        scores=scores,
    )


def _entry(chosen: Metric, name: str, values: xr.DataArray, thresholds: list[str]) -> xr.DataArray:
    """The value called `name`; InputError with the nearest where a metric has several."""
    known = entries(chosen, values, thresholds)
    if name not in known:
        got = "one of several" if name == chosen.name else "this"
        fix = nearest(name, list(known)) if known else "The variable has no thresholds."
        raise InputError(Problem(f"metric {name!r}", "one number", got, fix))
    return known[name]


def _unit(chosen: Metric, totals: xr.Dataset, variable: str) -> str:
    known = contract(totals, variable)
    units = "s-1" if known is None else str(known["units"])
    return {"variable": units, "variable squared": f"({units})2"}.get(chosen.unit, chosen.unit)


def _known(dim: str, name: str, table: xr.Dataset) -> None:
    known = [str(entry) for entry in table[dim].values]
    if name not in known:
        raise InputError(Problem(f"{dim} {name!r}", f"a {dim}", "this", nearest(name, known)))


def _pick(
    table: xr.Dataset, names: list[str], variable: str, region: str, stratum: str
) -> xr.Dataset:
    chosen = table[names].sel(variable=variable, region=region)
    return chosen.sel(stratum=stratum) if "stratum" in chosen.dims else chosen


def _by_case(table: xr.Dataset, names: list[str]) -> dict[str, dict[str, float | list[float]]]:
    return {
        str(case.astype("datetime64[s]")): {
            key: _numbers(table[key].sel(case=case)) for key in names
        }
        for case in table["case"].values
    }


def _numbers(array: xr.DataArray) -> float | list[float]:
    return [float(v) for v in array.values.ravel()] if array.ndim else float(array)
