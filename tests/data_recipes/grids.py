"""Grids that tests of regridding begin with: boxes in degrees, and on the maps of two products."""

import numpy as np

from benchmark.grid import DEGREES, Axis, Grid
from benchmark.projection import Map, Projection

CERRA = Map("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229")
RADAR = Map("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752")
ERA5_LAT = np.arange(90, -90.1, -0.25)
ERA5_LON = np.arange(0, 360, 0.25)


def box(north: float, west: float, ny: int, nx: int, size: float, on: Projection = DEGREES) -> Grid:
    """Square cells from a corner, `size` degrees or metres wide."""
    return Grid(Axis(north, north - ny * size, ny), Axis(west, west + nx * size, nx), on)


def lambert(cells: int, size: float, *, y: float = 0.0, x: float = 0.0) -> Grid:
    """A square of CERRA's map about a point of it."""
    half = cells * size / 2
    return box(y + half, x - half, cells, cells, size, CERRA)
