"""The grid of a product's cells, from its coordinates: on the target's turn, even, covering it."""

import numpy as np
import pytest
from grids import CERRA, ERA5_LAT, ERA5_LON, RADAR, box, lambert
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.grid import Axis, Grid
from benchmark.projection import Map
from data_recipes.regrid import lat_lon_box, source_grid

Array = NDArray[np.float64]


@pytest.mark.parametrize("west", [-10.0, 170.0, -180.0, 100.0])
@pytest.mark.parametrize("turn", [0.0, -180.0])
@pytest.mark.parametrize("south_first", [False, True])
def test_a_global_product_is_turned_to_the_target(
    west: float, turn: float, south_first: bool
) -> None:
    """Each cell keeps its value, across Greenwich and the date line too."""
    near = box(50, west, 20, 40, 0.5)
    lat = np.arange(-89.5, 90) if south_first else np.arange(89.5, -90, -1)
    lon = np.arange(turn + 0.5, turn + 360)
    grid, order = source_grid(lat, lon, "", near)
    assert (grid.y.first, grid.y.last) == (90, -90)
    assert grid.x.first <= west < west + 20 <= grid.x.last
    values = order((lat[:, None] + 1000 * (lon % 360))[None])[0]
    lat_there, lon_there = grid.lat_lon
    np.testing.assert_allclose(values, lat_there + 1000 * (lon_there % 360), rtol=1e-12)


def test_float32_coordinates_give_round_edges() -> None:
    """IMERG's 0.1 degrees in float32 are 1.5e-4 cells off at 180 degrees; the edges are not."""
    lat = np.arange(-89.95, 90, 0.1).astype(np.float32)
    lon = np.arange(-179.95, 180, 0.1).astype(np.float32)
    for kind in (np.float32, np.float64):  # also once a reader has made float64 of them
        grid, _ = source_grid(lat.astype(kind), lon.astype(kind), "", box(60, 150, 200, 200, 0.1))
        np.testing.assert_allclose(grid.y.edges, np.linspace(90, -90, 1801), atol=1e-12)
        np.testing.assert_allclose(grid.x.edges % 0.1, np.round(grid.x.edges % 0.1, 1), atol=1e-9)


def test_twenty_fourths_of_a_degree_and_metres() -> None:
    lat = np.round(49.9375 - np.arange(621) / 24, 7)
    lon = np.round(-125 + np.arange(1405) / 24, 7)
    grid, _ = source_grid(lat, lon, "", box(45, -110, 10, 10, 0.5))
    assert grid.y.edges[0] == pytest.approx(49.9375 + 1 / 48, abs=1e-10)
    assert np.diff(grid.x.edges).mean() == pytest.approx(1 / 24, abs=1e-13)
    # A first point of CERRA that was kept in 1e-6 degrees is 0.1 m off.
    y = 0.08 + 5500 * (np.arange(1069) - 534.0)
    crs = "+proj=lcc +lat_1=50 +lat_0=50 +lon_0=8 +lat_2=50 +units=m +R=6371229 +no_defs"
    near = lambert(20, 27_500.0)
    grid, _ = source_grid(y, y, crs, near)
    assert grid.projection == CERRA
    assert grid.y.first == 5500 * 534.5


def test_rows_over_a_pole_are_left_out() -> None:
    grid, order = source_grid(ERA5_LAT, ERA5_LON, "", box(60, 0, 4, 4, 0.5))
    assert (grid.y.first, grid.y.last, grid.y.cells) == (89.875, -89.875, 719)
    assert order(np.repeat(ERA5_LAT[:, None], 1440, axis=1)[None])[0, 0, 0] == 89.75


def test_a_column_that_is_there_twice_is_taken_once() -> None:
    lon = np.arange(0, 360.1, 1.0)
    grid, _ = source_grid(np.arange(89.5, -90, -1), lon, "", box(50, -10, 20, 40, 0.5))
    assert grid.x.cells == 360


