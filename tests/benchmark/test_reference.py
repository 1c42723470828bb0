"""Bilinear interpolation on cell centres against torch, scipy and straight lines."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from benchmark.grid import Axis, Grid, RegionGrid
from benchmark.reference import Bilinear, linear_weights

Array = NDArray[np.float64]


def region(factor: float, *, coarse: tuple[int, int] = (6, 8)) -> RegionGrid:
    """A region whose coarse cells are `factor` fine ones (of 1 degree) wide."""
    ny, nx = (round(cells * factor) for cells in coarse)
    fine = Grid(Axis(50.0, 50.0 - ny, ny), Axis(-10.0, -10.0 + nx, nx))
    return RegionGrid(
        fine, Grid(Axis(50.0, 50.0 - ny, coarse[0]), Axis(-10.0, -10.0 + nx, coarse[1])), margin=0
    )


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_equals_torch_at_integer_factors(factor: int) -> None:
    """The same as torch's bilinear with align_corners=False, its edges included."""
    torch = pytest.importorskip("torch")
    coarse = np.random.default_rng(0).normal(280, 10, (3, 6, 8))
    found = Bilinear.on(region(factor))(coarse)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(coarse[:, None]), scale_factor=factor, mode="bilinear",
        align_corners=False,
    ).numpy()[:, 0]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("factor", [2.5, 4.0])
def test_equals_scipy_inside(factor: float) -> None:
    """Between the outermost coarse centres it is scipy's linear interpolation, at 2.5 too."""
    grid = region(factor)
    coarse = np.random.default_rng(1).normal(size=grid.coarse.shape)
    y, x = grid.fine.y.centres, grid.fine.x.centres
    # scipy wants ascending coordinates.
    lookup = RegularGridInterpolator(
        (grid.coarse.y.centres[::-1], grid.coarse.x.centres), coarse[::-1], bounds_error=False
    )
    expected = lookup(np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1))
    inside = np.isfinite(expected)
    assert inside.sum() > 100
    found = Bilinear.on(grid)(coarse)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-13)


@pytest.mark.parametrize("factor", [2.0, 2.5, 4.0])
def test_ramps_are_exact_inside_and_clamped_outside(factor: float) -> None:
    """A plane comes back exactly between centres; beyond them the outermost value holds."""
    grid = region(factor)

    def plane(y: Array, x: Array) -> Array:
        return np.asarray(3.0 * y[:, None] - 0.7 * x[None, :] + 5.0)

    coarse_y, coarse_x = grid.coarse.y.centres, grid.coarse.x.centres
    found = Bilinear.on(grid)(plane(coarse_y, coarse_x))
    y = np.clip(grid.fine.y.centres, coarse_y.min(), coarse_y.max())
    x = np.clip(grid.fine.x.centres, coarse_x.min(), coarse_x.max())
    np.testing.assert_allclose(found, plane(y, x), rtol=1e-13)
    assert not np.array_equal(y, grid.fine.y.centres), "some cells lie beyond the centres"


def test_descending_axes_are_ascending_ones_turned_round() -> None:
    """Latitudes from north to south interpolate as from south to north."""
    source, target = np.array([1.0, 3.0, 4.0, 8.0]), np.array([0.0, 1.5, 3.0, 3.9, 7.0, 9.0])
    up = linear_weights(source, target)
    down = linear_weights(source[::-1].copy(), target[::-1].copy())
    np.testing.assert_allclose(down[::-1, ::-1], up, atol=1e-15)
    np.testing.assert_allclose(up @ source, np.clip(target, 1.0, 8.0), rtol=1e-15)
    np.testing.assert_allclose(linear_weights(source[::-1].copy(), target)[:, ::-1], up, atol=1e-15)


def test_weights_are_a_convex_combination() -> None:
    """Rows sum to 1 and no weight is negative: no new extremes, no negative rain."""
    grid = region(2.5)
    bilinear = Bilinear.on(grid)
    for weights in (bilinear.in_y, bilinear.in_x):
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-15)


def test_steps_do_not_touch_one_another() -> None:
    """A step's field has the same bits alone and in a block, so blocks cannot matter."""
    grid = region(4.0)
    bilinear = Bilinear.on(grid)
    coarse = np.random.default_rng(2).normal(280, 5, (7, *grid.coarse.shape)).astype(np.float32)
    whole = bilinear(coarse)
    for k in range(7):
        np.testing.assert_array_equal(bilinear(coarse[k : k + 1])[0], whole[k])
        np.testing.assert_array_equal(bilinear(coarse[k]), whole[k])
