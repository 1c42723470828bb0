"""The area-overlap operator against a double loop over cells on the sphere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.grid import RegionGrid
from benchmark.projection import Map

Array = NDArray[np.float64]
CERRA = Map("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=0 +R=6371229")
Edges = tuple[Array, Array]
FACTORS = (2.0, 2.5, 4.0, 5.0)


def edges(north: float, west: float, ny: int, nx: int, size: float) -> Edges:
    """Edges from north to south and from west to east."""
    y, x = np.arange(ny + 1, dtype=np.float64), np.arange(nx + 1, dtype=np.float64)
    return north - size * y, west + size * x


def grids(factor: float, *, north: float = 63.0) -> tuple[Edges, Edges]:
    """A fine grid of 10 x 20 cells of 1.5 degrees (20 x 20 for 4) and its coarse one."""
    ny = 20 if factor == 4 else 10
    fine = edges(north, -7.0, ny, 20, 1.5)
    coarse = edges(north, -7.0, round(ny / factor), round(20 / factor), 1.5 * factor)
    return fine, coarse


def operator(factor: float) -> AreaOverlap:
    """The operator of `grids`."""
    fine, coarse = grids(factor)
    return AreaOverlap.from_edges(fine=fine, coarse=coarse)


def brute_force(field: Array, fine: Edges, coarse: Edges) -> Array:
    """Area-weighted means by visiting every pair of cells; areas from sines, one by one."""
    result = np.zeros((coarse[0].size - 1, coarse[1].size - 1))
    for row, column in np.ndindex(result.shape):
        total = weighted = 0.0
        for i, j in np.ndindex(field.shape):
            north = min(fine[0][i], coarse[0][row])
            south = max(fine[0][i + 1], coarse[0][row + 1])
            west = max(fine[1][j], coarse[1][column])
            east = min(fine[1][j + 1], coarse[1][column + 1])
            if north <= south or east <= west:
                continue
            area = (np.sin(np.radians(north)) - np.sin(np.radians(south))) * (east - west)
            total += area
            weighted += area * field[i, j]
        result[row, column] = weighted / total
    return result


@pytest.mark.parametrize("factor", FACTORS)
def test_equals_a_double_loop_over_cells(factor: float) -> None:
    """A f is the area-weighted mean of the overlapping fine cells, factor 2.5 included."""
    fine, coarse = grids(factor)
    field = np.random.default_rng(1).normal(280, 10, (fine[0].size - 1, fine[1].size - 1))
    expected = brute_force(field, fine, coarse)
    found = AreaOverlap.from_edges(fine=fine, coarse=coarse)(field)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    # The sphere matters at this size: means with equal weights are another operator.
    if factor == 4:
        plain = field.reshape(5, 4, 5, 4).mean(axis=(1, 3))
        assert abs(plain - expected).max() > 1e-3


@pytest.mark.parametrize("factor", FACTORS)
def test_rows_sum_to_one(factor: float) -> None:
    """A keeps a constant field."""
    sums = np.asarray(operator(factor).matrix.sum(axis=1)).ravel()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-14)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_mean_over_the_sphere_is_kept(factor: float) -> None:
    """Coarse areas times A f sum to fine areas times f: coarsening loses no mass."""
    fine, coarse = grids(factor)
    overlap = AreaOverlap.from_edges(fine=fine, coarse=coarse)
    field = np.random.default_rng(2).gamma(1.0, size=overlap.fine_shape)
    bands = abs(np.diff(np.sin(np.radians(coarse[0]))))
    coarse_area = np.outer(bands, np.radians(np.diff(coarse[1])))
    mass = 6371229.0**2 * (coarse_area * overlap(field)).sum()
    assert mass == pytest.approx((overlap.area * field).sum(), rel=1e-12)


@pytest.mark.parametrize("factor", [2.0, 4.0, 5.0])
def test_block_weights_sum_to_one_in_each_block(factor: float) -> None:
    """A block's weights are the shares of its cells' areas: positive, 1 together, as in A."""
    overlap, n = operator(factor), int(factor)
    weights = overlap.block_weights
    ny, nx = overlap.coarse_shape
    blocks = weights.reshape(ny, n, nx, n)
    np.testing.assert_allclose(blocks.sum(axis=(1, 3)), 1.0, rtol=1e-13)
    area = overlap.area.reshape(ny, n, nx, n)
    shares = area / area.sum(axis=(1, 3), keepdims=True)
    np.testing.assert_allclose(blocks, shares, rtol=1e-12)


def test_block_weights_refuse_a_factor_without_a_partition() -> None:
    """At factor 2.5 a cell lies in two blocks, so it has no single weight."""
    with pytest.raises(ValueError, match="do not partition"):
        _ = operator(2.5).block_weights


def test_every_region_of_the_task_has_exact_blocks(all_grids: list[RegionGrid]) -> None:
    """Rounding of the edges of real boxes makes no sliver: 16 cells in every block."""
    for grid in all_grids:
        for part in (grid, grid.scored):
            per_row = np.diff(part.overlap.matrix.indptr)
            assert set(per_row) == {16}
            assert part.overlap.block_weights.min() > 0


@pytest.mark.parametrize("north", [10.0, 15.1, -20.3])
@pytest.mark.parametrize("size", [0.1, 1 / 3, 0.07])
def test_awkward_spacings_make_no_slivers(north: float, size: float) -> None:
    """Edges that no float holds still coincide: each fine cell lies in exactly one block."""
    fine = np.linspace(north, north - 24 * size, 25), np.linspace(-3.3, -3.3 + 24 * size, 25)
    coarse = np.linspace(fine[0][0], fine[0][-1], 7), np.linspace(fine[1][0], fine[1][-1], 7)
    overlap = AreaOverlap.from_edges(fine=fine, coarse=coarse)
    assert overlap.matrix.nnz == 24 * 24


@pytest.mark.parametrize("nudge", [1e-13, -1e-13])
def test_edges_that_differ_by_rounding_make_no_slivers(nudge: float) -> None:
    """Coarse edges a few ulps off the fine ones, to either side: whole weights."""
    fine, coarse = grids(4.0)
    near = coarse[0] + nudge, coarse[1] - nudge
    assert not np.isin(near[0], fine[0]).any()
    overlap = AreaOverlap.from_edges(fine=fine, coarse=near)
    exact = AreaOverlap.from_edges(fine=fine, coarse=coarse)
    assert overlap.matrix.nnz == 20 * 20
    np.testing.assert_array_equal(overlap.in_y, exact.in_y)
    np.testing.assert_array_equal(overlap.in_x, exact.in_x)


def test_a_missing_cell_makes_only_its_own_block_missing() -> None:
    """NaN is never filled and never spreads beyond the coarse cells that need it."""
    overlap = operator(4.0)
    field = np.ones(overlap.fine_shape)
    field[5, 9] = np.nan
    expected = np.zeros(overlap.coarse_shape, bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(np.isnan(overlap(field)), expected)


def test_leading_dimensions_and_float32_input() -> None:
    """(time, member, y, x) float32 fields are coarsened one by one, in float64."""
    overlap = operator(2.5)
    fields = np.random.default_rng(3).normal(300, 5, (3, 2, *overlap.fine_shape))
    fields = fields.astype(np.float32)
    found = overlap(fields)
    assert found.dtype == np.float64
    assert found.shape == (3, 2, *overlap.coarse_shape)
    np.testing.assert_array_equal(found[2, 1], overlap(fields[2, 1].astype(np.float64)))


def test_a_coarse_cell_outside_the_fine_box_is_refused() -> None:
    """A coarse cell without any fine cell has no mean."""
    fine, _ = grids(4.0)
    coarse = edges(63.0, -7.0, 6, 5, 6.0)
    with pytest.raises(ValueError, match="covered by no fine cell"):
        AreaOverlap.from_edges(fine=fine, coarse=coarse)


@pytest.mark.parametrize("factor", FACTORS)
def test_total_is_the_area_of_each_coarse_cell(factor: float) -> None:
    """Sums of overlaps are the coarse cells' own areas on the sphere; shares lie in [0, 1]."""
    overlap = operator(factor)
    _, coarse = grids(factor)
    bands = abs(np.diff(np.sin(np.radians(coarse[0]))))
    exact = 6371229.0**2 * np.outer(bands, np.radians(np.diff(coarse[1])))
    np.testing.assert_allclose(overlap.total, exact, rtol=1e-12)
    for shares in (overlap.in_y, overlap.in_x):
        assert shares.min() == 0.0
        assert shares.max() == 1.0
        np.testing.assert_allclose(shares.sum(axis=0), 1.0, rtol=1e-13)
    assert overlap.fine_shape == overlap.area.shape
    assert overlap.coarse_shape == overlap.total.shape


