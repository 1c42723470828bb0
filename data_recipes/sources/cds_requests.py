"""What is asked of the Climate Data Store: options, requests, and the pieces they come in."""

import calendar
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from blake3 import blake3
from pydantic import Field

from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen
from data_recipes.source import Times, Window

CERRA_CRS = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
CERRA_SPACING_M = 5500.0
_ONE_YEAR = ("derived-era5-single-levels-daily-statistics",)
"""Whose form gives the year as a word, and not as a list of one."""


class CdsOptions(Frozen):
    """One data set of the Climate Data Store, as a recipe's TOML describes it.

    variables, static: {the file's short name: the request's name}; static ones do not change and
    are asked for at `static_time` alone. request: keys that are the same in every request
    (product_type, level_type, leadtime_hour). hours: of the key `time`, UTC; empty where the data
    set has no such key. split: what one request covers; "whole" has no dates at all (E-OBS).
    area: whether the data set takes a box; where it does not (CERRA), the full domain is fetched
    once and cropped in reading. format_key: whether it takes `data_format`, grib: which one to
    ask for. grid: "cerra" is Lambert, of `size` points a side. spacing: of a
    lat-lon grid, degrees: boxes are snapped to it, since the store interpolates to any other.
    points: of a full lat-lon domain, for the estimate. doi, bytes_per_value: for the record and
    for the estimate.
    """

    provider: Literal["cds"]
    dataset: str
    variables: dict[str, str]
    static: dict[str, str] = Field(default_factory=dict)
    static_time: str = "2020-01-01T00:00"
    request: dict[str, str | list[str]] = Field(default_factory=dict)
    hours: tuple[int, ...] = ()
    split: Literal["day", "month", "year", "whole"] = "month"
    area: bool = True
    grib: bool = False
    format_key: bool = True
    grid: Literal["lat_lon", "cerra"] = "lat_lon"
    size: int = 1069
    spacing: float = 0.25
    points: int = 0
    doi: str = ""
    bytes_per_value: float = 2.0


@dataclass(frozen=True)
class Piece:
    """One request, as sorted JSON. label: its period, for people; values: how many it brings."""

    dataset: str
    request: str
    label: str
    values: int

    @property
    def keys(self) -> dict[str, Any]:
        """The request as the store takes it."""
        keys: dict[str, Any] = json.loads(self.request)
        return keys

    @property
    def digest(self) -> str:
        """BLAKE3 of data set and request, 32 hexadecimal digits."""
        return blake3(f"{self.dataset}\n{self.request}".encode()).hexdigest()[:32]


def pieces(options: CdsOptions, window: Window) -> tuple[Piece, ...]:
    """The requests that a window needs: whole days, months or years, all variables together.

    So two windows of one region share them whatever hours they name, and all regions share those
    of a data set without `area`. A box across the date line is two requests.
    Errors: InputError when the window asks for variables that the options do not have, or for
    static ones together with others.
    """
    static = _check_names(options, window)
    made = []
    for label, dates, steps in [_static_dates(options)] if static else _dates(options, window):
        for box in _boxes(options, window):
            names = options.static if static else options.variables
            keys: dict[str, Any] = {
                **{
                    k: v
                    for k, v in options.request.items()
                    if not (static and k == "leadtime_hour")
                },
                "variable": sorted(names.values()),
                **dates,
                **({"area": list(box)} if box else {}),
            }
            if options.format_key:
                keys |= {"data_format": "grib" if options.grib else "netcdf"}
            request = json.dumps(keys, sort_keys=True)
            values = _points(options, box) * steps * len(names)
            made.append(Piece(options.dataset, request, label, values))
    return tuple(made)


