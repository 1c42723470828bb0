"""Moving stored fields onto the coarse field: the two methods, and the one that stays wet."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.post_hoc import (
    METHODS,
    Constrained,
    block_shift,
    move_known,
    nonnegative_shift,
)
from benchmark.sources import StoredPredictions

Array = NDArray[np.float64]


def operator(factor: float, *, cells: int = 20) -> AreaOverlap:
    """A square lat-lon grid at high latitudes."""
    fine, coarse = np.arange(cells + 1.0), factor * np.arange(round(cells / factor) + 1)
    return AreaOverlap.from_edges(fine=(70 - fine, 5 + fine), coarse=(70 - coarse, 5 + coarse))


def rain(overlap: AreaOverlap, lead: tuple[int, ...] = (3, 2)) -> tuple[Array, Array]:
    """Predictions that go below zero, and coarse rain with dry cells, shared by all members."""
    draw = np.random.default_rng(0)
    coarse = np.maximum(draw.normal(0, 2, (lead[0], 1, *overlap.coarse_shape)), 0)
    return draw.normal(0.5, 2, (*lead, *overlap.fine_shape)), coarse


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_both_methods_are_one_on_whole_blocks(factor: float) -> None:
    """The least change is each block's residual, to all its cells."""
    overlap = operator(factor)
    field, coarse = rain(overlap)
    first, second = (make(overlap)(field, coarse) for make in METHODS.values())
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)
    np.testing.assert_allclose(overlap(first), np.broadcast_to(coarse, (3, 2, *coarse.shape[2:])),
                               rtol=0, atol=1e-13)  # fmt: skip


@pytest.mark.parametrize("make", [block_shift, nonnegative_shift])
def test_blocks_that_are_not_whole_are_refused(make: type[AreaOverlap]) -> None:
    """At factor 2.5 a cell has no block of its own."""
    with pytest.raises(ValueError, match="do not partition"):
        make(operator(2.5))


@pytest.mark.parametrize("factor", [2.0, 4.0, 5.0])
def test_the_nonnegative_field_conserves(factor: float) -> None:
    """A y = x to rounding and y >= 0; dry blocks exactly 0, wherever the prediction was."""
    overlap = operator(factor)
    field, coarse = rain(overlap)
    got = nonnegative_shift(overlap)(field, coarse)
    assert (got >= 0).all()
    np.testing.assert_allclose(overlap(got) - coarse, 0, atol=1e-13)
    dry = np.broadcast_to(coarse == 0, (3, 2, *overlap.coarse_shape))
    assert dry.any()
    assert (got[dry.repeat(int(factor), 2).repeat(int(factor), 3)] == 0).all()


def test_the_nonnegative_field_is_the_nearest_one() -> None:
    """Against every choice of wet cells of 2 x 2 blocks, each solved by itself."""
    overlap = operator(2.0, cells=8)
    field, coarse = rain(overlap, (2, 1))
    got, weights = nonnegative_shift(overlap)(field, coarse), overlap.block_weights
    for t, j, i in np.ndindex(2, 4, 4):
        at = slice(2 * j, 2 * j + 2), slice(2 * i, 2 * i + 2)
        f, a, x = field[t, 0][at].ravel(), weights[at].ravel(), coarse[t, 0, j, i]
        best, nearest = np.inf, np.zeros(4)
        for size in range(1, 5):
            for wet in map(list, combinations(range(4), size)):
                y = np.zeros(4)
                y[wet] = f[wet] + (x - (a * f)[wet].sum()) / a[wet].sum()
                distance = (a * (y - f) ** 2).sum()
                if y.min() >= -1e-15 and distance < best:
                    best, nearest = distance, y
        np.testing.assert_allclose(got[t, 0][at].ravel(), nearest, atol=1e-12)


