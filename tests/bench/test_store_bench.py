"""How fast a prediction store is scored (workload B): beside bare decompression, beside peers.

8 members of hourly rain on 160 x 160 cells in two regions, zstd in Zarr v3, as `elsewhere predict`
writes it; the complete suite with the hash of every value and the check that all are finite. The
bound is numcodecs' zstd alone, on the same chunks, already in memory. Wall time with two workers,
CPU time with one; sides take turns within one run and the best of each is compared. The peers read
the same store through zarr-python with dask's threads, two workers, chunks aligned with the
store's, opened before; they compute what their names say of a part of the steps, and their time is
scaled by the number of steps.

ELSEWHERE_BENCH_STEPS: steps of each region (1000 for the README's table). Bounds are asserted
exactly where ELSEWHERE_BENCH_STRICT=1. Where not, decompression's are twice as high and no peer may
be faster: few steps also pay for what a score costs once (opening, folding, the case table: about
0.05 s), on a machine that may be busy.
"""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import scores
import scoringrules
import xarray as xr
import xskillscore
from numcodecs.zstd import Zstd
from pytest_benchmark.fixture import BenchmarkFixture
from workload import MEMBERS, SIDE, build_workload

from benchmark.chunk_reader import StepReader, open_steps
from benchmark.pair_store import PairStore
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StoredPredictions

STEPS = int(os.environ.get("ELSEWHERE_BENCH_STEPS", "150"))
STRICT = os.environ.get("ELSEWHERE_BENCH_STRICT") == "1"
SLACK = 1.0 if STRICT else 2.0
ROUNDS = 5 if STRICT else 3
NAME = "precipitation"
PEER_CHUNK = 16
"""Steps of a dask chunk, a quarter of a shard: of 4, 8, 16, 32, 64 the fastest for the fastest peer
(the others are within 10 % of their best)."""
Clock = Callable[[], float]
Frame = tuple[bytes, int]
"""An encoded chunk, and how many bytes it decodes to."""


@dataclass(frozen=True)
class Workload:
    """The two stores, and a folder that is emptied before every score."""

    store: PairStore
    source: StoredPredictions
    work: Path

    def score(self, workers: int) -> Scored:
        """The complete suite, from nothing."""
        shutil.rmtree(self.work, ignore_errors=True)
        return score_cases(self.store, self.source, work=self.work, workers=workers)

    def fields(self, steps: int) -> tuple[xr.DataArray, xr.DataArray]:
        """(members, truth) of the first test steps of a region, lazy."""
        region = self.store.region("elsewhere")
        test = region.steps(self.store.task.periods.test)
        stored = self.source.folder / "elsewhere.zarr"
        members = xr.open_zarr(stored, consolidated=False, chunks={"time": PEER_CHUNK})
        truth = xr.open_zarr(region.path, group="fine", consolidated=False, chunks=None)
        known = truth[NAME][test.start : test.start + steps].chunk({"time": PEER_CHUNK})
        return members[NAME][:steps], known.assign_coords(time=members["time"][:steps])


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """Built, then scored once, so that kernels and what is kept beside the store are there."""
    folder = tmp_path_factory.mktemp("workload-b")
    store, predictions = build_workload(folder, STEPS)
    found = Workload(store, StoredPredictions(store.task, predictions), folder / "work")
    found.score(2)
    return found


