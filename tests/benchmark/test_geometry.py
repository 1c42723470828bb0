"""Areas, distances and clusters on the sphere against cases that can be worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.distance import box_distance_km, cluster_labels
from benchmark.geometry import EARTH_RADIUS_M, cell_area
from benchmark.grid import RegionGrid
from benchmark.projection import Map
from benchmark.region import Region

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


def lambert_inverse(
    y: NDArray[np.float64], x: NDArray[np.float64], parallel: float
) -> NDArray[np.float64]:
    """(..., 3) unit vectors of map points, by solving the forward projection with bisection.

    Forward (Snyder, eq. 15-1 with one standard parallel): rho = R F / tan(pi/4 + lat/2)^n with
    F = cos(p) tan(pi/4 + p/2)^n / n, n = sin(p); the map's origin lies at rho(p).
    """
    n, p = math.sin(math.radians(parallel)), math.radians(parallel)
    big_f = math.cos(p) * math.tan(math.pi / 4 + p / 2) ** n / n

    def rho(lat: NDArray[np.float64]) -> NDArray[np.float64]:
        return EARTH_RADIUS_M * big_f / np.tan(np.pi / 4 + lat / 2) ** n

    rho_0 = float(rho(np.array(p)))
    distance = math.copysign(1, n) * np.hypot(x, rho_0 - y)
    theta = np.arctan2(math.copysign(1, n) * x, math.copysign(1, n) * (rho_0 - y))
    low, high = np.full_like(distance, -np.pi / 2 + 1e-9), np.full_like(distance, np.pi / 2 - 1e-9)
    for _ in range(80):  # rho falls with latitude for either sign of n
        middle = (low + high) / 2
        north = rho(middle) > distance
        low, high = np.where(north, middle, low), np.where(north, high, middle)
    lat, lon = (low + high) / 2, theta / n
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def triangle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> Any:
    """Area of spherical triangles on the unit sphere (Van Oosterom and Strackee 1983)."""
    volume = abs((a * np.cross(b, c)).sum(-1))
    return 2 * np.arctan2(volume, 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1))


def lambert_cell_area(y: Any, x: Any, *, parallel: float) -> Any:
    """Areas on the tangent Lambert map at this parallel."""
    p = f"{parallel:g}"
    return Map(f"+proj=lcc +lat_0={p} +lat_1={p} +lat_2={p} +lon_0=0 +R=6371229").area((y, x))


@pytest.mark.parametrize("parallel", [50.0, 30.0, -40.0, 72.0])
def test_lambert_cells_against_spherical_polygons(parallel: float) -> None:
    """5.5 km cells over 1500 km: two spherical triangles between corners projected back."""
    y, x = np.linspace(-750e3, 750e3, 274), np.linspace(-600e3, 900e3, 274)
    found = lambert_cell_area(y, x, parallel=parallel)
    rows, columns = np.arange(0, 272, 17), np.arange(1, 272, 19)
    corner = {
        (a, b): lambert_inverse(
            np.repeat(y[rows + a, None], columns.size, 1),
            np.repeat(x[None, columns + b], rows.size, 0),
            parallel,
        )
        for a in (0, 1) for b in (0, 1)
    }  # fmt: skip
    exact = triangle(corner[0, 0], corner[0, 1], corner[1, 1])
    exact = exact + triangle(corner[0, 0], corner[1, 1], corner[1, 0])
    exact = exact * EARTH_RADIUS_M**2
    # Sides of cells are not great circles: that is the other 1e-6.
    np.testing.assert_allclose(found[np.ix_(rows, columns)], exact, rtol=3e-6)
    assert found.max() / found.min() > 1.005, "the scale matters over this region"


def test_lambert_cells_have_their_map_area_on_the_standard_parallel() -> None:
    """There the map is true: dx dy; to either side the map is too large, so cells are smaller."""
    edges = np.array([-50.0, 50.0])
    found = lambert_cell_area(edges, edges, parallel=45.0)
    assert found[0, 0] == pytest.approx(1e4, rel=1e-9)
    away = lambert_cell_area(edges + 1e6, edges, parallel=45.0)
    assert away[0, 0] < 0.99e4
    assert lambert_cell_area(edges[::-1] - 1e6, edges, parallel=45.0)[0, 0] < 0.99e4


def test_lambert_cells_of_a_sector_sum_to_its_area() -> None:
    """All cells inside a circle around the apex: the polar cap that it is on the sphere.

    On the map, the cap north of the standard parallel is a sector of radius R cot(p) and angle
    2 pi sin(p); half of it is taken, by its cells' centres. Its area: pi R^2 (1 - sin p).
    """
    parallel = 70.0
    n = math.sin(math.radians(parallel))
    radius = EARTH_RADIUS_M / math.tan(math.radians(parallel))
    edges = np.linspace(-1.01 * radius, 1.01 * radius, 2001)
    area = lambert_cell_area(edges + radius, edges, parallel=parallel)
    centres = (edges[1:] + edges[:-1]) / 2
    across, down = np.meshgrid(centres, -centres)
    inside = (np.hypot(across, down) <= radius) & (abs(np.arctan2(across, down)) <= np.pi * n / 2)
    exact = math.pi * EARTH_RADIUS_M**2 * (1 - n)
    assert area[inside].sum() == pytest.approx(exact, rel=2e-3)


def test_lambert_cells_of_the_south_mirror_the_north() -> None:
    """A southern standard parallel with y turned round gives the same areas."""
    y, x = np.linspace(-5e5, 9e5, 15), np.linspace(-3e5, 6e5, 10)
    north = lambert_cell_area(y, x, parallel=40.0)
    south = lambert_cell_area(-y, x, parallel=-40.0)
    np.testing.assert_allclose(south, north, rtol=1e-9)
