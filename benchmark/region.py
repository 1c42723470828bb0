"""A region: a named box of latitudes and longitudes, or of a map, and its role."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from benchmark.projection import LatLon, Map, Projection
from benchmark.toml_model import Frozen

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$")]
Role = Literal["train", "val_ood", "test_ood"]


def _bounds(limit: float) -> AfterValidator:
    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = bounds
        if not -limit <= low < high <= limit:
            raise ValueError(f"[low, high] in ascending order within +-{limit:g} degrees")
        return bounds

    return AfterValidator(check)


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] < bounds[1]:
        raise ValueError("[low, high] in ascending order")
    return bounds


Latitudes = Annotated[tuple[float, float], _bounds(90)]
Longitudes = Annotated[tuple[float, float], _bounds(180)]
Metres = Annotated[tuple[float, float], AfterValidator(_ascending)]


class MapGrid(Frozen):
    """A grid of square cells on a map: `crs` is a PROJ string, `spacing` the fine cells' in m."""

    name: Slug
    crs: str
    spacing: Annotated[float, Field(gt=0)]

    @field_validator("crs")
    @classmethod
    def _is_known_to_proj(cls, crs: str) -> str:
        from pyproj.exceptions import ProjError

        try:
            units = Map(crs).units_of_proj
        except ProjError as error:
            raise ValueError(f"a PROJ string ({error})") from None
        if units != "m":
            raise ValueError("a PROJ string of a map in metres")
        return crs


class Region(Frozen):
    """A named box, by its outer bounds in ascending order.

    Either `lat` and `lon` in degrees, longitude in [-180, 180], or `y` and `x` in metres of a map;
    `grid` then is that map's grid, in a task's file the name of one of its `grids`.
    """

    name: Slug
    role: Role
    lat: Latitudes | None = None
    lon: Longitudes | None = None
    y: Metres | None = None
    x: Metres | None = None
    grid: MapGrid | None = None

    @model_validator(mode="after")
    def _box_is_of_one_kind(self) -> Self:
        given = {key for key in ("lat", "lon", "y", "x", "grid") if getattr(self, key) is not None}
        if given not in ({"lat", "lon"}, {"y", "x", "grid"}):
            raise ValueError("lat and lon, or y, x and grid")
        corners = np.meshgrid(*self.bounds, indexing="ij")
        if not np.isfinite([*self.projection.lat_lon(*corners), *corners]).all():
            raise ValueError("y and x of places on earth: the map has none at these corners")
        return self

    @property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((south, north), (west, east)) along the grid's axes."""
        vertical, horizontal = self.lat or self.y, self.lon or self.x
        assert vertical is not None  # by the validator above
        assert horizontal is not None
        return vertical, horizontal

    @property
    def projection(self) -> Projection:
        """What the bounds are of."""
        return Map(self.grid.crs) if self.grid else LatLon()

    @property
    def centre(self) -> tuple[float, float]:
        """(latitude, longitude) of the middle of the box, in degrees."""
        (south, north), (west, east) = self.bounds
        y, x = np.array((south + north) / 2), np.array((west + east) / 2)
        lat, lon = self.projection.lat_lon(y, x)
        return float(lat), float(lon)
