"""The four recipes of ERA5's column water from a played ARCO-ERA5, on its true grid."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from played.gcs import BUCKET, STORE, Bucket, media
from played.http import Fault, PlayedServer

from benchmark.errors import InputError
from recipes import builds, providers, weather
from recipes.builds import Job, area_means, blocks_of, made, stored
from recipes.providers import Globe

FACTORS = {"tcw-2": 2, "tcw-4": 4, "tcw-8": 8, "tcw-16": 16}
REGIONS = ("europe-west", "horn-arabia", "tasman-newzealand")
TWO = ("europe-west", "tasman-newzealand")  # across Greenwich, and near the date line
PERIODS = (
    ("2017-12-21T00", "2017-12-21T18"),
    ("2018-01-01T00", "2018-01-01T18"),
    ("2019-01-01T00", "2019-01-01T18"),
)
TIMES = builds.times_of(PERIODS, every_hours=6)
FIRST = "2017-12-01T00"


def column_water(time: np.datetime64) -> providers.Fields:
    """The globe's at a time."""
    lat, lon = providers.ARCO_LAT, providers.ARCO_LON
    return np.asarray(weather.column_water([time], lat, lon)[0])


def chunk(time: np.datetime64) -> str:
    """The key of a step of the store."""
    hours = (time - np.datetime64(FIRST, "s")) // np.timedelta64(3600, "s")
    return f"total_column_water/{hours}.0.0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedServer]:
    folder = tmp_path_factory.mktemp("bucket")
    water = Globe("kg m**-2", column_water, TIMES)
    variables = providers.ground() | {"total_column_water": water}
    providers.make_arco(folder, FIRST, "2019-01-31T23", variables)
    with (
        PlayedServer(answer=Bucket(BUCKET, folder)) as played,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", played.url)
        blocks_of(3, patch.setattr)
        yield played


@pytest.fixture(scope="module")
def whole(server: PlayedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """All four, built one after the other in one data folder."""
    data = tmp_path_factory.mktemp("whole")
    jobs = {
        name: Job(
            builds.small(name, REGIONS, *PERIODS),
            builds.shipped_table(name),
            data,
            steps=3,
            regions=TWO,
        )
        for name in FACTORS
    }
    for name, each in jobs.items():
        made(each)
        if name == "tcw-2":
            server.requests.clear()
    return jobs


@pytest.mark.parametrize("region", TWO)
@pytest.mark.parametrize("name", FACTORS)
def test_fine_is_the_product_and_coarse_its_area_mean(
    name: str, region: str, whole: dict[str, Job]
) -> None:
    (south, north), (west, _) = whole[name].task.region(region).bounds
    assert north - south == 32
    lat, lon = north - 0.125 - 0.25 * np.arange(128), west + 0.125 + 0.25 * np.arange(128)
    truth = weather.column_water(TIMES, lat, lon)
    fine = stored(whole[name], region, "fine")
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), TIMES)
    np.testing.assert_allclose(fine["y"], lat, atol=1e-9)
    np.testing.assert_allclose(fine["x"], lon, atol=1e-9)
    np.testing.assert_allclose(fine["tcw"].values, truth, rtol=1e-6)
    coarse = stored(whole[name], region, "coarse")["tcw"].values
    factor = FACTORS[name]
    edges = north - 0.25 * np.arange(129)
    np.testing.assert_allclose(coarse, area_means(truth, edges, factor), rtol=1e-6)
    static = stored(whole[name], region, "static")
    np.testing.assert_allclose(static["orography"], weather.height(lat, lon), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(static["land_fraction"], weather.land(lat, lon), atol=1e-6)


def test_tasks_of_the_same_boxes_share_what_was_fetched(
    server: PlayedServer, whole: dict[str, Job]
) -> None:
    """After the first task, nothing is asked by the others, nor by a second build of any."""
    before = {path: path.stat().st_mtime_ns for path in whole["tcw-2"].data.rglob("*")}
    for each in whole.values():
        made(each)
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in whole["tcw-2"].data.rglob("*")} == before


@pytest.mark.parametrize("name", FACTORS)
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, server: PlayedServer, whole: dict[str, Job], tmp_path: Path
) -> None:
    """Once while the second month arrives, once between two arrays of a block."""
    again = builds.at(whole[name], tmp_path, regions=TWO[1:])
    path = media(chunk(TIMES[6]))
    builds.killed_while_fetching(again, server, lambda request: request.path == path)
    assert len(list(tmp_path.rglob("2017-12.zarr.zip"))) == 1
    builds.killed_while_writing(again)
    assert again.blocks(TWO[1]) == 1
    server.requests.clear()
    builds.resume(again, workers=2)
    assert server.requests == []
    assert builds.same_store(again, whole[name])


@pytest.mark.parametrize("name", FACTORS)
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, whole: dict[str, Job], tmp_path: Path
) -> None:
    assert builds.same_store(builds.by_a_cluster(whole[name], tmp_path, scheduler), whole[name])


def test_faults_and_workers_do_not_change_a_bit(
    server: PlayedServer, whole: dict[str, Job], tmp_path: Path
) -> None:
    faults = (
        Fault(status=429),
        Fault(status=500),
        Fault(reset_after=500),
        Fault(truncate_after=70),
    )
    struck = [media(chunk(time)) for time in TIMES[::3]]
    for path, fault in zip(struck, faults, strict=True):
        server.fault(path, fault)
    server.fault(media(".zmetadata"), Fault(status=503))
    server.fault(media("land_sea_mask/0.0"), *faults)
    server.requests.clear()
    again = builds.at(whole["tcw-4"], tmp_path)
    made(again, workers=2)
    assert all(len(server.asked(path)) == 2 for path in struck)
    assert builds.same_store(again, whole["tcw-4"])


def test_a_step_that_the_store_lacks_is_refused_by_name(
    server: PlayedServer, whole: dict[str, Job], tmp_path: Path
) -> None:
    assert isinstance(server.answer, Bucket)
    step = server.answer.folder / STORE / chunk(TIMES[5])
    kept = step.read_bytes()
    step.unlink()
    try:
        with pytest.raises(InputError, match=r"11; none from 2018-01-01.06:00:00") as refused:
            made(builds.at(whole["tcw-4"], tmp_path, regions=TWO[:1]))
    finally:
        step.write_bytes(kept)
    assert "gaps = true" in str(refused.value)
    assert not list(tmp_path.rglob("europe-west*"))
