"""Whether two products show the same places: no flipped or shifted axis, told by their values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import Problem

Array = NDArray[np.float64]

_LEAST_SIDE = 6
_LEAST_TIMES = 10
_GROUPS = 10
_AGREE = 0.8
_LEAST_CORRELATION = 0.2
_FLIPPED = 0.6
_SHIFTED = 0.35
_IN_A_GROUP = 0.2

_FLIPS = {
    "latitude": (slice(None, None, -1), slice(None)),
    "longitude": (slice(None), slice(None, None, -1)),
    "latitude and longitude": (slice(None, None, -1), slice(None, None, -1)),
}


@dataclass(frozen=True)
class _Correlations:
    """Of one placing of the coarse field: over all times, and over groups of them."""

    all: float
    groups: Array


def check_orientation(
    where: str, coarse: Array, fine: Array, *, shifts: bool = True
) -> list[Problem]:
    """Refuses a coarse product that fits better when it is flipped or moved.

    coarse, fine: (time, Y, X) of the two products on the coarse grid, the fine one coarsened; some
    ten to some hundred times, best spread over the period. Missing data: NaN counts nowhere.
    Flipped: another orientation fits clearly better. Shifted: as a function of the shift along
    an axis the correlation has its top (of the parabola through the shifts by -1, 0 and 1 cells)
    0.35 cells or more away from 0, so half a cell is found whatever the products' likeness. Either
    must hold for the fields with the mean of each time removed, for the same with each cell's mean
    over time removed, so that no pattern of bias decides, and in most of ten stretches of time.
    Steady weather that moves looks shifted where the products' clocks differ: refused too.
    No verdict (empty) below 10 times, 6 x 6 cells or a correlation of 0.2, as in dry samples.
    shifts: whether to look for shifts; not where a product is moved on purpose.
    """
    fewest = min(coarse.shape[1:])
    if len(coarse) < _LEAST_TIMES or fewest < _LEAST_SIDE:
        return []
    views = [_pair(coarse, fine), _pair(_weather(coarse), _weather(fine))]
    flipped = _flipped(views)
    if flipped:
        got = f"flipped {flipped}: turned round, the two products agree better"
        fix = "Check the order of the coordinates of both products against their values."
        return [Problem(where, "two products of the same orientation", got, fix)]
    shifted = [_shifted(views, axis) for axis in (0, 1)] if shifts else []
    named = [text for text in shifted if text]
    if not named:
        return []
    got = f"shifted: the coarse product lies {' and '.join(named)} of where the fine one has it"
    fix = "Check whether coordinates are centres or corners of cells, and the hours of both."
    return [Problem(where, "two products of the same places", got, fix)]


_Pair = tuple[Array, Array]


def _pair(coarse: Array, fine: Array) -> _Pair:
    return np.asarray(coarse, np.float64), np.asarray(fine, np.float64)


def _weather(fields: Array) -> Array:
    """Less each cell's mean over time."""
    known = np.isfinite(fields)
    count = np.maximum(known.sum(axis=0), 1)
    return np.asarray(fields - np.where(known, fields, 0).sum(axis=0) / count)


def _flipped(views: list[_Pair]) -> str:
    """The axes along which turning round fits clearly better in every view; empty for none."""
    for name, turn in _FLIPS.items():
        verdicts = []
        for k, (coarse, fine) in enumerate(views):
            as_is, turned = _fit(coarse, fine), _fit(coarse[:, turn[0], turn[1]], fine)
            better = turned.all > max(_LEAST_CORRELATION, as_is.all)
            # The weather has no gradients that are alike in both orientations.
            clear = k == 0 or as_is.all < _FLIPPED * turned.all
            verdicts.append(
                better and clear and _mostly(turned.groups - as_is.groups > 0, turned.groups)
            )
        if all(verdicts):
            return name
    return ""


def _shifted(views: list[_Pair], axis: int) -> str:
    """How far the coarse field lies off along an axis; empty where no shift is certain."""
    tops = []
    for coarse, fine in views:
        fits = [_fit(_moved(coarse, axis, shift), _inner(fine)) for shift in (-1, 0, 1)]
        if max(fit.all for fit in fits) < _LEAST_CORRELATION:
            return ""
        top = float(_top(*(np.array(fit.all) for fit in fits)))
        groups = _top(*(fit.groups for fit in fits))
        if abs(top) < _SHIFTED or not _mostly(np.sign(top) * groups > _IN_A_GROUP, groups):
            return ""
        tops.append(top)
    if tops[0] * tops[1] < 0:
        return ""
    # Rows run to the south: where the coarse field shows up n rows later, it lies to the south.
    direction = (("north", "south"), ("west", "east"))[axis][int(tops[0] > 0)]
    return (
        f"{abs(tops[0]):.2g} cells {direction}"
        if abs(tops[0]) < 1
        else f"a cell or more {direction}"
    )


def _top(before: Array, middle: Array, after: Array) -> Array:
    """Where the parabola through three correlations has its top; 1 or -1 at most."""
    bend = 2 * middle - before - after
    slope = after - before
    with np.errstate(invalid="ignore", divide="ignore"):
        top = np.where(bend > 0, slope / (2 * bend), np.sign(slope))
    return np.asarray(np.clip(np.where(np.isfinite(slope), top, np.nan), -1, 1))


def _moved(field: Array, axis: int, shift: int) -> Array:
    """The inner field of cells that lie `shift` cells further along an axis."""
    rows, columns = ((shift, 0), (0, shift))[axis]
    ny, nx = field.shape[1:]
    return field[:, 1 + rows : ny - 1 + rows, 1 + columns : nx - 1 + columns]


def _inner(field: Array) -> Array:
    return field[:, 1:-1, 1:-1]


def _fit(coarse: Array, fine: Array) -> _Correlations:
    """Correlation over cells and times, the mean of each time removed."""
    known = np.isfinite(coarse) & np.isfinite(fine)
    count = np.maximum(known.sum(axis=(1, 2), keepdims=True), 1)
    x, y = (np.where(known, field, 0) for field in (coarse, fine))
    x, y = (
        np.where(known, field - field.sum(axis=(1, 2), keepdims=True) / count, 0)
        for field in (x, y)
    )
    sums = np.stack([(a * b).sum(axis=(1, 2)) for a, b in ((x, y), (x, x), (y, y))])
    parts = np.array_split(np.arange(len(coarse)), _GROUPS)
    groups = [_correlation(*sums[:, part].sum(axis=1)) for part in parts]
    return _Correlations(_correlation(*sums.sum(axis=1)), np.array(groups))


def _correlation(xy: float, xx: float, yy: float) -> float:
    """NaN where one of the two does not vary."""
    return float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else np.nan


def _mostly(holds: NDArray[np.bool_], groups: Array) -> bool:
    """Whether it holds in most groups that can tell, and half of them can."""
    tell = np.isfinite(groups)
    return bool(tell.mean() >= 0.5 and holds[tell].mean() >= _AGREE)