@pytest.fixture(scope="module")
def frames(workload: Workload) -> list[Frame]:
    """Every encoded chunk that scoring reads: members, truth and coarse input of the test steps."""
    found = []
    for region in workload.store.regions("test_id", "test_ood"):
        test = region.steps(workload.store.task.periods.test)
        stored = workload.source.folder / f"{region.name}.zarr"
        found += encoded(open_steps(stored, NAME), slice(0, STEPS))
        for side in ("fine", "coarse"):
            found += encoded(open_steps(region.path, f"{side}/{NAME}"), test)
    decoded = sum(size for _, size in found)
    assert decoded >= 2 * STEPS * (MEMBERS + 1) * SIDE**2 * 4
    return found


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def encoded(reader: StepReader, steps: slice) -> list[Frame]:
    """The chunks that hold some steps."""
    layout = reader.layout
    assert layout is not None
    size = 4 * layout.steps * int(np.prod(reader.shape[1:]))
    found = []
    for number in range(steps.start // layout.file_steps, -(-steps.stop // layout.file_steps)):
        content = (reader.store / reader.name / layout.key(number, len(reader.shape))).read_bytes()
        pairs = [(0, len(content))]
        if layout.index is not None:
            assert layout.index == "end"
            index = np.frombuffer(content[-16 * layout.chunks - 4 : -4], "<u8").reshape(-1, 2)
            pairs = [(offset, length) for offset, length in index.tolist()]
        for chunk, (offset, length) in enumerate(pairs):
            first = number * layout.file_steps + chunk * layout.steps
            if offset != 2**64 - 1 and steps.start < first + layout.steps and first < steps.stop:
                found.append((content[offset : offset + length], size))
    return found


def decompress(frames: list[Frame]) -> None:
    """The bound: zstd alone, into buffers that are used again."""
    decode = Zstd().decode
    buffers = {size: np.empty(size, np.uint8) for size in {size for _, size in frames}}
    for frame, size in frames:
        decode(frame, out=buffers[size])


def decompress_by_two(frames: list[Frame]) -> None:
    """The same in two threads, each with half of the chunks."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decompress, (frames[::2], frames[1::2])))


def in_turns(*sides: Callable[[], object], clock: Clock) -> list[float]:
    """Each side's best time; one of each a round, so that all meet the same disturbances."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, taken in zip(sides, times, strict=True):
            start = clock()
            side()
            taken.append(clock() - start)
    return [min(taken) for taken in times]


def test_scoring_beside_decompression(
    benchmark: BenchmarkFixture, workload: Workload, frames: list[Frame]
) -> None:
    """Two workers, wall time: at most 1.8 of two threads that only decompress."""
    benchmark.pedantic(lambda: workload.score(2), rounds=1)
    ours, bare = in_turns(
        lambda: workload.score(2), lambda: decompress_by_two(frames), clock=time.perf_counter
    )
    benchmark.extra_info |= {
        "name": "store: complete suite, 2 workers", "unit": "decompressions",
        "passes": round(ours / bare, 2), "bound": 1.8,
        "steps per second": round(2 * STEPS / ours),
    }  # fmt: skip
    assert ours / bare <= 1.8 * SLACK


def test_scoring_beside_decompression_in_one_thread(
    benchmark: BenchmarkFixture, workload: Workload, frames: list[Frame]
) -> None:
    """One worker, CPU time, which other processes disturb less; and what is left a grid point."""
    benchmark.pedantic(lambda: workload.score(1), rounds=1)
    ours, bare = in_turns(
        lambda: workload.score(1), lambda: decompress(frames), clock=time.process_time
    )
    benchmark.extra_info |= {
        "name": "store: complete suite, 1 worker, CPU", "unit": "decompressions",
        "passes": round(ours / bare, 2), "bound": 1.8,
        "ns per grid point": round((ours - bare) / (2 * STEPS * SIDE**2) * 1e9, 1),
    }  # fmt: skip
    assert ours / bare <= 1.8 * SLACK


def test_two_workers_gain(
    benchmark: BenchmarkFixture, workload: Workload, frames: list[Frame]
) -> None:
    """At least 1.7 times faster than one, where bare decompression gains as much as it can.

    Where other processes want the second core, neither gains: asked for is a share of that gain.
    """
    benchmark.pedantic(lambda: workload.score(2), rounds=1)
    one, two, bare_one, bare_two = in_turns(
        lambda: workload.score(1), lambda: workload.score(2),
        lambda: decompress(frames), lambda: decompress_by_two(frames),
        clock=time.perf_counter,
    )  # fmt: skip
    benchmark.extra_info |= {
        "name": "store: two workers beside one", "peer": "one worker",
        "times_faster": round(one / two, 2), "required": 1.7,
        "bare decompression": round(bare_one / bare_two, 2),
    }  # fmt: skip
    assert one / two >= (1.7 if STRICT else 0.7 * bare_one / bare_two)


def crps_with_scoringrules(x: xr.DataArray, t: xr.DataArray) -> list[xr.DataArray]:
    """Fair CRPS alone: its numba kernel, float32, members last, a call a chunk."""

    def of_chunk(members: Any, truth: Any) -> Any:
        last = np.ascontiguousarray(members)
        return scoringrules.crps_ensemble(truth, last, estimator="fair", backend="numba")

    crps = xr.apply_ufunc(
        of_chunk, x, t, input_core_dims=[["member"], []], dask="parallelized",
        output_dtypes=[np.float32],
    )  # fmt: skip
    return [crps.mean()]


def all_with_xskillscore(x: xr.DataArray, t: xr.DataArray) -> list[xr.DataArray]:
    """CRPS, bias, MAE and RMSE; its functions reduce only dimensions that are one chunk."""
    dims, mean, s = ["y", "x"], x.mean("member", skipna=False), xskillscore
    crps = s.crps_ensemble(t, x, member_dim="member", dim=dims)
    errors = [metric(t, mean, dim=dims).mean() for metric in (s.me, s.mae, s.mse)]
    return [crps.mean(), *errors[:2], np.sqrt(errors[2])]


def all_with_scores(x: xr.DataArray, t: xr.DataArray) -> list[xr.DataArray]:
    """CRPS, bias, MAE and RMSE."""
    mean, c = x.mean("member", skipna=False), scores.continuous
    crps = scores.probability.crps_for_ensemble(x, t, "member", method="fair")
    return [crps, c.additive_bias(mean, t), c.mae(mean, t), c.rmse(mean, t)]


@pytest.mark.parametrize(
    ("name", "peer", "steps", "faster"),
    [
        ("scoringrules, CRPS only", crps_with_scoringrules, 64, 2.5),
        ("xskillscore, CRPS + errors", all_with_xskillscore, 32, 8),
        ("scores, CRPS + errors", all_with_scores, 32, 8),
    ],
)
def test_peers(
    benchmark: BenchmarkFixture, workload: Workload, name: str,
    peer: Callable[[xr.DataArray, xr.DataArray], list[xr.DataArray]], steps: int, faster: float,
) -> None:  # fmt: skip
    """The complete suite is far ahead of others that compute a little of it."""
    steps = min(steps, STEPS)

    fields = workload.fields(steps)

    def theirs() -> list[float]:
        found = dask.compute(*peer(*fields), scheduler="threads", num_workers=2)
        return [float(value) for value in found]

    x, t = workload.fields(4)  # that each computes the CRPS of these fields
    expected = scoringrules.crps_ensemble(
        t.values.astype(float), x.values.astype(float), m_axis=1,
        estimator="nrg" if peer is all_with_xskillscore else "fair",
    ).mean()  # fmt: skip
    assert float(dask.compute(peer(x, t)[0])[0]) == pytest.approx(expected, rel=1e-4)
    theirs()
    benchmark.pedantic(lambda: workload.score(2), rounds=1)
    ours, taken = in_turns(lambda: workload.score(2), theirs, clock=time.perf_counter)
    ahead = taken / steps / (ours / (2 * STEPS))
    benchmark.extra_info |= {
        "name": f"store: complete suite beside {name}", "peer": name,
        "times_faster": round(ahead, 1), "required": faster, "peer's steps": steps,
    }  # fmt: skip
    assert ahead >= (faster if STRICT else 1)
