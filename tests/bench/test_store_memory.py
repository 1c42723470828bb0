"""Peak memory of scoring a prediction store: below 500 MB, as stated, flat when the store grows.

Each score is a process of its own, whose peak the system counts. Two workers, the members of
workload B on a smaller grid, so that many steps are quickly written.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import workload

ROOT = Path(__file__).parents[2]
SIDE = 96
"""Cells: a slab is 28 steps, so that the shorter store also fills one for each worker."""
STEPS = (40, 400)
SLACK = 48 * 2**20
"""Beyond `memory_bound`: compiled kernels, the case table, what the allocator keeps."""

SCORE = """
import json, sys
from pathlib import Path
import dask.array, distributed, numba
import benchmark.evaluate
from benchmark.pair_store import PairStore
from benchmark.scoring import memory_bound, score_cases
from benchmark.sources import StoredPredictions
from benchmark.task import Task

def peak():
    # Not ru_maxrss: on Linux it starts from the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

folder, work = (Path(word) for word in sys.argv[1:])
task = Task.model_validate_json((folder / "task.json").read_text())
store = PairStore(task, folder / task.id)
source = StoredPredictions(task, folder / "predictions")
before = peak()
score_cases(store, source, work=work, workers=2)
bound = memory_bound(store, source.member_count, workers=2, streamed=False)
print(json.dumps({"before": before, "after": peak(), "bound": bound}))
"""


def peaks(folder: Path, work: Path) -> dict[str, int]:
    """Bytes: the peak before and after a score, and the bound that was stated."""
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(folder), str(work)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_bounded_and_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 500 MB in all; what scoring adds to the libraries is as stated, for any length."""
    monkeypatch.setattr(workload, "SIDE", SIDE)
    found = []
    for steps in STEPS:
        folder = tmp_path / str(steps)
        store, _ = workload.build_workload(folder, steps)
        (folder / "task.json").write_text(store.task.model_dump_json())
        peaks(folder, tmp_path / f"first-{steps}")  # kernels, and what is kept beside the store
        found.append(peaks(folder, tmp_path / f"second-{steps}"))
    short, long = found
    for run in found:
        print({name: round(size / 1e6) for name, size in run.items()})
        assert run["after"] < 500e6
        assert run["after"] - run["before"] < run["bound"] + SLACK
    assert long["after"] < 1.15 * short["after"]
