"""How far regions are from the sources, against scipy and plain loops."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from benchmark.distance import box_distance_km
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear
from benchmark.shift import Shift, shifts


@pytest.fixture(scope="module")
def found(store: PairStore) -> dict[tuple[str, str], Shift]:
    """Every number of era5-sample."""
    return {(one.variable, one.region): one for one in shifts(store)}


def training(region: RegionStore, side: str, variable: str) -> tuple[Any, Any]:
    """(values, area weights) of the training period, flat."""
    steps = region.steps(region.task.periods.train)
    values = region.read(side, variable, steps).astype(np.float64)
    grid = region.grid.coarse if side == "coarse" else region.grid.fine
    return values.ravel(), np.broadcast_to(grid.area, values.shape).ravel()


def pooled(store: PairStore, side: str, variable: str, *, without: str) -> tuple[Any, Any]:
    """The training regions together, one left out."""
    parts = [
        training(store.region(region.name), side, variable)
        for region in store.task.regions_of("train")
        if region.name != without
    ]
    values, weights = zip(*parts, strict=True)
    return np.concatenate(values), np.concatenate(weights)


@pytest.mark.parametrize("variable", ["t2m", "wind_speed", "precipitation"])
@pytest.mark.parametrize("name", ["andes-south", "europe-west"])
def test_distances_against_scipy(
    variable: str, name: str, store: PairStore, found: dict[tuple[str, str], Shift]
) -> None:
    """The exact distance of the values, in the sources' standard deviations; bins are narrow."""
    one = found[variable, name]
    for side, distance in (("coarse", one.input_distance), ("fine", one.truth_distance)):
        x, mine = training(store.region(name), side, variable)
        y, theirs = pooled(store, side, variable, without=name)
        spread = math.sqrt(np.cov(y, aweights=theirs, ddof=0))
        exact = wasserstein_distance(x, y, mine, theirs) / spread
        assert distance == pytest.approx(exact, rel=2e-3, abs=2e-3)


def test_detail_by_hand(store: PairStore, found: dict[tuple[str, str], Shift]) -> None:
    """Area-weighted RMS of fine minus bilinear over that of all training regions."""
    squares, weights = {}, {}
    for region in store.regions("test_id", "test_ood"):
        steps = region.steps(store.task.periods.train)
        coarse, fine = (region.read(side, "t2m", steps) for side in ("coarse", "fine"))
        away = fine - Bilinear.on(region.grid)(coarse)
        squares[region.name] = (region.grid.fine.area * away**2).sum()
        weights[region.name] = region.grid.fine.area.sum() * len(away)
    sources = [region.name for region in store.task.regions_of("train")]
    rms = math.sqrt(sum(squares[s] for s in sources) / sum(weights[s] for s in sources))
    expected = math.sqrt(squares["andes-south"] / weights["andes-south"]) / rms
    assert found["t2m", "andes-south"].detail_ratio == pytest.approx(expected, rel=1e-6)


def test_every_test_region_once(store: PairStore, found: dict[tuple[str, str], Shift]) -> None:
    """ID regions against the others; distance in km to the nearest other box."""
    task = store.task
    assert len(found) == 3 * (9 + 12)
    for (_, name), one in found.items():
        others = [r for r in task.regions_of("train") if r.name != name]
        assert one.nearest_km == min(box_distance_km(task.region(name), r) for r in others)
        assert one.split == ("test_id" if task.region(name).role == "train" else "test_ood")
    assert found["t2m", "europe-west"].nearest_km == 0, "boxes trained on overlap"
    elsewhere = [one.nearest_km for one in found.values() if one.split == "test_ood"]
    assert min(elsewhere) >= task.buffer_km


def test_a_copy_of_the_sources_is_at_no_distance(
    store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant field everywhere: distance 0, and NaN where the sources do not vary."""

    def constant(self: RegionStore, side: str, _: str, steps: slice) -> Any:
        shape = (self.grid.coarse if side == "coarse" else self.grid.fine).shape
        return np.full((steps.stop - steps.start, *shape), 280.0625, np.float32)

    monkeypatch.setattr(RegionStore, "read", constant)
    for one in shifts(replace(store), variables=["t2m"]):
        assert math.isnan(one.input_distance)
        assert math.isnan(one.truth_distance)


def test_a_moved_region_is_as_far_as_it_was_moved(
    store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every region the same two values, half each; one region 6 K warmer: 6 K over 1 K of spread.

    Between 280 and 282 K the standard deviation is 1 K.
    """

    def dialled(self: RegionStore, side: str, _: str, steps: slice) -> Any:
        shape = (self.grid.coarse if side == "coarse" else self.grid.fine).shape
        field = np.full((steps.stop - steps.start, *shape), 280.0, np.float32)
        field[..., shape[1] // 2 :] = 282.0
        return field + np.float32(6.0 if self.name == "andes-south" else 0.0)

    monkeypatch.setattr(RegionStore, "read", dialled)
    found = {one.region: one for one in shifts(store, variables=["t2m"])}
    assert found["andes-south"].input_distance == pytest.approx(6.0, abs=1e-6)
    assert found["andes-south"].truth_distance == pytest.approx(6.0, abs=1e-6)
    others = [one for name, one in found.items() if name != "andes-south"]
    assert max(one.truth_distance for one in others) < 1e-6
    assert found["andes-south"].detail_ratio == pytest.approx(1.0, rel=1e-6)


def test_the_verb(
    elsewhere: Callable[..., CompletedProcess[str]], data: Path, store: PairStore
) -> None:
    """The same numbers as JSON and in a table, farthest first; a wrong name is one clear error."""
    done = elsewhere("shift", "era5-sample", "--variable", "t2m", "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    expected = shifts(store, variables=["t2m"])
    assert [row["input_distance"] for row in rows] == [one.input_distance for one in expected]
    shown = elsewhere("shift", "era5-sample", "--variable", "t2m", "--data", data)
    lines = [line for line in shown.stdout.splitlines() if "test_" in line]
    farthest = max(expected, key=lambda one: one.input_distance)
    assert len(lines) == 21
    assert farthest.region in lines[0]
    wrong = elsewhere("shift", "era5-sample", "--variable", "t2n", "--data", data)
    assert wrong.returncode == 2
    assert "t2m" in wrong.stderr
    absent = elsewhere("shift", "era5-sample", "--data", data / "none")
    assert absent.returncode == 2
    assert "elsewhere build era5-sample" in absent.stderr
