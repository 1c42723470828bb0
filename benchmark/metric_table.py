"""Every metric of a case table as plain numbers: by variable, metric, region and stratum."""

import json
import math

import numpy as np
import xarray as xr

from benchmark.metrics import METRICS, Metric, entries, threshold_labels
from benchmark.strata import SEASONS, seasons

Value = float | None
"""A number, or None where it is missing (never 0)."""

IN_STRATA = ("bias", "mae", "rmse", "variance_ratio", "crps_fair", "crps_ecdf")
"""Shown for every stratum and season; the others for all cells and cases (the table has more)."""

LEFT_OUT = ("rank_histogram",)
"""One number for each of M + 1 ranks is a figure, not a score; the case table has it."""

Numbers = dict[str, dict[str, dict[str, dict[str, Value]]]]


def metric_table(cases: xr.Dataset, totals: xr.Dataset) -> Numbers:
    """{variable: {metric: {region: {stratum: value}}}}; None where a value is missing.

    cases, totals: the two parts of a case table, for stratum `all` by case and for every stratum.

    A metric with dims of its own has an entry for each place, named `csi[>= 1 mm h-1]`. One that
    cannot be computed for a variable (spectra of a divergence are all it has) is left out, as is
    one whose sums the case table lacks (`lacking`).
    """
    parts = {"": totals} | {season: season_totals(cases, season) for season in _seasons_in(cases)}
    values = {
        season: {
            name: found(sums)
            for name, found in METRICS.items()
            if name not in LEFT_OUT
            and (season == "" or name in IN_STRATA)
            and not lacking(found, sums)
        }
        for season, sums in parts.items()
    }
    known = json.loads(totals.attrs["contract"])
    return {
        str(variable): {
            entry: _by_region(found, entry, part, variable, values)
            for name, array in values[""].items()
            if variable in known or METRICS[name].needs[0].startswith("power")
            for found in (METRICS[name],)
            for entry, part in entries(
                found, array.sel(variable=variable), threshold_labels(totals, str(variable))
            ).items()
        }
        for variable in totals["variable"].values
    }


def _by_region(
    found: Metric,
    entry: str,
    part: xr.DataArray,
    variable: str,
    values: dict[str, dict[str, xr.DataArray]],
) -> dict[str, dict[str, float | None]]:
    regions = [str(name) for name in part["region"].values]
    if found.name not in IN_STRATA:
        alone = part.sel(stratum="all") if "stratum" in part.dims else part
        numbers = alone.transpose("region").values.tolist()
        return {name: {"all": value(x)} for name, x in zip(regions, numbers, strict=True)}
    strata = [str(name) for name in part["stratum"].values]
    numbers = part.transpose("region", "stratum").values.tolist()
    table = {
        region: {stratum: value(x) for stratum, x in zip(strata, row, strict=True)}
        for region, row in zip(regions, numbers, strict=True)
    }
    for season in (name for name in values if name and found.name in values[name]):
        of_season = values[season][entry].sel(variable=variable, stratum="all")
        for region, x in zip(regions, of_season.transpose("region").values.tolist(), strict=True):
            table[region][season] = value(x)
    return table


def season_totals(cases: xr.Dataset, season: str) -> xr.Dataset:
    """What is kept by case, folded over the cases in each region's local season."""
    labels = np.stack(
        [seasons(cases["case"].values, latitude=float(lat)) for lat in cases["latitude"].values]
    )
    inside = xr.DataArray(labels == season, dims=("region", "case"))
    needed = {key for name in IN_STRATA for key in (*METRICS[name].needs, *METRICS[name].weights)}
    chosen = cases[sorted(needed & set(cases.data_vars))]
    sums = {
        str(name): values.where(inside, 0.0).sum("case")
        for name, values in chosen.data_vars.items()
    }
    return xr.Dataset(sums, attrs=cases.attrs)


def _seasons_in(cases: xr.Dataset) -> list[str]:
    latitudes = cases["latitude"].values
    found = {name for lat in latitudes for name in seasons(cases["case"].values, latitude=lat)}
    return [season for season in SEASONS if season in found]


def lacking(found: Metric, table: xr.Dataset) -> tuple[str, ...]:
    """The statistics and weights of a metric that a case table does not have.

    Empty where the metric can be computed. A table that is older than a statistic lacks it: the
    metric is missing there, and nothing is scored again.
    """
    return tuple(name for name in (*found.needs, *found.weights) if name not in table.data_vars)


def value(number: float) -> Value:
    """None for what is not finite: JSON has no NaN, and a missing value is never 0."""
    return number if math.isfinite(number) else None
