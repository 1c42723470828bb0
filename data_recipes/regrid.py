"""From a product's grid to the task's: which cells it has, and sparse weights between the two.

Cells are at their true coordinates throughout; nothing is clamped, filled or renormalised.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from benchmark.errors import InputError, Problem
from benchmark.grid import DEGREES, Axis, Grid, overlap
from benchmark.projection import LatLon, Map, Projection

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Method = Literal["exact", "area", "bilinear", "nearest"]

_REGULAR = 1e-4
"""Cells: how far centres may lie from an even spacing."""
_SAME = 1e-3
"""Cells: centres that are closer than this are the same."""
_COVERED = 1e-6
"""Share of a target cell that may lack cover: rounding."""
_NO_WEIGHT = 1e-9
_STEPS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Order:
    """Which rows and columns of a product's fields make the grid, from north and from west."""

    rows: Indices
    columns: Indices

    def __call__(self, fields: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., y, x) in the product's order to the grid's."""
        return fields[..., self.rows[:, None], self.columns]


@dataclass(frozen=True, eq=False)
class Regridder:
    """(target cells, source cells) weights, rows summing to 1. Can be pickled.

    Missing data: a target cell is NaN where any source cell with a weight above 1e-9 is.
    """

    weights: csr_array
    source_shape: tuple[int, int]
    target_shape: tuple[int, int]

    def __call__(self, fields: NDArray[np.floating]) -> Array:
        """(time, y, x) on the source's grid to (time, Y, X) float64; time by time the same."""
        if fields.ndim != 3 or fields.shape[1:] != self.source_shape:
            expected = f"(time, {self.source_shape[0]}, {self.source_shape[1]})"
            raise _refused("fields to regrid", expected, str(fields.shape), "Order them first.")
        out = np.empty((len(fields), *self.target_shape))
        for start in range(0, len(fields), _STEPS_AT_ONCE):
            some = fields[start : start + _STEPS_AT_ONCE].astype(np.float64)
            # An entry of the matrix carries a NaN on, and there are only entries with a weight.
            made = (self.weights @ some.reshape(len(some), -1).T).T
            out[start : start + _STEPS_AT_ONCE] = made.reshape(-1, *self.target_shape)
        return out


def source_grid(
    y: NDArray[np.floating], x: NDArray[np.floating], crs: str, near: Grid
) -> tuple[Grid, Order]:
    """The grid of a product's cells by their centres, and the order that brings fields to it.

    y, x: centres in degrees (crs "") or in metres of the map `crs`, in any order of rows and any
    turn of longitude. The grid runs from north to south and from west to east, on the turn that
    `near`, the target, is on, so that it may go across Greenwich or the date line. Spacing and
    edges are rounded, within 1e-4 of a cell or what float32 can hold, to a simple fraction and to
    a multiple of half a cell. Rows whose cells reach over a pole are left out, and a second copy
    of a column.
    Errors: InputError where the spacing is uneven by more than that, and where the cells do not
    cover the box of `near`.
    """
    projection = near.projection if _same_map(crs, near.projection.crs) else _projection(crs)
    y_order = np.argsort(-np.asarray(y, np.float64), kind="stable")
    x_order, turned = np.argsort(x, kind="stable"), np.asarray(x, np.float64)
    if isinstance(projection, LatLon):
        middle = _middle_longitude(near)
        turned = _turn(turned, middle)
        x_order = _one_run(turned, middle)
    y_axis = _axis("y", -np.asarray(y, np.float64)[y_order], _noise(y))
    x_axis = _axis("x", turned[x_order], _noise(x))
    grid = Grid(Axis(-y_axis.first, -y_axis.last, y_axis.cells), x_axis, projection)
    if isinstance(projection, LatLon):
        edges = grid.y.edges
        within = np.flatnonzero((edges[:-1] < 90 + 1e-9) & (edges[1:] > -90 - 1e-9))
        first, stop = int(within[0]), int(within[-1]) + 1
        y_order = y_order[first:stop]
        grid = Grid(Axis(float(edges[first]), float(edges[stop]), stop - first), x_axis, projection)
    _check_cover(grid, near)
    return grid, Order(y_order, x_order)


def lat_lon_box(grid: Grid) -> tuple[float, float, float, float]:
    """(south, north, west, east) in degrees around a grid, as a `Window` wants it.

    west is in [-180, 180), east above 180 across the date line. Not for a box around a pole.
    """
    lat, lon = _box_on(DEGREES, grid, _middle_longitude(grid))
    turn = 360 * np.floor((lon.min() + 180) / 360)
    return float(lat.min()), float(lat.max()), float(lon.min() - turn), float(lon.max() - turn)


