"""The case table: sums, weights and maxima for each case, all that scores are computed from.

An xarray Dataset with dims (variable, region, case, stratum[, rank]). Only sums can be added;
only metrics can be shown.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from benchmark.errors import InputError, Problem
from benchmark.families import conservation, ensemble, moments
from benchmark.families.base import Statistic
from benchmark.files import pack_folder, unpack_group
from benchmark.hashing import combine_named, combine_steps, step_digests
from benchmark.task import Task

STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for family in (moments, ensemble, conservation)
    for statistic in family.STATISTICS
}
WEIGHTS = {"cell": "weight", "block": "block_weight", "whole_block": "whole_block_weight"}
STRATA = ("all", "land", "sea")
"""Pointwise statistics by stratum: land where the land fraction is at least 0.5."""

SCHEMA_VERSION = 1


def dims_of(name: str) -> tuple[str, ...]:
    """The dims of a statistic or weight after (variable, region, case)."""
    if name == WEIGHTS["cell"]:
        return ("stratum",)
    if name in WEIGHTS.values():
        return ()
    statistic = STATISTICS[name]
    if statistic.weight != "cell":
        return ()
    return ("stratum", "rank") if statistic.ranks else ("stratum",)


def fold_of(name: str) -> Literal["sum", "max"]:
    """How two values of a statistic or weight combine."""
    return STATISTICS[name].fold if name in STATISTICS else "sum"


def case_labels(task: Task, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The case of each step: its UTC day, or, where the task says so, the step itself."""
    if task.case == "snapshot":
        return times
    return times.astype("datetime64[D]").astype("datetime64[s]")


def fold_cases(
    steps: Mapping[str, NDArray[np.float64]], labels: NDArray[np.datetime64]
) -> tuple[NDArray[np.datetime64], dict[str, NDArray[np.float64]]]:
    """Fold (time, ...) values to (case, ...), step by step in time order.

    The order of additions is fixed by time alone, so that chunks and workers cannot change a bit.
    """
    cases, index = np.unique(labels, return_inverse=True)
    folded = {}
    for name, values in steps.items():
        combine = np.add if fold_of(name) == "sum" else np.maximum
        table = np.zeros((len(cases), *values.shape[1:]))
        for step, case in enumerate(index):
            combine(table[case], values[step], out=table[case, ...])
        folded[name] = table
    return cases, folded


def assemble(
    task: Task,
    regions: Mapping[str, tuple[NDArray[np.datetime64], Mapping[str, NDArray[np.float64]]]],
    *,
    members: int,
) -> xr.Dataset:
    """One table from each region's (cases, {name: (case, variable, ...)}); regions are sorted.

    Errors: InputError when regions do not share their cases.
    """
    names = sorted(regions)
    cases = regions[names[0]][0]
    for name in names:
        if not np.array_equal(regions[name][0], cases):
            raise InputError(
                Problem(
                    f"region {name}", f"the same {len(cases)} cases as {names[0]}",
                    f"{len(regions[name][0])} cases", "Build the task again: regions share times.",
                )
            )  # fmt: skip
    data = {}
    for key in regions[names[0]][1]:
        stacked = np.stack([regions[name][1][key] for name in names])  # region, case, variable, ...
        dims = ("variable", "region", "case", *dims_of(key))
        data[key] = (dims, np.ascontiguousarray(np.moveaxis(stacked, 2, 0)))
    return xr.Dataset(
        data,
        coords={
            "variable": list(task.variable_names),
            "region": names,
            "case": cases.astype("datetime64[s]"),
            "stratum": list(STRATA),
            "rank": np.arange(members + 1),
        },
        attrs={"schema_version": SCHEMA_VERSION, "task": task.id, "members": members},
    )


def total(
    table: xr.Dataset, *, regions: Sequence[str] | None = None, over_regions: bool = False
) -> xr.Dataset:
    """The table folded over cases (and over `regions` too, where pooled scores are wanted)."""
    chosen = table if regions is None else table.sel(region=list(regions))
    dims = [d for d in ("case", "region" if over_regions else "") if d]
    folded = {
        str(name): (
            chosen[name].sum(dims) if fold_of(str(name)) == "sum" else chosen[name].max(dims)
        )
        for name in chosen.data_vars
    }
    return xr.Dataset(folded, attrs=table.attrs)


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

    Kept in full for stratum `all` by case, and for the other strata as totals over cases, so that
    a committed table stays small.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    groups = {"cases": table.sel(stratum=["all"]), "totals": total(table)}
    with TemporaryDirectory(dir=path.parent, prefix=".table.") as name:
        folder = Path(name) / "table"
        for group, part in groups.items():
            _names_to_attributes(part).to_zarr(
                folder, group=group, zarr_format=3, consolidated=False, mode="a"
            )
        pack_folder(folder, path)


def load_table(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """(by case for stratum `all`, totals for every stratum) of a saved table, in memory.

    Errors: InputError when there is no such file or it was written by another format.
    """
    try:
        cases, totals = (unpack_group(path, group) for group in ("cases", "totals"))
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


NAMED = ("variable", "region", "stratum")


def _names_to_attributes(table: xr.Dataset) -> xr.Dataset:
    """Zarr v3 has no specified type for strings, so names are kept as attributes."""
    names = {f"{dim}_names": [str(name) for name in table[dim].values] for dim in NAMED}
    return table.drop_vars(NAMED).assign_attrs(names)


def _names_from_attributes(table: xr.Dataset) -> xr.Dataset:
    names = {dim: table.attrs[f"{dim}_names"] for dim in NAMED}
    named = table.assign_coords(names)
    named.attrs = {key: value for key, value in table.attrs.items() if not key.endswith("_names")}
    return named
