"""From a product's cells to the task's: true places, exact overlaps, nothing filled."""

import pickle

import numpy as np
import pyproj
import pytest
from grids import CERRA, ERA5_LAT, ERA5_LON, RADAR, box, lambert
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.errors import InputError
from benchmark.grid import DEGREES, Axis, Grid, RegionGrid
from benchmark.projection import Map, Projection
from data_recipes.polygons import overlap_areas
from data_recipes.regrid import Regridder, regridder, source_grid

Array = NDArray[np.float64]


def era5(near: Grid) -> Grid:
    """The cells of ERA5 about a target, three of them all around it."""
    grid, _ = source_grid(ERA5_LAT, ERA5_LON, "", near)
    lat, lon = near.lat_lon
    lon = lon + 360 * np.round((grid.x.centres.mean() - lon) / 360)
    keep_y = np.flatnonzero(
        (grid.y.centres > lat.min() - 0.75) & (grid.y.centres < lat.max() + 0.75)
    )
    keep_x = np.flatnonzero(
        (grid.x.centres > lon.min() - 0.75) & (grid.x.centres < lon.max() + 0.75)
    )
    y, x = grid.y.edges[keep_y[0] :], grid.x.edges[keep_x[0] :]
    return box(float(y[0]), float(x[0]), len(keep_y), len(keep_x), 0.25)


def noise(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def problem(*args: object, **options: object) -> str:
    with pytest.raises(InputError) as error:
        regridder(*args, **options)  # type: ignore[arg-type]
    return str(error.value)


# Exact, nearest, bilinear


def test_exact_is_a_crop() -> None:
    source, target = box(60, -5, 40, 50, 0.25), box(57, -2.5, 8, 12, 0.25)
    field = noise(3, 40, 50)
    made = regridder(source, target, method="exact")(field)
    np.testing.assert_array_equal(made, field[:, 12:20, 10:22])


def test_half_a_cell_is_named() -> None:
    source = box(60.125, -5.125, 40, 50, 0.25)
    said = problem(source, box(57, -2.5, 8, 12, 0.25), method="exact")
    assert "0.5 cells in y and 0.5 in x" in said
    assert "Half a cell" in said
    assert "cells of 0.25 for 0.5" in problem(source, box(57, -2.5, 4, 6, 0.5), method="exact")
    assert "off by up to 0.01" in problem(
        box(60, -5, 40, 50, 0.25), box(57.0025, -2.5, 8, 12, 0.25), method="exact"
    )


def test_exact_does_not_reach_outside() -> None:
    assert "24 centres outside" in problem(
        box(60, -5, 40, 50, 0.25), box(60.5, -2.5, 8, 12, 0.25), method="exact"
    )


def test_bilinear_keeps_a_linear_field() -> None:
    """Also at the cell centres of another map, and of coordinates on another turn."""
    source = box(64, 352, 60, 60, 0.5)
    lat, lon = source.lat_lon
    field = (3 + 2 * lat - 0.5 * (lon - 360))[None]
    for target in (box(58, -3, 30, 40, 0.1), lambert(40, 5500.0)):
        made = regridder(source, target, method="bilinear")(field)[0]
        lat_there, lon_there = target.lat_lon
        np.testing.assert_allclose(made, 3 + 2 * lat_there - 0.5 * lon_there, rtol=1e-12)


def test_bilinear_is_never_clamped() -> None:
    """The outermost half cells lie between no two centres."""
    source = box(60, 0, 20, 20, 0.5)
    assert "covers it" in problem(source, box(59.9, 2, 4, 4, 0.1), method="bilinear")
    regridder(source, box(59.9, 2, 4, 4, 0.1), method="nearest")
    edge = regridder(source, box(60, 0, 10, 10, 0.5), method="bilinear")  # on the centres
    np.testing.assert_allclose(edge(noise(1, 20, 20)), noise(1, 20, 20)[:, :10, :10], atol=1e-12)


def test_rounding_lets_no_missing_neighbour_in() -> None:
    """Centres that differ by 1e-11 cells are the same."""
    source, field = box(60, 0, 20, 20, 0.5), noise(1, 20, 20)
    field[0, 5:8, 5:8] = np.nan
    made = regridder(source, box(59 - 5e-12, 1 + 5e-12, 10, 10, 0.5), method="bilinear")(field)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(field[:, 2:12, 2:12]))


def test_nearest_takes_the_cell_around() -> None:
    source = box(60, 0, 8, 8, 0.5)
    field = noise(1, 8, 8)
    made = regridder(source, box(60, 0, 40, 40, 0.1), method="nearest")(field)
    np.testing.assert_array_equal(made, np.kron(field, np.ones((5, 5))))


