"""One side of a pair for one region: its product, read and brought to the task's grid and units."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.grid import Grid
from data_recipes.fields import make, make_static, needed
from data_recipes.recipe_file import Side
from data_recipes.regrid import Order, Regridder, lat_lon_box, regridder, source_grid
from data_recipes.source import Source, Times, Window

Array = NDArray[np.float64]


def box_window(region: str, target: Grid, side: Side, times: Times) -> Window:
    """The window of a product that a grid needs, at these of its own times."""
    south, north, west, east = lat_lon_box(target)
    return Window(
        south=south,
        north=north,
        west=west,
        east=east,
        names=window_names(side),
        times=times,
        region=region,
    )


def window_names(side: Side) -> tuple[str, ...]:
    """The product's own names of all that a side is made from."""
    return tuple(sorted({name for field in side.variables.values() for name in field.names}))


def stamps(side: Side, times: Times) -> Times:
    """All the product's stamps that any variable needs at these times, ascending."""
    found = [needed(field, times).ravel() for field in side.variables.values()]
    return np.unique(np.concatenate(found)).astype("datetime64[s]")


@dataclass(frozen=True, eq=False)
class SideReader:
    """Reads a side; where its cells lie is found once. Can be pickled."""

    side: Side
    source: Source
    window: Window
    y: Array
    x: Array
    order: Order
    regrid: Regridder

    @classmethod
    def on(
        cls, side: Side, source: Source, window: Window, target: Grid, times: Times
    ) -> "SideReader":
        """Look at the first field, and weigh its cells.

        Errors: InputError where the product does not cover the target.
        """
        first = source.read(window, stamps(side, times[:1]))
        y, x = (np.asarray(first[name].values, np.float64) for name in ("y", "x"))
        # The product's own type says how exact its coordinates are.
        at_y, at_x = (
            first[name].values + moved for name, moved in zip("yx", side.moved, strict=True)
        )
        grid, order = source_grid(at_y, at_x, first.attrs["crs"], target)
        return cls(side, source, window, y, x, order, regridder(grid, target, method=side.onto))

    def read(self, times: Times) -> xr.Dataset:
        """The product's own fields for these times.

        Errors: InputError where its cells have moved.
        """
        found = self.source.read(self.window, stamps(self.side, times))
        for name, known in (("y", self.y), ("x", self.x)):
            if not np.array_equal(found[name].values.astype(np.float64), known):
                raise InputError(
                    Problem(
                        f"{self.window.region}: cells along {name}",
                        "the same at all times",
                        f"others from {times[0]} on",
                        "Give each period, or region, a recipe of its own.",
                    )
                )
        return found

    def make(self, dataset: xr.Dataset, variable: str, times: Times, *, units: str) -> Array:
        """(time, Y, X) a task's variable on the task's grid, in its units."""
        field = self.side.variables[variable]
        return self.regrid(self.order(make(field, dataset, times, units=units)))

    def static(self, variable: str, *, units: str) -> Array:
        """(Y, X) a field that does not change."""
        nothing = np.empty(0, "datetime64[s]")
        dataset = self.source.read(self.window, nothing)
        field = make_static(self.side.variables[variable], dataset, units=units)
        return np.asarray(self.regrid(self.order(field[None]))[0])
