"""What no product can honestly hold: values, statics and orientations that are refused.

Every check is a function of a few numbers; none repairs anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import Problem
from benchmark.grid import Grid
from benchmark.task import Variable
from data_recipes.fields import PACKING_NOISE

Array = NDArray[np.floating]

RANGES = {
    "K": (170.0, 345.0),
    "m s-1": (-90.0, 90.0),
    "mm h-1": (-PACKING_NOISE["mm h-1"], 500.0),
    "mm d-1": (-PACKING_NOISE["mm d-1"], 2500.0),
    "kg m-2": (-1e-3, 150.0),
}
"""The weather's range by units, with room: 10 m winds, total column water."""

_TOO_DRY = {"mm h-1": 0.05, "mm d-1": 0.3, "kg m-2": 1.0}
"""Rain in m that was taken for mm never reaches this: 50 mm h-1 would be 0.05."""
_FALLS = 1e-4
"""But something falls: less than this is what packing leaves of no rain."""
_WET = 1e-5
_VALUES = 20_000
_ENOUGH = ((24, 0.1, 0.4), (24, 0.3, 1.0), (240, 0.01, 1.0))
"""(times, share of wet values, part of that limit) from which this is no honest dry sample."""
_DRY_STEPS = 720
_MOVED = 20
_RISING = 0.01
_RUNS = (12, 0.4)
_SAME = 1e-3


@dataclass(frozen=True)
class Summary:
    """What the checks of values need; those of several blocks add up, in any order.

    known, missing, infinite, wet: numbers of values, wet where above 1e-5; low, high: of the known
    ones, inf and -inf where there are none; times; compared: pairs of consecutive times within
    blocks; changed: whether any value changed between them; active: pairs between which 20 wet
    cells or more changed; rising: those of them in which next to none fell.
    """

    known: int = 0
    missing: int = 0
    infinite: int = 0
    wet: int = 0
    low: float = np.inf
    high: float = -np.inf
    times: int = 0
    compared: int = 0
    changed: bool = False
    active: int = 0
    rising: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(
            known=self.known + other.known,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            wet=self.wet + other.wet,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            times=self.times + other.times,
            compared=self.compared + other.compared,
            changed=self.changed or other.changed,
            active=self.active + other.active,
            rising=self.rising + other.rising,
        )


def summarise(values: Array) -> Summary:
    """The summary of a block of consecutive times, (time, y, x); NaN is missing."""
    finite = np.isfinite(values)
    known = values[finite]
    missing = int(np.count_nonzero(np.isnan(values)))
    before, after = values[:-1], values[1:]
    wet = before > _WET
    fell = ((after < before) & wet).sum(axis=(1, 2))
    rose = ((after > before) & wet).sum(axis=(1, 2))
    active = fell + rose >= _MOVED
    return Summary(
        known=known.size,
        missing=missing,
        infinite=int(values.size - known.size - missing),
        wet=int(np.count_nonzero(known > _WET)),
        low=float(known.min()) if known.size else np.inf,
        high=float(known.max()) if known.size else -np.inf,
        times=len(values),
        compared=len(before),
        changed=bool(((after < before) | (after > before)).any()),
        active=int(active.sum()),
        rising=int((active & (fell <= _RISING * (fell + rose))).sum()),
    )


def check_values(where: str, variable: Variable, values: Array, *, side: str) -> list[Problem]:
    """What no weather can be in (time, y, x) values in the task's units; empty where all is well.

    side: "coarse" or "fine". For more than one block, add up `summarise` of each and call
    `check_summary` once: what needs many times is told by all of them together.
    """
    return check_summary(where, variable, summarise(values), side=side)


def check_summary(where: str, variable: Variable, found: Summary, *, side: str) -> list[Problem]:
    """As `check_values`, from the summary of all blocks."""
    place = f"{where}: {side} {variable.name}"
    checks = (
        is_known,
        is_finite,
        is_in_kelvin,
        is_in_range,
        is_in_millimetres,
        varies,
        is_not_accumulated,
    )
    problems = (check(place, variable, found) for check in checks)
    return [problem for problem in problems if problem]


def is_finite(where: str, variable: Variable, found: Summary) -> Problem | None:  # noqa: ARG001
    """No infinite values."""
    if not found.infinite:
        return None
    fix = "Check the scale and offset of packing, and what marks missing values."
    return Problem(where, "finite or missing values", f"{found.infinite} infinite ones", fix)


def is_known(where: str, variable: Variable, found: Summary) -> Problem | None:  # noqa: ARG001
    """Some values."""
    if found.known or found.infinite:
        return None
    fix = "Check the variable, region and times."
    return Problem(where, "values of the product", "nothing but missing values", fix)


def is_in_kelvin(where: str, variable: Variable, found: Summary) -> Problem | None:
    """Temperatures that are not degrees Celsius, nor Fahrenheit."""
    if variable.units != "K" or not found.known or not -130 < found.low <= found.high < 140:
        return None
    guess = "degF" if found.high > 65 else "degC"
    fix = f'Say units = "{guess}" in the recipe if that is what they are.'
    return Problem(where, "temperatures in K", f"{_span(found)}, as in {guess}", fix)