# Area


@pytest.mark.parametrize("factor", [2, 2.5, 4, 5, 8, 16])
@pytest.mark.parametrize("projection", [DEGREES, CERRA])
def test_the_same_operator_as_coarsening(factor: float, projection: Projection) -> None:
    """A perfect-model pair: the recipe's coarse field is A of its fine field, to rounding."""
    size = 0.1 if projection == DEGREES else 5500.0
    north, west = (60.0, 5.0) if projection == DEGREES else (5500.0 * 40, -5500.0 * 40)
    coarse_cells = round(80 / factor)
    fine = box(north, west, 80, 80, size, projection)
    coarse = box(north, west, coarse_cells, coarse_cells, size * factor, projection)
    field = noise(2, 80, 80)
    made = regridder(fine, coarse, method="area")(field)
    np.testing.assert_allclose(
        made, RegionGrid(fine, coarse, 0).overlap(field), rtol=1e-12, atol=1e-14
    )


def test_degrees_to_degrees_in_closed_form() -> None:
    """ERA5's points onto cells that share no edge with theirs."""
    source = box(61.125, -0.125, 100, 120, 0.25)
    for target in (box(60, 1, 100, 100, 0.1), box(60, 361, 20, 25, 0.9)):
        turned = (target.edges[0], target.edges[1] - 360 * (target.x.first > 180))
        expected = AreaOverlap.from_edges(fine=source.edges, coarse=turned)
        made = regridder(source, target, method="area")
        field = noise(2, 100, 120)
        np.testing.assert_allclose(made(field), expected(field), rtol=0, atol=1e-12)


def sampled(field: Array, source: Grid, target: Grid, n: int) -> Array:
    """Means over n x n points in each target cell, each of its true area: no polygon anywhere.

    The points lie at random in their n x n parts, so that no edge of the source runs along them.
    """
    fine = Grid(
        Axis(target.y.first, target.y.last, target.y.cells * n),
        Axis(target.x.first, target.x.last, target.x.cells * n),
        target.projection,
    )
    draws = np.random.default_rng(3)
    at = np.meshgrid(fine.y.centres, fine.x.centres, indexing="ij")
    steps = (np.diff(edges)[0] for edges in fine.edges)
    points = [
        a + step * draws.uniform(-0.5, 0.5, a.shape) for a, step in zip(at, steps, strict=True)
    ]
    y, x = source.projection.points(*target.projection.lat_lon(*points))
    row = np.floor((y - source.y.edges[0]) / np.diff(source.y.edges)[0]).astype(int)
    column = np.floor((x - source.x.edges[0]) / np.diff(source.x.edges)[0]).astype(int)
    shape = (target.y.cells, n, target.x.cells, n)
    weighted = (fine.area * field[row, column]).reshape(shape).sum(axis=(1, 3))
    return np.asarray(weighted / fine.area.reshape(shape).sum(axis=(1, 3)))


@pytest.mark.parametrize("y", [-2_000_000.0, 0.0, 2_000_000.0])
@pytest.mark.parametrize(("cells", "size"), [(12, 27_500.0), (20, 5500.0)])
def test_era5_onto_lambert_as_sampled(y: float, cells: int, size: float) -> None:
    target = lambert(cells, size, y=y, x=y)
    source = era5(target)
    field = noise(1, *source.shape)
    made = regridder(source, target, method="area")(field)[0]
    np.testing.assert_allclose(made, sampled(field[0], source, target, 40), atol=2e-2)


def test_lambert_onto_degrees_as_sampled() -> None:
    """The regular 0.05 degree grid of the wind papers."""
    source, target = lambert(60, 5500.0), box(50.5, 7.5, 16, 16, 0.05)
    field = noise(1, 60, 60)
    made = regridder(source, target, method="area")(field)[0]
    np.testing.assert_allclose(made, sampled(field[0], source, target, 40), atol=2e-2)


@pytest.mark.parametrize("projection", [DEGREES, CERRA])
def test_polygons_agree_with_the_closed_form(projection: Projection) -> None:
    """Cells of one projection, cut as if they were of two.

    On a map the closed form takes a cell's scale to be the same all over it.
    """
    size, north, west = (0.1, 60.0, 5.0) if projection == DEGREES else (5500.0, 2e6, -2e6)
    fine = box(north, west, 30, 30, size, projection)
    coarse = box(north - 2 * size, west + 1.3 * size, 10, 10, 2.5 * size, projection)
    areas, whole = overlap_areas(fine, coarse)
    expected = RegionGrid(fine, coarse, 0).overlap
    np.testing.assert_allclose(whole.reshape(10, 10), coarse.area, rtol=2e-6)
    shares = areas.toarray() / whole[:, None]
    atol = 2e-6 if projection == DEGREES else 1e-5
    np.testing.assert_allclose(shares, expected.matrix.toarray(), rtol=0, atol=atol)