def options_digest(options: CdsOptions) -> str:
    """What is fixed in the requests, as 16 hexadecimal digits."""
    kept = options.model_dump(exclude={"points", "bytes_per_value", "doi"})
    return blake3(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _check_names(options: CdsOptions, window: Window) -> bool:
    """Whether the window asks for static fields."""
    static = not len(window.times)
    known: Mapping[str, str] = options.static if static else options.variables
    unknown = sorted(set(window.names) - set(known))
    if unknown:
        table = "static" if static else "variables"
        raise InputError(
            Problem(
                f"{options.dataset}: {table}", f"{', '.join(unknown)}", f"{sorted(known)}",
                f"Add the name to [{table}] of this source.",
            )
        )  # fmt: skip
    return static


def _dates(options: CdsOptions, window: Window) -> Iterator[tuple[str, dict[str, Any], int]]:
    """(label, keys, times) of each period that holds one of the window's times."""
    if options.split == "whole":
        yield "whole", {}, len(window.times)
        return
    leads = [int(lead) for lead in np.atleast_1d(options.request.get("leadtime_hour", "0"))]
    # A time may come from the base times of the day before; a lead of 24 h is one whole day on.
    bases = np.unique(
        np.concatenate([_base_days(options, window.times, lead) for lead in leads])
    ).astype("datetime64[D]")
    hours = {"time": [f"{hour:02}:00" for hour in options.hours]} if options.hours else {}
    per_day = max(1, len(options.hours)) * len(leads)
    unit = {"day": "D", "month": "M", "year": "Y"}[options.split]
    for period in np.unique(bases.astype(f"datetime64[{unit}]")):
        label = str(period)
        year, month, day = (*label.split("-"), "", "")[:3]
        months = [month] if month else [f"{number:02}" for number in range(1, 13)]
        longest = max(calendar.monthrange(int(year), int(number))[1] for number in months)
        days = [day] if day else [f"{number:02}" for number in range(1, longest + 1)]
        count = 1 if day else longest if month else 365
        years = year if options.dataset in _ONE_YEAR else [year]
        dates = {"year": years, "month": months, "day": days, **hours}
        yield label, dates, count * per_day


def _base_days(options: CdsOptions, times: Times, lead: int) -> Times:
    """The days of the base times, of those that the data set has, from which `lead` gives these."""
    bases = times.astype("datetime64[h]") - np.timedelta64(lead, "h")
    if lead and options.hours:
        bases = bases[np.isin(bases.astype(int) % 24, options.hours)]
    return bases.astype("datetime64[D]")


def _static_dates(options: CdsOptions) -> tuple[str, dict[str, Any], int]:
    day, _, clock = options.static_time.partition("T")
    year, month, number = day.split("-")
    dates: dict[str, Any] = {"year": [year], "month": [month], "day": [number]}
    return "static", dates | {"time": [clock[:5]]}, 1


Box = tuple[float, float, float, float]


def _boxes(options: CdsOptions, window: Window) -> list[Box | None]:
    """(north, west, south, east), a spacing wider than the window; None for the full domain."""
    if not options.area:
        return [None]
    step = options.spacing

    def down(degrees: float) -> float:
        return math.floor(degrees / step + 1e-6) * step - step

    south, north = max(-90.0, down(window.south)), min(90.0, -down(-window.north))
    west, east = down(window.west), -down(-window.east)
    if east - west >= 360:
        return [(north, -180.0, south, 180.0 - step)]
    spans = [(west, east)]
    if west < -180:
        spans = [(west + 360, 180 - step), (-180.0, east)]
    elif east >= 180:
        spans = [(west, 180 - step), (-180.0, east - 360)]
    if len(spans) == 2:  # two columns at least: a box without width may be taken for the globe
        (first, last), (start, end) = spans
        spans = [(min(first, last - step), last), (start, max(end, start + step))]
    return [
        (round(north, 6), round(left, 6), round(south, 6), round(right, 6)) for left, right in spans
    ]


def _points(options: CdsOptions, box: Box | None) -> int:
    if box is None:
        return options.size**2 if options.grid == "cerra" else options.points
    north, west, south, east = box
    rows, columns = (north - south) / options.spacing + 1, (east - west) / options.spacing + 1
    return round(rows) * round(columns)
