"""Made-up fields that know no grid: any product can be made of them, and any truth computed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HOUR = np.timedelta64(3600, "s")


def weather(times: Any, lat: Any, lon: Any, *, seed: int = 0) -> Floats:
    """(time, lat, lon) sums of plane waves of 4 to 20 degrees that travel; about -1 to 1.

    No mirror image of it is like it. Longitudes may be of any turn: wave numbers are whole.
    """
    draw = np.random.default_rng(seed)
    t = (np.asarray(times, "datetime64[s]") - np.datetime64("2001-01-01", "s")) / _HOUR
    t, y, x = np.meshgrid(t, np.radians(lat), np.radians(lon), indexing="ij", sparse=True)
    total = np.zeros(np.broadcast_shapes(t.shape, y.shape, x.shape))
    for k in range(4):
        # Of both diagonals alike, so that the two axes can be told apart.
        ky, kx = draw.integers(18, 60) * (-1) ** k, draw.integers(18, 60)
        speed, phase = draw.uniform(0.2, 0.6), draw.uniform(0, 2 * np.pi)
        # As a product of two waves, since sines of small arrays cost little.
        north = np.exp(1j * (ky * y + speed * (t % 5000) + phase))
        total += (north * np.exp(1j * kx * x)).imag
    return total / 4


def rain(times: Any, lat: Any, lon: Any) -> Floats:
    """[mm h-1] the rate at an instant: dry in most places, 10 at most."""
    return 16 * np.maximum(0, weather(times, lat, lon) - 0.25)


def column_water(times: Any, lat: Any, lon: Any) -> Floats:
    """[kg m-2] more in the tropics."""
    zonal = 8 + 35 * np.cos(np.radians(lat)) ** 4
    return zonal[None, :, None] * (1 + 0.4 * weather(times, lat, lon, seed=1))


def height(lat: Any, lon: Any) -> Floats:
    """[m] of the ground; 0 at sea."""
    return 1500 * np.maximum(0, weather("2001-01-01", lat, lon, seed=2)[0])


def land(lat: Any, lon: Any) -> Floats:
    """Share of a cell that is land."""
    return np.clip(0.5 + 2 * weather("2001-01-01", lat, lon, seed=2)[0], 0, 1)