def test_edges_may_run_either_way() -> None:
    """North to south or south to north, the operator is the same with rows turned round."""
    fine, coarse = grids(2.5)
    down = AreaOverlap.from_edges(fine=fine, coarse=coarse)
    up = AreaOverlap.from_edges(fine=(fine[0][::-1], fine[1]), coarse=(coarse[0][::-1], coarse[1]))
    field = np.random.default_rng(5).normal(size=down.fine_shape)
    np.testing.assert_allclose(up(field[::-1])[::-1], down(field), rtol=1e-13)


@pytest.mark.parametrize("factor", [2.0, 2.5])
def test_a_projected_grid_equals_a_double_loop(factor: float) -> None:
    """Overlaps in metres, weighed by the true areas of the fine cells, which differ everywhere."""
    y, x = np.linspace(-1e6, 1e6, 11), np.linspace(-2e6, 2e6, 16)[:11]
    count = round(10 / factor)
    coarse = np.linspace(y[0], y[-1], count + 1), np.linspace(x[0], x[-1], count + 1)
    area = CERRA.area((y, x))
    overlap = AreaOverlap.from_projected_edges(fine=(y, x), coarse=coarse, area=area)
    field = np.random.default_rng(6).normal(280, 10, (10, 10))
    for row, column in np.ndindex(count, count):
        total = weighted = 0.0
        for i, j in np.ndindex(10, 10):
            height = min(y[i + 1], coarse[0][row + 1]) - max(y[i], coarse[0][row])
            width = min(x[j + 1], coarse[1][column + 1]) - max(x[j], coarse[1][column])
            if height <= 1e-3 or width <= 1e-3:
                continue
            share = height / (y[i + 1] - y[i]) * width / (x[j + 1] - x[j])
            total += share * area[i, j]
            weighted += share * area[i, j] * field[i, j]
        assert overlap(field)[row, column] == pytest.approx(weighted / total, rel=1e-12)
        assert overlap.total[row, column] == pytest.approx(total, rel=1e-12)
    assert overlap.total.sum() == pytest.approx(area.sum(), rel=1e-12)
