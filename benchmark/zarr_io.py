"""How every store of this project writes and reads Zarr: one layout, one owner.

Zarr v3, zstd with checksum, `fill_value` NaN written explicitly (the native default 0 would turn
a lost chunk into a dry one), inner chunks of whole steps of about 256 KiB in shards, names in
attributes rather than string coordinates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.errors import BaseZarrError

from benchmark.errors import InputError, Problem

CHUNK_BYTES = 256 * 1024
CHUNKS_PER_SHARD = 64
_EPOCH = np.datetime64("1900-01-01T00:00:00", "s")


def steps_per_chunk(step_bytes: int, steps: int) -> int:
    """Whole steps in an inner chunk: about 256 KiB, at least 1, at most all of them."""
    return max(1, min(steps, CHUNK_BYTES // max(1, step_bytes)))


def steps_per_shard(step_bytes: int, steps: int) -> int:
    """Whole inner chunks in a shard, in steps: what is written, read and scored at once."""
    chunk = steps_per_chunk(step_bytes, steps)
    return chunk * min(CHUNKS_PER_SHARD, -(-steps // chunk))


def create_field(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dims: Sequence[str],
    attributes: Mapping[str, Any],
    shard_steps: int | None = None,
) -> zarr.Array[Any]:
    """A float32 array with time first, in shards of whole steps; nothing is written yet.

    shard_steps: how many steps a shard has, where several arrays are written block by block.
    """
    step_bytes = 4 * int(np.prod(shape[1:]))
    shard = shard_steps or steps_per_shard(step_bytes, shape[0])
    chunk = steps_per_chunk(step_bytes, min(shard, shape[0]))
    while shard % chunk:
        chunk -= 1
    return group.create_array(
        name,
        shape=shape,
        dtype="float32",
        chunks=(chunk, *shape[1:]),
        shards=(shard, *shape[1:]),
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=float("nan"),
        dimension_names=list(dims),
        attributes=dict(attributes),
    )


def write_array(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    *,
    dims: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """A small array (a coordinate, a static field, digests) in one chunk."""
    floating = np.issubdtype(values.dtype, np.floating)
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=values.shape,
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=float("nan") if floating else 0,
        dimension_names=list(dims),
        attributes=dict(attributes),
    )
    array[...] = values


def write_time(group: zarr.Group, times: NDArray[np.datetime64]) -> None:
    """The `time` coordinate, CF encoded: whole hours, or seconds where there are others."""
    seconds = (times.astype("datetime64[s]") - _EPOCH).astype(np.int64)
    unit, size = ("seconds", 1) if (seconds % 3600).any() else ("hours", 3600)
    attributes = {
        "units": f"{unit} since {_EPOCH}",
        "calendar": "proleptic_gregorian",
        "standard_name": "time",
    }
    write_array(group, "time", seconds // size, dims=["time"], attributes=attributes)


def read_time(array: zarr.Array[Any]) -> NDArray[np.datetime64]:
    """The times of a CF time coordinate in any units, as datetime64[s]; else ValueError."""
    coordinate = xr.Variable("time", np.asarray(array[...]), dict(array.attrs))
    decoded = xr.decode_cf(xr.Dataset(coords={"time": coordinate}))["time"].values
    if not np.issubdtype(decoded.dtype, np.datetime64):
        raise ValueError("no CF time units such as 'hours since 2000-01-01'")
    return decoded.astype("datetime64[s]")


def open_group(path: Path, *, fix: str) -> zarr.Group:
    """Open a Zarr group for reading.

    Errors: InputError when nothing is there or it is not a Zarr group; `fix` says what to do.
    """
    if not path.exists():
        raise InputError(Problem(str(path), "a Zarr group", "nothing there", fix))
    try:
        return zarr.open_group(path, mode="r")
    except (BaseZarrError, FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(Problem(str(path), "a Zarr group", str(error), fix)) from None
