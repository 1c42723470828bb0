"""The interpolation kernels against torch and numpy, which compute them another way."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from baselines.interpolation import (
    KERNELS,
    ConservativeRemapping,
    interpolate,
    shifted_south_east,
)
from benchmark.grid import Axis, Grid, RegionGrid

Array = NDArray[np.float64]
COARSE = (5, 7)
EVERY = pytest.mark.parametrize("name", sorted(KERNELS))


def grid_of(factor: float, *, flipped: bool = False) -> RegionGrid:
    """5 x 7 coarse cells of `factor` degrees (twice that many at 2.5) over fine ones of 1."""
    times = 1 if factor == int(factor) else 2
    rows, columns = COARSE[0] * times, COARSE[1] * times
    height, width = rows * factor, columns * factor

    def grid(ny: int, nx: int) -> Grid:
        south, north = 10.0, 10.0 + height
        first, last = (south, north) if flipped else (north, south)
        return Grid(Axis(first, last, ny), Axis(-30.0, -30.0 + width, nx))

    return RegionGrid(grid(round(height), round(width)), grid(rows, columns), margin=0)


def coarse_of(grid: RegionGrid) -> Array:
    return np.random.default_rng(0).normal(5, 2, (2, 3, *grid.coarse.shape))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_equals_torch(name: str, factor: int) -> None:
    """`torch.nn.functional.interpolate` between cell centres, edges clamped, cubic a = -0.75."""
    grid = grid_of(factor)
    coarse = coarse_of(grid)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), scale_factor=factor, mode=name, align_corners=False
    )
    got = interpolate(KERNELS[name], grid, coarse)
    assert got.shape == (2, 3, *grid.fine.shape)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-11)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_nearest_repeats_every_cell(factor: int) -> None:
    """At a whole factor each coarse cell is copied to the cells of its block, exactly."""
    grid = grid_of(factor)
    coarse = coarse_of(grid)
    expected = np.repeat(np.repeat(coarse, factor, axis=-2), factor, axis=-1)
    np.testing.assert_array_equal(interpolate(KERNELS["nearest"], grid, coarse), expected)


@EVERY
@pytest.mark.parametrize("factor", [2, 2.5, 3, 4])
def test_rows_sum_to_one(name: str, factor: float) -> None:
    """So a constant field stays constant, also at factor 2.5 and at the clamped edges."""
    grid = grid_of(factor)
    weights = KERNELS[name](grid.coarse.y.centres, grid.fine.y.centres)
    assert weights.shape == (grid.fine.shape[0], grid.coarse.shape[0])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-14)


@EVERY
def test_direction_of_an_axis_does_not_matter(name: str) -> None:
    """Rows stored from south to north give the mirror image of rows from north to south."""
    coarse = coarse_of(grid_of(4))
    down = interpolate(KERNELS[name], grid_of(4), coarse)
    up = interpolate(KERNELS[name], grid_of(4, flipped=True), coarse[..., ::-1, :])
    np.testing.assert_allclose(up[..., ::-1, :], down, rtol=1e-12)


def test_bilinear_is_exact_for_planes_at_factor_two_and_a_half() -> None:
    """A plane in latitude and longitude comes back between the outermost coarse centres."""
    grid = grid_of(2.5)

    def plane(part: Grid) -> Array:
        return np.asarray(2 * part.y.centres[:, None] - 0.5 * part.x.centres[None, :] + 1)

    inner = np.s_[2:-2, 2:-2]
    got = interpolate(KERNELS["bilinear"], grid, plane(grid.coarse))
    np.testing.assert_allclose(got[inner], plane(grid.fine)[inner], rtol=1e-12)


def test_nearest_takes_the_nearest_centre_at_factor_two_and_a_half() -> None:
    """Each fine cell holds the value of a coarse cell at the smallest distance along each axis."""
    grid = grid_of(2.5)
    weights = KERNELS["nearest"](grid.coarse.x.centres, grid.fine.x.centres)
    for target, row in zip(grid.fine.x.centres, weights, strict=True):
        distance = abs(grid.coarse.x.centres - target)
        assert sorted(row)[-2:] == [0, 1]
        assert distance[row.argmax()] == distance.min()


@EVERY
def test_missing_and_single_precision_input(name: str) -> None:
    """float32 fields are interpolated in float64; a whole-field NaN stays one."""
    grid = grid_of(4)
    coarse = coarse_of(grid).astype(np.float32)
    got = interpolate(KERNELS[name], grid, coarse)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, interpolate(KERNELS[name], grid, coarse.astype(np.float64)))
    assert np.isnan(interpolate(KERNELS[name], grid, np.full_like(coarse, np.nan))).all()


@pytest.mark.parametrize("factor", [2, 2.5, 4])
def test_the_other_bicubic_is_pils(factor: float) -> None:
    """`Image.resize` of 32-bit floats: a = -0.5, and edges whose weights are renormalised."""
    grid = grid_of(factor)
    coarse = coarse_of(grid)[0, 0].astype(np.float32)
    size = (grid.fine.shape[1], grid.fine.shape[0])
    expected = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    got = interpolate(KERNELS["bicubic-pil"], grid, coarse)
    np.testing.assert_allclose(got, expected, rtol=2e-6)
    assert abs(got - interpolate(KERNELS["bicubic"], grid, coarse)).max() > 0.05


def test_shifted_by_one_cell() -> None:
    """Row j, column i holds what was at j - 1, i - 1; the first of both is repeated."""
    field = np.arange(12.0).reshape(1, 3, 4)
    expected = [[0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6]]
    np.testing.assert_array_equal(shifted_south_east(field), [expected])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_conservative_keeps_the_mean_of_every_whole_block(factor: int) -> None:
    """A y = x to rounding on the sphere, where a block's rows differ in area; y is no copy of x."""
    grid = grid_of(factor)
    coarse = coarse_of(grid)
    got = ConservativeRemapping.on(grid)(coarse)
    np.testing.assert_allclose(grid.overlap(got), coarse, rtol=0, atol=2e-14)
    assert abs(got - interpolate(KERNELS["nearest"], grid, coarse)).max() > 0.5