def test_a_twentieth_of_a_degree_in_float32() -> None:
    """CHIRPS: what float32 leaves open is more than 1e-4 of a cell."""
    lon = np.arange(-179.975, 180, 0.05).astype(np.float32)
    grid, _ = source_grid(np.arange(49.975, -50, -0.05), lon, "", box(15, 150, 20, 20, 0.1))
    assert (grid.x.cells, round(grid.x.edges[1] - grid.x.edges[0], 9)) == (7200, 0.05)


@pytest.mark.parametrize(
    ("lat", "lon", "said"),
    [
        (np.arange(30, 60, 0.5), np.array([0, 1, 2.01, 3, 4]), "even spacing"),
        (np.arange(30, 60, 0.5), np.arange(100, 140, 0.5), "covers it"),
        (np.arange(45, 60, 0.5), np.arange(-20, 40, 0.5), "covers it"),
        (np.array([30.0, 30.5, 30.5, 31]), np.arange(-20, 40, 0.5), "even spacing"),
        (np.array([45.0]), np.arange(-20, 40, 0.5), "two or more"),
    ],
)
def test_grids_that_are_refused(lat: Array, lon: Array, said: str) -> None:
    with pytest.raises(InputError, match=said):
        source_grid(lat, lon, "", box(50, -10, 20, 40, 0.5))


def test_the_box_must_be_covered_to_its_edges() -> None:
    """ERA5 points 60 to 40.25 are cells from 60.125 to 40.125: RainShift's box is not covered."""
    lat, lon = np.arange(60, 40, -0.25), np.arange(10, 30, 0.25)
    with pytest.raises(InputError, match=r"40\.125"):
        source_grid(lat, lon, "", box(60, 10, 200, 200, 0.1))
    grid, _ = source_grid(lat, lon, "", box(60.125, 9.875, 80, 80, 0.25))
    assert grid.shape == (80, 80)


def test_a_map_for_a_box_of_degrees() -> None:
    """CERRA under a box of the wind papers; not under one that it does not reach."""
    y = 5500 * (np.arange(1069) - 534.0)
    grid, order = source_grid(y, y, CERRA.crs, box(48, 6, 40, 40, 0.1))
    assert grid.projection == CERRA
    np.testing.assert_array_equal(order(y[None, :, None] + 0 * y)[0, :, 0], y[::-1])
    with pytest.raises(InputError, match="covers it"):
        source_grid(y, y, CERRA.crs, box(48, -40, 40, 40, 0.1))
    for crs in ("+proj=nonsense", "+proj=stere +lat_0=90 +units=km"):
        with pytest.raises(InputError, match="in metres"):
            source_grid(y, y, crs, box(48, 6, 40, 40, 0.1))


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (box(60, 10, 4, 8, 0.5), (58, 60, 10, 14)),
        (box(60, 170, 10, 40, 0.5), (55, 60, 170, 190)),
        (box(60, -180, 10, 40, 0.5), (55, 60, -180, -160)),
    ],
)
def test_the_box_of_degrees_around_a_grid(grid: Grid, expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(lat_lon_box(grid), expected, atol=1e-9)


def test_the_box_around_a_map_holds_every_cell() -> None:
    for grid in (lambert(32, 27_500.0, y=2e6, x=-2e6), box(-1e6, -2e6, 30, 30, 2e4, RADAR)):
        south, north, west, east = lat_lon_box(grid)
        lat, lon = grid.lat_lon
        for low, values, high in ((south, lat, north), (west, lon, east)):
            assert low < values.min() < low + 1
            assert high - 1 < values.max() < high
    far = Grid(Axis(0, -1e6, 10), Axis(5e5, 1.5e6, 10), Map("+proj=stere +lat_0=60 +lon_0=175"))
    _, _, west, east = lat_lon_box(far)
    assert 180 < west + 360 * (west < 0) < east + 360 * (west < 0) < 230
