"""The training mean of each cell: exact, kept, computed again where the file is no good."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.climatology import training_mean
from benchmark.pair_store import PairStore, RegionStore

REGION = "japan-okhotsk"


def expected(region: RegionStore, variable: str) -> np.ndarray:
    """By numpy, from every training step."""
    values = region.read("fine", variable, region.steps(region.task.periods.train))
    return np.asarray(values.mean(axis=0, dtype=np.float64))


def kept(store: PairStore) -> list[Path]:
    """The files that are kept."""
    return sorted((store.folder / "climatology").glob("*"))


@pytest.mark.parametrize("variable", ["t2m", "precipitation"])
def test_it_is_the_mean_of_the_training_period(fresh_store: PairStore, variable: str) -> None:
    """In float64, on the whole grid, margin included; no other period's steps."""
    region = fresh_store.region(REGION)
    found = training_mean(region, variable)
    assert found.dtype == np.float64
    assert found.shape == region.grid.fine.shape
    np.testing.assert_allclose(found, expected(region, variable), rtol=1e-12)


def test_it_is_computed_once(fresh_store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call reads the file: the same bits, and no truth is read."""
    region = fresh_store.region(REGION)
    first = training_mean(region, "t2m")
    assert len(kept(fresh_store)) == 1

    def refuse(*_: object) -> None:
        raise AssertionError("the truth was read again")

    monkeypatch.setattr(RegionStore, "read", refuse)
    np.testing.assert_array_equal(training_mean(region, "t2m"), first)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a file of arrays"])
def test_a_damaged_file_is_made_again(fresh_store: PairStore, content: bytes) -> None:
    """Whatever lies there that is no mean: computed and written anew."""
    region = fresh_store.region(REGION)
    first = training_mean(region, "t2m")
    (path,) = kept(fresh_store)
    whole = path.read_bytes()
    for damaged in (content, whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(training_mean(region, "t2m"), first)
        assert path.read_bytes() == whole


def test_another_period_is_another_file(fresh_store: PairStore) -> None:
    """The file's name holds the digest of the truth and the period."""
    region = fresh_store.region(REGION)
    training_mean(region, "t2m")
    periods = region.task.periods
    task = region.task.model_copy(
        update={"periods": periods.model_copy(update={"train": periods.val})}
    )
    other = PairStore(task, fresh_store.folder).region(REGION)
    np.testing.assert_allclose(training_mean(other, "t2m"), expected(other, "t2m"), rtol=1e-12)
    assert len(kept(fresh_store)) == 2


def test_missing_truths_are_left_out(
    fresh_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's mean is over the steps that it has; a cell without any is NaN."""
    original = RegionStore.read

    def with_gaps(self: RegionStore, side: str, variable: str, steps: slice, **more: Any) -> Any:
        values = original(self, side, variable, steps, **more).copy()
        values[:, 2, 3] = np.nan
        if steps.start == 0:
            values[0, 5, 6] = np.nan
        return values

    region = fresh_store.region(REGION)
    values = region.read("fine", "t2m", region.steps(region.task.periods.train))
    monkeypatch.setattr(RegionStore, "read", with_gaps)
    found = training_mean(region, "t2m")
    assert np.isnan(found[2, 3])
    assert np.isnan(found).sum() == 1
    assert found[5, 6] == pytest.approx(values[1:, 5, 6].mean(dtype=np.float64), rel=1e-12)
