"""Areas, distances and clusters on the sphere against cases that can be worked out by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.geometry import EARTH_RADIUS_M, box_distance_km, cell_area, cluster_labels
from benchmark.grid import RegionGrid
from benchmark.task import Region

KM_PER_DEGREE = math.pi * 6371.229 / 180
Span = tuple[float, float]


def box(lat: Span, lon: Span, name: str = "box") -> Region:
    """A region; its role does not matter here."""
    return Region(name=name, role="train", lat=lat, lon=lon)


def great_circle_km(first: Span, second: Span) -> float:
    """Spherical law of cosines between two (lat, lon) points: another formula than haversine."""
    lat_1, lon_1, lat_2, lon_2 = (math.radians(value) for value in (*first, *second))
    cosine = math.sin(lat_1) * math.sin(lat_2)
    cosine += math.cos(lat_1) * math.cos(lat_2) * math.cos(lon_2 - lon_1)
    return 6371.229 * math.acos(min(1.0, cosine))


def test_cells_of_the_globe_sum_to_the_sphere() -> None:
    """Areas of a global grid sum to 4 pi R^2 and depend on latitude only."""
    area = cell_area(np.linspace(90, -90, 181), np.linspace(-180, 180, 361))
    assert area.shape == (180, 360)
    assert area.sum() == pytest.approx(4 * math.pi * EARTH_RADIUS_M**2, rel=1e-13)
    np.testing.assert_allclose(area, np.repeat(area[:, :1], 360, axis=1), rtol=1e-12)


def test_one_cell_by_hand() -> None:
    """The northern hemisphere's quarter is pi R^2 / 2; the direction of edges does not matter."""
    quarter = cell_area(np.array([0.0, 90.0]), np.array([0.0, 90.0]))
    assert quarter[0, 0] == pytest.approx(math.pi * EARTH_RADIUS_M**2 / 2, rel=1e-13)
    turned = cell_area(np.array([90.0, 0.0]), np.array([0.0, 90.0]))
    assert turned[0, 0] == quarter[0, 0]


def test_a_grid_has_the_areas_of_its_cells(all_grids: list[RegionGrid]) -> None:
    """Rows of a region's grid run from north to south: northern cells are the smaller ones."""
    grid = next(grid for grid in all_grids if grid.fine.y.first > 50)
    assert np.all(np.diff(grid.fine.area[:, 0]) > 0)
    whole, blocks = grid.fine.area.sum(), grid.coarse.area.sum()
    assert whole == pytest.approx(blocks, rel=1e-12)


def test_distance_along_a_meridian() -> None:
    """Boxes one above the other are apart by 111.199 km for each degree of latitude."""
    assert round(KM_PER_DEGREE, 3) == 111.199
    found = box_distance_km(box((0, 10), (20, 30)), box((17, 25), (20, 30)))
    assert found == pytest.approx(7 * KM_PER_DEGREE, rel=1e-9)


def test_distance_along_the_equator() -> None:
    """Boxes side by side across the equator are apart by 111.199 km for each degree there."""
    found = box_distance_km(box((-5, 5), (0, 10)), box((-5, 5), (14, 20)))
    # The corners at 5 degrees are nearer than the sides at 0.
    expected = great_circle_km((5, 10), (5, 14))
    assert found == pytest.approx(expected, rel=1e-9)
    assert found < 4 * KM_PER_DEGREE
    thin = box_distance_km(box((-1e-6, 1e-6), (0, 10)), box((-1e-6, 1e-6), (14, 20)))
    assert thin == pytest.approx(4 * KM_PER_DEGREE, rel=1e-6)


def test_boxes_that_meet_are_at_distance_zero() -> None:
    """A shared corner, a shared side and an overlap are all 0."""
    first = box((0, 10), (0, 10))
    assert box_distance_km(first, box((10, 20), (10, 20))) == pytest.approx(0, abs=1e-9)
    assert box_distance_km(first, box((0, 10), (10, 20))) == pytest.approx(0, abs=1e-9)
    assert box_distance_km(first, box((5, 15), (5, 15))) == 0.0
    assert box_distance_km(first, box((2, 3), (2, 3))) == 0.0


