"""Killed at any moment, scoring goes on from the blocks that are done, to the same bits."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import xarray as xr

from benchmark.evaluate import PARTIAL, score
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.predictor import Fields
from benchmark.references import BilinearReference
from benchmark.results import CASES, SCORES, read_scores
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StreamedPredictions

BLOCKS = 2 * 8
"""Two test regions of eight steps, one step a block."""

REGIONS = ("andes-south", "japan-okhotsk", "west-africa")

CHILD = """
import sys, time
from pathlib import Path
from benchmark.evaluate import score
from benchmark.pair_store import PairStore
from benchmark.references import BilinearReference
from benchmark.sources import StreamedPredictions
from benchmark.task_files import load_task

folder, out, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
task = load_task("era5-sample")
task = task.model_copy(update={"regions": tuple(r for r in task.regions if r.name in names)})
store = PairStore(task, folder)
source = StreamedPredictions(BilinearReference(store), identity="bilinear")
score(store, source, out, steps_per_block=1, report=lambda *_: time.sleep(0.05))
"""


@pytest.fixture(scope="module")
def tiny(small: PairStore) -> PairStore:
    """One training, one validation and one test region: the test splits hold two."""
    regions = tuple(region for region in small.task.regions if region.name in REGIONS)
    return PairStore(small.task.model_copy(update={"regions": regions}), small.folder)


@dataclass(frozen=True)
class Counting:
    """Bilinear that keeps a list of what it was asked for, and can be interrupted after some."""

    inner: BilinearReference
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    fail_after: int = 10_000
    member_count: int = 1

    @property
    def card(self) -> ModelCard:
        return self.inner.card

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        if len(self.asked) == self.fail_after:
            raise KeyboardInterrupt
        self.asked.append((region.name, steps.start, steps.stop))
        return self.inner.predict(region, steps)


def bilinear(store: PairStore) -> StreamedPredictions:
    """The reference as a source."""
    return StreamedPredictions(BilinearReference(store), identity="bilinear")


@pytest.fixture(scope="module")
def expected(tiny: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """The scores of an undisturbed run."""
    work = tmp_path_factory.mktemp("undisturbed-cases")
    return score_cases(tiny, bilinear(tiny), work=work, steps_per_block=1)


def test_finished_blocks_are_not_computed_again(
    tiny: PairStore, expected: Scored, tmp_path: Path
) -> None:
    """After an interrupt, only what is not there is predicted; the table has the same bits."""
    first = Counting(BilinearReference(tiny), fail_after=5)
    with pytest.raises(KeyboardInterrupt):
        score_cases(tiny, StreamedPredictions(first, "b"), work=tmp_path, steps_per_block=1)
    assert len(first.asked) == 5
    assert len(list(tmp_path.glob("*.npz"))) == len(first.asked)
    second = Counting(BilinearReference(tiny))
    found = score_cases(tiny, StreamedPredictions(second, "b"), work=tmp_path, steps_per_block=1)
    assert not set(second.asked) & set(first.asked)
    assert len(second.asked) + len(first.asked) == BLOCKS
    xr.testing.assert_identical(found.table, expected.table)
    assert found.prediction_hash == expected.prediction_hash


@pytest.mark.parametrize("kept", [1, BLOCKS])
def test_any_part_of_the_blocks_will_do(
    tiny: PairStore, expected: Scored, tmp_path: Path, kept: int
) -> None:
    """Whichever blocks are there (every second, all, the last), the rest completes them."""
    score_cases(tiny, bilinear(tiny), work=tmp_path, steps_per_block=1)
    blocks = sorted(tmp_path.glob("*.npz"), key=lambda path: hash((path.name[::-1], 7)))
    assert len(blocks) == BLOCKS
    for block in blocks[kept:]:
        block.unlink()
    counting = Counting(BilinearReference(tiny))
    found = score_cases(
        tiny, StreamedPredictions(counting, "b"), work=tmp_path, steps_per_block=1, workers=2
    )
    assert len(counting.asked) == BLOCKS - kept
    xr.testing.assert_identical(found.table, expected.table)


def test_blocks_of_another_size_are_not_mixed_in(
    tiny: PairStore, expected: Scored, tmp_path: Path
) -> None:
    """A run resumed with other blocks computes them all: no step is counted twice or lost."""
    score_cases(tiny, bilinear(tiny), work=tmp_path, steps_per_block=3)
    found = score_cases(tiny, bilinear(tiny), work=tmp_path, steps_per_block=2)
    xr.testing.assert_identical(found.table, expected.table)


def test_other_predictions_do_not_resume(tiny: PairStore, tmp_path: Path) -> None:
    """The folder of blocks is named by what decides them: another identity starts afresh."""
    interrupted = Counting(BilinearReference(tiny), fail_after=5)
    with pytest.raises(KeyboardInterrupt):
        score(tiny, StreamedPredictions(interrupted, "weights-1"), tmp_path, steps_per_block=1)
    (partial,) = tmp_path.glob(f"{PARTIAL}*")
    assert len(list(partial.glob("*.npz"))) == len(interrupted.asked) == 5
    other = Counting(BilinearReference(tiny))
    score(tiny, StreamedPredictions(other, "weights-2"), tmp_path, steps_per_block=1)
    # All blocks, and one step of each region for the picture.
    assert len(other.asked) == BLOCKS + 2
    assert not list(tmp_path.glob(f"{PARTIAL}*")), "cleared when done"


@pytest.fixture(scope="module")
def own_store(tiny: PairStore, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """A copy with the references scored, so that a kill falls into the scoring itself."""
    folder = tmp_path_factory.mktemp("kill") / tiny.folder.name
    folder.mkdir()
    for region in tiny.task.regions:
        shutil.copytree(tiny.folder / f"{region.name}.zarr", folder / f"{region.name}.zarr")
        shutil.copy(tiny.folder / f"{region.name}.json", folder)
    return PairStore(tiny.task, folder)


@pytest.fixture(scope="module")
def undisturbed(
    own_store: PairStore, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, object]:
    """`scores.json` of an undisturbed run, without the key that may differ."""
    out = tmp_path_factory.mktemp("undisturbed")
    score(own_store, bilinear(own_store), out, steps_per_block=1)
    return read_scores(out / SCORES).model_dump(exclude={"run"})


@pytest.mark.parametrize("after", [1, 7])
def test_killed_and_resumed(
    own_store: PairStore, undisturbed: Mapping[str, object], tmp_path: Path, after: int
) -> None:
    """SIGKILL after some blocks: no result is there; a second run gives the undisturbed scores."""
    out = tmp_path / "out"
    names = ",".join(region.name for region in own_store.task.regions)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(own_store.folder), str(out), names],
        cwd=Path(__file__).parents[2],
    )
    try:
        deadline = time.monotonic() + 60
        while len(done := list(out.glob(f"{PARTIAL}*/*.npz"))) < after:
            assert child.poll() is None, "the child ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    assert not (out / SCORES).exists()
    assert not (out / CASES).exists()
    kept = len(list(out.glob(f"{PARTIAL}*/*-*.npz")))
    assert len(done) <= kept < BLOCKS
    reports: list[int] = []
    found = score(
        own_store, bilinear(own_store), out, steps_per_block=1,
        report=lambda done, total, region: reports.append(done),  # noqa: ARG005
    )  # fmt: skip
    assert found.case_table_hash == undisturbed["case_table_hash"]
    assert found.model_dump(exclude={"run"}) == undisturbed
    assert len(reports) == BLOCKS - kept, "finished blocks were taken over"
    assert not list(out.glob(f"{PARTIAL}*"))
