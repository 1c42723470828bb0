"""How fast a prediction store is read, beside bare decompression and beside zarr-python.

Only ratios within one run mean anything: all sides are timed here, in turns, on this machine,
now. CPU time is the process's, so that zarr-python's own threads count.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.chunk_reader import StepReader, open_steps
from benchmark.zarr_io import create_field

SHAPE = (400, 8, 160, 160)
ROUNDS = 5
Clock = Callable[[], float]
Frames = list[bytes]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 steps of 8 members of rain, many of them dry, as this project writes them."""
    path = tmp_path_factory.mktemp("reading") / "s.zarr"
    array = create_field(
        zarr.create_group(path, zarr_format=3), "pr", shape=SHAPE,
        dims=["time", "member", "y", "x"], attributes={},
    )  # fmt: skip
    generator, shard = np.random.default_rng(0), array.shards[0] if array.shards else 1
    for start in range(0, SHAPE[0], shard):
        steps = min(shard, SHAPE[0] - start)
        rain = generator.gamma(0.5, size=(steps, *SHAPE[1:])) - 0.3
        array[start : start + steps] = np.maximum(rain, 0.0).astype(np.float32)
    return path


@pytest.fixture(scope="module")
def reader(store: Path) -> StepReader:
    """The store's reader, on the direct path."""
    found = open_steps(store, "pr")
    assert found.layout is not None
    return found


@pytest.fixture(scope="module")
def frames(store: Path, reader: StepReader) -> Frames:
    """Every encoded chunk (of one step here) in memory, in time order."""
    assert reader.layout is not None
    found = []
    for number in range(-(-SHAPE[0] // reader.layout.file_steps)):
        content = (store / "pr" / reader.layout.key(number, len(SHAPE))).read_bytes()
        index = np.frombuffer(content[-16 * reader.layout.chunks - 4 : -4], "<u8").reshape(-1, 2)
        found += [content[o : o + n] for o, n in index.tolist() if o != 2**64 - 1]
    assert len(found) == SHAPE[0]
    return found


def blocks(reader: StepReader, part: int = 0, parts: int = 1) -> list[slice]:
    """Every shard's steps, or one of several shares of them."""
    assert reader.layout is not None
    size = reader.layout.file_steps
    starts = range(0, SHAPE[0], size)[part::parts]
    return [slice(start, min(start + size, SHAPE[0])) for start in starts]


def buffer(reader: StepReader) -> NDArray[np.float32]:
    """A shard's steps, every page of it touched."""
    assert reader.layout is not None
    return np.zeros((reader.layout.file_steps, *SHAPE[1:]), np.float32)


def in_turns(*functions: Callable[[], object], clock: Clock) -> list[list[float]]:
    """Each function's times, one of each a round, so that all meet the same disturbances."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(ROUNDS):
        for function, taken in zip(functions, times, strict=True):
            start = clock()
            function()
            taken.append(clock() - start)
    return times


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(numerator, denominator, strict=True))


def read_all(reader: StepReader, out: NDArray[np.float32], steps: list[slice]) -> None:
    """Some shards, one after another, into one buffer."""
    for block in steps:
        reader.read(block, out=out)


def decode_all(frames: Frames, out: NDArray[np.float32], steps: list[slice]) -> None:
    """The bound: zstd from memory into one buffer, nothing else."""
    decode = Zstd().decode
    for block in steps:
        for k, frame in enumerate(frames[block]):
            decode(frame, out=out[k])


def test_reading_costs_little_more_than_decompression(
    benchmark: BenchmarkFixture, store: Path, reader: StepReader, frames: Frames
) -> None:
    """One thread: at most 1.25 of bare decompression, at least 1.5 times ahead of zarr-python.

    Bare decompression has its bytes in memory already; a read copies them from the page cache.
    """
    stock, out, every = zarr.open_array(store / "pr", mode="r"), buffer(reader), blocks(reader)
    benchmark.pedantic(read_all, (reader, out, every), rounds=3, warmup_rounds=1)
    np.testing.assert_array_equal(reader.read(every[-1], out=out), stock[every[-1]])
    ours, bare, theirs = in_turns(
        lambda: read_all(reader, out, every),
        lambda: decode_all(frames, out, every),
        lambda: [stock[block] for block in every],
        clock=time.process_time,
    )
    over_bare, ahead = ratio(ours, bare), ratio(theirs, ours)
    benchmark.extra_info |= {
        "of bare decompression": round(over_bare, 3),
        "zarr-python of bare decompression": round(ratio(theirs, bare), 3),
        "ahead of zarr-python": round(ahead, 3),
        "ns per value": round(1e9 * median(ours) / float(np.prod(SHAPE)), 3),
    }
    assert over_bare < 1.25
    assert ahead > 1.5


def test_two_threads_read_at_once(
    benchmark: BenchmarkFixture, reader: StepReader, frames: Frames
) -> None:
    """Nothing holds the interpreter's lock: two threads gain what two bare decoders gain.

    Both gains are wall time and shrink together on a busy machine, where the gain over one
    thread (1.6 or more on two free cores) is recorded but cannot be asked for.
    """
    outs = [buffer(reader), buffer(reader)]
    halves = [blocks(reader, part, 2) for part in range(2)]
    with ThreadPoolExecutor(2) as pool:

        def both(work: Callable[[NDArray[np.float32], list[slice]], None]) -> None:
            list(pool.map(work, outs, halves))

        def read(out: NDArray[np.float32], steps: list[slice]) -> None:
            read_all(reader, out, steps)

        def decode(out: NDArray[np.float32], steps: list[slice]) -> None:
            decode_all(frames, out, steps)

        benchmark.pedantic(both, (read,), rounds=3, warmup_rounds=1)
        one, two, bare_one, bare_two = in_turns(
            lambda: read(outs[0], halves[0] + halves[1]),
            lambda: both(read),
            lambda: decode(outs[0], halves[0] + halves[1]),
            lambda: both(decode),
            clock=time.perf_counter,
        )
    gain, bare_gain = ratio(one, two), ratio(bare_one, bare_two)
    benchmark.extra_info |= {
        "two threads over one": round(gain, 3),
        "bare decompression's gain": round(bare_gain, 3),
    }
    assert gain > 0.8 * bare_gain