def regridder(source: Grid, target: Grid, *, method: Method) -> Regridder:
    """The weights from one grid to another.

    exact: a crop; the target's cells are source cells (centres equal to 1e-3 of a cell).
    area: means over the target's cells, by exact overlap: in closed form where both grids are of
    one projection, else by polygons (`polygons.overlap_areas`). First order, conservative.
    bilinear: between the four source centres around a target's centre, along the source's axes.
    nearest: the source cell that a target's centre lies in, for masks.
    Errors: InputError that names the box where a target cell is not covered, or not the same.
    """
    if method == "area":
        weights = _area_weights(source, target)
    else:
        at_y, at_x = _positions(source, target)
        make = {"exact": _exact, "bilinear": _bilinear, "nearest": _nearest}[method]
        weights = make(source, target, at_y, at_x)
    return Regridder(weights, source.shape, target.shape)


def _exact(source: Grid, target: Grid, at_y: Array, at_x: Array) -> csr_array:
    for name in ("y", "x"):
        one, other = _step(getattr(source, name)), _step(getattr(target, name))
        if abs(other / one - 1) * getattr(target, name).cells > _SAME:
            got = f"cells of {abs(one):.8g} for {abs(other):.8g} along {name}"
            fix = 'Correct the spacing, or regrid by "area".'
            raise _refused("a product's cells", "the task's own cells", got, fix)
    off = [np.abs(at - np.rint(at)).max() for at in (at_y, at_x)]
    if max(off) > _SAME:
        half = abs(max(off) - 0.5) < 0.01
        hint = "Half a cell: are points taken for corners? " if half else ""
        raise _refused(
            "a product's cells", "the task's own cells",
            f"centres that are off by up to {off[0]:.3g} cells in y and {off[1]:.3g} in x",
            f'{hint}Correct the region\'s bounds or spacing, or regrid by "area".',
        )  # fmt: skip
    return _nearest(source, target, at_y, at_x)


def _nearest(source: Grid, target: Grid, at_y: Array, at_x: Array) -> csr_array:
    _check_within(source, target, at_y, at_x, reach=0.5)
    indices = []
    for at, axis in ((at_y, source.y), (at_x, source.x)):
        # Halfway between two centres rounding must not decide: north and west win.
        indices.append(np.clip(np.ceil(at - 0.5 - _COVERED).astype(int), 0, axis.cells - 1))
    columns = (indices[0] * source.x.cells + indices[1]).ravel()
    shape = (columns.size, source.y.cells * source.x.cells)
    return csr_array((np.ones(columns.size), (np.arange(columns.size), columns)), shape=shape)


def _bilinear(source: Grid, target: Grid, at_y: Array, at_x: Array) -> csr_array:
    _check_within(source, target, at_y, at_x, reach=0.0)
    below_y, below_x = (
        np.clip(np.floor(at + _COVERED).astype(int), 0, axis.cells - 2)
        for at, axis in ((at_y, source.y), (at_x, source.x))
    )
    share_y, share_x = np.clip(at_y - below_y, 0, 1), np.clip(at_x - below_x, 0, 1)
    corners = [
        (((below_y + dy) * source.x.cells + below_x + dx), wy * wx)
        for dy, wy in ((0, 1 - share_y), (1, share_y))
        for dx, wx in ((0, 1 - share_x), (1, share_x))
    ]
    columns = np.stack([column.ravel() for column, _ in corners], axis=1)
    weights = np.stack([weight.ravel() for _, weight in corners], axis=1)
    rows = np.repeat(np.arange(len(columns)), 4)
    shape = (len(columns), source.y.cells * source.x.cells)
    return _rows_to_one(csr_array((weights.ravel(), (rows, columns.ravel())), shape=shape))


def _area_weights(source: Grid, target: Grid) -> csr_array:
    _check_cover(source, target)
    if _same_map(source.projection.crs, target.projection.crs):
        return _rows_to_one(overlap(source, _on_turn_of(source, target)).matrix)
    from data_recipes.polygons import overlap_areas  # slow to import, and most need none of it

    near, cells = _cut(source, target)
    areas, whole = overlap_areas(near, target)
    cover = np.asarray(areas.sum(axis=1)) / whole
    if abs(cover - 1).max() > _COVERED:
        raise _not_covered(target, f"{np.count_nonzero(cover < 1 - _COVERED)} cells in part")
    entries = areas.tocoo()
    shares = entries.data / whole[entries.row]
    shape = (whole.size, source.y.cells * source.x.cells)
    return _rows_to_one(csr_array((shares, (entries.row, cells[entries.col])), shape=shape))


