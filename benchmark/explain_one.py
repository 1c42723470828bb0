"""One number of one seed: from a metric back to sums, weights, cases and hashes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.explain_rows import Seed
from benchmark.metric_table import IN_STRATA, lacking, season_totals
from benchmark.metrics import Metric, entries, metric, threshold_labels
from benchmark.metrics.base import bins_of, contract
from benchmark.results import Scores
from benchmark.statistics import STATISTICS
from benchmark.strata import SEASONS, seasons
from benchmark.toml_model import nearest

Sums = dict[str, float | list[float]]
"""{statistic or weight: its sum}; a list for rings, bins and ranks, which a metric takes whole."""


@dataclass(frozen=True)
class Explanation:
    """One metric of one variable, region and stratum, and what it was computed from.

    entry: the metric, or its place as in `csi[>= 1 mm h-1]`, for which the sums are; totals: each
    statistic and weight folded over cases; by_case: the same for each case, for stratum `all` and
    for seasons, of what is kept by case; empty for others. constants: what the formula takes
    besides sums: the members M, the data range, the rings' wavenumbers in km-1, the bins. lacks:
    the statistics that the case table does not have, which then is why there is no value.
    """

    metric: Metric
    entry: str
    variable: str
    region: str
    stratum: str
    unit: str
    value: float | None
    totals: Sums
    meaning: dict[str, str]
    by_case: dict[str, Sums]
    constants: dict[str, Any]
    lacks: tuple[str, ...]
    folder: Path
    scores: Scores


def explain_one(
    seed: Seed, name: str, region: str, *, variable: str, stratum: str = "all"
) -> Explanation:
    """Explain a metric's entry of one seed in one region.

    stratum: one of those kept, or a local season. Errors: InputError on an unknown metric, entry,
    region, variable or stratum, with the nearest that is known.
    """
    chosen = metric(name)
    check_name("variable", variable, [str(known) for known in seed.totals["variable"].values])
    check_name("region", region, [str(known) for known in seed.totals["region"].values])
    _check_stratum(chosen, name, stratum, [str(known) for known in seed.totals["stratum"].values])
    sums = season_totals(seed.cases, stratum) if stratum in SEASONS else seed.totals
    lacks = lacking(chosen, sums)
    names = [key for key in (*chosen.needs, *chosen.weights) if key not in lacks]
    # Season totals are of all cells already; so are statistics that have no strata.
    inside = "all" if stratum in SEASONS else stratum
    picked = _pick(sums, names, variable, region, inside)
    value, place = np.nan, {}
    if not lacks:
        values = chosen(picked)
        place = _place(chosen, name, values, threshold_labels(seed.totals, variable))
        value = float(values.isel(place))
    by_case = {}
    kept = [key for key in names if key in seed.cases]
    if kept and stratum in ("all", *SEASONS):
        by_case = _by_case(_pick(seed.cases, kept, variable, region, "all"), place, stratum)
    return Explanation(
        metric=chosen,
        entry=name,
        variable=variable,
        region=region,
        stratum=stratum,
        unit=_unit(chosen, seed.totals, variable),
        value=value if np.isfinite(value) else None,
        totals={key: numbers(_at(picked[key], place)) for key in names},
        meaning={key: STATISTICS[key].formula for key in names},
        by_case=by_case,
        constants=_constants(picked, variable),
        lacks=lacks,
        folder=seed.folder,
        scores=seed.scores,
    )


def check_name(what: str, name: str, known: list[str]) -> None:
    """InputError with the nearest known name where `name` is none of them."""
    if name not in known:
        raise InputError(Problem(f"{what} {name!r}", f"a {what}", "this", nearest(name, known)))


def _check_stratum(chosen: Metric, name: str, stratum: str, known: list[str]) -> None:
    check_name("stratum", stratum, [*known, *SEASONS])
    if stratum in SEASONS and chosen.name not in IN_STRATA:
        expected = f"stratum all; seasons are of {', '.join(IN_STRATA)}"
    elif stratum != "all" and not chosen.stratified:
        expected = "stratum all"
    else:
        return
    got = f"stratum {stratum}"
    raise InputError(Problem(f"metric {name!r}", expected, got, "Leave --stratum out."))


def _place(
    chosen: Metric, name: str, values: xr.DataArray, thresholds: list[str]
) -> dict[str, int]:
    """Where the entry called `name` stands along the metric's own dims.

    Errors: InputError with the nearest where a metric has several and `name` is none of them.
    """
    numbered = values.copy(data=np.arange(values.size).reshape(values.shape))
    known = entries(chosen, numbered, thresholds)
    if name not in known:
        got = "one of several" if name == chosen.name else "this"
        fix = nearest(name, list(known)) if known else "The variable has no thresholds."
        raise InputError(Problem(f"metric {name!r}", "one number", got, fix))
    places = np.unravel_index(int(known[name]), values.shape)
    return {str(dim): int(k) for dim, k in zip(values.dims, places, strict=True)}


def _pick(
    table: xr.Dataset, names: list[str], variable: str, region: str, stratum: str
) -> xr.Dataset:
    """The statistics of one place, without the rings that only other regions have."""
    chosen = table[names].sel(variable=variable, region=region)
    if "stratum" in chosen.dims:
        chosen = chosen.sel(stratum=stratum)
    if "ring" in chosen.dims:
        chosen = chosen.isel(ring=np.isfinite(chosen["wavenumber"].values))
    return chosen


def _at(array: xr.DataArray, place: dict[str, int]) -> xr.DataArray:
    return array.isel({dim: k for dim, k in place.items() if dim in array.dims})


def _by_case(table: xr.Dataset, place: dict[str, int], stratum: str) -> dict[str, Sums]:
    """{case: sums}, of the season's cases where one is asked for."""
    cases = table["case"].values
    arrays = {
        str(key): _at(array, place).transpose("case", ...).values
        for key, array in table.data_vars.items()
    }
    own = seasons(cases, latitude=float(table["latitude"]))
    return {
        str(case.astype("datetime64[s]")): {
            key: values[k].ravel().tolist() if values[k].ndim else float(values[k])
            for key, values in arrays.items()
        }
        for k, case in enumerate(cases)
        if stratum == "all" or own[k] == stratum
    }


def _constants(picked: xr.Dataset, variable: str) -> dict[str, Any]:
    """What formulas take besides sums, as far as these sums ask for it."""
    found: dict[str, Any] = {"members": int(picked.attrs["members"])}
    known = contract(picked, variable)
    if known is not None:
        found["data_range"] = known["data_range"]
        if "bin" in picked.dims:
            found["bins"] = known["bins"]
            found["bin_count"] = len(bins_of(known))
    if "ring" in picked.dims:
        found["wavenumber"] = picked["wavenumber"].values.tolist()
        found["finest_km"] = float(picked["finest_km"])
    return found


def _unit(chosen: Metric, totals: xr.Dataset, variable: str) -> str:
    known = contract(totals, variable)
    units = "s-1" if known is None else str(known["units"])
    return {"variable": units, "variable squared": f"({units})2"}.get(chosen.unit, chosen.unit)


def numbers(array: xr.DataArray) -> float | list[float]:
    """A sum as a number, or as a list along what is left of its dims."""
    return [float(v) for v in array.values.ravel()] if array.ndim else float(array)
