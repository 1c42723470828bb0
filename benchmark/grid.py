"""The fine and the coarse grid of one region, from its bounds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.projection import LatLon, Projection
from benchmark.region import Region
from benchmark.task import Task

Array = NDArray[np.float64]


DEGREES = LatLon()


@dataclass(frozen=True)
class Axis:
    """Cells along one axis by their edges, in degrees or metres; edges run in storage order."""

    first: float
    last: float
    cells: int

    @property
    def edges(self) -> Array:
        """(cells + 1,) edges."""
        return np.linspace(self.first, self.last, self.cells + 1)

    @property
    def centres(self) -> Array:
        """(cells,) centres."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    def cropped(self, margin: int) -> "Axis":
        """The axis without `margin` cells at both ends."""
        edges = self.edges
        return Axis(float(edges[margin]), float(edges[-1 - margin]), self.cells - 2 * margin)


@dataclass(frozen=True)
class Grid:
    """A grid of rectangles: `y` from north to south, `x` from west to east.

    They are latitude and longitude in degrees, or metres of a map; see `projection`.
    """

    y: Axis
    x: Axis
    projection: Projection = DEGREES

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.y.cells, self.x.cells

    @property
    def edges(self) -> tuple[Array, Array]:
        """(y edges, x edges)."""
        return self.y.edges, self.x.edges

    @cached_property
    def area(self) -> Array:
        """(ny, nx) true cell areas in m2."""
        return self.projection.area(self.edges)

    @cached_property
    def lat_lon(self) -> tuple[Array, Array]:
        """(ny, nx) latitudes and longitudes of the cells' centres in degrees."""
        points = np.meshgrid(self.y.centres, self.x.centres, indexing="ij")
        return self.projection.lat_lon(*points)

    @property
    def cell_km(self) -> tuple[float, float]:
        """(dy, dx): the mean height and width of the cells in km."""
        height = self.projection.height_km(self.edges)
        return height, float(self.area.mean() / 1e6 / height)

    def cropped(self, margin: int) -> "Grid":
        """The grid without a border of `margin` cells."""
        return Grid(self.y.cropped(margin), self.x.cropped(margin), self.projection)


@dataclass(frozen=True)
class RegionGrid:
    """Both grids of a region, and the part of them that is scored.

    `margin` counts coarse cells; the same border is `fine_margin` fine cells wide.
    """

    fine: Grid
    coarse: Grid
    margin: int

    @property
    def fine_margin(self) -> int:
        """The margin in fine cells (whole cells: the margin of a task is chosen so)."""
        return round(self.margin * self.fine.y.cells / self.coarse.y.cells)

    @cached_property
    def scored(self) -> "RegionGrid":
        """The interior that is scored, as a region grid without a margin."""
        return RegionGrid(
            self.fine.cropped(self.fine_margin), self.coarse.cropped(self.margin), margin=0
        )

    @cached_property
    def overlap(self) -> AreaOverlap:
        """The operator A from fine to coarse."""
        return overlap(self.fine, self.coarse)

    def crop_fine(self, field: NDArray[np.generic]) -> NDArray[np.generic]:
        """The scored interior of a (..., ny, nx) fine field."""
        return crop(field, self.fine_margin)

    def crop_coarse(self, field: NDArray[np.generic]) -> NDArray[np.generic]:
        """The scored interior of a (..., Ny, Nx) coarse field."""
        return crop(field, self.margin)


def crop(field: NDArray[np.generic], margin: int) -> NDArray[np.generic]:
    """`field` without a border of `margin` cells along its last two axes."""
    if margin == 0:
        return field
    return field[..., margin:-margin, margin:-margin]


def overlap(fine: Grid, coarse: Grid) -> AreaOverlap:
    """The operator A between two grids of one projection."""
    return fine.projection.overlap(fine=fine.edges, coarse=coarse.edges)


def region_grid(task: Task, region: Region) -> RegionGrid:
    """The grids of `region`: fine cells of the task's spacing, coarse ones `factor` times that.

    The coarse box is the fine one, moved by `task.coarse_shift` coarse cells to north and east.
    """
    (south, north), (west, east) = region.bounds
    fine = task.spacing_of(region)
    coarse = fine * task.factor
    to_north, to_east = (shift * coarse for shift in task.coarse_shift)

    def grid(size: float, up: float = 0.0, right: float = 0.0) -> Grid:
        return Grid(
            y=Axis(north + up, south + up, round((north - south) / size)),
            x=Axis(west + right, east + right, round((east - west) / size)),
            projection=region.projection,
        )

    return RegionGrid(fine=grid(fine), coarse=grid(coarse, to_north, to_east), margin=task.margin)
