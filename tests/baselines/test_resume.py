"""Kill it at any moment: a resumed run gives the bits of one that was never stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from baselines.runs import CHECKPOINT, RECORD, WEIGHTS, Request, RunRecord
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore

Make = Callable[..., Request]
pytestmark = pytest.mark.usefixtures("quick_data")

KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
from baselines.runs import Request
from baselines.training import train
from benchmark.pair_store import open_pair_store
from benchmark.task_files import load_task

saves, replace = [], Path.replace

def dying(self, target):
    if Path(target).name == "checkpoint.safetensors":
        saves.append(target)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = dying
store = open_pair_store(load_task("era5-sample"), Path(sys.argv[1]))
train(store, Request.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
"""


def interrupt_at(*steps: int) -> Callable[..., None]:
    """A report that stops the run there, once for each step given."""
    left = list(steps)

    def report(step: int, *_: object) -> None:
        if left and step == left[0]:
            left.pop(0)
            raise KeyboardInterrupt

    return report


def lasting(record: RunRecord) -> RunRecord:
    """The record without what may differ between identical runs."""
    return record.model_copy(update={"seconds": 0.0})


def assert_same_run(store: PairStore, request: Request, folder: Path, undisturbed: Path) -> None:
    """Finish `folder` and compare it with a run that was never stopped."""
    expected = train(store, request, undisturbed)
    assert lasting(train(store, request, folder)) == lasting(expected)
    assert (folder / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()
    assert not (folder / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("every", "stops"),
    [(4, (1,)), (4, (6,)), (4, (8,)), (4, (10,)), (3, (9,)), (3, (5, 7, 10)), (5, (6, 9))],
)
def test_interrupted_and_resumed_is_bit_identical(
    store: PairStore, tiny: Make, tmp_path: Path, every: int, stops: tuple[int, ...]
) -> None:
    """Before the first checkpoint, between two, on one, after the last step, several times."""
    request = tiny(
        f"training.validate_every={every}", "training.mirror=true", "training.weight_decay=0.01",
        constraint="add", seed=2,
    )  # fmt: skip
    report = interrupt_at(*stops)
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            train(store, request, tmp_path / "run", report=report)
        assert not (tmp_path / "run" / RECORD).exists()
    assert_same_run(store, request, tmp_path / "run", tmp_path / "undisturbed")


def test_the_best_step_before_a_stop_is_remembered(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """Where the loss rises after the first validation, its weights outlast the interruption."""
    request = tiny(
        "training.schedule=constant", "training.learning_rate=0.3", "training.validate_every=1"
    )
    with pytest.raises(KeyboardInterrupt):
        train(store, request, tmp_path / "run", report=interrupt_at(7))
    assert_same_run(store, request, tmp_path / "run", tmp_path / "undisturbed")
    assert train(store, request, tmp_path / "run").best_step < 7


def test_resuming_goes_on_from_the_last_checkpoint(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """It repeats only the steps since then, so a long run is not begun again."""
    with pytest.raises(KeyboardInterrupt):
        train(store, tiny(), tmp_path, report=interrupt_at(9))
    taken: list[int] = []
    train(store, tiny(), tmp_path, report=lambda step, *_: taken.append(step))
    assert taken == [9, 10]


def test_bf16_resumes_bit_identically(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """Mixed precision keeps its state in the weights and the optimiser alone."""
    request = tiny("training.precision=bf16", constraint="softmax", skip=False)
    with pytest.raises(KeyboardInterrupt):
        train(store, request, tmp_path / "run", report=interrupt_at(6))
    assert_same_run(store, request, tmp_path / "run", tmp_path / "undisturbed")


def test_killed_while_it_saves_is_bit_identical(
    store: PairStore, data: Path, tiny: Make, tmp_path: Path
) -> None:
    """kill -9 in a process of its own, between writing a checkpoint and putting it in place."""
    request, folder = tiny("training.validate_every=3", seed=6), tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, data, request.model_dump_json(), folder],
        cwd=tmp_path, env={**os.environ}, check=False, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (folder / CHECKPOINT).exists()
    assert not (folder / RECORD).exists()
    taken: list[int] = []
    train(store, request, folder, report=lambda step, *_: taken.append(step))
    assert taken[0] == 4
    assert_same_run(store, request, folder, tmp_path / "undisturbed")


@pytest.mark.parametrize("content", [b"", b"not tensors at all", None])
def test_a_damaged_checkpoint_is_an_input_error(
    store: PairStore, tiny: Make, tmp_path: Path, content: bytes | None
) -> None:
    """Empty, garbage or cut short: one clear line, and the file is left for the user to see."""
    with pytest.raises(KeyboardInterrupt):
        train(store, tiny(), tmp_path, report=interrupt_at(5))
    path = tmp_path / CHECKPOINT
    damaged = path.read_bytes()[:-100] if content is None else content
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="safetensors form"):
        train(store, tiny(), tmp_path)
    assert path.read_bytes() == damaged
