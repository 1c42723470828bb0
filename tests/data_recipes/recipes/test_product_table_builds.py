"""A recipe of one's own from every row of the product table, each from its own played server.

Grids, orders of rows, turns of longitude, units, stamps, fill values and names are the providers'.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from played.http import PlayedServer
from played.products import chirps, cpc, mrms, prism

from benchmark.task import Task
from data_recipes import grib
from data_recipes.grib import decode_grib
from data_recipes.own_task import own_task
from data_recipes.sources.product_table import PRODUCTS
from recipes import builds
from recipes.builds import Job, area_means, blocks_of, made, stored

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]
SIZE, FACTOR = 24, 4
ROWS, COLUMNS = 48, 96
"""Of what a played file holds, from a south-west corner that each product has its own of."""
BOXES = {"home": 6, "away": 60, "else": 120}
"""First column of each region; all begin at row 12. The last one is in no file."""
ROLES = {"home": "train", "away": "test_ood", "else": "val_ood"}
_HOUR = np.timedelta64(3600, "s")


@dataclass(frozen=True)
class Row:
    """What a test knows of a product from its provider's pages, not from the table.

    cell: degrees; south, west: the corner of what is played; starts, ends: hours from a stamp to
    the begin and end of what it sums up; years: of the three periods; path: of the file of a stamp,
    with strftime's fields; names: of the variable.
    """

    name: str
    cell: float
    south: float
    west: float
    starts: int
    ends: int
    years: tuple[int, int, int]
    path: str
    variable: str

    @property
    def hourly(self) -> bool:
        return self.ends - self.starts == 1

    @property
    def periods(self) -> list[builds.Span]:
        """Four times to learn from, one to choose by and one to test on: the intervals' ends."""
        if self.hourly:
            year = self.years[0]
            learnt, chosen, tested = f"{year}-05-11T22", f"{year}-06-11T03", f"{year}-07-11T03"
            return [(learnt, f"{year}-05-12T01"), (chosen, chosen), (tested, tested)]
        learnt, chosen, tested = (f"{year}-06-02T{self.ends % 24:02}" for year in self.years)
        return [(learnt, learnt.replace("06-02", "06-05")), (chosen, chosen), (tested, tested)]

    @property
    def times(self) -> Times:
        """All ends of intervals that the task asks for."""
        return builds.times_of(self.periods, every_hours=1 if self.hourly else 24)

    def file_of(self, stamp: np.datetime64) -> str:
        """The path of the file that holds a stamp."""
        return stamp.astype("datetime64[s]").item().strftime(self.path)


def _mrms(name: str, folder: str, variable: str, year: int) -> Row:
    path = f"{folder}/MRMS_{variable}_00.00_%Y%m%d-%H0000.grib2.gz"
    return Row(name, 0.01, 40.4, -100.0, -1, 0, (year,) * 3, path, variable)


_BUCKET = "CONUS/{}_00.00/%Y%m%d"
_PASS1, _PASS2 = "MultiSensor_QPE_01H_Pass1", "MultiSensor_QPE_01H_Pass2"
_RADAR = "RadarOnly_QPE_01H"
ROW = {
    row.name: row
    for row in (
        _mrms("mrms-multisensor-pass2", _BUCKET.format(_PASS2), _PASS2, 2021),
        _mrms("mrms-multisensor-pass1", _BUCKET.format(_PASS1), _PASS1, 2021),
        _mrms("mrms-radar-only", _BUCKET.format(_RADAR), _RADAR, 2021),
        Row("mrms-gauge-corrected", 0.01, 40.4, -100.0, -1, 0, (2019,) * 3,
            "%Y/%m/%d/mrms/ncep/GaugeCorr_QPE_01H/GaugeCorr_QPE_01H_00.00_%Y%m%d-%H0000.grib2.gz",
            "GaugeCorr_QPE_01H"),
        Row("cpc-global-daily", 0.5, 30.0, -9.0, 0, 24, (2001, 2002, 2003),
            "precip.%Y.nc", "precip"),
        Row("cpc-us-daily", 0.25, 30.0, -125.0, -12, 12, (1999, 2000, 2001),
            "precip.V1.0.%Y.nc", "precip"),
        Row("cpc-us-rt-daily", 0.25, 30.0, -125.0, -12, 12, (2007, 2008, 2009),
            "RT/precip.V1.0.%Y.nc", "precip"),
        Row("chirps-v2-daily", 0.05, -3.0, 15.0, 0, 24, (2018, 2019, 2020),
            "chirps-v2.0.%Y.days_p05.nc", "precip"),
        Row("chirps-v3-daily-rnl", 0.05, -58.0, -72.0, 0, 24, (2018, 2019, 2020),
            "chirps-v3.0.rnl.%Y.days_p05.nc", "precip"),
        Row("prism-daily", 1 / 24, 36 - 1 / 48, -120 - 1 / 48, -12, 12, (2018, 2019, 2020),
            "%Y%m%d", "ppt"),
    )
}  # fmt: skip
ONE_OF_EACH = ("mrms-multisensor-pass2", "cpc-global-daily", "chirps-v2-daily", "prism-daily")
MIRROR = {name: name.replace("-", "/") for name in ROW}


