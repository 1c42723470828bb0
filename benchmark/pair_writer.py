"""Writing one region of a pair store, block of steps by block of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder
from benchmark.grid import Grid, RegionGrid, region_grid
from benchmark.hashing import combine_steps, step_digests
from benchmark.manifest import Manifest, write_manifest
from benchmark.pair_store import SIDES
from benchmark.task import Task
from benchmark.zarr_io import create_field, write_array, write_time

STATIC_UNITS = {"land_fraction": "1", "orography": "m", "cell_area": "m2"}
_STATIC_NAMES = {
    "land_fraction": "land_area_fraction",
    "orography": "surface_altitude",
    "cell_area": "cell_area",
}


@dataclass(frozen=True)
class Steps:
    """Fields of consecutive steps, by variable: coarse (time, Ny, Nx) and fine (time, ny, nx)."""

    coarse: Mapping[str, NDArray[np.float32]]
    fine: Mapping[str, NDArray[np.float32]]


@dataclass
class RegionWriter:
    """Fills a new region store; made and finished by `write_region`."""

    task: Task
    grid: RegionGrid
    root: zarr.Group
    digests: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)

    def write(self, start: int, steps: Steps) -> None:
        """Write steps `start`, `start + 1`, ...; blocks come in time order, without gaps.

        Errors: InputError when a coarse field has missing values: models need whole inputs.
        """
        for side, fields in (("coarse", steps.coarse), ("fine", steps.fine)):
            for name in self.task.variable_names:
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
                key = f"{side}_{name}"
                done = self.digests.setdefault(key, [])
                if sum(len(block) for block in done) != start:
                    raise ValueError(f"{key}: blocks must be consecutive, not start at {start}")
                target: Any = self.root[f"{side}/{name}"]
                target[start : start + len(values)] = values
                done.append(step_digests(values))


def write_region(
    task: Task,
    region: str,
    folder: Path,
    *,
    times: NDArray[np.datetime64],
    static: Mapping[str, NDArray[np.float32]],
    blocks: Sequence[tuple[int, Steps]] | Any,
    source_ids: Mapping[str, str],
    recipe: Mapping[str, Any],
) -> Manifest:
    """Write `REGION.zarr` and then `REGION.json` under `folder`, each whole or not at all.

    blocks: an iterable of (first step, Steps) in time order. Returns the manifest.
    """
    grid = region_grid(task, task.region(region))
    with new_folder(folder / f"{region}.zarr") as path:
        writer = RegionWriter(task, grid, zarr.create_group(path, zarr_format=3))
        _create(writer, times)
        for start, steps in blocks:
            writer.write(start, steps)
        digests = {}
        for key, done in writer.digests.items():
            every = np.concatenate(done)
            write_array(
                writer.root.require_group("digest"), key, every, dims=["time", "byte"],
                attributes={"long_name": "BLAKE3 of each step's values"},
            )  # fmt: skip
            digests[key.replace("_", "/", 1)] = combine_steps(every)
        digests |= _write_static(writer, static)
    manifest = Manifest(
        task=task.id,
        region=region,
        steps=len(times),
        first_time=times[0].item(),
        last_time=times[-1].item(),
        digests=dict(sorted(digests.items())),
        units={v.name: v.units for v in task.variables} | STATIC_UNITS,
        sources=task.sources,
        source_ids=dict(source_ids),
        recipe=dict(recipe),
        packages={name: version(name) for name in ("elsewhere", "numpy", "xarray", "zarr")},
    )
    write_manifest(folder / f"{region}.json", manifest)
    return manifest


def _create(writer: RegionWriter, times: NDArray[np.datetime64]) -> None:
    for side in SIDES:
        group = writer.root.create_group(side, attributes=_licence(writer.task))
        grid = getattr(writer.grid, side)
        write_time(group, times)
        write_axes(group, grid)
        attributes = {"standard_name": "cell_area", "units": "m2"}
        write_array(group, "cell_area", grid.area, dims=["y", "x"], attributes=attributes)
        for variable in writer.task.variables:
            create_field(
                group,
                variable.name,
                shape=(len(times), *grid.shape),
                dims=["time", "y", "x"],
                attributes=variable.model_dump(
                    include={"units", "standard_name", "long_name", "cell_methods"}
                )
                | {"cell_measures": "area: cell_area"},
            )


def _licence(task: Task) -> dict[str, str]:
    """What travels with every group: attribution and the conventions it follows."""
    attribution = "; ".join(source.attribution for source in task.sources)
    return {"attribution": attribution, "Conventions": "CF-1.11"}


def write_axes(group: zarr.Group, grid: Grid) -> None:
    """Cell centres as the coordinates `y` (latitude) and `x` (longitude)."""
    for name, axis, standard, units in (
        ("y", grid.y, "latitude", "degrees_north"),
        ("x", grid.x, "longitude", "degrees_east"),
    ):
        attributes = {"standard_name": standard, "units": units}
        write_array(group, name, axis.centres, dims=[name], attributes=attributes)


def _write_static(
    writer: RegionWriter, static: Mapping[str, NDArray[np.float32]]
) -> dict[str, str]:
    group = writer.root.create_group("static", attributes=_licence(writer.task))
    write_axes(group, writer.grid.fine)
    digests = {}
    fields: dict[str, NDArray[Any]] = {**static, "cell_area": writer.grid.fine.area}
    for name, values in fields.items():
        attributes = {"standard_name": _STATIC_NAMES[name], "units": STATIC_UNITS[name]}
        write_array(group, name, values, dims=["y", "x"], attributes=attributes)
        digests[f"static/{name}"] = combine_steps(step_digests(values[None]))
    return digests
