"""kill -9 at a random moment of scoring, then the same command again: the same bytes."""

import random
from collections.abc import Callable
from pathlib import Path

from attempts import attempt, moment
from killed_score import LENGTH, scored, timed

from baselines.nulls import null
from benchmark.pair_store import PairStore
from benchmark.prediction_store import write_predictions

BLOCKS = 24
"""Test steps of two regions, each a block."""
FOLDERS = 5
SAME = ("cases.zarr.zip", "sample.zarr.zip", "model.toml", "task.json")


def blocks(folder: Path) -> int:
    """How many blocks of a score are done."""
    return len(list(folder.glob(".partial-*/*.npz")))


def test_twenty_kills_change_no_byte(
    make_map_store: Callable[..., PairStore], tmp_path: Path
) -> None:
    """Scores that are killed four times each and then resumed are the unbroken one.

    Half of the kills come while blocks are written, the others at any moment.
    """
    store = make_map_store("killed")
    few = tuple(r for r in store.task.regions if r.name in ("home", "judge", "north"))
    store = PairStore(store.task.model_copy(update={"regions": few}), store.folder)
    predictions, whole, draw = tmp_path / "predictions", tmp_path / "whole", random.Random(7)
    for _ in write_predictions(null("bilinear", store), store, predictions):
        pass
    assert not attempt(timed, store, predictions, whole)
    length = float((tmp_path / LENGTH).read_text())
    expected = {name: (whole / name).read_bytes() for name in SAME}
    killed, found = [], set()
    for number in range(FOLDERS):
        folder = tmp_path / str(number)

        def written(count: int, folder: Path = folder) -> Callable[[], bool]:
            return lambda: blocks(folder) >= count

        half = BLOCKS // 2
        first, second = draw.randrange(half), half + draw.randrange(half)
        moments = [
            moment(draw.uniform(0, 0.01), since=written(first)),
            moment(draw.uniform(0, 0.01), since=written(second)),
            moment(draw.uniform(0.02, 0.95) * length),
            moment(draw.uniform(0.02, 0.95) * length),
        ]
        for until in moments:
            killed.append(attempt(scored, store, predictions, folder, until=until))
            found.add(blocks(folder))
        assert not attempt(scored, store, predictions, folder)
        assert {name: (folder / name).read_bytes() for name in SAME} == expected
        assert {path.name for path in folder.iterdir()} == {*SAME, "scores.json"}
    assert len(killed) == 20
    assert sum(killed) >= 15
    assert len(found) > 5
