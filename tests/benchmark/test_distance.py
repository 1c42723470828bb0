"""Distances and clusters of boxes, on latitudes and longitudes and on maps, by other formulas."""

import math
from typing import Any

import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray

from benchmark.distance import box_distance_km, cluster_labels
from benchmark.region import MapGrid, Region

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


LAMBERT = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229"
POLAR = "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371229"


def map_box(crs: str, y: Span, x: Span, name: str = "box") -> Region:
    """A box of a map, bounds in km."""
    (south, north), (west, east) = y, x
    return Region(
        name=name, role="train", grid=MapGrid(name="map", crs=crs, spacing=1000.0),
        y=(1e3 * south, 1e3 * north), x=(1e3 * west, 1e3 * east),
    )  # fmt: skip


def around(crs: str, lat: float, lon: float, *, high: float, wide: float) -> Region:
    """A box of a map about a place; sizes in km."""
    x, y = pyproj.Transformer.from_crs("+proj=longlat +R=6371229", crs, always_xy=True).transform(
        lon, lat
    )
    y, x = y / 1e3, x / 1e3
    return map_box(crs, (y - high / 2, y + high / 2), (x - wide / 2, x + wide / 2))


def cloud(region: Region, count: int = 121) -> NDArray[np.float64]:
    """(n, 2) latitudes and longitudes of points all over a box, its borders included."""
    (south, north), (west, east) = region.bounds
    y, x = np.meshgrid(np.linspace(south, north, count), np.linspace(west, east, count))
    if region.grid is None:
        return np.stack([y.ravel(), x.ravel()], axis=1)
    back = pyproj.Transformer.from_crs(region.grid.crs, "+proj=longlat +R=6371229", always_xy=True)
    lon, lat = back.transform(x.ravel(), y.ravel())
    return np.stack([lat, lon], axis=1)


LYING = around(LAMBERT, 55, 10, high=12, wide=900)
FINLAND = around(POLAR, 62, 25, high=300, wide=300)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        # one inside the other, either way; borders apart
        (around(LAMBERT, 55, 10, high=800, wide=800), box((54.9, 55.1), (9.9, 10.1)), True),
        (around(LAMBERT, 55, 10, high=8, wide=8), box((50, 60), (0, 20)), True),
        (around(LAMBERT, 62, 20, high=600, wide=600), around(POLAR, 62, 20, high=9, wide=9), True),
        # crossing as a plus sign: no corner of either lies within the other
        (around(LAMBERT, 51.8, 10.1, high=2030, wide=10), box((54.9, 55.1), (0, 20)), True),
        (LYING, around(POLAR, 55, 10, high=900, wide=12), True),
        # apart by hundreds of km, and by a little
        (around(LAMBERT, 45, 0, high=300, wide=300), FINLAND, False),
        (around(LAMBERT, 50, 8, high=200, wide=200), box((51, 52), (8, 9)), False),
        (map_box(LAMBERT, (0, 100), (0, 100)), map_box(LAMBERT, (300, 400), (150, 250)), False),
        # a box with the pole in it, and one across the date line
        (map_box(POLAR, (-300, 300), (-300, 300)), box((88, 89), (-170, -160)), True),
        (around(POLAR, 70, 180, high=400, wide=400), box((69.5, 70.5), (-179, -178)), True),
        (around(POLAR, 70, 180, high=200, wide=200), box((65, 66), (-179, -170)), False),
    ],
)  # fmt: skip
def test_boxes_of_different_maps_against_their_points(
    first: Region, second: Region, meet: bool
) -> None:
    """0 exactly where they share a place; else the smallest distance of points all over them."""
    found = box_distance_km(first, second)
    assert found == pytest.approx(box_distance_km(second, first), rel=1e-4)
    if meet:
        assert found == 0.0
        return
    spacing = max(max(high - low for low, high in region.bounds) for region in (first, second)
                  if region.grid) / 120e3  # fmt: skip
    dense = min(great_circles(cloud(first), cloud(second)))
    assert 0 < found <= dense + 1e-6
    assert found == pytest.approx(dense, abs=2 * spacing)


def test_a_map_has_one_name_too_many() -> None:
    """Two spellings of one map, and a shared border: boxes side by side do not overlap."""
    left = map_box(LAMBERT, (0, 100), (0, 100))
    right = map_box(LAMBERT + " +units=m", (0, 100), (100, 200))
    assert box_distance_km(left, right) == pytest.approx(0, abs=1e-3)
    inside = map_box(LAMBERT + " +units=m", (0, 100), (99, 200))
    assert box_distance_km(left, inside) == 0.0
    apart = map_box(LAMBERT + " +units=m", (0, 100), (110, 200))
    # The standard parallel runs through the origin: there a km of the map is one on earth.
    assert box_distance_km(left, apart) == pytest.approx(10, rel=1e-3)


def test_clusters_of_boxes_on_two_maps() -> None:
    """Single linkage across maps and degrees."""
    boxes: list[Any] = [
        around(LAMBERT, 50, 8, high=200, wide=200), around(POLAR, 66, 25, high=200, wide=200),
        box((52, 54), (7, 9)), around(LAMBERT, 64, 22, high=200, wide=200),
    ]  # fmt: skip
    assert cluster_labels(boxes, within_km=300) == [0, 1, 0, 1]
