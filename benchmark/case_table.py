"""The case table: sums, weights and maxima for each case, all that scores are computed from.

An xarray Dataset. What is kept by case has dims (variable, region, case[, stratum], ...), what is
kept for the period only has no `case`. Only sums can be added; only metrics can be shown.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from benchmark.domain import padded, scored_names
from benchmark.errors import InputError, Problem
from benchmark.families.block_means import SCALES
from benchmark.families.spectrum import Rings
from benchmark.files import pack_groups, unpack_groups
from benchmark.grid import region_grid
from benchmark.hashing import combine_named, combine_steps, step_digests
from benchmark.statistics import STATISTICS
from benchmark.step_sums import RegionSums
from benchmark.strata import STRATA
from benchmark.task import Task

SCHEMA_VERSION = 2


def case_labels(task: Task, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The case of each step: its UTC day, or, where the task says so, the step itself."""
    if task.case == "snapshot":
        return times
    return times.astype("datetime64[D]").astype("datetime64[s]")


def dims_of(name: str) -> tuple[str, ...]:
    """The dims of a statistic or weight after (variable, region[, case])."""
    statistic = STATISTICS[name]
    return (("stratum",) if statistic.strata else ()) + statistic.dims


def assemble(task: Task, regions: Mapping[str, RegionSums], *, members: int) -> xr.Dataset:
    """One table from the sums of each region; regions are sorted.

    Errors: InputError when regions do not share their cases.
    """
    names = sorted(regions)
    cases = regions[names[0]].cases
    for name in names:
        if not np.array_equal(regions[name].cases, cases):
            raise InputError(
                Problem(
                    f"region {name}", f"the same {len(cases)} cases as {names[0]}",
                    f"{len(regions[name].cases)} cases",
                    "Build the task again: regions share times.",
                )
            )  # fmt: skip
    data: dict[str, Any] = {}
    for key in regions[names[0]].by_case:
        stacked = _stack([regions[name].by_case[key] for name in names])
        # (region, case, variable, ...) to (variable, region, case, ...)
        values = np.ascontiguousarray(np.moveaxis(stacked, 2, 0))
        data[key] = (("variable", "region", "case", *dims_of(key)), values)
    for key in regions[names[0]].period:
        values = np.ascontiguousarray(
            _stack([regions[n].period[key] for n in names]).swapaxes(0, 1)
        )
        data[key] = (("variable", "region", *dims_of(key)), values)
    variables = scored_names(task)
    data["bin_cases"] = (
        ("variable", "region", "bin"),
        _cases_by_bin(task, variables, data["t_max"][1], data["bin_t"][1].shape[-1]),
    )
    table = xr.Dataset(
        data,
        coords={
            "variable": list(variables),
            "region": names,
            "case": cases.astype("datetime64[s]"),
            "stratum": list(STRATA),
            "rank": np.arange(members + 1),
            "window": list(task.windows),
            "scale": list(SCALES),
            "axis": ["y", "x"],
            "lag": list(task.lags),
        },
        attrs={"schema_version": SCHEMA_VERSION, "task": task.id, "members": members},
    )
    return table.assign_coords(geometry(task, names)).assign_attrs(contract=contract(task))


def _stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Along a new first axis; a shorter last axis (fewer rings) is filled with 0."""
    longest = max(part.shape[-1] for part in parts)
    return np.stack([padded(part, longest) for part in parts])


def geometry(task: Task, regions: Sequence[str]) -> dict[str, Any]:
    """Coordinates of the regions: centre latitude, finest wavelength and rings' wavenumbers."""
    grids = [region_grid(task, task.region(name)).scored.fine for name in regions]
    sizes = [grid.cell_km for grid in grids]
    rings = [
        Rings.on(*grid.shape, dy_km=dy, dx_km=dx)
        for grid, (dy, dx) in zip(grids, sizes, strict=True)
    ]
    wavenumbers = np.full((len(rings), max(len(ring.k) for ring in rings)), np.nan)
    for row, ring in zip(wavenumbers, rings, strict=True):
        row[: len(ring.k)] = ring.k
    return {
        "latitude": ("region", [task.region(name).centre[0] for name in regions]),
        "cell_km": ("region", [float(np.sqrt(dy * dx)) for dy, dx in sizes]),
        "finest_km": ("region", [ring.finest_km for ring in rings]),
        "wavenumber": (("region", "ring"), wavenumbers),
    }


