"""Scoring on a dask.distributed cluster: the bits of a local run, whatever happens to workers."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clusters
import pytest
import xarray as xr
from distributed import Client

from benchmark.case_table import table_hash
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.prediction_store import write_predictions
from benchmark.references import DressedReference
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StoredPredictions

BLOCKS = 32
"""One step each."""


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, as a user starts them."""

    address: str

    def client(self) -> Client:
        """To ask the workers something."""
        return Client(self.address, set_as_default=False)  # type: ignore[no-untyped-call]

    def pids(self) -> set[int]:
        """Of the processes that compute."""
        with self.client() as client:
            return set(client.run(os.getpid).values())

    def wait(self, *, without: int) -> None:
        """Until all workers are there and none of them is this one."""
        deadline = time.monotonic() + 60
        while len(self.pids() - {without}) < clusters.WORKERS:
            assert time.monotonic() < deadline, "no worker was started in its place"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One to be disturbed."""
    with clusters.cluster(tmp_path_factory.mktemp("scheduler")) as address:
        yield Cluster(address)


@pytest.fixture(scope="module")
def stored(small: PairStore, tmp_path_factory: pytest.TempPathFactory) -> StoredPredictions:
    """The dressed reference's eight members, stored for the small task."""
    folder = tmp_path_factory.mktemp("cluster") / "dressed"
    for _ in write_predictions(DressedReference(small), small, folder):
        pass
    return StoredPredictions(small.task, folder)


def assert_same(found: Scored, expected: Scored) -> None:
    """The same bits in every array, and the same predictions."""
    xr.testing.assert_identical(found.table, expected.table)
    assert table_hash(found.table) == table_hash(expected.table)
    assert found.prediction_hash == expected.prediction_hash


def test_a_cluster_does_not_matter(
    cluster: Cluster,
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    tmp_path: Path,
) -> None:
    """Blocks that two other processes reduce give the bits of one thread of this one."""
    reports: list[tuple[int, int]] = []
    found = score_cases(
        small, stored, work=tmp_path, scheduler=cluster.address, steps_per_block=1,
        report=lambda done, all_of, _: reports.append((done, all_of)),
    )  # fmt: skip
    assert reports == [(k + 1, BLOCKS) for k in range(BLOCKS)]
    assert_same(found, dressed)


def test_a_killed_worker_loses_nothing(
    cluster: Cluster,
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    tmp_path: Path,
) -> None:
    """kill -9 for a worker in the middle: what it had is done again, with the same bits."""
    victim, killed = min(cluster.pids()), list[int]()

    def kill_one(done: int, *_: object) -> None:
        if done >= BLOCKS // 4 and not killed:
            assert len(list(tmp_path.glob("*.npz"))) < BLOCKS, "too late: all is done"
            os.kill(victim, signal.SIGKILL)
            killed.append(done)

    found = score_cases(
        small, stored, work=tmp_path, scheduler=cluster.address, steps_per_block=1,
        report=kill_one,
    )  # fmt: skip
    assert killed
    cluster.wait(without=victim)
    assert_same(found, dressed)


def test_workers_that_do_not_see_the_folder_are_an_error(
    cluster: Cluster,
    small: PairStore,
    stored: StoredPredictions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A relative path means another folder to the workers, as a local disk does on a cluster.

    They can write there, so that nothing fails until the blocks are looked for.
    """
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    # They stay there: a block that is under way when the first error comes is still written.
    with cluster.client() as client:
        client.run(os.chdir, str(there))
    with pytest.raises(InputError, match=r"^work/.*\.npz: expected a finished block"):
        score_cases(
            small, stored, work=Path("work"), scheduler=cluster.address,
            steps_per_block=4,
        )  # fmt: skip
    assert list(there.rglob("*.npz"))
    assert not list(here.rglob("*.npz"))


def test_an_error_of_a_worker_arrives_as_it_was(
    cluster: Cluster, small: PairStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction store that workers cannot see is an InputError that names it, here."""
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in write_predictions(DressedReference(small), small, Path("dressed")):
        pass
    absent = StoredPredictions(small.task, Path("dressed"))
    with pytest.raises(InputError, match=r"^dressed/.*zarr: t2m: expected readable values"):
        score_cases(small, absent, work=work, scheduler=cluster.address, steps_per_block=4)
    assert not list(work.glob("*.npz"))
