"""Writing one region of a pair store, block of steps by block of steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder
from benchmark.grid import DEGREES, Grid, region_grid
from benchmark.hashing import combine_steps, step_digests
from benchmark.manifest import Interval, Manifest, write_manifest
from benchmark.pair_store import SIDES
from benchmark.projection import Map
from benchmark.task import Task
from benchmark.zarr_io import create_field, write_array, write_time

STATIC_UNITS = {"land_fraction": "1", "orography": "m", "cell_area": "m2"}
_STATIC_NAMES = {
    "land_fraction": "land_area_fraction",
    "orography": "surface_altitude",
    "cell_area": "cell_area",
}

MAP_COORDINATES = frozenset({"latitude", "longitude", "crs"})
"""What `write_axes` writes besides `y` and `x` where they are metres of a map."""


@dataclass(frozen=True)
class Steps:
    """Fields of consecutive steps, by variable: coarse (time, Ny, Nx) and fine (time, ny, nx)."""

    coarse: Mapping[str, NDArray[np.float32]]
    fine: Mapping[str, NDArray[np.float32]]


Digests = dict[str, NDArray[np.uint8]]
"""(time, 32) digests of each step, by `side/variable`."""


def put_steps(task: Task, root: zarr.Group, start: int, steps: Steps) -> Digests:
    """Write steps `start`, `start + 1`, ... of every variable; returns their digests.

    Errors: InputError when a coarse field has missing values: models need whole inputs.
    """
    digests = {}
    for side, fields in (("coarse", steps.coarse), ("fine", steps.fine)):
        for name in task.variable_names:
            values = np.ascontiguousarray(fields[name], dtype=np.float32)
            if side == "coarse" and not np.isfinite(values).all():
                raise InputError(
                    Problem(
                        f"coarse {name}, steps from {start}",
                        "finite values",
                        f"{np.count_nonzero(~np.isfinite(values))} missing",
                        "Leave these times out and record them as missing.",
                    )
                )
            target: Any = root[f"{side}/{name}"]
            target[start : start + len(values)] = values
            digests[f"{side}/{name}"] = step_digests(values)
    return digests


@dataclass(frozen=True)
class Origin:
    """Where a region's values come from, for its manifest."""

    source_ids: Mapping[str, str]
    recipe: Mapping[str, Any]
    missing: tuple[Interval, ...] = ()


def write_region(
    task: Task,
    region: str,
    folder: Path,
    *,
    times: NDArray[np.datetime64],
    static: Mapping[str, NDArray[np.float32]],
    blocks: Iterable[tuple[int, Steps]],
    source_ids: Mapping[str, str],
    recipe: Mapping[str, Any],
) -> Manifest:
    """Write `REGION.zarr` and then `REGION.json` under `folder`, each whole or not at all.

    blocks: (first step, Steps) in time order, without gaps. Returns the manifest. In one go; see
    `pair_parts` for what can be stopped, and shared by workers.
    """
    with new_folder(folder / f"{region}.zarr") as path:
        root = create_region(task, region, path, times)
        done: list[Digests] = []
        for start, steps in blocks:
            written = sum(len(next(iter(digests.values()))) for digests in done)
            if start != written:
                raise ValueError(f"blocks must be consecutive, not start at {start}")
            done.append(put_steps(task, root, start, steps))
        digests = finish_region(task, region, root, done, static)
    origin = Origin(source_ids, recipe)
    return leave_manifest(task, region, folder, times=times, digests=digests, origin=origin)


def create_region(
    task: Task,
    region: str,
    path: Path,
    times: NDArray[np.datetime64],
    *,
    shard_steps: int | None = None,
) -> zarr.Group:
    """The empty arrays of a region's store; shard_steps: see `zarr_io.create_field`."""
    root = zarr.create_group(path, zarr_format=3)
    grids = region_grid(task, task.region(region))
    for side in SIDES:
        group = root.create_group(side, attributes=_licence(task))
        grid = getattr(grids, side)
        write_time(group, times)
        write_axes(group, grid)
        attributes = {"standard_name": "cell_area", "units": "m2"} | on_map(grid)
        write_array(group, "cell_area", grid.area, dims=["y", "x"], attributes=attributes)
        for variable in task.variables:
            create_field(
                group,
                variable.name,
                shape=(len(times), *grid.shape),
                dims=["time", "y", "x"],
                attributes=variable.model_dump(
                    include={"units", "standard_name", "long_name", "cell_methods"}
                )
                | {"cell_measures": "area: cell_area"}
                | on_map(grid),
                shard_steps=shard_steps,
            )
    return root


