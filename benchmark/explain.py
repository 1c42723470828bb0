"""From a displayed number back to the sums, weights, cases and hashes that made it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark.case_table import STATISTICS
from benchmark.errors import InputError, Problem
from benchmark.metrics import Metric, metric
from benchmark.results import SCORES, Scores, read_row
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
    variable = task.variable(variable or task.primary.variable).name
    _known("region", region, cases)
    _known("stratum", stratum, totals)
    names = [*chosen.needs, *chosen.weights]
    picked = _pick(totals, names, variable, region, stratum)
    values = chosen(picked)
    by_case = _pick(cases, names, variable, region, stratum) if stratum == "all" else None
    return Explanation(
        metric=chosen,
        variable=variable,
        region=region,
        stratum=stratum,
        unit=task.variable(variable).units if chosen.unit == "variable" else chosen.unit,
        value=float(values) if np.isfinite(values) else None,
        totals={key: _numbers(picked[key]) for key in names},
        meaning={key: STATISTICS[key].formula for key in chosen.needs},
        by_case={} if by_case is None else _by_case(by_case, names),
        scores=scores,
    )


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
    return [float(v) for v in array.values] if array.ndim else float(array)
