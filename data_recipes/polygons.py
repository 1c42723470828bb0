"""Shares of cells of one projection in cells of another, by exact polygons."""

import math
from collections.abc import Iterator

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmark.geometry import EARTH_RADIUS_M
from benchmark.grid import Grid
from benchmark.projection import Map

Array = NDArray[np.float64]

_BEND = 1e-6
"""A cell's sides are cut into chords that leave the true side by this share of its length."""
_MOST_CHORDS = 64
_CELLS_AT_ONCE = 4096


def overlap_areas(source: Grid, target: Grid) -> tuple[csr_array, Array]:
    """((targets, sources) areas of the overlaps, (targets,) areas of the targets), both in m2.

    Cells are polygons in Lambert's azimuthal equal-area projection about the target, on the map's
    own earth. Their sides are straight along the axes of their own grid, so curved there: they
    are cut into chords that follow the side to 1e-6 of its length. Neighbours share their corners
    and chords: there are neither gaps nor double counting.
    Both grids should be of one part of the world: pass a source that is cut to the target.
    """
    plane = _equal_area(source, target)
    sources = np.concatenate(list(_cells(source, plane)))
    tree = shapely.STRtree(sources)
    rows, columns, areas, whole = [], [], [], []
    first = 0
    for targets in _cells(target, plane):
        row, column = tree.query(targets, predicate="intersects")
        areas.append(shapely.area(shapely.intersection(targets[row], sources[column])))
        rows.append(row + first)
        columns.append(column)
        whole.append(shapely.area(targets))
        first += len(targets)
    shape = (first, len(sources))
    places = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(areas), places), shape=shape), np.concatenate(whole)


def _equal_area(source: Grid, target: Grid) -> pyproj.Proj:
    lat, lon = target.projection.lat_lon(
        np.array(target.y.first + target.y.last) / 2, np.array(target.x.first + target.x.last) / 2
    )
    earth = f"+R={EARTH_RADIUS_M}"
    for grid in (source, target):
        if isinstance(grid.projection, Map):
            ellipsoid = pyproj.CRS(grid.projection.crs).ellipsoid
            if ellipsoid is not None:
                axes = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
                earth = f"+a={axes[0]} +b={axes[1]}"
    return pyproj.Proj(f"+proj=laea +lat_0={float(lat)} +lon_0={float(lon)} {earth}")


def _cells(grid: Grid, plane: pyproj.Proj) -> Iterator[NDArray[np.object_]]:
    """Polygons of the cells, row by row of the grid, some rows at once."""
    chords = _chords(grid, plane)
    ny, nx = grid.shape
    rows = max(1, _CELLS_AT_ONCE // nx)
    y, x = grid.edges
    for start in range(0, ny, rows):
        yield _polygons(y[start : start + rows + 1], x, chords, grid, plane)


def _polygons(
    y: Array, x: Array, chords: int, grid: Grid, plane: pyproj.Proj
) -> NDArray[np.object_]:
    """(cells,) polygons between edges; every side is cut into as many chords."""
    ny, nx = y.size - 1, x.size - 1
    along_x = _on_plane(y, _cut(x, chords), grid, plane)
    along_y = _on_plane(_cut(y, chords), x, grid, plane)
    k = np.arange(chords)
    row, column = (index.reshape(-1, 1) for index in np.indices((ny, nx)))
    # Once around each cell; a side ends where the next one begins.
    ring = np.concatenate(
        [
            along_x[row, column * chords + k],
            along_y[row * chords + k, column + 1],
            along_x[row + 1, column * chords + chords - k],
            along_y[row * chords + chords - k, column],
        ],
        axis=1,
    )
    return np.asarray(shapely.polygons(ring))


def _on_plane(y: Array, x: Array, grid: Grid, plane: pyproj.Proj) -> Array:
    """(len(y), len(x), 2) points of the plane."""
    lat, lon = grid.projection.lat_lon(*np.meshgrid(y, x, indexing="ij"))
    return np.stack(plane(lon, lat), axis=-1)


def _cut(edges: Array, parts: int) -> Array:
    """Edges with equally spaced points between them."""
    cells = edges.size - 1
    return np.interp(np.arange(cells * parts + 1) / parts, np.arange(cells + 1), edges)


def _chords(grid: Grid, plane: pyproj.Proj) -> int:
    """How many chords a side needs: its bend falls with their number squared."""
    y, x = grid.edges
    along_x = _on_plane(y, _cut(x, 2), grid, plane)
    along_y = _on_plane(_cut(y, 2), x, grid, plane).swapaxes(0, 1)
    bend = max(_bend(along_x), _bend(along_y))
    return int(np.clip(math.ceil(math.sqrt(bend / _BEND)), 1, _MOST_CHORDS))


def _bend(points: Array) -> float:
    """The largest distance of a side's middle from its chord, over the chord's length."""
    start, middle, stop = points[:, :-2:2], points[:, 1:-1:2], points[:, 2::2]
    chord, off = stop - start, middle - start
    cross = chord[..., 0] * off[..., 1] - chord[..., 1] * off[..., 0]
    return float((np.abs(cross) / (chord**2).sum(axis=-1)).max())
