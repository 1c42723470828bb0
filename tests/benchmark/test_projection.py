"""Maps: places and areas against PROJ, spherical polygons and geodesic polygons."""

import math
from typing import Any

import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray

from benchmark.geometry import EARTH_RADIUS_M, cell_area
from benchmark.projection import LatLon, Map

LAMBERT = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752"
FMI = "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +a=6371288 +units=m"
BOXES = {
    LAMBERT: ((-1.9e6, 2.1e6), (-2.5e6, 2.5e6)),
    KNMI: ((-4.2e6, -3.8e6), (1.9e5, 5.1e5)),
    FMI: ((-3.0e6, -2.6e6), (-1.6e5, 1.6e5)),
}


@pytest.mark.parametrize("crs", BOXES)
def test_places_and_back_against_a_transformer(crs: str) -> None:
    """pyproj's pipeline between the two, both ways, to a millimetre."""
    y, x = np.meshgrid(*(np.linspace(*span, 9) for span in BOXES[crs]), indexing="ij")
    there = pyproj.CRS(crs)
    transformer = pyproj.Transformer.from_crs(there, there.geodetic_crs, always_xy=True)
    lon, lat = transformer.transform(x, y)
    found = Map(crs).lat_lon(y, x)
    np.testing.assert_allclose(found, [lat, lon], rtol=0, atol=1e-8)
    np.testing.assert_allclose(Map(crs).points(lat, lon), [y, x], rtol=0, atol=1e-3)
    # Latitude first, as everywhere here: north lies up on all of these maps.
    assert (np.diff(found[0][:, 4]) > 0).all()


def test_latitudes_and_longitudes_are_their_own_map() -> None:
    """Longitudes come back in [-180, 180)."""
    lat, lon = np.array([10.0, -5.0, 0.0]), np.array([200.0, -20.0, 180.0])
    y, x = LatLon().points(lat, lon)
    np.testing.assert_array_equal(y, lat)
    np.testing.assert_array_equal(x, [-160.0, -20.0, -180.0])
    edges = np.linspace(60, 50, 6), np.linspace(0, 8, 5)
    np.testing.assert_array_equal(LatLon().area(edges), cell_area(*edges))
    # 2 degrees of a meridian
    assert LatLon().height_km(edges) == pytest.approx(2 * math.pi * 6371.229 / 180, rel=1e-12)


@pytest.mark.parametrize("crs", [KNMI, FMI, LAMBERT])
def test_areas_against_geodesic_polygons(crs: str) -> None:
    """True areas on the map's own earth, an ellipsoid for KNMI: Karney's polygons."""
    (south, north), (west, east) = BOXES[crs]
    y, x = np.linspace(north, south, 9), np.linspace(west, east, 9)
    # Cells of 1 km at the places of a coarse net, so that the midpoint rule has nothing to lose.
    geod, mapped = pyproj.CRS(crs).get_geod(), Map(crs)
    assert geod is not None
    for j, i in ((0, 0), (3, 5), (8, 8)):
        edges = y[j] + np.array([500.0, -500.0]), x[i] + np.array([-500.0, 500.0])
        lat, lon = mapped.lat_lon(*(np.array(c) for c in zip(
            *((edges[0][a], edges[1][b]) for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))),
            strict=True)))  # fmt: skip
        exact = abs(geod.polygon_area_perimeter(lon, lat)[0])
        assert mapped.area(edges)[0, 0] == pytest.approx(exact, rel=1e-6)
        assert mapped.height_km(edges) == pytest.approx(math.sqrt(exact) / 1e3, rel=1e-4)


def test_the_ellipsoid_matters() -> None:
    """The same map of a sphere is wrong by more than the test above allows."""
    edges = np.array([-4.0e6, -4.001e6]), np.array([3e5, 3.01e5])
    sphere = Map("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +R=6378137")
    assert abs(sphere.area(edges) / Map(KNMI).area(edges) - 1).max() > 1e-4


def test_coarse_cells_have_the_areas_of_their_fine_ones() -> None:
    """A sums true areas; with a factor of 2.5 cells are cut on the map."""
    y, x = np.linspace(4e5, 0, 21), np.linspace(0, 4e5, 21)
    overlap = Map(FMI).overlap(fine=(y, x), coarse=(y[::1][[0, 10, 20]], x[[0, 10, 20]]))
    area = Map(FMI).area((y, x))
    blocks = area.reshape(2, 10, 2, 10).sum(axis=(1, 3))
    np.testing.assert_allclose(overlap.total, blocks, rtol=1e-12)
    shared = Map(FMI).overlap(
        fine=(np.linspace(1e5, 0, 6), np.linspace(0, 1e5, 6)),
        coarse=(np.linspace(1e5, 0, 3), np.linspace(0, 1e5, 3)),
    )
    np.testing.assert_allclose(np.asarray(shared.matrix.sum(axis=1)).ravel(), 1, rtol=1e-12)
    np.testing.assert_allclose(shared.in_y[0], [1, 1, 0.5, 0, 0], atol=1e-12)


@pytest.mark.parametrize("crs", [LAMBERT, KNMI, FMI])
def test_cf_attributes_give_the_map_back(crs: str) -> None:
    """Whoever reads CF gets the map that the task names."""
    attributes = Map(crs).cf_attributes()
    assert attributes["proj4"] == crs
    assert pyproj.CRS.from_cf(attributes) == pyproj.CRS(pyproj.Proj(crs).crs)
    without_wkt = {k: v for k, v in attributes.items() if k != "crs_wkt"}
    again = pyproj.Proj(pyproj.CRS.from_cf(without_wkt))
    (south, _), (west, _) = BOXES[crs]
    np.testing.assert_allclose(
        again(west, south, inverse=True), pyproj.Proj(crs)(west, south, inverse=True), atol=1e-9
    )


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