def rain(row: Row, ends: Times, lat: Any, lon: Any) -> Floats:
    """[mm] of the interval that ends at each time: dry in places, some 10 at most, in tenths."""
    hours = (np.asarray(ends, "datetime64[s]") - np.datetime64("1990-01-01", "s")) / _HOUR
    speed = 0.9 if row.hourly else 0.9 / 24
    t, y, x = np.meshgrid(
        hours * speed, np.asarray(lat) / row.cell, np.asarray(lon) % 360 / row.cell, indexing="ij"
    )
    wave = np.sin(y / 2.1 + x / 4.3 + t) + np.sin(y / 5.7 - x / 3.1 + 1.7 * t)
    return np.round(5 * np.maximum(0, wave + 0.8), 1)


def edges(row: Row, region: str) -> tuple[float, float]:
    """The north and west edge of a region."""
    return row.south + (12 + SIZE) * row.cell, row.west + BOXES[region] * row.cell


def centres(row: Row, region: str) -> tuple[Floats, Floats]:
    """Of a region's fine cells, rows from the north."""
    north, west = edges(row, region)
    at = row.cell * (np.arange(SIZE) + 0.5)
    return north - at, west + at


def _holed(row: Row, values: Floats, ends: Times, lat: Floats, lon: Floats) -> Floats:
    """Without two cells of home at the third time."""
    y, x = centres(row, "home")
    third = np.flatnonzero(ends == row.times[2])
    there = [int(np.argmin(np.abs(lon % 360 - at % 360))) for at in x[3:5]]
    values[np.ix_(third, [int(np.argmin(np.abs(lat - y[5])))], there)] = np.nan
    return values


def played(row: Row) -> dict[str, bytes]:
    """All files of a product, by path; they also hold days that no task asks for."""
    south = row.south + row.cell * (np.arange(ROWS) + 0.5)
    east = row.west + row.cell * (np.arange(COLUMNS) + 0.5)
    if row.hourly:
        # The second hour was never published.
        return {row.file_of(t): _hour(row, t) for t in row.times if t != row.times[1]}
    if row.name == "cpc-global-daily":
        east = 0.25 + 0.5 * np.arange(720)
    lat = south[::-1] if row.name == "cpc-global-daily" else south
    lon = east % 360 if row.name.startswith("cpc") else east
    files = {}
    for year in row.years:
        days = np.datetime64(f"{year}-05-30T00", "s") + 24 * _HOUR * np.arange(10)
        ends = days + row.ends * _HOUR
        values = _holed(row, rain(row, ends, lat, lon), ends, lat, lon)
        if row.name == "prism-daily":
            for day, value in zip(days, values, strict=True):
                name = row.file_of(day)
                files[name] = prism(name, lat, lon, value)
        else:
            layout = cpc if row.name.startswith("cpc") else chirps
            files[row.file_of(days[0])] = layout(days, lat, lon, values)
    return files


@cache
def _message(stamp: str, third: bool) -> bytes:
    """An hour of MRMS: -3 where there is no coverage, -1 where a value is missing."""
    row = ROW["mrms-radar-only"]
    lat = row.south + row.cell * (np.arange(ROWS) + 0.5)[::-1]
    lon = row.west + 360 + row.cell * (np.arange(COLUMNS) + 0.5)
    values = rain(row, np.array([stamp], "datetime64[s]"), lat, lon)[0]
    if third:
        rows, columns = 12 + 5, BOXES["home"] + 3
        values[rows, columns : columns + 2] = -3.0, -1.0
    return mrms(stamp, lat, lon, values)


def _hour(row: Row, time: np.datetime64) -> bytes:
    return _message(str(time), bool(time == row.times[2]))


@pytest.fixture(scope="module")
def server() -> Iterator[PlayedServer]:
    """Messages that several rows share are decoded once: that takes most of their time."""
    decoded: dict[bytes, bytes] = {}

    def decode_once(message: Path, netcdf: Path) -> None:
        content = message.read_bytes()
        if content not in decoded:
            decode_grib(message, netcdf)
            decoded[content] = netcdf.read_bytes()
        netcdf.parent.mkdir(parents=True, exist_ok=True)
        netcdf.write_bytes(decoded[content])

    with PlayedServer() as running, pytest.MonkeyPatch.context() as patch:
        patch.setattr(grib, "decode_grib", decode_once)
        blocks_of(2, patch.setattr)
        yield running


