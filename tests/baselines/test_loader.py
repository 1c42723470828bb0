"""The streaming loader: which batches come, in which order, from which reads, and how it ends.

The oracle of a batch is `load_pairs`: every sample of these stores says in its values which it is.
"""

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.data import TENSORS, Pairs, load_pairs, region_pairs
from baselines.loader import CONSTANT, block_steps, stream
from baselines.rounds import Balance
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.pair_writer import Steps, write_region
from benchmark.task import Task

SIDE, HOURS, BATCH = 128, 90, 8
TRAIN = slice(5, 69)
STORED = {"alps": range(HOURS), "baltic": range(3, 40), "cyprus": range(12, HOURS)}
"""The hours that each region's store has: the others are missing, or were never there."""
BLOCKS = {"alps": 16, "baltic": 12, "cyprus": 16}
"""Steps in a block: fine chunks are 4 steps long, and coarse ones 64, or all 37 of `baltic`."""
EARLY = 10
BALANCES: tuple[Balance, ...] = ("samples", "regions")
Sample = tuple[int, int]
"""(region number, hour)."""


def days(first: int, last: int) -> dict[str, str]:
    start = np.datetime64("2020-01-01T00", "h")
    return {"first": f"{start + first}:00:00", "last": f"{start + last}:00:00"}


