"""Speed, divergence and vorticity against flows whose derivatives are known on the sphere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.derived import divergence, speed, vorticity
from benchmark.grid import Axis, Grid

Array = NDArray[np.float64]
R = 6371229.0


def grid(cells: int = 60, south: float = 30.0) -> Grid:
    """A box of 30 x 45 degrees; rows run from north to south."""
    return Grid(Axis(south + 30.0, south, cells), Axis(-20.0, 25.0, 3 * cells // 2))


def angles(of: Grid) -> tuple[Array, Array]:
    """(ny, nx) latitude and longitude in radians."""
    lat, lon = np.meshgrid(np.radians(of.y.centres), np.radians(of.x.centres), indexing="ij")
    return lat, lon


@pytest.mark.parametrize("south", [30.0, -60.0, -15.0])
def test_solid_body_rotation(south: float) -> None:
    """u = W R cos(lat), v = 0: no divergence, vorticity 2 W sin(lat), of either hemisphere."""
    where = grid(south=south)
    lat, _ = angles(where)
    spin = 1e-5
    u, v = spin * R * np.cos(lat), np.zeros_like(lat)
    scale = 2 * spin
    assert abs(divergence(u, v, where)).max() < 1e-12 * scale
    np.testing.assert_allclose(vorticity(u, v, where), 2 * spin * np.sin(lat), atol=1e-3 * scale)


def test_pure_divergence() -> None:
    """The gradient of R^2 D sin(lat): v = R D cos(lat), u = 0.

    div = (1 / (R cos)) d(R D cos^2) / dlat = -2 D sin(lat); no vorticity.
    """
    where = grid()
    lat, _ = angles(where)
    strength = 1e-5
    u, v = np.zeros_like(lat), R * strength * np.cos(lat)
    expected = -2 * strength * np.sin(lat)
    np.testing.assert_allclose(divergence(u, v, where), expected, atol=2e-3 * strength)
    assert abs(vorticity(u, v, where)).max() < 1e-12 * strength


def test_rotation_about_another_axis() -> None:
    """Rotation about the x-axis: u = -W R sin(lat) cos(lon), v = W R sin(lon).

    It depends on latitude and longitude; no divergence, and vorticity is twice the spin's
    component along the vertical, 2 W cos(lat) cos(lon).
    """
    where = grid(120)
    lat, lon = angles(where)
    spin = 1e-5
    u, v = -spin * R * np.sin(lat) * np.cos(lon), spin * R * np.sin(lon)
    np.testing.assert_allclose(divergence(u, v, where), 0, atol=1e-3 * spin)
    expected = 2 * spin * np.cos(lat) * np.cos(lon)
    np.testing.assert_allclose(vorticity(u, v, where), expected, atol=1e-3 * spin)


@pytest.mark.parametrize("function", [divergence, vorticity])
def test_errors_fall_with_the_square_of_the_spacing(function: object) -> None:
    """Second order up to the border: four times fewer errors with half the spacing."""

    def error(cells: int) -> float:
        where = grid(cells)
        lat, lon = angles(where)
        u, v = np.sin(3 * lat) * np.cos(2 * lon), np.cos(4 * lat) * np.sin(5 * lon)
        du_dlon, dv_dlon = (
            -2 * np.sin(3 * lat) * np.sin(2 * lon),
            5 * np.cos(4 * lat) * np.cos(5 * lon),
        )
        dv_cos = (-4 * np.sin(4 * lat) * np.cos(lat) - np.cos(4 * lat) * np.sin(lat)) * np.sin(
            5 * lon
        )
        du_cos = (3 * np.cos(3 * lat) * np.cos(lat) - np.sin(3 * lat) * np.sin(lat)) * np.cos(
            2 * lon
        )
        top = du_dlon + dv_cos if function is divergence else dv_dlon - du_cos
        return float(abs(function(u, v, where) - top / (R * np.cos(lat))).max())  # type: ignore[operator]

    assert 3.4 < error(60) / error(120) < 4.6


def test_missing_values_spread_to_neighbours_only() -> None:
    """NaN is never filled: cells beside it along the derived axis have no derivative."""
    where = grid(20)
    u, v = np.zeros((2, 20, 30)), np.zeros((2, 20, 30))
    u[1, 8, 9] = np.nan
    found = np.isnan(divergence(u, v, where))
    assert not found[0].any()
    places = {(int(i), int(j)) for i, j in np.argwhere(found[1])}
    assert {(8, 8), (8, 10)} <= places <= {(8, 8), (8, 9), (8, 10)}
    turned = np.isnan(vorticity(u, v, where)[1])
    places = {(int(i), int(j)) for i, j in np.argwhere(turned)}
    assert {(7, 9), (9, 9)} <= places <= {(7, 9), (8, 9), (9, 9)}


def test_speed_is_of_each_member() -> None:
    """sqrt(u^2 + v^2) in float32; the speed of the mean is another number; NaN stays."""
    u, v = np.array([[3.0], [-3.0]], np.float32), np.array([[4.0], [np.nan]], np.float32)
    found = speed(u, v)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[5.0], [np.nan]])
    assert speed(np.array([1e30], np.float32), np.array([1e30], np.float32))[0] < np.inf