def test_distance_between_corners() -> None:
    """Boxes apart in both directions are nearest at the corners that face each other."""
    found = box_distance_km(box((0, 10), (0, 10)), box((13, 20), (15, 20)))
    assert found == pytest.approx(great_circle_km((10, 10), (13, 15)), rel=1e-9)


def test_distance_at_high_latitude() -> None:
    """20 degrees of longitude at 80 north are 385 km and not 2223 km."""
    found = box_distance_km(box((60, 80), (0, 10)), box((60, 80), (30, 40)))
    assert found == pytest.approx(great_circle_km((80, 10), (80, 30)), rel=1e-9)
    assert found < 400


def test_distance_across_the_date_line() -> None:
    """Longitudes 178 and -178 are 4 degrees apart."""
    found = box_distance_km(box((0, 10), (170, 178)), box((0, 10), (-178, -170)))
    assert found == pytest.approx(great_circle_km((10, 178), (10, -178)), rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_random_boxes_against_dense_borders(seed: int) -> None:
    """Symmetric, and the smallest of all great circles between points every 0.1 degrees."""
    generator = np.random.default_rng(seed)
    south, north = generator.uniform(-55, 20, 2)
    west, east = generator.uniform(-170, 130, 2)
    first = box((south, south + 32), (west, west + 32))
    second = box((north, north + 32), (east, east + 32))
    found = box_distance_km(first, second)
    assert found == pytest.approx(box_distance_km(second, first), rel=1e-6)
    if found > 0:
        dense = min(great_circles(border(first), border(second)))
        assert found == pytest.approx(dense, abs=0.5)


def border(region: Region) -> NDArray[np.float64]:
    """(n, 2) points every 0.1 degrees around a box of 32 by 32."""
    along = np.linspace(0, 32, 321)
    (south, north), (west, east) = region.lat, region.lon
    sides = [
        *((np.full(321, lat), west + along) for lat in (south, north)),
        *((south + along, np.full(321, lon)) for lon in (west, east)),
    ]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def great_circles(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[float]:
    """From each point of `first` to the nearest of `second`, by dot products of unit vectors."""

    def unit(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lat, lon = np.deg2rad(points).T
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)

    cosines = (unit(first) @ unit(second).T).clip(-1, 1)
    return (KM_PER_DEGREE * np.rad2deg(np.arccos(cosines.max(axis=1)))).tolist()


def test_single_linkage_clusters() -> None:
    """A chain of near boxes is one cluster even where its ends are far apart; labels count up."""
    row = [box((0, 5), (lon, lon + 5), f"b{lon}") for lon in (0, 60, 10, 20, 100)]
    assert cluster_labels(row, within_km=600) == [0, 1, 0, 0, 2]
    assert cluster_labels(row, within_km=100) == [0, 1, 2, 3, 4]
    assert cluster_labels(row, within_km=10_000) == [0, 0, 0, 0, 0]
    assert cluster_labels([], within_km=1000) == []


@pytest.mark.parametrize("seed", range(5))
def test_clusters_do_not_depend_on_order(seed: int) -> None:
    """Two boxes share a label in any order of the boxes: components of a graph have none."""
    generator = np.random.default_rng(seed)
    spots = generator.uniform(-60, 60, (12, 2))
    boxes = [box((y, y + 5), (x, x + 5), f"b{k}") for k, (y, x) in enumerate(spots)]
    order = generator.permutation(12)
    labels = np.array(cluster_labels(boxes, within_km=1500))
    again = np.array(cluster_labels([boxes[k] for k in order], within_km=1500))
    same = labels[order][:, None] == labels[order][None, :]
    np.testing.assert_array_equal(again[:, None] == again[None, :], same)
    assert 1 < len(set(labels)) < 12