def test_the_nonnegative_field_is_the_shifted_one_where_that_is() -> None:
    """Temperatures are far from 0 K: nothing but the shift."""
    overlap = operator(4.0)
    field, coarse = rain(overlap)
    expected = block_shift(overlap)(field + 280, coarse + 280)
    got = nonnegative_shift(overlap)(field + 280, coarse + 280)
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_tiny_rain_beside_a_large_field() -> None:
    """1e-12 mm h-1 is conserved to its own digits below a prediction of thousands."""
    overlap = operator(4.0)
    field, coarse = rain(overlap)
    got = nonnegative_shift(overlap)(1e3 * field, 1e-12 * coarse)
    wanted = np.broadcast_to(1e-12 * coarse, overlap(got).shape)
    np.testing.assert_allclose(overlap(got), wanted, rtol=1e-12)


def test_a_negative_mean_has_no_nonnegative_field() -> None:
    """It is refused and not cut."""
    overlap = operator(4.0)
    field, coarse = rain(overlap)
    with pytest.raises(ValueError, match="negative mean"):
        nonnegative_shift(overlap)(field, coarse - 1e-9)


def test_a_missing_coarse_cell_leaves_its_neighbours_alone() -> None:
    """At factor 2.5 it shares cells with them: they are met, its own mean stays what it was, and
    cells far away are moved as if nothing were missing.
    """
    overlap = operator(2.5)
    field, coarse = rain(overlap)
    whole, lossy = overlap.projector(), coarse.copy()
    lossy[:, :, 2, 3] = np.nan
    got = move_known(overlap, whole, 280 + field, 280 + lossy)
    known = np.broadcast_to(np.isfinite(lossy), (3, 2, *overlap.coarse_shape))
    wanted = np.broadcast_to(280 + coarse, known.shape)
    np.testing.assert_allclose(overlap(got)[known], wanted[known], rtol=1e-12)
    alone = whole(280 + field, 280 + coarse)
    np.testing.assert_allclose(got[..., 10:, :], alone[..., 10:, :], rtol=1e-12)
    assert abs(got - 280 - field).max() < 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clip", [False, True])
def test_a_missing_coarse_cell_binds_nothing(
    store: PairStore, dressed_predictions: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, clip: bool,
) -> None:  # fmt: skip
    """Its block stays as predicted, negative values and all; every other block is unaffected."""
    source = StoredPredictions(store.task, dressed_predictions)
    region, name = store.region("andes-south"), "precipitation"
    first = region.steps(store.task.periods.test).start
    steps = slice(first, first + 3)
    slabs = StoredPredictions.slabs

    def drier(self: StoredPredictions, *words: Any, size: int) -> Iterator[tuple[slice, Any]]:
        for slab, fields in slabs(self, *words, size=size):
            yield slab, {k: field - np.float32(0.02) for k, field in fields.items()}

    monkeypatch.setattr(StoredPredictions, "slabs", drier)
    whole = Constrained(source, method, clip).predict(region, steps)[name].copy()
    ((_, given),) = source.slabs(region, steps, size=3)
    read = RegionStore.read

    def lossy(self: RegionStore, side: str, variable: str, chosen: slice) -> NDArray[np.float32]:
        values = read(self, side, variable, chosen).copy()
        if side == "coarse":
            values[1, 2, 5] = np.nan
        return values

    monkeypatch.setattr(RegionStore, "read", lossy)
    got = Constrained(source, method, clip).predict(region, steps)[name]
    lost = np.zeros(got.shape, dtype=bool)
    lost[1, :, 8:12, 20:24] = True
    assert given[name][lost].min() < 0
    np.testing.assert_allclose(got[lost], given[name][lost], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(got[~lost], whole[~lost])
    assert (abs(got - given[name])[~lost] > 1e-3).any()


def test_clipping_to_a_negative_coarse_field_is_an_input_error(
    store: PairStore, bilinear_predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The region, the variable and the way out are named; without `clip` it is done."""
    source = StoredPredictions(store.task, bilinear_predictions)
    region = store.region("andes-south")
    first = region.steps(store.task.periods.test).start
    read = RegionStore.read
    monkeypatch.setattr(
        RegionStore, "read",
        lambda self, side, name, steps: read(self, side, name, steps) - np.float32(0.01),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"andes-south: coarse precipitation.*--clip"):
        Constrained(source, "add", clip=True).predict(region, slice(first, first + 1))
    found = Constrained(source, "add").predict(region, slice(first, first + 1))
    assert found["precipitation"].min() < 0