def is_in_range(where: str, variable: Variable, found: Summary) -> Problem | None:
    """Values that the weather has, by units; none below 0 where the task says so."""
    if variable.units not in RANGES or not found.known:
        return None
    if is_in_kelvin(where, variable, found):
        return None  # reported as such
    low, high = RANGES[variable.units]
    if variable.nonnegative:
        low = max(low, -PACKING_NOISE.get(variable.units, 1e-3))
    if low <= found.low and found.high <= high:
        return None
    fix = "Check the units, the scale and offset of packing, and what marks missing values."
    if variable.units in PACKING_NOISE and found.high > high:
        fix = "Are these mm taken for m, or a rate per second? Say in `units` what they are."
    elif variable.units in PACKING_NOISE:
        fix = "Negative rain is no rate: are these differences of accumulated values?"
    return Problem(where, f"{low:g} to {high:g} {variable.units}", _span(found), fix)


def is_in_millimetres(where: str, variable: Variable, found: Summary) -> Problem | None:
    """Rain, and column water, that is not a thousand times too little.

    Judged where there are many values: honest dry weeks have few wet cells.
    """
    if variable.units not in _TOO_DRY or found.known < _VALUES or found.high < _FALLS:
        return None
    most, share = _TOO_DRY[variable.units], found.wet / found.known
    if not any(
        found.times >= times and share >= wet and found.high < part * most
        for times, wet, part in _ENOUGH
    ):
        return None
    return Problem(
        where,
        f"some value of {most:g} {variable.units} or more in {found.times} times",
        f"{_span(found)}, with {100 * share:.0f} % above {_WET:g}",
        'Are these m taken for mm? Say units = "m" in the recipe.',
    )


def varies(where: str, variable: Variable, found: Summary) -> Problem | None:
    """Values that change with time; rain may be 0 for a month."""
    if not found.compared or found.changed or not found.known:
        return None
    if variable.units in PACKING_NOISE and not found.wet and found.compared < _DRY_STEPS:
        return None
    got = f"the same values at all of {found.times} times"
    return Problem(where, "values that vary in time", got, "Check that the times were read.")


def is_not_accumulated(where: str, variable: Variable, found: Summary) -> Problem | None:
    """Rain that falls off somewhere from most times to the next.

    Accumulated since the start of each forecast, it falls nowhere within a run, and everywhere
    between two. Honest rain, where 20 wet cells change, falls in some of them.
    """
    steps, share = _RUNS
    if variable.units not in PACKING_NOISE or found.active < steps:
        return None
    if found.rising < share * found.active:
        return None
    return Problem(
        where,
        "rates, that fall as often as they rise",
        f"values that only ever rise between {found.rising} of {found.active} pairs of times",
        "Are they accumulated since the start of a forecast? Take differences within each run.",
    )


def check_mask(where: str, values: Array, *, derived: bool) -> list[Problem]:
    """Cells of (time, y, x) inputs that are never there, where others are: a mask, no gaps.

    derived: whether the inputs are means of these values, and not the values themselves.
    """
    never = int(np.isnan(values).all(axis=0).sum())
    if not never or never == values[0].size:
        return []
    fix = "Choose regions without such cells, or another product"
    if derived:
        fix += "; or give a coarse product of its own: the fine one may then have them"
    cells, times = values[0].size, len(values)
    return [
        Problem(
            where,
            "inputs with all cells, since models need whole ones",
            f"{never} of {cells} cells that are never there, at none of {times} times",
            f"{fix}.",
        )
    ]


def check_static(where: str, static: Mapping[str, Array]) -> list[Problem]:
    """What no (y, x) static field can hold: `orography` in m, `land_fraction` in 0-1."""
    limits = {"orography": (-500.0, 9000.0, "m"), "land_fraction": (-1e-3, 1 + 1e-3, "")}
    hints = {
        "orography": "Is this geopotential? Say units = \"m2 s-2\" in the recipe.",
        "land_fraction": "Are these percent? Say units = \"%\" in the recipe.",
    }  # fmt: skip
    problems = []
    for name, values in static.items():
        low, high, unit = limits[name]
        found = summarise(values[None])
        place = f"{where}: {name}"
        if found.known < values.size:
            fix = "Statics must be known everywhere: take another product."
            got = f"{values.size - found.known} that are not"
            problems.append(Problem(place, "finite values", got, fix))
        if found.known and not (low <= found.low and found.high <= high):
            expected = f"{low:.3g} to {high:.4g} {unit}".strip()
            problems.append(Problem(place, expected, _span(found), hints[name]))
    return problems


def check_same_grid(where: str, found: Grid, expected: Grid) -> list[Problem]:
    """That a static product's cells are the dynamic one's, to 1e-3 of a cell, on one map."""
    fix = "Use statics of the same grid, or regrid them."
    if found.projection != expected.projection:
        names = [grid.projection.crs or "latitudes and longitudes" for grid in (expected, found)]
        return [Problem(where, names[0], names[1], fix)]
    if found.shape != expected.shape:
        return [Problem(where, f"{expected.shape} cells", f"{found.shape}", fix)]
    off = []
    for name, one, other in (("y", found.y, expected.y), ("x", found.x, expected.x)):
        step = (other.last - other.first) / other.cells
        shifts = (one.edges - other.edges) / step
        if np.abs(shifts).max() > _SAME:
            worst = float(shifts[np.argmax(np.abs(shifts))])
            half = " (half a cell)" if abs(abs(worst) - 0.5) < 0.01 else ""
            off.append(f"{worst:+.3g} cells{half} along {name}")
    if not off:
        return []
    return [Problem(where, "the cells of the fine fields", f"cells off by {', '.join(off)}", fix)]


def _span(found: Summary) -> str:
    return f"{found.low:.6g} to {found.high:.6g}"