@pytest.mark.parametrize("factor", [2, 2.5, 4])
def test_conservative_keeps_the_integral(factor: float) -> None:
    """The sums of area times value are the same on both grids, cells that are shared included."""
    grid = grid_of(factor)
    coarse = coarse_of(grid)
    got = ConservativeRemapping.on(grid)(coarse)
    sums = (coarse * grid.coarse.area).sum(axis=(-2, -1))
    np.testing.assert_allclose((got * grid.fine.area).sum(axis=(-2, -1)), sums, rtol=1e-13)


@pytest.mark.parametrize("factor", [2, 2.5, 4])
@pytest.mark.parametrize("flipped", [False, True])
def test_conservative_is_exact_for_planes(factor: float, flipped: bool) -> None:
    """Fields linear in sin(latitude) and longitude, whose cell means lie at cell midpoints."""
    grid = grid_of(factor, flipped=flipped)

    def plane(part: Grid) -> Array:
        s = np.sin(np.radians(part.y.edges))
        return np.asarray(3 * (s[:-1] + s[1:])[:, None] - 0.5 * part.x.centres[None, :] + 1)

    got = ConservativeRemapping.on(grid)(plane(grid.coarse))
    np.testing.assert_allclose(got, plane(grid.fine), rtol=1e-12)


@pytest.mark.parametrize(("factor", "pieces"), [(4, 1), (2.5, 2)])
def test_conservative_is_the_mean_of_the_reconstruction(factor: float, pieces: int) -> None:
    """Brute force: each fine cell cut along the coarse edges, f taken at the midpoint of each bit.

    At 2.5 the halves of a fine cell never straddle a coarse edge.
    """
    grid = grid_of(factor)
    x = coarse_of(grid)[0, 0]
    s, lon = np.sin(np.radians(grid.coarse.y.edges)), grid.coarse.x.edges
    mid_s, mid_lon = (s[1:] + s[:-1]) / 2, (lon[1:] + lon[:-1]) / 2
    in_s, in_lon = np.gradient(x, mid_s, axis=0), np.gradient(x, mid_lon, axis=1)
    # np.gradient weights both sides by distance; inside, Jones takes the chord of the neighbours.
    in_s[1:-1] = (x[2:] - x[:-2]) / (mid_s[2:] - mid_s[:-2])[:, None]
    got = ConservativeRemapping.on(grid)(x)
    rows, columns = grid.fine.y.edges, grid.fine.x.edges
    for j, i in [(0, 0), (2, 2), (7, 12), (grid.fine.shape[0] - 1, 4)]:
        total = weight = 0.0
        for v in range(pieces):
            top, bottom = (rows[j] + (rows[j + 1] - rows[j]) * k / pieces for k in (v, v + 1))
            J = int((rows[0] - (top + bottom) / 2) // factor)
            band = np.sin(np.radians([top, bottom]))
            for h in range(pieces):
                at = columns[i] + (columns[i + 1] - columns[i]) * (h + 0.5) / pieces
                I = int((at - columns[0]) // factor)  # noqa: E741
                f = x[J, I] + in_s[J, I] * (band.mean() - mid_s[J])
                f += in_lon[J, I] * (at - mid_lon[I])
                total += (band[0] - band[1]) * f
                weight += band[0] - band[1]
        assert got[j, i] == pytest.approx(total / weight, rel=1e-12)