def contract(task: Task) -> str:
    """What metrics need to know of the task's variables, as JSON: {variable: {...}}."""
    variables = {v.name: v for v in task.scored_variables}
    known = {
        name: {
            "units": variable.units,
            "thresholds": variable.threshold_names,
            "data_range": variable.data_range[1] - variable.data_range[0],
            "bins": variable.bins.model_dump(),
        }
        for name, variable in variables.items()
    }
    return json.dumps(known, sort_keys=True)


def _cases_by_bin(
    task: Task, variables: Sequence[str], largest: NDArray[np.float64], length: int
) -> NDArray[np.float64]:
    """(variable, region, bin) number of cases whose largest truth is in the bin."""
    counts = np.zeros((*largest.shape[:2], length))
    known = {v.name: v for v in task.scored_variables}
    for v, name in enumerate(variables):
        if name in known:
            for r in range(largest.shape[1]):
                values = largest[v, r][np.isfinite(largest[v, r])].astype(np.float32)
                found = known[name].bins.bins.index(values)
                counts[v, r] = np.bincount(found, minlength=length)
    return counts


def total(
    table: xr.Dataset, *, regions: Sequence[str] | None = None, over_regions: bool = False
) -> xr.Dataset:
    """The table folded over cases (and over `regions` too, where pooled scores are wanted)."""
    chosen = table if regions is None else table.sel(region=list(regions))
    folded = {}
    for name, values in chosen.data_vars.items():
        wanted: list[str] = ["case", "region"] if over_regions else ["case"]
        dims = [dim for dim in wanted if dim in values.dims]
        largest = STATISTICS[str(name)].fold == "max"
        folded[str(name)] = _fold(values, dims, largest=largest) if dims else values
    kept = xr.Dataset(folded, attrs=table.attrs)
    return kept.drop_vars("case", errors="ignore")


def _fold(values: xr.DataArray, dims: list[str], *, largest: bool) -> xr.DataArray:
    """A NaN stays one: it is a bug to be seen, never a smaller sample."""
    return values.max(dims, skipna=False) if largest else values.sum(dims, skipna=False)


def by_case(table: xr.Dataset) -> xr.Dataset:
    """What a saved table keeps by case: stratum `all` of the statistics that have cases."""
    chosen = table[[str(name) for name, values in table.data_vars.items() if "case" in values.dims]]
    return chosen.sel(stratum=["all"])


def table_hash(*tables: xr.Dataset) -> str:
    """BLAKE3 over the values of every array of the tables, by position and name."""
    return combine_named(
        {
            f"{place}/{name}": combine_steps(step_digests(np.asarray(table[name].values)[None]))
            for place, table in enumerate(tables)
            for name in table.data_vars
        }
    )


def save_table(table: xr.Dataset, path: Path) -> None:
    """Write a table as one zip of Zarr v3, the same bytes for the same table; atomic.

    Kept by case for stratum `all`, and for the other strata and families as totals of the period,
    so that a committed table stays small.
    """
    groups = {"cases": by_case(table), "totals": total(table)}
    pack_groups({name: _names_to_attributes(part) for name, part in groups.items()}, path)


def load_table(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """(by case for stratum `all`, totals for every stratum) of a saved table, in memory.

    Errors: InputError when there is no such file or it was written by another format.
    """
    try:
        cases, totals = unpack_groups(path, "cases", "totals")
    except (OSError, zipfile.BadZipFile, BaseZarrError, KeyError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(
            Problem(str(path), "a case table (cases.zarr.zip)", got, "Score the predictions again.")
        ) from None
    version = cases.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            Problem(
                str(path), f"a case table of schema {SCHEMA_VERSION}", f"schema {version}",
                "Use the package version that wrote it, or score again.",
            )
        )  # fmt: skip
    return _names_from_attributes(cases), _names_from_attributes(totals)


NAMED = ("variable", "region", "stratum", "axis")


def _names_to_attributes(table: xr.Dataset) -> xr.Dataset:
    """Zarr v3 has no specified type for strings, so names are kept as attributes."""
    names = {
        f"{dim}_names": [str(name) for name in table[dim].values]
        for dim in NAMED
        if dim in table.coords
    }
    return table.drop_vars(NAMED, errors="ignore").assign_attrs(names)


def _names_from_attributes(table: xr.Dataset) -> xr.Dataset:
    names = {dim: table.attrs[f"{dim}_names"] for dim in NAMED if f"{dim}_names" in table.attrs}
    named = table.assign_coords(names)
    named.attrs = {key: value for key, value in table.attrs.items() if not key.endswith("_names")}
    return named
