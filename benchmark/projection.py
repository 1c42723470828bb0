"""What the two axes of a grid are: degrees of latitude and longitude, or metres of a map."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.geometry import EARTH_RADIUS_M, cell_area

if TYPE_CHECKING:
    import pyproj

Array = NDArray[np.float64]
Edges = tuple[Array, Array]
"""(y edges, x edges) in storage order."""


class Projection(Protocol):
    """What grids ask of their axes."""

    @property
    def crs(self) -> str:
        """A PROJ string of a map in metres; empty for latitude and longitude."""
        ...

    @property
    def names(self) -> tuple[str, str]:
        """CF standard names of (y, x)."""
        ...

    @property
    def units(self) -> tuple[str, str]:
        """CF units of (y, x)."""
        ...

    def lat_lon(self, y: Array, x: Array) -> tuple[Array, Array]:
        """Latitudes and longitudes in degrees of points (y, x), all of one shape."""
        ...

    def points(self, lat: Array, lon: Array) -> tuple[Array, Array]:
        """(y, x) of latitudes and longitudes in degrees."""
        ...

    def area(self, edges: Edges) -> Array:
        """(ny, nx) m2, the true area of each cell."""
        ...

    def overlap(self, *, fine: Edges, coarse: Edges) -> AreaOverlap:
        """The operator A between two grids with these axes."""
        ...

    def height_km(self, edges: Edges) -> float:
        """The mean true height of the cells."""
        ...


@dataclass(frozen=True)
class LatLon:
    """Latitude and longitude in degrees, on the sphere of radius 6371.229 km."""

    crs = ""
    names = ("latitude", "longitude")
    units = ("degrees_north", "degrees_east")

    def lat_lon(self, y: Array, x: Array) -> tuple[Array, Array]:
        """The points themselves."""
        return y, x

    def points(self, lat: Array, lon: Array) -> tuple[Array, Array]:
        """The points themselves, longitude in [-180, 180)."""
        return lat, (lon + 180) % 360 - 180

    def area(self, edges: Edges) -> Array:
        """Exact: R^2 times differences of longitude and of sin(latitude)."""
        return cell_area(*edges)

    def overlap(self, *, fine: Edges, coarse: Edges) -> AreaOverlap:
        """Exact on the sphere."""
        return AreaOverlap.from_edges(fine=fine, coarse=coarse)

    def height_km(self, edges: Edges) -> float:
        """The same for all cells."""
        return float(np.deg2rad(abs(np.diff(edges[0])).mean()) * EARTH_RADIUS_M / 1000)


@dataclass(frozen=True)
class Map:
    """Metres of a map projection.

    crs: a PROJ string with its earth, e.g. "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8
    +R=6371229" for CERRA. Areas are those on that earth: dx dy over the areal scale at the cell's
    centre, so that the error is that of the midpoint rule (below 1e-6 for cells of 5.5 km).
    Ref: Snyder 1987, USGS Professional Paper 1395; PROJ, doi 10.5281/zenodo.5884394.
    """

    crs: str
    names = ("projection_y_coordinate", "projection_x_coordinate")
    units = ("m", "m")

    def lat_lon(self, y: Array, x: Array) -> tuple[Array, Array]:
        """By PROJ's inverse."""
        lon, lat = self._proj(x, y, inverse=True)
        return np.asarray(lat), np.asarray(lon)

    def points(self, lat: Array, lon: Array) -> tuple[Array, Array]:
        """By PROJ."""
        x, y = self._proj(lon, lat)
        return np.asarray(y), np.asarray(x)

    def area(self, edges: Edges) -> Array:
        """dx dy / s, s the areal scale at the centres."""
        y, x = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
        lat, lon = self.lat_lon(*np.meshgrid(y, x, indexing="ij"))
        on_map = np.abs(np.diff(edges[0]))[:, None] * np.abs(np.diff(edges[1]))
        return np.asarray(on_map / self._proj.get_factors(lon, lat).areal_scale)

    def overlap(self, *, fine: Edges, coarse: Edges) -> AreaOverlap:
        """Cells are cut on the map; their areas are true."""
        return AreaOverlap.from_projected_edges(fine=fine, coarse=coarse, area=self.area(fine))

    def height_km(self, edges: Edges) -> float:
        """sqrt(mean area dy / dx): the map is taken to keep angles."""
        dy, dx = (abs(np.diff(edge)).mean() for edge in edges)
        return float(np.sqrt(self.area(edges).mean() * dy / dx) / 1000)

    def cf_attributes(self) -> dict[str, Any]:
        """The attributes of a CF grid mapping variable, and the PROJ string."""
        return {**self._proj.crs.to_cf(), "proj4": self.crs}

    @property
    def units_of_proj(self) -> str:
        """The unit of the map's axes."""
        return str(self._proj.crs.axis_info[0].unit_name).replace("metre", "m")

    @cached_property
    def _proj(self) -> "pyproj.Proj":
        import pyproj  # slow to import, and most tasks are on latitudes and longitudes

        return pyproj.Proj(self.crs)
