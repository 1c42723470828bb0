"""The prediction store: what a model submits, on exactly the task's coordinates.

`PRED/REGION.zarr` holds the task's variables as (time, member, y, x) float32 in physical units
for the test period of every test region, in- and out-of-distribution; `PRED/model.toml` declares
the model.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder
from benchmark.model_card import read_card, write_card
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import on_map, write_axes
from benchmark.predictor import Fields, Predictor
from benchmark.task import TEST_SPLITS
from benchmark.zarr_io import create_field, steps_per_shard, write_array, write_time

CARD = "model.toml"
DIMS = ("time", "member", "y", "x")


def expected_regions(store: PairStore) -> list[RegionStore]:
    """The regions that a prediction store must hold, sorted by name."""
    return store.regions(*TEST_SPLITS)


def create_region(path: Path, region: RegionStore, *, members: int) -> zarr.Group:
    """An empty region of a prediction store (all NaN), with its coordinates."""
    steps = region.steps(region.task.periods.test)
    times = region.times[steps]
    group = zarr.create_group(path, zarr_format=3, overwrite=True)
    write_time(group, times)
    write_axes(group, region.grid.fine)
    write_array(
        group, "member", np.arange(members), dims=["member"],
        attributes={"standard_name": "realization", "units": "1"},
    )  # fmt: skip
    for variable in region.task.variables:
        create_field(
            group,
            variable.name,
            shape=(len(times), members, *region.grid.fine.shape),
            dims=DIMS,
            attributes={
                "units": variable.units,
                "standard_name": variable.standard_name,
                "long_name": variable.long_name,
            }
            | on_map(region.grid.fine),
        )
    return group


def write_predictions(predictor: Predictor, store: PairStore, folder: Path) -> Iterator[str]:
    """Fill a prediction store region by region; yields each region's name when it is whole.

    A region is there whole or not at all, and one that is there is kept: an interrupted run goes
    on where it stopped. Errors: InputError when `folder` holds another model's predictions.
    """
    _claim(folder, predictor)
    for stale in folder.glob(".*.zarr.*"):  # what a killed run was writing
        shutil.rmtree(stale)
    for region in expected_regions(store):
        path = folder / f"{region.name}.zarr"
        if not path.exists():
            with new_folder(path) as partial:
                group = create_region(partial, region, members=predictor.member_count)
                for start, fields in predict_blocks(predictor, region):
                    _write_block(group, start, fields)
        yield region.name


def predict_blocks(predictor: Predictor, region: RegionStore) -> Iterator[tuple[int, Fields]]:
    """(first step of the test period, fields) in blocks of whole shards."""
    steps = region.steps(region.task.periods.test)
    size = block_steps(region, predictor.member_count)
    for start in range(steps.start, steps.stop, size):
        block = slice(start, min(start + size, steps.stop))
        yield start - steps.start, predictor.predict(region, block)


def block_steps(region: RegionStore, members: int) -> int:
    """Steps that are predicted, read or scored at once: a shard, about 16 MiB of one variable."""
    steps = region.steps(region.task.periods.test)
    step_bytes = 4 * members * int(np.prod(region.grid.fine.shape))
    return steps_per_shard(step_bytes, steps.stop - steps.start)


def _write_block(group: zarr.Group, start: int, fields: Fields) -> None:
    for name, values in fields.items():
        array = group[name]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{name} is a group")
        array[start : start + len(values)] = np.asarray(values, dtype=np.float32)


def _claim(folder: Path, predictor: Predictor) -> None:
    """Write the card into a new folder, or make sure that the folder is this model's."""
    path = folder / CARD
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(
                Problem(
                    str(folder), "an empty folder or this model's predictions",
                    "a folder with other things in it", "Choose another --out.",
                )
            )  # fmt: skip
        write_card(path, predictor.card)
    elif read_card(path) != predictor.card:
        raise InputError(
            Problem(
                str(folder), "this model's predictions", "another model's",
                "Choose another --out, or delete the folder.",
            )
        )  # fmt: skip
