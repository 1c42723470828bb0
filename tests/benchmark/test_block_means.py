"""The CRPS of block means by brute force: offsets, broken rows, missing truths."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import block_means as family
from benchmark.families.base import Slab
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]

pytestmark = pytest.mark.usefixtures("engine")


def loop(slab: Slab, offset: int) -> tuple[Array, Array, Array]:
    """(T, 4) sums of areas times mean |x - t|, areas, and pair spreads, block by block."""
    steps, count, ny, nx = slab.members.shape
    area = slab.domain.area
    sums = np.zeros((3, steps, 4))
    for s, side in enumerate((2, 4, 8, 16)):
        for top in range(offset, ny - side + 1, side):
            for left in range(offset, nx - side + 1, side):
                inside = slice(top, top + side), slice(left, left + side)
                w = area[inside]
                for k in range(steps):
                    t = (w * slab.truth[k][inside].astype(float)).sum() / w.sum()
                    if np.isnan(t):
                        continue
                    x = [(w * field[inside].astype(float)).sum() / w.sum()
                         for field in slab.members[k]]  # fmt: skip
                    sums[0, k, s] += w.sum() * sum(abs(value - t) for value in x) / count
                    sums[1, k, s] += w.sum()
                    sums[2, k, s] += w.sum() * sum(abs(a - b) for a in x for b in x) / 2
    return sums[0], sums[1], sums[2]


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize(
    ("shape", "factor", "offset"), [((20, 36), 4.0, 2), ((25, 35), 2.5, 1), ((24, 32), 8.0, 4)]
)
def test_sums_equal_a_loop(
    make_slab: MakeSlab, members: int, shape: tuple[int, int], factor: float, offset: int
) -> None:
    """Every scale; means are kept in float32, so a CRPS agrees to 1e-6; weights exactly."""
    slab = make_slab(1, steps=2, members=members, missing=0.01, shape=shape, factor=factor)
    assert family.block_offset(slab.domain) == offset
    found = family.reduce(slab)
    error, weight, spread = loop(slab, offset)
    assert (weight[:, 1] > 0).all()
    np.testing.assert_allclose(found["scale_weight"], weight, rtol=1e-12)
    np.testing.assert_allclose(found["scale_abs_error"], error, rtol=1e-6)
    np.testing.assert_allclose(found["scale_pair_spread"], spread, rtol=1e-6)


def test_blocks_do_not_coincide_with_coarse_cells(make_slab: MakeSlab) -> None:
    """What a constrained model has for free, the coarse means, is no block mean.

    A pattern that is constant on blocks of 4 x 4 from the corner has other means over blocks that
    begin half a coarse cell further: members that only know the coarse field have an error.
    """
    slab = make_slab(2, members=1, missing=0.0, shape=(24, 32))
    coarse = np.repeat(np.repeat(slab.coarse, 4, axis=1), 4, axis=2)
    truth = coarse.copy()
    truth[:, ::4] += 1
    truth[:, 3::4] -= 1
    slab = replace(slab, members=coarse[:, None], truth=truth)
    plain = truth.reshape(1, 6, 4, 8, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(plain, slab.coarse, rtol=1e-6)
    found = family.reduce(slab)
    assert found["scale_abs_error"][0, 0] > 0.1 * found["scale_weight"][0, 0]


def test_one_missing_cell_takes_one_block_of_each_scale(make_slab: MakeSlab) -> None:
    """The block around a gap goes and nothing else, at every scale."""
    slab = make_slab(3, missing=0.0, shape=(36, 36))
    whole = family.reduce(slab)["scale_weight"][0]
    truth = slab.truth.copy()
    truth[0, 20, 21] = np.nan
    found = family.reduce(replace(slab, truth=truth))["scale_weight"][0]
    for s, side in enumerate((2, 4, 8, 16)):
        top, left = (2 + (place - 2) // side * side for place in (20, 21))
        lost = slab.domain.area[top : top + side, left : left + side].sum()
        assert whole[s] - found[s] == pytest.approx(lost, rel=1e-9)


def test_a_region_too_small_for_a_scale(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """12 x 16 cells hold no block of 16: its score is missing, the others stand."""
    found = METRICS["block_crps"](make_totals(make_slab(4, missing=0.0)))
    np.testing.assert_array_equal(found["scale"], [2, 4, 8, 16])
    np.testing.assert_array_equal(np.isnan(found), [False, False, False, True])


def test_constant_fields_keep_their_values(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Means of constants are the constants: |3 - 5| at each scale; equal members, no spread."""
    slab = make_slab(5, members=2, missing=0.0, shape=(20, 20))
    slab = replace(slab, members=np.full_like(slab.members, 3), truth=np.full_like(slab.truth, 5))
    found = METRICS["block_crps"](make_totals(slab))
    np.testing.assert_allclose(found, 2.0, rtol=1e-6)


def test_noise_averages_out_with_scale(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """White noise of members and truth: the CRPS of means over n x n cells falls as 1 / n."""
    slab = make_slab(6, steps=30, members=8, missing=0.0, shape=(36, 36))
    generator = np.random.default_rng(0)
    slab = replace(
        slab, members=generator.normal(size=slab.members.shape).astype(np.float32),
        truth=generator.normal(size=slab.truth.shape).astype(np.float32),
    )  # fmt: skip
    found = METRICS["block_crps"](make_totals(slab)).values
    np.testing.assert_allclose(found * (2, 4, 8, 16), 1 / np.sqrt(np.pi), rtol=0.15)
