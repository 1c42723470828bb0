"""Cells on the sphere."""

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_M = 6_371_229.0
"""Radius of ERA5's and CERRA's spherical earth."""

Array = NDArray[np.float64]


def cell_area(lat_edges: Array, lon_edges: Array) -> Array:
    """Area of each lat-lon cell in m2: R^2 * d(lon) * |sin(lat_2) - sin(lat_1)|.

    lat_edges: (ny + 1,) and lon_edges: (nx + 1,), degrees. Returns (ny, nx).
    """
    bands = np.abs(np.diff(np.sin(np.deg2rad(lat_edges))))
    widths = np.abs(np.diff(np.deg2rad(lon_edges)))
    return np.asarray(EARTH_RADIUS_M**2 * bands[:, None] * widths[None, :])