@pytest.fixture(scope="module")
def streamed(task: Task, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Three regions with 64, 35 and 57 training steps, of 32 x 32 to 128 x 128 cells."""
    told = task.model_dump() | {
        "spacing": 0.25, "few_shot": None, "variables": task.model_dump()["variables"][:2],
        "periods": {
            "embargo_hours": 1, "train": days(TRAIN.start, TRAIN.stop - 1), "val": days(72, 74),
            "test": days(80, 85),
        },
        "regions": [
            {"name": name, "role": "train", "lat": [lat, lat + 32], "lon": [0, 32]}
            for name, lat in zip(STORED, (-40, 0, 40), strict=True)
        ],
    }  # fmt: skip
    store = PairStore(Task.model_validate(told), tmp_path_factory.mktemp("streamed"))
    statics = np.linspace(0, 1, SIDE**2, dtype=np.float32).reshape(SIDE, SIDE)
    for number, (name, hours) in enumerate(STORED.items()):
        times = np.datetime64("2020-01-01", "s") + np.array(hours) * np.timedelta64(1, "h")
        write_region(
            store.task, name, store.folder, times=times, source_ids={}, recipe={},
            static={"land_fraction": statics, "orography": 100 * (number + statics)},
            blocks=[(0, told_fields(store, name, number, np.array(hours)))],
        )  # fmt: skip
    return store


def told_fields(store: PairStore, name: str, number: int, hours: NDArray[np.int64]) -> Steps:
    """Temperatures of 1000 (region + 1) + hour, and the same with a slope; one cell is missing."""
    warm = np.broadcast_to((1000.0 * (number + 1) + hours)[:, None, None], (len(hours), SIDE, SIDE))
    fine = {"t2m": warm, "wind_speed": warm + np.arange(SIDE)}
    coarse = {key: store.region(name).grid.overlap(values) for key, values in fine.items()}
    fine["wind_speed"][:, 7, 9] = np.nan
    return Steps(
        coarse={key: values.astype(np.float32) for key, values in coarse.items()},
        fine={key: values.astype(np.float32) for key, values in fine.items()},
    )


PROGRAM = """
import multiprocessing, pickle, sys, time
from hashlib import sha256
from pathlib import Path
from baselines.data import TENSORS
from baselines.loader import stream

if __name__ == "__main__":
    store, workers = pickle.loads(Path(sys.argv[1]).read_bytes()), int(sys.argv[2])
    batches = stream(
        store.regions("train"), store.task.periods.train, batch=8, seed=1, balance="samples",
        workers=workers, pool=4,
    )
    hashed = sha256()
    for _ in range(int(sys.argv[3])):
        batch = next(batches)
        for name in TENSORS:
            hashed.update(getattr(batch, name).numpy().tobytes())
    pids = [worker.pid for worker in multiprocessing.active_children()]
    print(hashed.hexdigest(), *pids, flush=True)
    for _ in batches:
        time.sleep(0.5)
"""


@dataclass(frozen=True)
class Running:
    """A process that streams without end: its workers, and the digest of its first batches."""

    process: subprocess.Popen[str]
    pids: list[int]
    read: str


@pytest.fixture(scope="module")
def running(
    streamed: PairStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Running]]:
    """Two such processes, by their number of workers, each in a group of its own."""
    folder = tmp_path_factory.mktemp("running")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "store").write_bytes(pickle.dumps(streamed))
    processes = {
        workers: subprocess.Popen(
            [sys.executable, "program.py", "store", str(workers), str(EARLY)], cwd=folder,
            start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for workers in (1, 2)
    }  # fmt: skip
    found = {}
    for workers, process in processes.items():
        assert process.stdout is not None
        read, *pids = process.stdout.readline().split() or ["nothing"]
        found[workers] = Running(process, [int(pid) for pid in pids], read)
    yield found
    for process in processes.values():
        # Its workers too: one that is left would hold the pipes open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


def batches(store: PairStore, count: int, **options: Any) -> list[Pairs]:
    """The first batches of a stream of the training period."""
    return list(islice(started(store, **options), count))


def started(store: PairStore, **options: Any) -> Iterator[Pairs]:
    """A stream of the training period, of rounds of a third of an epoch."""
    given: dict[str, Any] = {
        "batch": BATCH, "seed": 1, "balance": "samples", "workers": 0, "pool": 4, **options,
    }  # fmt: skip
    return stream(store.regions("train"), store.task.periods.train, **given)


def samples(parts: Sequence[Pairs]) -> list[Sample]:
    """Which samples these are, by their values."""
    values = torch.cat([part.fine[:, 0, 0, 0] for part in parts]).long().tolist()
    return [(value // 1000 - 1, value % 1000) for value in values]


def assert_same(found: Sequence[Pairs], expected: Sequence[Pairs]) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        for name in TENSORS:
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def digest(parts: Sequence[Pairs]) -> str:
    """What `PROGRAM` says of the batches that it was given."""
    hashed = sha256()
    for part in parts:
        for name in TENSORS:
            hashed.update(getattr(part, name).numpy().tobytes())
    return hashed.hexdigest()


def training_hours(region: str) -> list[int]:
    return [hour for hour in STORED[region] if TRAIN.start <= hour < TRAIN.stop]


EVERY = [(k, hour) for k, name in enumerate(STORED) for hour in training_hours(name)]


def test_a_batch_has_the_fields_of_pairs_in_memory(streamed: PairStore) -> None:
    """Every tensor of every sample is that of `load_pairs`, also where a cell is missing."""
    whole = load_pairs(streamed.regions("train"), streamed.task.periods.train)
    assert samples([whole]) == EVERY
    for batch in batches(streamed, 25):
        index = torch.tensor([EVERY.index(sample) for sample in samples([batch])])
        assert_same([batch], [whole.take(index)])
        assert not batch.valid.all()


def test_constant_fields_are_constant(store: PairStore, streamed: PairStore) -> None:
    """What is read once a region is the same at all of its steps."""
    for region in (streamed.region("baltic"), store.region("europe-west")):
        pairs = region_pairs(region, slice(0, 9), number=2)
        for name in CONSTANT:
            values = getattr(pairs, name)
            assert torch.equal(values, values[:1].expand_as(values)), name


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_workers_do_not_change_the_stream(streamed: PairStore, running: dict[int, Running]) -> None:
    """0, 1, 2 and 3 worker processes give the same batches bit for bit; also from the middle.

    They leave the training's random numbers alone, and end well in the middle of their work.
    """
    # A round is an epoch of 156 samples: when the stream ends, another has just been asked for.
    expected = batches(streamed, 2, batch=80, pool=16)
    state, before = torch.get_rng_state(), multiprocessing.active_children()
    found = started(streamed, workers=3, first_step=1, batch=80, pool=16)
    assert_same([next(found)], expected[1:])
    assert torch.equal(torch.get_rng_state(), state)
    workers = [child for child in multiprocessing.active_children() if child not in before]
    del found
    for worker in workers:
        worker.join(30)
    assert len(workers) == 3
    assert not {worker.exitcode for worker in workers} & {None, -signal.SIGABRT}
    assert {workers: program.read for workers, program in running.items()} == {
        workers: digest(batches(streamed, EARLY)) for workers in (1, 2)
    }


@pytest.mark.parametrize("balance", BALANCES)
def test_a_stream_starts_at_any_step(streamed: PairStore, balance: Balance) -> None:
    """From step s it is the tail of the stream from step 0, into the third epoch."""
    expected = batches(streamed, 45, balance=balance)
    for step in (1, 2, 7, 19, 20, 41):
        assert_same(batches(streamed, 4, balance=balance, first_step=step), expected[step:][:4])


def test_a_late_start_reads_nothing_that_came_before(streamed: PairStore, reads: list[Any]) -> None:
    """A start in the last round of an epoch reads that round and one step of each region."""
    batches(streamed, 1, first_step=18)
    fine = [read for read in reads if (read.side, read.variable) == ("fine", "t2m")]
    assert [len(read.steps) for read in fine[:3]] == [1, 1, 1]
    assert 0 < len(fine[3:]) <= 4


def test_processes_share_a_batch(streamed: PairStore) -> None:
    """Each of two gets every second sample, also when both resume."""
    whole = batches(streamed, 25, first_step=3)
    for rank in (0, 1):
        part = batches(streamed, 25, first_step=3, rank=rank, world=2)
        assert_same(part, [batch.take(torch.arange(rank, BATCH, 2)) for batch in whole])
    with pytest.raises(ValueError, match="3 processes"):
        batches(streamed, 1, world=3)


def test_samples_come_equally_often(streamed: PairStore) -> None:
    """`samples`: each training step of each region once an epoch, in another order each time."""
    found = samples(batches(streamed, 3 * len(EVERY) // BATCH + 1))
    epochs = [found[k * len(EVERY) : (k + 1) * len(EVERY)] for k in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == EVERY
    assert epochs[0] != epochs[1] != epochs[2]
    assert samples(batches(streamed, 4, seed=2)) != found[: 4 * BATCH]


def test_regions_come_equally_often(streamed: PairStore) -> None:
    """`regions`: as many samples of each in an epoch, and within each all equally often."""
    most = max(len(training_hours(name)) for name in STORED)
    found = samples(batches(streamed, 5 * 3 * most // BATCH + 1, balance="regions"))
    for epoch in range(1, 6):
        own = found[: 3 * most * epoch]
        assert Counter(region for region, _ in own) == dict.fromkeys(range(3), most * epoch)
        for number, name in enumerate(STORED):
            hours = Counter(hour for region, hour in own if region == number)
            assert set(hours) == set(training_hours(name))
            assert max(hours.values()) - min(hours.values()) <= 1


def test_reads_are_whole_chunks_of_the_period(streamed: PairStore, reads: list[Any]) -> None:
    """An epoch reads every block once; its ends are ends of chunks, or of the period."""
    batches(streamed, len(EVERY) // BATCH)
    constants = 2 * 2 * len(STORED)
    assert {len(read.steps) for read in reads[:constants]} == {1}
    for region in streamed.regions("train"):
        size, period = block_steps(region), region.steps(streamed.task.periods.train)
        assert size == BLOCKS[region.name]
        for side, variable in product(("coarse", "fine"), streamed.task.variable_names):
            blocks = sorted(
                (read.steps.start, read.steps.stop)
                for read in reads[constants:]
                if (read.region, read.side, read.variable) == (region.name, side, variable)
            )
            inner = range(-(-(period.start + 1) // size) * size, period.stop, size)
            edges = [period.start, *inner, period.stop]
            assert blocks == list(pairwise(edges))


def test_batches_mix_regions(streamed: PairStore) -> None:
    """With half of all blocks in a round, no batch is of one region and most are of all three."""
    found = [{region for region, _ in samples([batch])} for batch in batches(streamed, 19, pool=6)]
    assert all(len(regions) > 1 for regions in found)
    assert sum(len(regions) == 3 for regions in found) > len(found) / 2


def damaged(store: PairStore, folder: Path) -> PairStore:
    """A copy of the store in which a chunk of one region was overwritten."""
    copy = PairStore(store.task, folder / "copy")
    shutil.copytree(store.folder, copy.folder)
    path = copy.region("cyprus").path / "fine" / "wind_speed" / "c" / "0" / "0" / "0"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    return copy


def test_a_damaged_chunk_is_the_same_error_from_a_worker(
    streamed: PairStore, tmp_path: Path
) -> None:
    """InputError with its problem, once the round is reached; not a traceback of torch's."""
    copy = damaged(streamed, tmp_path)
    raised = []
    for workers in (0, 1):
        with pytest.raises(InputError, match="cyprus") as caught:
            batches(copy, 20, workers=workers)
        raised.append(caught.value.problems)
        del caught  # Its frames keep the stream, and that its worker.
    assert raised[0] == raised[1]
    assert "elsewhere build" in raised[0][0].fix


def test_no_training_days_is_an_error(store: PairStore, streamed: PairStore) -> None:
    """A period without a step, and no region at all: before anything is started."""
    for regions in (store.regions("train"), []):
        with pytest.raises(InputError, match="at least one step"):
            stream(
                regions, streamed.task.periods.train, batch=4, seed=0, balance="samples", workers=2
            )


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def deaf(pid: int) -> bool:
    """Whether Ctrl-C does not reach a process, which would else say so while it starts."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))
    return bool(blocked >> (signal.SIGINT - 1) & 1)


def test_no_worker_outlives_its_process(running: dict[int, Running]) -> None:
    """Ctrl-C, which a terminal sends to all of them, is one KeyboardInterrupt."""
    pids = [pid for program in running.values() for pid in program.pids]
    assert len(pids) == 1 + 2
    assert all(alive(pid) and deaf(pid) for pid in pids)
    assert not any(deaf(program.process.pid) for program in running.values())
    killed, interrupted = running[1].process, running[2].process
    killed.kill()
    os.killpg(interrupted.pid, signal.SIGINT)
    for process, number, tracebacks in ((killed, 9, 0), (interrupted, 2, 1)):
        _, said = process.communicate(timeout=120)
        assert process.returncode == -number
        assert said.count("Traceback") == tracebacks, said
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]