@pytest.fixture(scope="module", params=list(PRODUCTS))
def row(request: pytest.FixtureRequest, server: PlayedServer) -> Row:
    """What is known of a row; its server has its files."""
    known = ROW[request.param]
    server.files = {f"/{MIRROR[known.name]}/{path}": body for path, body in played(known).items()}
    return known


def task(row: Row) -> Task:
    boxes = [
        {
            "name": name,
            "role": ROLES[name],
            "lat": [row.south + 12 * row.cell, edges(row, name)[0]],
            "lon": [edges(row, name)[1], edges(row, name)[1] + SIZE * row.cell],
        }
        for name in BOXES
    ]
    periods = {
        name: {"first": f"{first}:00:00", "last": f"{last}:00:00"}
        for name, (first, last) in zip(("train", "val", "test"), row.periods, strict=True)
    }
    table = {
        "name": row.name,
        "title": row.name,
        "licence": PRODUCTS[row.name].licence,
        "attribution": PRODUCTS[row.name].attribution,
        "factor": FACTOR,
        "spacing": row.cell,
        "variables": ["precipitation" if row.hourly else "daily_precipitation"],
        "periods": {"embargo_hours": 240, **periods},
        "regions": boxes,
    }
    return own_task(table, track="perfect_model", where="a test")


def recipe(row: Row, server: PlayedServer) -> dict[str, Any]:
    """As a user would write it: the stamp is where it is in the interval."""
    base = f"{server.url}/{MIRROR[row.name]}"
    source = {"provider": "product", "product": row.name, "base_url": base}
    hours = row.ends - row.starts
    stamp = {0: "end", hours: "start", hours / 2: "middle"}[row.ends]
    field = {"from": row.variable, "hours": hours, "stamp": stamp, "over_hours": hours}
    name = "precipitation" if row.hourly else "daily_precipitation"
    fine = {"gaps": True, "source": source, "variables": {name: field}}
    return {"every_hours": hours, "offset_hours": row.ends % 24, "fine": fine}


@pytest.fixture(scope="module")
def whole(row: Row, server: PlayedServer, tmp_path_factory: pytest.TempPathFactory) -> Job:
    data = tmp_path_factory.mktemp(row.name)
    job = Job(task(row), recipe(row, server), data, steps=2, regions=("away", "home"))
    server.requests.clear()
    made(job)
    return job


def test_every_row_is_played() -> None:
    assert set(ROW) == set(PRODUCTS)


def test_a_time_has_the_sum_of_the_interval_that_ends_at_it(
    row: Row, server: PlayedServer, whole: Job
) -> None:
    """Of home, the third time has missing cells; the second hour of MRMS was never published."""
    asked = {request.path.removeprefix(f"/{MIRROR[row.name]}/") for request in server.requests}
    assert asked == {row.file_of(time - row.ends * _HOUR) for time in row.times}
    for region in whole.regions:
        lost = [1] if row.hourly else []
        lost += [2] if region == "home" else []
        times = np.delete(row.times, lost)
        lat, lon = centres(row, region)
        truth = rain(row, times, lat, lon)
        assert truth.std() > 1
        fine, coarse = (stored(whole, region, side) for side in ("fine", "coarse"))
        np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), times)
        np.testing.assert_allclose(fine["y"], lat, atol=1e-5 * row.cell)
        np.testing.assert_allclose(fine["x"], lon, atol=1e-5 * row.cell)
        name = task(row).variables[0].name
        packed = 2e-4 if row.hourly else 1e-5  # GRIB of 16 bits
        np.testing.assert_allclose(fine[name], truth, rtol=1e-5, atol=packed)
        corners = edges(row, region)[0] - row.cell * np.arange(SIZE + 1)
        means = area_means(truth, corners, FACTOR)
        np.testing.assert_allclose(coarse[name], means, rtol=1e-5, atol=packed)
        missing = builds.manifests(whole)[region].missing_intervals
        gone = [(np.datetime64(run.first, "s"), np.datetime64(run.last, "s")) for run in missing]
        assert gone == ([(row.times[lost[0]], row.times[lost[-1]])] if lost else [])


@pytest.mark.parametrize("row", ONE_OF_EACH, indirect=True)
def test_killed_twice_and_resumed_it_is_the_same_store_and_whole_it_is_left_alone(
    row: Row, server: PlayedServer, whole: Job, tmp_path: Any
) -> None:
    """One row of each layout: to a build the others differ in names alone."""
    again = builds.at(whole, tmp_path, regions=("home",))
    last = f"/{MIRROR[row.name]}/{row.file_of(row.times[-1] - row.ends * _HOUR)}"
    builds.killed_while_fetching(again, server, lambda request: request.path == last)
    builds.killed_while_writing(again)
    assert again.blocks("home") == 1
    server.requests.clear()
    builds.resume(again)
    assert builds.same_store(again, whole)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    made(again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert server.requests == []
