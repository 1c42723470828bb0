"""A recipe of one's own from a product's HTTP server: CHIRPS, days of several years."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from played.http import Fault, PlayedServer
from played.products import chirps

from benchmark.errors import InputError
from benchmark.task import Task
from data_recipes.own_task import own_task
from recipes import builds, weather
from recipes.builds import Job, area_means, blocks_of, made, stored

YEARS = (2018, 2019, 2020)
TIMES = np.concatenate(
    [
        np.datetime64(f"{year}-06-01T00", "s") + 86400 * np.arange(12).astype("timedelta64[s]")
        for year in YEARS
    ]
)
# South, north, west, east of what the played files hold: two of the boxes, and some more.
BOX = (-6.0, 3.0, 15.0, 29.0)
LAT, LON = np.arange(BOX[0] + 0.025, BOX[1], 0.05), np.arange(BOX[2] + 0.025, BOX[3], 0.05)
PERIODS = {
    name: {"first": f"{year}-06-02T00:00:00", "last": f"{year}-06-12T00:00:00"}
    for name, year in zip(("train", "val", "test"), YEARS, strict=True)
}
TASK: dict[str, Any] = {
    "name": "chirps-perfect",
    "title": "CHIRPS from its own means",
    "licence": "public domain",
    "attribution": "Climate Hazards Center",
    "factor": 5,
    "spacing": 0.05,
    "margin": 1,
    "variables": ["daily_precipitation"],
    "static": [],
    "periods": {"embargo_hours": 240, **PERIODS},
    "buffer_km": 100,
    "regions": [
        {"name": "congo", "role": "train", "lat": [-5, -1], "lon": [16, 20]},
        {"name": "guinea", "role": "val_ood", "lat": [6, 10], "lon": [-12, -8]},
        {"name": "kivu", "role": "test_ood", "lat": [-3, 1], "lon": [24, 28]},
    ],
}


def day_before(times: Any, lat: Any, lon: Any) -> NDArray[np.float64]:
    """[mm d-1] of the day that ends at each time: 50 at most."""
    return 5 * weather.rain(times - np.timedelta64(86400, "s"), lat, lon)


def file(year: int, *, factor: float = 1) -> bytes:
    """A year's file: its days are stamped at their start."""
    days = TIMES[TIMES.astype("datetime64[Y]").astype(str) == str(year)]
    values = factor * day_before(days + np.timedelta64(86400, "s"), LAT, LON)
    if year == YEARS[1]:  # a gap in Congo on the day that is given to 2019-06-03
        rows, columns = (LAT > -5) & (LAT < -4.8), (LON > 16) & (LON < 16.2)
        values[1, rows[:, None] & columns] = np.nan
    return chirps(days, LAT, LON, values)


def path(year: int) -> str:
    return f"/chirps-v2.0.{year}.days_p05.nc"


@pytest.fixture(scope="module")
def server() -> Iterator[PlayedServer]:
    with (
        PlayedServer({path(year): file(year) for year in YEARS}) as played,
        pytest.MonkeyPatch.context() as patch,
    ):
        blocks_of(8, patch.setattr)
        yield played


def table(server: PlayedServer, *, gaps: bool = True) -> dict[str, Any]:
    """The recipe: half of it would do for a user without a mirror."""
    source = {"provider": "product", "product": "chirps-v2-daily", "base_url": server.url}
    field = {"from": "precip", "hours": 24, "stamp": "start", "over_hours": 24}
    variables = {"daily_precipitation": field}
    return {"every_hours": 24, "fine": {"gaps": gaps, "source": source, "variables": variables}}


def task() -> Task:
    return own_task(TASK, track="perfect_model", where="a test")


@pytest.fixture(scope="module")
def whole(server: PlayedServer, tmp_path_factory: pytest.TempPathFactory) -> Job:
    regions = ("congo", "kivu")
    built = Job(task(), table(server), tmp_path_factory.mktemp("whole"), steps=8, regions=regions)
    made(built)
    return built


@pytest.mark.parametrize("region", ["congo", "kivu"])
def test_days_that_end_at_their_time_and_their_means(region: str, whole: Job) -> None:
    """A stamp at the start of a day serves the time at its end; a day with a gap is left out."""
    (_, north), (west, _) = whole.task.region(region).bounds
    lat, lon = north - 0.025 - 0.05 * np.arange(80), west + 0.025 + 0.05 * np.arange(80)
    times = np.concatenate([TIMES[1:12], TIMES[13:24], TIMES[25:36]])
    if region == "congo":
        times = times[times != np.datetime64("2019-06-03", "s")]
    truth = day_before(times, lat, lon)
    fine, coarse = (stored(whole, region, side) for side in ("fine", "coarse"))
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), times)
    np.testing.assert_allclose(fine["daily_precipitation"], truth, rtol=1e-5, atol=1e-5)
    means = area_means(truth, north - 0.05 * np.arange(81), 5)
    np.testing.assert_allclose(coarse["daily_precipitation"], means, rtol=1e-5, atol=1e-5)
    missing = builds.manifests(whole)[region].missing_intervals
    assert [run.first.isoformat() for run in missing] == (
        ["2019-06-03T00:00:00"] if region == "congo" else []
    )


def test_killed_twice_and_resumed_it_is_the_same_store(
    server: PlayedServer, whole: Job, tmp_path: Path
) -> None:
    again = builds.at(whole, tmp_path, regions=("congo",))
    builds.killed_while_fetching(again, server, lambda request: request.path == path(2019))
    builds.killed_while_writing(again)
    assert again.blocks("congo") == 1
    server.requests.clear()
    builds.resume(again)
    assert server.requests == []
    assert builds.same_store(again, whole)


def test_faults_workers_and_a_second_build_do_not_change_a_bit(
    server: PlayedServer, whole: Job, tmp_path: Path
) -> None:
    server.fault(path(2018), Fault(status=429), Fault(reset_after=9000))
    server.fault(path(2020), Fault(status=500), Fault(truncate_after=9000))
    again = builds.at(whole, tmp_path)
    server.requests.clear()
    made(again, workers=2)
    assert len(server.asked(path(2018))) == len(server.asked(path(2020))) == 3
    assert builds.same_store(again, whole)
    server.requests.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    made(again)
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_rain_in_metres_under_the_name_of_millimetres_is_refused(
    server: PlayedServer, tmp_path: Path
) -> None:
    with PlayedServer({path(year): file(year, factor=1e-3) for year in YEARS}) as in_metres:
        with pytest.raises(InputError, match="m taken for mm"):
            made(Job(task(), table(in_metres), tmp_path, regions=("kivu",)))
        wrong = table(in_metres)
        wrong["fine"]["variables"]["daily_precipitation"]["units"] = "m"
        made(Job(task(), wrong, tmp_path, regions=("kivu",)))
    assert server
