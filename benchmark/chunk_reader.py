"""Reading whole steps of a Zarr array at the cost of decompressing them.

zarr-python spends about as long on each chunk again as zstd does: a task in an event loop, a
fresh buffer, a copy. For the one layout that this project writes (`benchmark.zarr_io`: local
files, float32, zstd, chunks of whole steps) the encoded bytes are decoded straight into the
caller's buffer instead. Whatever else a store holds is read by zarr-python, with the same values.

Sources: Zarr core specification v3, https://zarr-specs.readthedocs.io/en/latest/v3/core/;
codec sharding_indexed 1.0 (ibid., codecs/sharding-indexed); Zstandard frames, RFC 8878 3.1.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import SEEK_END, FileIO
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

Pipeline = Literal["direct", "zarr"]
_ABSENT = (2**64 - 1, 2**64 - 1)
_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD = Zstd()


@dataclass(frozen=True)
class ChunkLayout:
    """Which bytes of which file hold which steps.

    steps: whole steps in an inner chunk; chunks: inner chunks in a file; index: where the shard
    index stands in the file, None for a file that is one chunk; prefix and separator: how the
    files are named.
    """

    steps: int
    chunks: int
    index: Literal["start", "end"] | None
    prefix: tuple[str, ...]
    separator: str

    @property
    def file_steps(self) -> int:
        """Steps in a file."""
        return self.steps * self.chunks

    def key(self, number: int, ndim: int) -> str:
        """The path, relative to the array, of the file `number` along time."""
        coordinates = (str(number), *["0"] * (ndim - 1))
        return self.separator.join((*self.prefix, *coordinates))


@dataclass(frozen=True)
class StepReader:
    """An array whose first axis is time, read by steps; picklable, and safe to share by threads.

    Nothing is kept between two reads: each opens its own files and reads their indices anew.
    """

    store: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    layout: ChunkLayout | None

    @property
    def pipeline(self) -> Pipeline:
        """Who decodes: this module, or zarr-python; the values are the same."""
        return "zarr" if self.layout is None else "direct"

    def read(self, steps: slice, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """(n, ...) values of consecutive steps, in the array's dtype and in C order.

        out: where to put them, if it fits: C-contiguous, writeable, of the array's dtype and
        step shape, with at least n steps; the result is then `out[:n]`, else a new array.
        Memory beside the result: two inner chunks, one encoded and one decoded.
        Missing data: steps of a chunk that was never written are `fill_value`.
        Errors: ValueError or OSError naming the file and chunk when the bytes are not what was
        written (zstd's and the shard index's checksums are checked), ValueError when `steps`
        skips some; from zarr-python also RuntimeError and zarr.errors.BaseZarrError.
        """
        start, stop, stride = steps.indices(self.shape[0])
        if stride != 1:
            raise ValueError(f"{steps} does not mean consecutive steps")
        count = max(0, stop - start)
        if out is not None and self._fits(out, count):
            values = out[:count]
        else:
            values = np.empty((count, *self.shape[1:]), self.dtype)
        if self.layout is None:
            values[...] = self._array[start : start + count]
        elif count:
            self._read_files(self.layout, start, values)
        return values

    def _fits(self, out: NDArray[Any], count: int) -> bool:
        return (
            out.dtype == self.dtype
            and out.flags.c_contiguous
            and out.flags.writeable
            and out.shape[1:] == self.shape[1:]
            and len(out) >= count
        )

    def _read_files(self, layout: ChunkLayout, start: int, values: NDArray[Any]) -> None:
        stop, size = start + len(values), layout.file_steps
        for number in range(start // size, -(-stop // size)):
            first = max(start, number * size)
            last = min(stop, (number + 1) * size)
            part = values[first - start : last - start]
            path = self.store / self.name / layout.key(number, len(self.shape))
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                part[...] = self.fill_value
                continue
            with file:
                _read_chunks(file, path, layout, first - number * size, part, self.fill_value)

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return zarr.open_array(self.store, path=self.name, mode="r")


def open_steps(store: Path, name: str) -> StepReader:
    """A reader of the array `name` (such as `pr` or `fine/pr`) in a local Zarr store.

    It is read directly when all of this holds: it is of Zarr format 3; the values are
    little-endian float32; a chunk is some whole steps; the codecs are bytes and zstd, alone or
    inside sharding_indexed with an index of bytes and crc32c.
    Errors: FileNotFoundError or zarr.errors.BaseZarrError when no such array is there, ValueError
    when its metadata mean nothing.
    """
    array: zarr.Array[Any] = zarr.open_array(store, path=name, mode="r")
    return StepReader(store, name, array.shape, array.dtype, array.fill_value, _layout(array))


def _layout(array: zarr.Array[Any]) -> ChunkLayout | None:
    """How to read an array's files directly, None where they are not as `open_steps` says."""
    found: Mapping[str, Any] = array.metadata.to_dict()
    if found["zarr_format"] != 3 or array.dtype != np.dtype("<f4") or array.ndim == 0:
        return None
    if found["chunk_grid"]["name"] != "regular" or found.get("storage_transformers"):
        return None
    outer = inner = tuple(found["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, index = found["codecs"], None
    if [codec["name"] for codec in codecs] == ["sharding_indexed"]:
        shard = codecs[0]["configuration"]
        inner, codecs, index = tuple(shard["chunk_shape"]), shard["codecs"], shard["index_location"]
        if not _are(shard["index_codecs"], "bytes", "crc32c"):
            return None
    if not _are(codecs, "bytes", "zstd"):
        return None
    if not outer[1:] == inner[1:] == array.shape[1:]:
        return None
    naming = found["chunk_key_encoding"]
    prefix = {"default": ("c",), "v2": ()}.get(naming["name"])
    if prefix is None:
        return None
    separator = naming["configuration"]["separator"]
    return ChunkLayout(inner[0], outer[0] // inner[0], index, prefix, separator)


def _are(codecs: Any, *names: str) -> bool:
    """Whether the codecs are these, the first of them little-endian."""
    found = tuple(codec["name"] for codec in codecs)
    return found == names and codecs[0]["configuration"]["endian"] == "little"


def _read_chunks(
    file: FileIO,
    path: Path,
    layout: ChunkLayout,
    start: int,
    values: NDArray[np.float32],
    fill_value: float,
) -> None:
    """Fill `values` with the steps of one file from its step `start` on."""
    stop, size = start + len(values), layout.steps
    file_bytes = file.seek(0, SEEK_END)
    index = _chunk_index(file, path, layout, file_bytes)
    wanted = range(start // size, -(-stop // size))
    longest = max((index[chunk][1] for chunk in wanted if index[chunk] != _ABSENT), default=0)
    encoded = memoryview(bytearray(min(longest, file_bytes)))
    for chunk in wanted:
        first, last = max(start, chunk * size), min(stop, (chunk + 1) * size)
        part = values[first - start : last - start]
        offset, length = index[chunk]
        if (offset, length) == _ABSENT:
            part[...] = fill_value
            continue
        where = f"{path}: chunk {chunk}"
        if offset + length > file_bytes:
            raise ValueError(f"{where}: ends at byte {offset + length} of {file_bytes}")
        frame = encoded[:length]
        _read_exactly(file, offset, frame, where)
        if len(part) == size:
            _decode(frame, part, where)
        else:
            # zstd cannot stop in the middle, and the last chunk is padded to its full length.
            whole = np.empty((size, *values.shape[1:]), np.float32)
            _decode(frame, whole, where)
            part[...] = whole[first - chunk * size : last - chunk * size]


def _chunk_index(
    file: FileIO, path: Path, layout: ChunkLayout, file_bytes: int
) -> list[tuple[int, int]]:
    """(offset, length) of every inner chunk of a file; `_ABSENT` for one never written."""
    if layout.index is None:
        return [(0, file_bytes)]
    content = bytearray(16 * layout.chunks + 4)
    if file_bytes < len(content):
        raise ValueError(f"{path}: {file_bytes} bytes, less than its index")
    offset = 0 if layout.index == "start" else file_bytes - len(content)
    _read_exactly(file, offset, memoryview(content), f"{path}: index")
    entries, checksum = bytes(content[:-4]), int.from_bytes(content[-4:], "little")
    if google_crc32c.value(entries) != checksum:
        raise ValueError(f"{path}: index: its checksum differs")
    pairs = np.frombuffer(entries, "<u8").reshape(-1, 2).tolist()
    return [(offset, length) for offset, length in pairs]


def _read_exactly(file: FileIO, offset: int, into: memoryview, where: str) -> None:
    file.seek(offset)
    count = file.readinto(into)
    if count != len(into):
        raise ValueError(f"{where}: {count} bytes, expected {len(into)}")


def _decode(frame: memoryview, chunk: NDArray[np.float32], where: str) -> None:
    """Decompress into all of `chunk`, or raise ValueError."""
    declared = _content_size(frame)
    try:
        if declared == chunk.nbytes:
            _ZSTD.decode(frame, out=chunk)
            return
        # numcodecs leaves the rest of a longer buffer as it was, without a word: a frame that
        # does not declare its size, or several frames, are decoded apart and measured.
        if declared is not None and declared > chunk.nbytes:
            raise ValueError(f"{declared} bytes, expected {chunk.nbytes}")
        content = _ZSTD.decode(frame)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    if len(content) != chunk.nbytes:
        raise ValueError(f"{where}: {len(content)} bytes, expected {chunk.nbytes}")
    chunk[...] = np.frombuffer(content, np.float32).reshape(chunk.shape)


def _content_size(frame: memoryview) -> int | None:
    """The decoded bytes that a frame's header declares, None where it declares none."""
    if len(frame) < 5 or frame[:4] != _MAGIC:
        return None
    descriptor = frame[4]
    single_segment = descriptor >> 5 & 1
    size = (single_segment, 2, 4, 8)[descriptor >> 6]
    if size == 0:
        return None
    first = 6 - single_segment + (0, 1, 2, 4)[descriptor & 3]
    return int.from_bytes(frame[first : first + size], "little") + (256 if size == 2 else 0)
