"""Scores in child processes that are killed at random moments; run by `test_kill.py`.

    python killed.py PAIRS PREDICTIONS OUT FOLDERS SEED

PAIRS: the folder of era5-sample's pair store; PREDICTIONS: a store of some regions, which are all
that is scored. Each score folder is killed twice, and then resumed. A fork for each attempt, so
that it costs no imports. Prints one line a folder: for both kills whether the score was still
running and how many blocks were finished, and whether the resumed score wrote the expected bytes.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from benchmark.evaluate import score
from benchmark.pair_store import PairStore
from benchmark.results import Scores
from benchmark.sources import StoredPredictions
from benchmark.task_files import load_task

SAME = ("cases.zarr.zip", "sample.zarr.zip", "model.toml")
KILLS = 2


def scored(pairs: Path, predictions: Path, out: Path, reports: list[float]) -> Scores:
    """A score of the regions that are predicted, and the times at which its blocks were done."""
    task = load_task("era5-sample")
    kept = [r for r in task.regions if (predictions / f"{r.name}.zarr").is_dir()]
    store = PairStore(task.model_copy(update={"regions": tuple(kept)}), pairs)
    return score(
        store, StoredPredictions(store.task, predictions), out, steps_per_block=1,
        report=lambda *_: reports.append(time.perf_counter()),
    )  # fmt: skip


def attempt(pairs: Path, predictions: Path, out: Path, *, seconds: float | None) -> bool:
    """Score in a child; kill -9 after `seconds`. Whether it was killed."""
    child = os.fork()
    if child == 0:
        scored(pairs, predictions, out, [])
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("a score failed")
    return os.WIFSIGNALED(status)


def main() -> None:
    """Kill, kill and resume in every folder."""
    pairs, predictions, out = (Path(word) for word in sys.argv[1:4])
    draw = random.Random(int(sys.argv[5]))
    # In this process, so that each child starts with kernels loaded and references scored.
    scored(pairs, predictions, out / "whole", [])
    began, reports = time.perf_counter(), list[float]()
    scored(pairs, predictions, out / "again", reports)
    length = time.perf_counter() - began
    first, last = 0.7 * (reports[0] - began), 1.3 * (reports[-1] - began)
    expected = [(out / "whole" / name).read_bytes() for name in SAME]
    for number in range(int(sys.argv[4])):
        folder = out / str(number)
        for kill in range(KILLS):
            # At any moment, and at one while blocks are written, which is a small part of it.
            bounds = (0.02 * length, length) if kill else (first, last)
            killed = attempt(pairs, predictions, folder, seconds=draw.uniform(*bounds))
            blocks = len(list(folder.glob(".partial-*/*.npz"))) if folder.exists() else 0
            print(int(killed), blocks, end=" ")
        attempt(pairs, predictions, folder, seconds=None)
        same = [(folder / name).read_bytes() for name in SAME] == expected
        rest = sorted(path.name for path in folder.iterdir()) == sorted([*SAME, "scores.json"])
        print(int(same and rest), flush=True)


if __name__ == "__main__":
    main()