def finish_region(
    task: Task,
    region: str,
    root: zarr.Group,
    blocks: Sequence[Digests],
    static: Mapping[str, NDArray[np.float32]],
) -> dict[str, str]:
    """Write digests, in time order, and static fields; returns the digest of each variable."""
    digests = {}
    for key in blocks[0]:
        every = np.concatenate([block[key] for block in blocks])
        write_array(
            root.require_group("digest"), key.replace("/", "_"), every, dims=["time", "byte"],
            attributes={"long_name": "BLAKE3 of each step's values"},
        )  # fmt: skip
        digests[key] = combine_steps(every)
    grid = region_grid(task, task.region(region)).fine
    group = root.create_group("static", attributes=_licence(task))
    write_axes(group, grid)
    fields: dict[str, NDArray[Any]] = {**static, "cell_area": grid.area}
    for name, values in fields.items():
        attributes = {"standard_name": _STATIC_NAMES[name], "units": STATIC_UNITS[name]}
        write_array(group, name, values, dims=["y", "x"], attributes=attributes | on_map(grid))
        digests[f"static/{name}"] = combine_steps(step_digests(values[None]))
    return digests


def leave_manifest(
    task: Task,
    region: str,
    folder: Path,
    *,
    times: NDArray[np.datetime64],
    digests: Mapping[str, str],
    origin: Origin,
) -> Manifest:
    """Write the manifest beside a store that is whole."""
    manifest = Manifest(
        task=task.id,
        region=region,
        steps=len(times),
        first_time=times[0].item(),
        last_time=times[-1].item(),
        digests=dict(sorted(digests.items())),
        units={v.name: v.units for v in task.variables} | STATIC_UNITS,
        sources=task.sources,
        source_ids=dict(origin.source_ids),
        missing_intervals=origin.missing,
        recipe=dict(origin.recipe),
        packages={name: version(name) for name in ("elsewhere", "numpy", "xarray", "zarr")},
    )
    write_manifest(folder / f"{region}.json", manifest)
    return manifest


def _licence(task: Task) -> dict[str, str]:
    """What travels with every group: attribution and the conventions it follows."""
    attribution = "; ".join(source.attribution for source in task.sources)
    return {"attribution": attribution, "Conventions": "CF-1.11"}


def on_map(grid: Grid) -> dict[str, str]:
    """The CF attributes of a field on a map that lead to where its cells are; else none."""
    if not grid.projection.crs:
        return {}
    return {"grid_mapping": "crs", "coordinates": "latitude longitude"}


def write_axes(group: zarr.Group, grid: Grid) -> None:
    """Cell centres as the coordinates `y` and `x`.

    On a map also `latitude` and `longitude` (y, x), and the grid mapping `crs` with the PROJ
    string and its WKT, as CF asks.
    """
    projection = grid.projection
    axes = zip(("y", "x"), (grid.y, grid.x), projection.names, projection.units, strict=True)
    for name, axis, standard, units in axes:
        attributes = {"standard_name": standard, "units": units}
        write_array(group, name, axis.centres, dims=[name], attributes=attributes)
    if isinstance(projection, Map):
        both = zip(("latitude", "longitude"), DEGREES.units, grid.lat_lon, strict=True)
        for name, units, values in both:
            attributes = {"standard_name": name, "units": units}
            write_array(group, name, values, dims=["y", "x"], attributes=attributes)
        mapping = projection.cf_attributes()
        write_array(group, "crs", np.array(0, np.int8), dims=[], attributes=mapping)
