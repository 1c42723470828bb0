"""The direct reading path against zarr-python: same values, same refusals, flat memory."""

import pickle
import struct
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.errors import BaseZarrError

from benchmark.chunk_reader import (
    ChunkLayout,
    StepReader,
    _content_size,
    _layout,
    _read_exactly,
    open_steps,
)
from benchmark.zarr_io import create_field

REFUSALS = (RuntimeError, ValueError, OSError, BaseZarrError)
ZSTD = ZstdCodec(level=3, checksum=True)
STEPS, CHUNK, CHUNKS = 23, 2, 4
"""Three shards of four chunks of two steps: the last shard and the last chunk are not full."""


def values_of(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Rain with dry cells, and what only a comparison of bits tells apart: -0.0 and NaN."""
    generator = np.random.default_rng(seed)
    values = np.maximum(generator.gamma(0.5, size=shape) - 0.3, 0.0).astype(np.float32)
    values[generator.random(shape) < 0.1] = -0.0
    values[generator.random(shape) < 0.1] = np.nan
    return values


def assert_same_bits(found: NDArray[Any], expected: Any) -> None:
    """Equality that tells NaN payloads and signed zeros apart."""
    expected = np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


def write(
    folder: Path, values: NDArray[Any], *, missing: slice = slice(0, 0), **options: Any
) -> zarr.Array[Any]:
    """The array `pr` of a new store in `folder`; the steps `missing` are never written."""
    settings = {
        "chunks": (CHUNK, *values.shape[1:]),
        "shards": (CHUNK * CHUNKS, *values.shape[1:]),
        "compressors": ZSTD,
        "fill_value": np.nan,
    } | options
    group = zarr.create_group(folder, zarr_format=settings.pop("zarr_format", 3), overwrite=True)
    array = group.create_array("pr", shape=values.shape, dtype=values.dtype, **settings)
    array[: missing.start] = values[: missing.start]
    array[missing.stop :] = values[missing.stop :]
    return array


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, NDArray[np.float32]]:
    """A sharded store of (time, member, y, x) and its values."""
    values = values_of((STEPS, 3, 4, 5))
    write(tmp_path / "s.zarr", values)
    return tmp_path / "s.zarr", values


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    """A shape and everything about its layout that the direct path knows."""
    steps, chunk = draw(st.integers(1, 20)), draw(st.integers(1, 5))
    space = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    location = draw(st.sampled_from(["start", "end"]))
    shard = (chunk * draw(st.integers(1, 4)), *space)
    name, separator = draw(st.sampled_from([("default", "/"), ("default", "."), ("v2", ".")]))
    return {
        "values": values_of((steps, *space), draw(st.integers(0, 9))),
        "chunks": (chunk, *space),
        "shards": draw(st.sampled_from([None, {"shape": shard, "index_location": location}])),
        "compressors": ZstdCodec(level=draw(st.integers(1, 5)), checksum=draw(st.booleans())),
        "fill_value": draw(st.sampled_from([np.nan, 0.0, -1.5, np.inf])),
        "chunk_key_encoding": {"name": name, "separator": separator},
        "missing": slice(*sorted(draw(st.tuples(*[st.integers(0, steps)] * 2)))),
    }


@settings(max_examples=60, deadline=None)
@given(layout=layouts(), bounds=st.tuples(*[st.none() | st.integers(-25, 25)] * 2))
def test_equals_zarr_python(layout: dict[str, Any], bounds: tuple[int | None, int | None]) -> None:
    """Every bit, for any chunks, shards, index location, file naming, slice and missing steps."""
    with tempfile.TemporaryDirectory() as folder:
        array = write(Path(folder), layout.pop("values"), **layout)
        reader = open_steps(Path(folder), "pr")
        assert reader.pipeline == "direct"
        assert (reader.shape, reader.dtype) == (array.shape, array.dtype)
        steps = slice(*bounds)
        start, stop, _ = steps.indices(array.shape[0])
        assert_same_bits(reader.read(steps), array[start : max(start, stop)])


def test_reads_what_this_project_writes(tmp_path: Path) -> None:
    """`create_field` stays on the direct path: otherwise scoring would slow down unnoticed."""
    values = values_of((40, 2, 96, 96))
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=3)
    array = create_field(
        group.create_group("fine"), "pr", shape=values.shape,
        dims=["time", "member", "y", "x"], attributes={},
    )  # fmt: skip
    array[...] = values
    reader = open_steps(tmp_path / "s.zarr", "fine/pr")
    assert reader.layout == ChunkLayout(3, 14, "end", ("c",), "/")
    assert_same_bits(reader.read(slice(5, 33)), values[5:33])


OTHERS: dict[str, dict[str, Any]] = {
    "blosc": {"compressors": BloscCodec(cname="zstd")},
    "gzip": {"compressors": GzipCodec()},
    "uncompressed": {"compressors": None},
    "checksum after zstd": {"compressors": [ZSTD, Crc32cCodec()]},
    "big-endian": {"serializer": BytesCodec(endian="big")},
    "transposed": {"filters": TransposeCodec(order=(3, 2, 1, 0))},
    "chunks of half a field": {"chunks": (CHUNK, 3, 2, 5), "shards": (CHUNK * 2, 3, 4, 5)},
    "shards of two fields": {"shards": (CHUNK * 2, 3, 8, 5)},
    "chunks larger than a field": {"chunks": (CHUNK, 3, 4, 6), "shards": None},
    "Zarr format 2": {"zarr_format": 2, "shards": None, "compressors": Zstd()},
    "shards in shards": {
        "shards": None,
        "chunks": (8, 3, 4, 5),
        "compressors": None,
        "serializer": ShardingCodec(
            chunk_shape=(4, 3, 4, 5),
            codecs=[ShardingCodec(chunk_shape=(2, 3, 4, 5), codecs=[BytesCodec(), ZSTD])],
        ),
    },
    "an index without checksum": {
        "shards": None,
        "chunks": (8, 3, 4, 5),
        "compressors": None,
        "serializer": ShardingCodec(
            chunk_shape=(2, 3, 4, 5), codecs=[BytesCodec(), ZSTD], index_codecs=[BytesCodec()]
        ),
    },
    "a big-endian index": {
        "shards": None,
        "chunks": (8, 3, 4, 5),
        "compressors": None,
        "serializer": ShardingCodec(
            chunk_shape=(2, 3, 4, 5),
            codecs=[BytesCodec(), ZSTD],
            index_codecs=[BytesCodec(endian="big"), Crc32cCodec()],
        ),
    },
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_layout_is_left_to_zarr(tmp_path: Path, other: str) -> None:
    """The same values and contract, and the reader says who decoded them."""
    values = values_of((STEPS, 3, 4, 5))
    array = write(tmp_path, values, **OTHERS[other])
    reader = open_steps(tmp_path, "pr")
    assert reader.pipeline == "zarr"
    assert_same_bits(reader.read(slice(3, 19)), array[3:19])
    out = np.empty((30, 3, 4, 5), np.float32)
    assert reader.read(slice(3, 19), out=out).base is out
    assert_same_bits(out[:16], array[3:19])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_other_dtypes_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    """A buffer of float32 does not fit them: nothing is converted on the way."""
    values = np.arange(STEPS * 6).reshape(STEPS, 2, 3).astype(dtype)
    write(tmp_path, values, fill_value=0)
    reader = open_steps(tmp_path, "pr")
    assert reader.pipeline == "zarr"
    out = np.zeros(values.shape, np.float32)
    assert_same_bits(reader.read(slice(None), out=out), values)
    assert not out.any()


def test_nothing_there(tmp_path: Path) -> None:
    """No store, no such array, a group in its place: refused when it is opened."""
    write(tmp_path / "s.zarr", values_of((2, 2)))
    for store, name in [("absent.zarr", "pr"), ("s.zarr", "absent"), ("s.zarr", "")]:
        with pytest.raises((FileNotFoundError, BaseZarrError)):
            open_steps(tmp_path / store, name)


def test_missing_files_and_chunks_are_the_fill_value(
    tmp_path: Path, stored: tuple[Path, NDArray[np.float32]]
) -> None:
    """A lost shard, and inner chunks never written (a lost chunk must never be a dry one)."""
    path, values = stored
    (path / "pr/c/1/0/0/0").unlink()
    found = open_steps(path, "pr").read(slice(None))
    assert np.isnan(found[8:16]).all()
    assert_same_bits(found, zarr.open_array(path / "pr", mode="r")[...])
    write(tmp_path / "t.zarr", values, missing=slice(3, 7), fill_value=-7.0)
    found = open_steps(tmp_path / "t.zarr", "pr").read(slice(2, 9))
    np.testing.assert_array_equal(found[1:5], -7.0)
    assert_same_bits(found[[0, 5, 6]], values[[2, 7, 8]])


def test_the_buffer_is_used(stored: tuple[Path, NDArray[np.float32]]) -> None:
    """A buffer of at least n steps is filled from its start, and nothing behind is touched."""
    path, values = stored
    reader = open_steps(path, "pr")
    out = np.full((20, 3, 4, 5), 9.0, np.float32)
    found = reader.read(slice(1, 16), out=out)
    assert np.shares_memory(found, out)
    assert found.ctypes.data == out.ctypes.data
    assert_same_bits(found, values[1:16])
    np.testing.assert_array_equal(out[15:], 9.0)
    assert_same_bits(reader.read(slice(16, 23), out=out), values[16:])


@pytest.mark.parametrize(
    "unfit",
    [
        np.zeros((14, 3, 4, 5), np.float32),
        np.zeros((15, 3, 5, 4), np.float32),
        np.zeros((15, 60), np.float32),
        np.zeros((15, 3, 4, 5), np.float64),
        np.zeros((15, 3, 4, 5), ">f4"),
        np.zeros((15, 3, 4, 5), np.float32, order="F"),
        np.zeros((30, 3, 4, 5), np.float32)[::2],
        np.frombuffer(bytes(15 * 60 * 4), np.float32).reshape(15, 3, 4, 5),
    ],
    ids=["short", "shape", "rank", "dtype", "bytes", "order", "strides", "read-only"],
)
def test_an_unfit_buffer_is_left_alone(
    stored: tuple[Path, NDArray[np.float32]], unfit: NDArray[Any]
) -> None:
    """The values come in an array of their own."""
    path, values = stored
    assert_same_bits(open_steps(path, "pr").read(slice(1, 16), out=unfit), values[1:16])
    assert not unfit.any()


def test_only_consecutive_steps(stored: tuple[Path, NDArray[np.float32]]) -> None:
    """A stride would have to decode what it skips."""
    with pytest.raises(ValueError, match="consecutive"):
        open_steps(stored[0], "pr").read(slice(0, 10, 2))


def _flip(position: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[position] ^= 16
        return bytes(changed)

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": _flip(0),
    "content size": _flip(5),
    "data": _flip(40),
    "index": _flip(-40),
    "index checksum": _flip(-2),
    "truncated": lambda content: content[:-1],
    "truncated into the data": lambda content: content[:300],
    "without index": lambda content: content[:-68],
    "less than an index": lambda content: content[-50:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused(stored: tuple[Path, NDArray[np.float32]], damage: str) -> None:
    """As zarr-python refuses it, and naming the file."""
    path, values = stored
    file = path / "pr/c/1/0/0/0"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    reader = open_steps(path, "pr")
    with pytest.raises(REFUSALS):
        zarr.open_array(path / "pr", mode="r")[8:16]
    with pytest.raises((ValueError, OSError), match=str(file)):
        reader.read(slice(8, 16))
    assert_same_bits(reader.read(slice(0, 8)), values[:8])
    assert_same_bits(reader.read(slice(9, 9)), values[9:9])


def test_an_empty_shard_is_refused(stored: tuple[Path, NDArray[np.float32]]) -> None:
    """What a full disk leaves behind; zarr-python takes it for a shard never written."""
    path, _ = stored
    (path / "pr/c/1/0/0/0").write_bytes(b"")
    assert np.isnan(zarr.open_array(path / "pr", mode="r")[8:16]).all()
    with pytest.raises(ValueError, match="0 bytes, less than its index"):
        open_steps(path, "pr").read(slice(8, 16))


@pytest.mark.parametrize("offset", [0, 10, 100])
def test_every_flipped_bit_of_a_file_is_refused(tmp_path: Path, offset: int) -> None:
    """No flip anywhere gives other values: either it is refused or (unused bits) nothing moves."""
    values = values_of((8, 3, 4))
    write(tmp_path, values)
    file = tmp_path / "pr/c/0/0/0"
    content, reader = file.read_bytes(), open_steps(tmp_path, "pr")
    refused = 0
    for position in range(offset, len(content), 7):
        file.write_bytes(_flip(position)(content))
        try:
            assert_same_bits(reader.read(slice(None)), values)
        except (ValueError, OSError):
            refused += 1
    assert refused >= 0.98 * len(range(offset, len(content), 7))


def _frame(content: bytes) -> bytes:
    """A frame of one raw block that does not declare its size (RFC 8878, 3.1.1)."""
    header = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x58"  # no size, no checksum; a window of 2 MiB
    return header + struct.pack("<I", len(content) << 3 | 1)[:3] + content


@pytest.mark.parametrize("sharded", [False, True])
def test_foreign_frames(tmp_path: Path, sharded: bool) -> None:
    """Writers may leave the size out or write several frames; what is decoded is measured."""
    values = values_of((4, 16, 16))
    shards = (4, 16, 16) if sharded else None
    array = write(tmp_path, values, chunks=(4, 16, 16), shards=shards)
    file, reader = tmp_path / "pr/c/0/0/0", open_steps(tmp_path, "pr")
    encode, content = Zstd(level=1, checksum=True).encode, values.tobytes()

    def put(data: bytes) -> None:
        index = struct.pack("<QQ", 0, len(data))
        suffix = index + struct.pack("<I", _crc32c(index)) if sharded else b""
        file.write_bytes(data + suffix)

    for whole in (
        _frame(content),
        encode(content),
        encode(content[:1000]) + encode(content[1000:]),
        _frame(content[:1000]) + _frame(content[1000:]),
        struct.pack("<II", 0x184D2A50, 224) + b"\xff" * 224 + encode(content),  # one to skip
    ):
        put(whole)
        assert_same_bits(array[...], values)
        assert_same_bits(reader.read(slice(None)), values)
        assert_same_bits(reader.read(slice(1, 3)), values[1:3])
    for wrong in (
        _frame(content[:-4]),
        encode(content[:-4]),
        encode(content + b"more"),
        encode(content) + encode(b"more"),
        encode(content[:1000]) + encode(content[1000:-4]),
        b"",
        b"\x28\xb5\x2f\xfd",
    ):
        put(wrong)
        with pytest.raises(REFUSALS):
            array[...]
        with pytest.raises(ValueError, match=f"{file}: chunk 0: "):
            reader.read(slice(None))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65791, 65792, 9 << 20])
def test_the_declared_size(size: int) -> None:
    """All lengths of the field, with and without a window: else a chunk is decoded apart."""
    assert _content_size(memoryview(Zstd(level=1).encode(bytes(size)))) == size
    assert _content_size(memoryview(_frame(bytes(300)))) is None
    for flag, dictionary in [(1, bytes(1)), (2, bytes(2)), (3, bytes(4))]:
        header = _frame(b"")[:4] + bytes([0x20 | flag]) + dictionary + b"\xc8"
        assert _content_size(memoryview(header)) == 200


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """Fewer bytes than the file had a moment ago are not decoded."""
    (tmp_path / "f").write_bytes(bytes(10))
    refusal = pytest.raises(ValueError, match="here: 4 bytes, expected 5")
    with (tmp_path / "f").open("rb", buffering=0) as file, refusal:
        _read_exactly(file, 6, memoryview(bytearray(5)), "here")


@pytest.mark.parametrize(
    "feature",
    [
        {"chunk_grid": {"name": "rectilinear", "configuration": {"chunk_shapes": [[2, 3]]}}},
        {"storage_transformers": [{"name": "encrypt"}]},
        {"chunk_key_encoding": {"name": "hashed", "configuration": {"separator": "/"}}},
    ],
    ids=lambda feature: next(iter(feature)),
)
def test_features_of_a_later_zarr(tmp_path: Path, feature: dict[str, Any]) -> None:
    """Whatever this zarr-python does not know yet and a later one may open."""
    array = write(tmp_path, values_of((6, 2, 3)))
    found = array.metadata.to_dict()
    assert _layout(array) is not None
    later: Any = SimpleNamespace(
        metadata=SimpleNamespace(to_dict=lambda: found | feature),
        dtype=array.dtype,
        ndim=array.ndim,
        shape=array.shape,
    )
    assert _layout(later) is None


def _crc32c(content: bytes) -> int:
    """Castagnoli's polynomial bit by bit (RFC 3720, B.4)."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_an_index_that_points_outside(tmp_path: Path) -> None:
    """A valid checksum does not make an offset true."""
    values = values_of((4, 16, 16))
    write(tmp_path, values, chunks=(4, 16, 16), shards=(4, 16, 16))
    file = tmp_path / "pr/c/0/0/0"
    data = file.read_bytes()[:-20]
    for offset, length in [(1, len(data) + 20), (2**63, 2**63), (0, 2**64 - 1), (2**64 - 1, 0)]:
        index = struct.pack("<QQ", offset, length)
        file.write_bytes(data + index + struct.pack("<I", _crc32c(index)))
        with pytest.raises(ValueError, match="ends at byte"):
            open_steps(tmp_path, "pr").read(slice(None))


def test_threads_share_a_reader(stored: tuple[Path, NDArray[np.float32]]) -> None:
    """Four at once, each with its own slices and buffer."""
    path, values = stored
    reader = open_steps(path, "pr")

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        out = np.empty((STEPS, 3, 4, 5), np.float32)
        for _ in range(60):
            start, stop = sorted(generator.integers(0, STEPS + 1, size=2))
            assert_same_bits(reader.read(slice(start, stop), out=out), values[start:stop])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


@pytest.mark.parametrize("compressor", [ZSTD, GzipCodec()])
def test_a_reader_travels_to_a_worker(tmp_path: Path, compressor: Any) -> None:
    """Both pipelines, before and after they have read."""
    values = values_of((STEPS, 4, 5))
    write(tmp_path, values, compressors=compressor)
    reader = open_steps(tmp_path, "pr")
    for _ in range(2):
        copy: StepReader = pickle.loads(pickle.dumps(reader))
        assert copy.pipeline == reader.pipeline
        assert_same_bits(copy.read(slice(2, 9)), values[2:9])
        reader.read(slice(0, 1))


def test_a_replaced_store_is_read_anew(stored: tuple[Path, NDArray[np.float32]]) -> None:
    """New values under an old reader, and another layout once it is opened again."""
    path, values = stored
    before = open_steps(path, "pr")
    before.read(slice(None))
    write(path, values + 1)
    assert_same_bits(before.read(slice(None)), values + 1)
    other = values_of((7, 2, 3), seed=1)
    write(path, other, chunks=(3, 2, 3), shards=None)
    assert_same_bits(open_steps(path, "pr").read(slice(None)), other)


@pytest.fixture
def traced() -> Iterator[None]:
    """Allocations are traced while the test runs."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_frame_that_grows_is_not_decoded(tmp_path: Path, traced: None) -> None:  # noqa: ARG001
    """A few bytes may declare gigabytes: they are refused before any are allocated."""
    values = values_of((4, 16, 16))
    write(tmp_path, values, chunks=(4, 16, 16), shards=None)
    (tmp_path / "pr/c/0/0/0").write_bytes(Zstd().encode(bytes(32 << 20)))
    reader = open_steps(tmp_path, "pr")
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match="33554432 bytes, expected 4096"):
        reader.read(slice(None))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20


def test_memory_is_flat(tmp_path: Path, traced: None) -> None:  # noqa: ARG001
    """With a buffer, a read allocates about two inner chunks, however long the store."""
    step = (4, 64, 64)
    for steps in (40, 160):
        values = np.random.default_rng(0).random((steps, *step), dtype=np.float32)
        write(tmp_path, values, chunks=(2, *step), shards=(40, *step))
        reader = open_steps(tmp_path, "pr")
        out = np.empty_like(values)
        reader.read(slice(1, steps), out=out)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert_same_bits(reader.read(slice(1, steps), out=out)[:2], values[1:3])
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 2.2 * 2 * values[0].nbytes
