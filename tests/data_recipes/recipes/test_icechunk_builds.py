"""A recipe of one's own from IMERG as a public Icechunk store: half-hours stamped at their start.

The store has IMERG's own grid, units and axis; what no test reads of it is not there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from played.http import Fault, PlayedServer
from played.s3 import REGION, public_bucket

from benchmark.task import Task
from data_recipes.own_task import own_task
from data_recipes.sources.icechunk_store import IcechunkOptions
from recipes import builds, weather
from recipes.builds import Job, area_means, blocks_of, made, stored
from recipes.providers import IMERG_LAT, IMERG_LON

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]
HALF = np.timedelta64(1800, "s")
AXIS = np.datetime64("2020-01-31T00", "s") + HALF * np.arange(7 * 48)
PERIODS = (
    ("2020-01-31T22", "2020-02-01T02"),  # across the end of a month
    ("2020-02-03T04", "2020-02-03T04"),
    ("2020-02-05T00", "2020-02-05T01"),  # its first half-hours are of the day before
)
TIMES = builds.times_of(PERIODS, every_hours=1)
UNWRITTEN = TIMES[1] - HALF
HOLED = TIMES[3] - 2 * HALF
HOLE = (50.1, -0.2)
"""Latitude and longitude of the middle of 2 x 4 pixels that are not known then."""
BOXES = {
    "greenwich": ("train", 49, -1),
    "elsewhere": ("val_ood", 10, 30),
    "dateline": ("test_ood", -20, 178),  # its neighbours to the east are the store's first column
}
"""Role, south and west of boxes of 2 by 2 degrees."""
SIZE, FACTOR = 20, 5
TASK: dict[str, Any] = {
    "name": "imerg-late",
    "title": "IMERG Late from its own means",
    "licence": "public",
    "attribution": "NASA",
    "factor": FACTOR,
    "spacing": 0.1,
    "variables": ["precipitation"],
    "periods": {
        "embargo_hours": 24,
        **{
            name: {"first": f"{first}:00:00", "last": f"{last}:00:00"}
            for name, (first, last) in zip(("train", "val", "test"), PERIODS, strict=True)
        },
    },
    "regions": [
        {"name": name, "role": role, "lat": [south, south + 2], "lon": [west, west + 2]}
        for name, (role, south, west) in BOXES.items()
    ],
}


def rate(starts: Times, lat: Any, lon: Any) -> Floats:
    """[mm h-1] of the half-hours that start then: nowhere dry, 8 at most."""
    return 4 + 4 * weather.weather(starts, lat, lon)


def hourly(times: Times, lat: Any, lon: Any) -> Floats:
    """[mm h-1] mean of the half-hours that start 60 and 30 minutes before the times."""
    return (rate(times - 2 * HALF, lat, lon) + rate(times - HALF, lat, lon)) / 2


def make_store(url: str) -> None:
    """IMERG in the layout of dynamical.org, with values around the boxes, NaN elsewhere."""
    options = IcechunkOptions(provider="icechunk")
    storage = icechunk.s3_storage(
        bucket=options.bucket, prefix=options.prefix, region=REGION, endpoint_url=url,
        allow_http=True, force_path_style=True, access_key_id="w", secret_access_key="w",
    )  # fmt: skip
    session = icechunk.Repository.create(storage).writable_session("main")
    group = zarr.create_group(session.store)
    since = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
    for name, values, attributes in (
        ("time", AXIS.astype(np.int64), since),
        ("latitude", IMERG_LAT[::-1], {"units": "degrees_north"}),
        ("longitude", IMERG_LON, {"units": "degrees_east"}),
    ):
        axis = group.create_array(name, data=values, dimension_names=[name])
        axis.attrs.update(attributes)
    data = group.create_array(
        "precipitation_surface",
        shape=(len(AXIS), 1800, 3600),
        chunks=(48, 100, 100),
        dtype="float32",
        fill_value=np.nan,
        dimension_names=["time", "latitude", "longitude"],
        attributes={"units": "kg m-2 s-1", "step_type": "avg"},
    )
    latitude = IMERG_LAT[::-1]
    for _, south, west in BOXES.values():
        row = np.flatnonzero((latitude > south - 1) & (latitude < south + 3))
        away = (IMERG_LON - west - 1 + 180) % 360 - 180
        near = np.flatnonzero(np.abs(away) < 2)
        for column in np.split(near, np.flatnonzero(np.diff(near) != 1) + 1):
            lat, lon = latitude[row], IMERG_LON[column]
            values = rate(AXIS, lat, lon) / 3600
            values[AXIS == UNWRITTEN] = np.nan
            hole = np.ix_(AXIS == HOLED, np.abs(lat - HOLE[0]) < 0.1, np.abs(lon - HOLE[1]) < 0.2)
            values[hole] = np.nan
            place = (slice(row[0], row[-1] + 1), slice(column[0], column[-1] + 1))
            data[:, *place] = values.astype(np.float32)
    session.commit("IMERG")


@pytest.fixture(scope="module")
def server() -> Iterator[PlayedServer]:
    options = IcechunkOptions(provider="icechunk")
    with public_bucket(options.bucket) as (played, moto), pytest.MonkeyPatch.context() as patch:
        make_store(moto)
        blocks_of(2, patch.setattr)
        yield played


def task() -> Task:
    return own_task(TASK, track="perfect_model", where="a test")


@pytest.fixture(scope="module")
def whole(server: PlayedServer, tmp_path_factory: pytest.TempPathFactory) -> Job:
    field = {"from": "precipitation_surface", "hours": 0.5, "stamp": "start", "over_hours": 1}
    source = {"provider": "icechunk", "endpoint": server.url}
    fine = {"gaps": True, "source": source, "variables": {"precipitation": field}}
    regions = ("dateline", "greenwich")
    data = tmp_path_factory.mktemp("whole")
    job = Job(task(), {"fine": fine}, data, steps=2, regions=regions)
    made(job)
    return job


def chunks(server: PlayedServer) -> list[str]:
    """The chunks asked for, in order."""
    return [request.path for request in server.requests if "/chunks/" in request.path]


@pytest.mark.parametrize("region", ["greenwich", "dateline"])
def test_an_hour_is_the_mean_of_the_half_hours_that_start_before_it(
    region: str, whole: Job
) -> None:
    """An hour of which a half was never written is left out, and one with a hole at Greenwich."""
    _, south, west = BOXES[region]
    lat, lon = south + 1.95 - 0.1 * np.arange(SIZE), west + 0.05 + 0.1 * np.arange(SIZE)
    lost = [1, 3] if region == "greenwich" else [1]
    times = np.delete(TIMES, lost)
    truth = hourly(times, lat, lon)
    assert truth.std() > 0.2
    fine, coarse = (stored(whole, region, side) for side in ("fine", "coarse"))
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), times)
    np.testing.assert_allclose(fine["y"], lat, atol=1e-9)
    np.testing.assert_allclose(fine["x"], lon, atol=1e-9)
    np.testing.assert_allclose(fine["precipitation"], truth, rtol=1e-5)
    means = area_means(truth, south + 2 - 0.1 * np.arange(SIZE + 1), FACTOR)
    np.testing.assert_allclose(coarse["precipitation"], means, rtol=1e-5)
    missing = builds.manifests(whole)[region].missing_intervals
    assert [np.datetime64(run.first, "s") for run in missing] == list(TIMES[lost])


def test_killed_twice_and_resumed_it_is_the_same_store(
    server: PlayedServer, whole: Job, tmp_path: Path
) -> None:
    """Once at the last chunk of the second month, once between two arrays of a block."""
    first = builds.at(whole, tmp_path / "first", regions=("greenwich",))
    server.requests.clear()
    made(first)
    last = chunks(server)[-1]
    again = builds.at(whole, tmp_path / "again", regions=("greenwich",))
    builds.killed_while_fetching(again, server, lambda request: request.path == last)
    assert len(list(again.data.rglob("*.zarr.zip"))) == 1
    builds.killed_while_writing(again)
    assert again.blocks("greenwich") == 1
    server.requests.clear()
    builds.resume(again)
    assert server.requests == []
    assert builds.same_store(again, whole)


def test_faults_workers_and_a_second_build_do_not_change_a_bit(
    server: PlayedServer, whole: Job, tmp_path: Path
) -> None:
    server.requests.clear()
    made(builds.at(whole, tmp_path / "first"))
    faults = [Fault(status=503), Fault(reset_after=0), Fault(truncate_after=200)]
    struck = sorted(set(chunks(server)))
    for number, path in enumerate(struck):
        server.fault(path, faults[number % 3])
    again = builds.at(whole, tmp_path / "again")
    made(again, workers=2)
    assert all(server.take_fault(path) == Fault() for path in struck)
    assert builds.same_store(again, whole)
    server.requests.clear()
    before = {path: path.stat().st_mtime_ns for path in again.data.rglob("*")}
    made(again)
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in again.data.rglob("*")} == before