def _rows_to_one(weights: csr_array) -> csr_array:
    """Without negligible weights, whose NaN would count; rows sum to 1."""
    weights = csr_array(weights)
    weights.sum_duplicates()
    weights.data[weights.data <= _NO_WEIGHT] = 0
    weights.eliminate_zeros()
    return csr_array(diags_array(1 / np.asarray(weights.sum(axis=1))) @ weights)


def _on_turn_of(source: Grid, target: Grid) -> Grid:
    """The target with its longitudes on the turn that the source is on."""
    if not isinstance(source.projection, LatLon):
        return target
    turn = float(_turn(np.array(_middle(target.x)), _middle(source.x))) - _middle(target.x)
    x = Axis(target.x.first + turn, target.x.last + turn, target.x.cells)
    return Grid(target.y, x, target.projection)


def _cut(source: Grid, target: Grid) -> tuple[Grid, Indices]:
    """The source without what is far from the target, and which of its cells remain."""
    y, x = _box_on(source.projection, target, _middle(source.x))
    rows, columns = _around(source.y, y), _around(source.x, x)

    def part(axis: Axis, kept: Indices) -> Axis:
        return Axis(float(axis.edges[kept[0]]), float(axis.edges[kept[-1] + 1]), kept.size)

    near = Grid(part(source.y, rows), part(source.x, columns), source.projection)
    return near, (rows[:, None] * source.x.cells + columns).ravel()


def _around(axis: Axis, points: Array) -> Indices:
    """Indices of the cells that reach over the points, and one more on both sides."""
    at = (points - axis.first) / _step(axis)
    first, stop = int(np.floor(at.min())) - 1, int(np.ceil(at.max())) + 1
    return np.arange(max(first, 0), min(stop, axis.cells))


def _positions(source: Grid, target: Grid) -> tuple[Array, Array]:
    """(Y, X) positions of the target's centres in cells of the source; 0 is the first centre."""
    if _same_map(source.projection.crs, target.projection.crs):
        y, x = np.meshgrid(target.y.centres, target.x.centres, indexing="ij")
    else:
        y, x = source.projection.points(*target.lat_lon)
    if isinstance(source.projection, LatLon):
        x = _turn(x, _middle(source.x))
    return _index(source.y, y), _index(source.x, x)


def _index(axis: Axis, points: Array) -> Array:
    return (points - axis.first) / _step(axis) - 0.5


def _step(axis: Axis) -> float:
    """From one centre to the next; negative from north to south."""
    return (axis.last - axis.first) / axis.cells


def _middle(axis: Axis) -> float:
    return (axis.first + axis.last) / 2


def _turn(lon: Array, middle: float) -> Array:
    """Longitudes within half a turn of `middle`; those that are there stay as they are."""
    return np.asarray(lon - 360 * np.floor((lon - middle + 180) / 360))


def _middle_longitude(grid: Grid) -> float:
    middle = np.array(_middle(grid.y)), np.array(_middle(grid.x))
    return float(grid.projection.lat_lon(*middle)[1])


def _box_on(onto: Projection, box: Grid, middle: float) -> tuple[Array, Array]:
    """(y, x) on a projection of points all along the border of a grid.

    middle: a longitude that those of the border are to be near.
    """
    y, x = box.edges
    border_y = np.concatenate([y, y, np.full_like(x, y[0]), np.full_like(x, y[-1])])
    border_x = np.concatenate([np.full_like(y, x[0]), np.full_like(y, x[-1]), x, x])
    if _same_map(onto.crs, box.projection.crs):
        at_y, at_x = border_y, border_x
    else:
        at_y, at_x = onto.points(*box.projection.lat_lon(border_y, border_x))
    return at_y, _turn(at_x, middle) if isinstance(onto, LatLon) else at_x


def _check_cover(source: Grid, target: Grid) -> None:
    """InputError where part of the target's box lies outside the source's cells."""
    y, x = _box_on(source.projection, target, _middle(source.x))
    for points, axis in ((y, source.y), (x, source.x)):
        at = _index(axis, points)
        if at.min() < -0.5 - _COVERED or at.max() > axis.cells - 0.5 + _COVERED:
            raise _not_covered(target, f"cells {_span(source)}; the box needs {_range(y, x)}")


