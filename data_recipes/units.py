"""The units that products use, and what they become in a task."""

from dataclasses import dataclass
from typing import Literal

from benchmark.errors import InputError, Problem

Kind = Literal["temperature", "speed", "amount", "rate", "fraction", "length", "geopotential"]

GRAVITY = 9.80665
"""m s-2, by which geopotential is divided to be a height (WMO's standard value)."""


@dataclass(frozen=True)
class Unit:
    """A unit by its kind: value in the kind's own unit = value * factor + offset.

    The kinds' own units: K, m s-1, mm of water (kg m-2), mm h-1 of water, 1, m, m2 s-2.
    """

    kind: Kind
    factor: float = 1.0
    offset: float = 0.0


_KNOTS = 1852 / 3600
UNITS: dict[Unit, tuple[str, ...]] = {
    Unit("temperature"): ("K", "kelvin", "deg K", "degree_kelvin"),
    Unit("temperature", 1.0, 273.15): (
        "degC", "deg C", "C", "°C", "Celsius", "degree_Celsius", "degrees_Celsius",
        "degree Celsius", "degrees Celsius", "degrees C", "degree C", "deg_C", "degrees_C",
    ),
    Unit("temperature", 5 / 9, 459.67 * 5 / 9): (
        "degF", "deg F", "F", "°F", "Fahrenheit", "degree_Fahrenheit", "degrees_Fahrenheit",
    ),
    Unit("speed"): ("m s-1", "m s**-1", "m/s", "m s^-1", "ms-1", "m.s-1", "meters/second",
                    "metres per second", "meters per second"),
    Unit("speed", 1 / 3.6): ("km h-1", "km/h", "km h**-1", "km hr-1"),
    Unit("speed", _KNOTS): ("knots", "knot", "kt", "kts", "kn"),
    Unit("amount"): (
        "kg m-2", "kg m**-2", "kg/m2", "kg/m^2", "kg m^-2", "kg/m**2", "kg.m-2", "mm",
        "millimeter", "millimeters", "millimetre", "millimetres", "mm of water equivalent",
    ),
    Unit("amount", 10.0): ("cm", "cm of water equivalent"),
    Unit("amount", 25.4): ("inch", "inches", "in"),
    Unit("rate"): (
        "mm h-1", "mm h**-1", "mm/h", "mm/hr", "mm hr-1", "mm hr**-1", "mm/hour", "mm hour-1",
        "mm h^-1", "mm per hour", "kg m-2 h-1", "kg m**-2 h**-1",
    ),
    Unit("rate", 1 / 24): (
        "mm d-1", "mm d**-1", "mm/d", "mm/day", "mm day-1", "mm day**-1", "mm d^-1", "mm day^-1",
        "mm per day", "kg m-2 d-1", "kg m-2 day-1", "kg m**-2 day**-1",
    ),
    Unit("rate", 3600.0): (
        "kg m-2 s-1", "kg m**-2 s**-1", "kg/m2/s", "kg/m^2/s", "kg m^-2 s^-1", "kg/(m^2 s)",
        "kg/(m2 s)", "kg.m-2.s-1", "mm s-1", "mm/s", "mm s**-1",
    ),
    Unit("fraction"): ("1", "(0 - 1)", "(0-1)", "0-1", "fraction", "proportion", "dimensionless"),
    Unit("fraction", 0.01): ("%", "percent", "per cent"),
    Unit("length"): ("m", "metre", "metres", "meter", "meters", "gpm", "m asl"),
    Unit("length", 1000.0): ("km", "kilometer", "kilometers", "kilometre", "kilometres"),
    Unit("geopotential"): ("m2 s-2", "m**2 s**-2", "m2/s2", "m^2 s^-2", "m^2/s^2", "m**2/s**2"),
}  # fmt: skip
"""The spellings of each unit; capitals and spaces at the ends do not matter."""

_WATER = ("m of water equivalent", "m of water", "m w.e.")
"""Metres that can only be of water; a plain "m" is so where the task's variable is."""

TASK_UNITS: dict[str, Unit] = {
    "K": Unit("temperature"),
    "m s-1": Unit("speed"),
    "mm h-1": Unit("rate"),
    "mm d-1": Unit("rate", 1 / 24),
    "kg m-2": Unit("amount"),
    "1": Unit("fraction"),
    "m": Unit("length"),
}


@dataclass(frozen=True)
class Conversion:
    """task value = product value * factor + offset."""

    factor: float
    offset: float


def conversion(where: str, given: str, wanted: str, *, hours: float = 0) -> Conversion:
    """What makes values in `wanted`, one of `TASK_UNITS`, of values in `given`.

    hours: what a product's value is of. An amount of water (m, mm, kg m-2) becomes the mean rate
    over them. Geopotential becomes a height.
    Errors: InputError for an unknown unit, one of another kind, and an amount without its hours.
    """
    to = TASK_UNITS[wanted]
    got = _unit(where, given, water=to.kind in ("rate", "amount"))
    if got.kind == to.kind:
        return Conversion(got.factor / to.factor, (got.offset - to.offset) / to.factor)
    if (got.kind, to.kind) == ("geopotential", "length"):
        return Conversion(1 / GRAVITY, 0.0)
    if (got.kind, to.kind) == ("amount", "rate"):
        if hours <= 0:
            raise _refused(
                where, f"hours above 0, to make {wanted} of an amount in {given!r}", f"{hours:g}",
                "Say in `hours` how long the values were accumulated, and in `over_hours` the "
                "interval that the task's values are means of.",
            )  # fmt: skip
        return Conversion(got.factor / hours / to.factor, 0.0)
    fitting = ", ".join(_fitting(to.kind))
    raise _refused(
        where, f"units that become {wanted}: {fitting}", f"{given!r}, a {got.kind}",
        "Choose another variable of the product, or correct `units`.",
    )  # fmt: skip


def _unit(where: str, given: str, *, water: bool) -> Unit:
    spelled = _plain(given)
    if spelled in map(_plain, _WATER) or (water and spelled in ("m", "metre", "metres")):
        return Unit("amount", 1000.0)
    found = [unit for unit, names in UNITS.items() if spelled in map(_plain, names)]
    if not found:
        known = ", ".join(names[0] for names in UNITS.values())
        raise _refused(
            where, f"units that are known: {known}", repr(given),
            "Say in `units` which of them the values are in.",
        )  # fmt: skip
    return found[0]


def _fitting(kind: Kind) -> list[str]:
    kinds = {"rate": ("rate", "amount"), "length": ("length", "geopotential")}.get(kind, (kind,))
    first = [names[0] for unit, names in UNITS.items() if unit.kind in kinds]
    return first + (["m"] if kind in ("rate", "amount") else [])


def _plain(unit: str) -> str:
    return " ".join(unit.split()).casefold()


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
