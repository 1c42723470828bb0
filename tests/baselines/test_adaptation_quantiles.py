"""Quantile mapping: laws on laws, dry cells dry, an exact way back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from baselines.adaptation import quantile_mapping
from baselines.adaptation.quantile_mapping import (
    MOST,
    QUANTILES,
    QuantileMap,
    law,
    map_between,
    rain_channels,
    thinned,
    wet_law,
    wet_values,
)
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task

Array = NDArray[np.float64]


def rain(count: int, *, dry: float, scale: float, seed: int) -> Array:
    """Rain of which a share is exactly 0, the rest drawn from a gamma law."""
    rng = np.random.default_rng(seed)
    wet = round(count * (1 - dry))
    return np.concatenate([np.zeros(count - wet), scale * rng.gamma(0.6, size=wet)])


def fitted(target: Array, source: Array) -> QuantileMap:
    return map_between(law(target[target > 0]), law(source[source > 0]))


def test_the_tie_trap() -> None:
    """A source 60 % dry, a target 90 % dry: a table of all values wets every dry cell with 1.28.

    That is the source's 90th percentile, and the mapped mean would be 1.44, not below 0.40.
    """
    source, target = (
        rain(200_000, dry=0.6, scale=1, seed=1),
        rain(200_000, dry=0.9, scale=0.5, seed=2),
    )
    source *= 1.28 / np.quantile(source, 0.9)
    levels = np.linspace(0, 1, QUANTILES)
    naive = np.interp(target, np.quantile(target, levels), np.quantile(source, levels))
    assert naive[target == 0] == pytest.approx(1.28, rel=0.02)
    mapped = fitted(target, source).to_source(target)
    assert (mapped[target == 0] == 0).all()
    assert (mapped[target > 0] > 0).all()
    assert mapped.mean() == pytest.approx(0.1 * source[source > 0].mean(), rel=0.01)
    assert naive.mean() > 1.28 > 5 * mapped.mean()


def test_wet_values_take_the_law_of_the_sources() -> None:
    """Quantiles of the mapped wet values are those of the source's, between its 1000 knots too."""
    source, target = (
        rain(90_000, dry=0.5, scale=2, seed=3),
        rain(70_000, dry=0.8, scale=0.3, seed=4),
    )
    mapped = fitted(target, source).to_source(target[target > 0])
    levels = [0.01, 0.2, 0.5, 0.777, 0.95, 0.99]
    np.testing.assert_allclose(
        np.quantile(mapped, levels), np.quantile(source[source > 0], levels), rtol=5e-3
    )
    assert mapped.max() == source.max()


def test_beyond_the_outermost_quantiles_the_ratio_is_kept() -> None:
    """Twice the largest value becomes twice the source's largest; below 0 there is no rain."""
    change = map_between(np.linspace(1, 4, QUANTILES), np.linspace(2, 12, QUANTILES))
    values = np.array([-1.0, 0.0, 0.5, 1.0, 4.0, 8.0, np.nan])
    expected = [-1.0, 0.0, 1.0, 2.0, 12.0, 24.0, np.nan]
    np.testing.assert_allclose(change.to_source(values), expected, rtol=1e-12)
    np.testing.assert_allclose(change.to_target(expected), values, rtol=1e-12)


steps = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps, steps, st.sampled_from([1.0, 0.0005]))
@example([1, 1, 2], [9], 0.0005)
@example([1, 1, 1, 2, 4], [9], 0.0005)
def test_the_way_back_is_the_inverse(target: list[int], source: list[int], unit: float) -> None:
    """Also where both samples are full of ties, as packed data are; and both ways ascend."""
    change = fitted(unit * np.array(target, float), unit * np.array(source, float))
    values = unit * np.sort(np.concatenate([np.linspace(-1, 90, 300), target, source]))
    there = change.to_source(values)
    rising = np.diff(values) > 0
    assert (np.diff(there)[rising] > 0).all()
    np.testing.assert_allclose(change.to_target(there), values, rtol=1e-9, atol=1e-12)
    assert (np.sign(there) == np.sign(values)).all()


def test_equal_laws_change_nothing() -> None:
    values = rain(5000, dry=0.7, scale=1, seed=5)
    np.testing.assert_allclose(fitted(values, values).to_source(values), values, rtol=1e-12)


def test_a_law_is_of_the_training_period_and_all_regions(
    store: PairStore, task: Task, reads: list[Any]
) -> None:
    """Against numpy on the whole arrays; no other step is read, and nothing fine."""
    regions = [store.region(name) for name in ("andes-south", "europe-west")]
    found = wet_law(regions, "precipitation")
    periods = {range(*region.steps(task.periods.train).indices(1000)) for region in regions}
    assert {(read.side, read.variable) for read in reads} == {("coarse", "precipitation")}
    assert {read.steps for read in reads} == periods
    whole = np.concatenate(
        [
            region.read("coarse", "precipitation", region.steps(task.periods.train)).ravel()
            for region in regions
        ]
    ).astype(float)
    expected = np.quantile(whole[whole > 0], np.linspace(0, 1, 1000))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("most", [64, 200])
def test_of_very_many_values_every_kth_step_counts(
    store: PairStore, monkeypatch: pytest.MonkeyPatch, reads: list[Any], most: int
) -> None:
    """11 steps of 64 cells: every 11th and every 5th step, and each read alone."""
    monkeypatch.setattr(quantile_mapping, "MOST", most)
    found = wet_values([store.region("andes-south")], "precipitation")
    every = {64: 11, 200: 5}[most]
    assert [read.steps.start for read in reads] == list(range(0, 11, every))
    assert all(len(read.steps) == 1 for read in reads)
    assert 0 < found.size <= most


def test_thinning_takes_all_hours_of_the_day() -> None:
    """k is prime to 24; without too many values every step counts."""
    assert [thinned(n) for n in (1, MOST, MOST + 1, 3 * MOST + 1, 24 * MOST)] == [1, 1, 5, 5, 25]


def test_a_region_without_rain_is_an_input_error(
    store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = store.region("andes-south")
    monkeypatch.setattr(type(region), "read", lambda *_: np.zeros((11, 8, 8), np.float32))
    with pytest.raises(InputError, match="andes-south: coarse precipitation"):
        wet_law([region], "precipitation")


def test_only_precipitation_is_mapped(task: Task) -> None:
    """By standard name and units; a task without it says so."""
    assert rain_channels(task) == {2: "precipitation"}
    daily = task.variables[2].model_copy(update={"units": "mm d-1"})
    assert rain_channels(task.model_copy(update={"variables": (daily,)})) == {0: "precipitation"}
    with pytest.raises(InputError, match="lwe_precipitation_rate"):
        rain_channels(task.model_copy(update={"variables": task.variables[:2]}))