@pytest.mark.parametrize("size", [27_500.0, 5500.0])
@pytest.mark.parametrize("back", [False, True])
def test_the_total_is_kept(size: float, back: bool) -> None:
    """Coarse to fine, fine to coarse and back: what falls on one grid falls on the other."""
    inner = lambert(round(550_000 / size), size, y=1e6, x=-1e6)
    source, target = (inner, box(60.5, -11, 20, 24, 0.25)) if back else (era5(inner), inner)
    if back:
        target = box(59.2, -8.5, 6, 10, 0.25)
    field = np.zeros((1, *source.shape))
    lat, lon = source.lat_lon
    lat_0, lon_0 = target.projection.lat_lon(
        np.array(target.y.centres.mean()), np.array(target.x.centres.mean())
    )
    inside = np.hypot(lat - lat_0, (lon - lon_0) * np.cos(np.deg2rad(lat_0))) < 0.35
    assert inside.sum() > 3
    field[0, inside] = 1 + np.random.default_rng(2).random(inside.sum())
    made = regridder(source, target, method="area")(field)
    total = (field[0] * source.area).sum()
    assert (made[0] * target.area).sum() == pytest.approx(total, rel=2e-6)


def test_a_constant_stays_on_an_ellipsoid() -> None:
    target = box(-3_900_000.0, 0.0, 30, 30, 10_000.0, RADAR)
    made = regridder(era5(target), target, method="area")
    assert made.weights.sum() == pytest.approx(900, abs=1e-9)
    np.testing.assert_allclose(made(np.full((1, *made.source_shape), 7.0)), 7, rtol=1e-12)


def test_polygon_areas_are_those_of_the_ellipsoid() -> None:
    target = box(-3_900_000.0, 0.0, 6, 6, 10_000.0, RADAR)
    _, whole = overlap_areas(era5(target), target)
    y, x = target.edges
    ring = [(y[0], x[0]), (y[0], x[1]), (y[1], x[1]), (y[1], x[0])]
    lat, lon = zip(*(RADAR.lat_lon(np.array(a), np.array(b)) for a, b in ring), strict=True)
    geodesic, _ = pyproj.Geod(a=6378137, b=6356752).polygon_area_perimeter(lon, lat)
    assert whole[0] == pytest.approx(abs(geodesic), rel=1e-5)


def test_a_target_that_is_covered_in_part_is_refused() -> None:
    target = lambert(20, 27_500.0)
    source = era5(target)
    cut = Grid(source.y.cropped(4), source.x.cropped(4))
    said = problem(cut, target, method="area")
    assert "covers it" in said
    assert "the box y -275000 to 275000" in said
    assert "covers it" in problem(box(60, 0, 8, 8, 0.5), box(60.1, 0, 4, 4, 0.5), method="area")


def test_a_hole_inside_the_box_is_found() -> None:
    """Rows that would reach over the pole are left out: a map of the pole is not covered."""
    around_the_pole = Map("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +R=6371229")
    target = box(500_000.0, -500_000.0, 21, 21, 1e6 / 21, around_the_pole)
    source = Grid(Axis(89.875, 75.125, 59), Axis(-180, 180, 1440))
    assert "cells in part" in problem(source, target, method="area")


# What all have in common


def methods() -> list[Regridder]:
    source, target = box(64, -8, 60, 80, 0.5), lambert(10, 27_500.0)
    return [regridder(source, target, method=name) for name in ("area", "bilinear", "nearest")]


def test_missing_cells_spread_to_whatever_they_touch() -> None:
    for made in methods():
        field = noise(2, 60, 80)
        field[1, 28, 32] = np.nan
        touched = made.weights.toarray()[:, 28 * 80 + 32].reshape(10, 10) > 0
        assert 0 < touched.sum() < 40
        np.testing.assert_array_equal(np.isnan(made(field)[1]), touched)
        assert np.isfinite(made(field)[0]).all()


def test_a_step_is_the_same_alone_and_in_a_block() -> None:
    """To the bit, so that builds in other blocks have the same hashes; pickled too."""
    field = noise(130, 60, 80).astype(np.float32)
    for made in methods():
        whole = pickle.loads(pickle.dumps(made))(field)
        assert whole.dtype == np.float64
        for step in (0, 63, 64, 129):
            np.testing.assert_array_equal(whole[step], made(field[step : step + 1])[0])


def test_fields_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(time, 60, 80\)"):
        methods()[0](noise(1, 80, 60))
