"""Every problem with a prediction store, at once; nothing is repaired.

Two passes: the structure (regions, variables, dimensions, coordinates, units, members), which
costs nothing, and the values (finite, readable), read block by block.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.metadata import ArrayV3Metadata

from benchmark.distance import METRES_PER_DEGREE
from benchmark.errors import InputError, Problem
from benchmark.model_card import ModelCard, check_sources, read_card
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import MAP_COORDINATES
from benchmark.prediction_store import CARD, DIMS, block_steps, expected_regions
from benchmark.task import Task
from benchmark.zarr_io import open_group, read_time

SHOWN = 4
"""At most this many offending places are named in one problem; the rest are counted."""

COORDINATES = ("time", "member", "y", "x")
CLOSE = 1e-6
"""By how many degrees a coordinate may be off; on a map by as many times METRES_PER_DEGREE."""


def validate_predictions(store: PairStore, folder: Path, *, values: bool = True) -> list[Problem]:
    """Every problem of the prediction store in `folder`; an empty list means it can be scored.

    values: also read every field; scoring leaves that to its own one pass over them.
    """
    if not folder.is_dir():
        return [
            Problem(
                str(folder),
                "a folder with REGION.zarr and model.toml",
                "no such folder",
                f"Run `elsewhere template {store.task.name} --out DIR` for one to fill.",
            )
        ]
    problems, card = check_card(store.task, folder)
    problems += _entries(store, folder)
    for region in expected_regions(store):
        path = folder / f"{region.name}.zarr"
        if path.exists():
            problems += _region(region, path, card, values=values)
    return problems


def check_card(task: Task, folder: Path) -> tuple[list[Problem], ModelCard | None]:
    """Problems of `model.toml`, and the card where it can be read."""
    path = folder / CARD
    try:
        card = read_card(path)
    except InputError as error:
        return list(error.problems), None
    if card.task != task.id:
        fix = "Predict this task, or score against the other one."
        return [Problem(f"{path}: task", task.id, card.task, fix)], card
    return check_sources(task, card.sources, where=f"{path}: sources"), card


def _entries(store: PairStore, folder: Path) -> list[Problem]:
    """Regions that are missing and things that do not belong."""
    expected = {f"{region.name}.zarr" for region in expected_regions(store)}
    found = {entry.name for entry in folder.iterdir()} - {CARD}
    problems = [
        Problem(str(folder / name), "a region of the task", "nothing there", "Predict it.")
        for name in sorted(expected - found)
    ]
    problems += [
        Problem(
            str(folder / name),
            f"only {CARD} and the task's {len(expected)} regions",
            "something else",
            "Remove it.",
        )
        for name in sorted(found - expected)
    ]
    return problems


def _region(
    region: RegionStore, path: Path, card: ModelCard | None, *, values: bool
) -> list[Problem]:
    try:
        group = open_group(path, fix="Write it again.")
    except InputError as error:
        return list(error.problems)
    try:
        found = dict(group.members())
    except Exception as error:
        return [_unreadable(str(path), error)]
    problems = _members(region.task, group, path, card)
    problems += _coordinates(region, group, path)
    known = {*COORDINATES, *region.task.variable_names}
    if region.grid.fine.projection.crs:
        known |= MAP_COORDINATES  # what a template has, though nothing here reads them
    problems += [
        Problem(f"{path}: {name}", "only the task's variables", "an extra one", "Remove it.")
        for name in sorted(set(found) - known)
    ]
    for variable in region.task.variables:
        array = group.get(variable.name)
        where = f"{path}: {variable.name}"
        if not isinstance(array, zarr.Array):
            problems.append(Problem(where, "a variable of the task", "none", "Predict it."))
            continue
        member = found.get("member")
        members = member.shape[0] if isinstance(member, zarr.Array) and member.ndim == 1 else None
        structure = _structure(region, array, where, variable.units, members)
        problems += structure
        if values and not structure:
            problems += _values(region, array, where)
    return problems


def _members(task: Task, group: zarr.Group, path: Path, card: ModelCard | None) -> list[Problem]:
    array = group.get("member")
    if not isinstance(array, zarr.Array) or array.ndim != 1:
        return []  # reported with the coordinates
    single = card is None or card.members == "single"
    expected = 1 if single else task.members
    allowed = {1, task.members} if card is None else {expected}
    if array.shape[0] in allowed:
        return []
    declared = "" if card is None else f' (members = "{card.members}" in {CARD})'
    return [
        Problem(
            f"{path}: member",
            f"{' or '.join(str(n) for n in sorted(allowed))} member(s){declared}",
            str(array.shape[0]),
            "Deterministic models have one member, ensembles as many as the task says.",
        )
    ]


def _coordinates(region: RegionStore, group: zarr.Group, path: Path) -> list[Problem]:
    times = region.times[region.steps(region.task.periods.test)]
    expected: dict[str, NDArray[Any]] = {
        "time": times,
        "y": region.grid.fine.y.centres,
        "x": region.grid.fine.x.centres,
    }
    allowed = CLOSE * (METRES_PER_DEGREE if region.grid.fine.projection.crs else 1.0)
    problems = []
    for name in COORDINATES:
        where = f"{path}: {name}"
        array = group.get(name)
        if not isinstance(array, zarr.Array):
            problems.append(Problem(where, "a coordinate", "none", "Start from a template."))
            continue
        try:
            values = read_time(array) if name == "time" else np.asarray(array[...])
        except Exception as error:
            problems.append(_unreadable(where, error))
            continue
        if name in expected:
            problems += _coordinate(where, values, expected[name], array, allowed)
    return problems


def _coordinate(
    where: str,
    values: NDArray[Any],
    expected: NDArray[Any],
    array: zarr.Array[Any],
    allowed: float,
) -> list[Problem]:
    wanted = f"{_span(expected)}"
    fix = "Predict on exactly the task's coordinates; nothing is re-indexed."
    if array.ndim != 1 or values.shape != expected.shape:
        got = f"shape {array.shape}" if array.ndim != 1 else _span(values)
        return [Problem(where, wanted, got, fix)]
    if np.issubdtype(expected.dtype, np.datetime64):
        same = values == expected
    else:
        same = np.isclose(values, expected, rtol=0, atol=allowed)
    if same.all():
        return []
    k = int(np.argmin(same))
    got = f"{_span(values)}, differing at {np.count_nonzero(~same)} places, first {values[k]}"
    return [Problem(where, wanted, f"{got} instead of {expected[k]}", fix)]


def _span(values: NDArray[Any]) -> str:
    if values.size == 0:
        return "no values"
    return f"{values.size} values from {values[0]} to {values[-1]}"


def _structure(
    region: RegionStore, array: zarr.Array[Any], where: str, units: str, members: int | None
) -> list[Problem]:
    """Dimensions, shape, dtype, units."""
    problems = []
    names = _dimensions(array)
    if names != DIMS:
        got = f"({', '.join(str(name) for name in names)})"
        problems.append(Problem(where, f"dimensions ({', '.join(DIMS)})", got, "Transpose it."))
    times = region.steps(region.task.periods.test)
    given = array.shape[1] if array.ndim == 4 else -1
    shape = (times.stop - times.start, members or given,
             *region.grid.fine.shape)  # fmt: skip
    if array.shape != shape:
        expected = f"shape ({shape[0]}, {members or 'member'}, {shape[2]}, {shape[3]})"
        problems.append(Problem(where, expected, str(array.shape), "Predict the whole period."))
    if array.dtype != np.float32:
        problems.append(
            Problem(where, "float32", str(array.dtype), "Store it as float32; nothing is cast.")
        )
    if not np.isnan(array.fill_value) and array.nchunks_initialized < array.nchunks:
        lost = array.nchunks - array.nchunks_initialized
        problems.append(
            Problem(
                where,
                "every chunk, or fill_value NaN",
                f"{lost} chunk(s) absent that would read as {array.fill_value}",
                "Write it again with fill_value NaN.",
            )
        )
    packed = sorted({"scale_factor", "add_offset"} & set(array.attrs))
    if packed:
        problems.append(
            Problem(where, "plain values", f"packing by {', '.join(packed)}", "Store it unpacked.")
        )
    got_units = array.attrs.get("units")
    if got_units != units:
        problems.append(
            Problem(f"{where}: units", repr(units), repr(got_units), "Convert and say so.")
        )
    return problems


def _dimensions(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    """Dimension names: in the metadata of Zarr v3, in xarray's own attribute in v2."""
    if isinstance(array.metadata, ArrayV3Metadata):
        return tuple(array.metadata.dimension_names or ())
    names = array.attrs.get("_ARRAY_DIMENSIONS")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _values(region: RegionStore, array: zarr.Array[Any], where: str) -> list[Problem]:
    """Values that are not finite or cannot be read, by step."""
    bad: list[str] = []
    count = 0
    problems = []
    size = block_steps(region, array.shape[1])
    for steps in _blocks(array.shape[0], size):
        try:
            values = np.asarray(array[steps])
        except Exception as error:
            problems.append(_unreadable(f"{where}, steps {steps.start} to {steps.stop - 1}", error))
            continue
        finite = np.isfinite(values)
        if not finite.all():
            count += int(np.count_nonzero(~finite))
            for k in np.flatnonzero(~finite.all(axis=(1, 2, 3))):
                bad.append(f"step {steps.start + int(k)}")
    if bad:
        fix = "Masks come from the truth only; a lost chunk reads as NaN. Write it again."
        problems.append(Problem(where, "finite values", f"{count} not: {_some(bad)}", fix))
    return problems


def _blocks(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _some(places: Sequence[str]) -> str:
    more = len(places) - SHOWN
    return ", ".join(places[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _unreadable(where: str, error: Exception) -> Problem:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Problem(where, "readable values", reason[:200], "The chunk is damaged; write it again.")