def _check_within(source: Grid, target: Grid, at_y: Array, at_x: Array, *, reach: float) -> None:
    """InputError where a target centre is more than `reach` cells beyond the outer centres."""
    slack = reach + _COVERED
    outside = np.zeros(at_y.shape, bool)
    for at, axis in ((at_y, source.y), (at_x, source.x)):
        outside |= (at < -slack) | (at > axis.cells - 1 + slack)
    if outside.any():
        got = f"{np.count_nonzero(outside)} centres outside those of the product, {_span(source)}"
        raise _not_covered(target, got)


def _not_covered(target: Grid, got: str) -> InputError:
    return _refused(
        f"the box {_span(target)}", "a product that covers it", got,
        "Fetch a larger window, or choose a smaller region.",
    )  # fmt: skip


def _span(grid: Grid) -> str:
    return _range(*grid.edges)


def _range(y: Array, x: Array) -> str:
    return f"y {y.min():.8g} to {y.max():.8g}, x {x.min():.8g} to {x.max():.8g}"


def _one_run(turned: Array, middle: float) -> Indices:
    """Order from west to east of the columns on either side of `middle`, without a gap, once."""
    order = np.argsort(turned, kind="stable")
    steps = np.diff(turned[order])
    if not len(steps) or not np.isfinite(steps).all():
        return order
    step = float(np.median(steps))
    order = order[np.concatenate([[True], steps > 0.01 * step])]
    runs = np.split(order, np.flatnonzero(np.diff(turned[order]) > 1.5 * step) + 1)
    return min(runs, key=lambda run: float(np.abs(turned[run] - middle).min()))


def _axis(name: str, centres: Array, noise: float) -> Axis:
    """The axis of ascending centres. Errors: InputError where they are not evenly spaced."""
    n = len(centres)
    where, fix = f"cell centres along {name}", "Only regular grids can be read."
    if n < 2 or not np.isfinite(centres).all():
        raise _refused(where, "two or more finite centres", f"{n} of them", fix)
    step = float(centres[-1] - centres[0]) / (n - 1)
    slack = max(_REGULAR * step, noise)
    off = np.abs(centres - (centres[0] + step * np.arange(n)))
    if step <= 0 or off.max() > slack:
        worst = int(np.argmax(np.abs(np.diff(centres) - step)))
        got = f"{centres[worst]:.8g} beside {centres[worst + 1]:.8g}, {step:.6g} apart on average"
        raise _refused(where, "an even spacing", got, fix)
    exact = _simple(step, slack / n)
    first = float(centres.mean()) - exact * n / 2
    halves = round(2 * first / exact) * exact / 2
    if abs(halves - first) <= slack:
        first = halves
    return Axis(first, first + n * exact, n)


def _simple(value: float, slack: float) -> float:
    """The simplest fraction within `slack`: 0.1 for a float32 0.1, 1/24 for 0.0416667."""
    for largest in (1, 10, 100, 1000, 10_000):
        fraction = Fraction(value).limit_denominator(largest)
        if fraction > 0 and abs(float(fraction) - value) <= slack:
            return float(fraction)
    return value


def _noise(centres: NDArray[np.floating]) -> float:
    """What float32 leaves open, also where a reader has made float64 of it."""
    single = centres.astype(np.float32)
    if not np.array_equal(single.astype(np.float64), centres.astype(np.float64)):
        return 0.0
    return 2 * float(np.spacing(np.abs(single).max()))


def _projection(crs: str) -> LatLon | Map:
    """Errors: InputError for a map that PROJ does not know, or that is not in metres."""
    if not crs:
        return DEGREES
    from pyproj.exceptions import ProjError

    try:
        units = Map(crs).units_of_proj
    except ProjError as error:
        units = str(error)
    if units != "m":
        fix = "Give the product's coordinates, and its PROJ string, in metres."
        raise _refused("the map of a product", "a PROJ string in metres", f"{crs!r}: {units}", fix)
    return Map(crs)


def _same_map(one: str, other: str) -> bool:
    """Whether two PROJ strings say the same, whatever the order of their words."""
    if one == other or not (one and other):
        return one == other
    import pyproj  # slow to import, and most products are on latitudes and longitudes

    return bool(pyproj.CRS(one) == pyproj.CRS(other))


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
