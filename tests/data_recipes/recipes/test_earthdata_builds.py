"""IMERG by Earthdata, statics from ARCO-ERA5, ERA5 by the Climate Data Store: two recipes.

Granules, the grid of statics and ERA5's boxes are as their providers have them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played import era5
from played.cds import KEY, PlayedCds
from played.earthdata import SEARCH, TOKEN, Earthdata, archive_path, earthdata
from played.gcs import BUCKET, Bucket
from played.http import Fault, PlayedServer

from data_recipes.sources.rainshift import REGIONS
from recipes import builds, providers, weather
from recipes.builds import Job, area_means, blocks_of, made, pixels, stored

MELANESIA = "melanesia"
TASK_OF = {"imerg-perfect.earthdata": "imerg-perfect", "rainshift.earthdata": "rainshift"}
PERIODS = (
    ("2011-01-01T00", "2011-01-01T05"),  # its first half-hours are in the year before
    ("2011-01-20T00", "2011-01-20T02"),
    ("2021-01-01T00", "2021-01-01T02"),
)
TIMES = builds.times_of(PERIODS, every_hours=1)
HALF = np.timedelta64(1800, "s")
ABSENT = TIMES[2] - HALF  # a half-hour without a granule
HOLED = TIMES[7] - 2 * HALF  # and one of which a part of the box is not known
HOLE = (-10.0, -9.0, 131.0, 132.0)
STARTS = np.unique(np.concatenate([TIMES - 2 * HALF, TIMES - HALF]))


@pytest.fixture(scope="module")
def nasa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedServer]:
    """All three providers; the server is Earthdata's."""
    granules = {
        archive_path(start): providers.granule(
            start, [MELANESIA], gap=HOLE if start == HOLED else None
        )
        for start in STARTS
        if start != ABSENT
    }
    checksums = {
        path: {"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}
        for path, content in granules.items()
    }
    folder = tmp_path_factory.mktemp("providers")
    providers.make_arco(folder / "bucket", "2011-01-01T00", "2011-01-02T00", providers.ground())

    def tp(name: str, times: Any, lat: Any, lon: Any) -> Any:
        assert name == "total_precipitation"
        some = np.isin(np.ravel(times), TIMES)
        values = np.zeros((len(some), np.size(lat), np.size(lon)), np.float32)
        values[some] = providers.era5_tp(np.ravel(times)[some], np.ravel(lat), np.ravel(lon))
        return values

    with (
        pytest.MonkeyPatch.context() as patch,
        PlayedServer(answer=Bucket(BUCKET, folder / "bucket")) as google,
        PlayedCds(era5.payload) as store,
        earthdata(Earthdata(granules, checksums=checksums), folder, patch) as played,
    ):
        patch.setattr(era5, "truth", tp)
        patch.setenv("EARTHDATA_TOKEN", TOKEN)
        patch.setenv("STORAGE_EMULATOR_HOST", google.url)
        patch.setenv("ECMWF_DATASTORES_URL", store.url)
        patch.setenv("ECMWF_DATASTORES_KEY", KEY)
        blocks_of(3, patch.setattr)
        yield played


@pytest.fixture(scope="module")
def whole(nasa: PlayedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    assert nasa
    data = tmp_path_factory.mktemp("whole")
    regions = (MELANESIA, "europe_west", "amazon-basin")
    jobs = {
        name: Job(
            builds.small(task, regions, *PERIODS),
            builds.shipped_table(name),
            data,
            steps=3,
            regions=(MELANESIA,),
        )
        for name, task in TASK_OF.items()
    }
    for each in jobs.values():
        made(each)
    return jobs


@pytest.mark.parametrize("name", TASK_OF)
def test_an_hour_is_the_mean_of_the_two_half_hours_before_it(
    name: str, whole: dict[str, Job]
) -> None:
    """An hour without a granule is left out; one with a hole is where means are made of it."""
    lat, lon = pixels(MELANESIA)
    truth = (weather.rain(TIMES - 2 * HALF, lat, lon) + weather.rain(TIMES - HALF, lat, lon)) / 2
    south, north, west, east = HOLE
    hole = ((lat > south) & (lat < north))[:, None] & (lon > west) & (lon < east)
    truth[7, hole] = np.nan
    left_out = [2, 7] if name.startswith("imerg") else [2]
    kept = np.delete(np.arange(len(TIMES)), left_out)
    fine = stored(whole[name], MELANESIA, "fine")
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), TIMES[kept])
    np.testing.assert_allclose(fine["precipitation"], truth[kept], rtol=1e-5, atol=1e-5)
    missing = builds.manifests(whole[name])[MELANESIA].missing_intervals
    assert [np.datetime64(run.first) for run in missing] == list(TIMES[left_out])
    assert hole.sum() == 100
    coarse = stored(whole[name], MELANESIA, "coarse")
    box_north, box_west = REGIONS[MELANESIA][1], REGIONS[MELANESIA][2]
    if name.startswith("imerg"):
        means = area_means(truth[kept], box_north - 0.1 * np.arange(201), 10)
    else:
        at = box_north - 0.25 * np.arange(80), box_west + 0.25 * np.arange(80)
        np.testing.assert_allclose(coarse["y"], at[0], atol=1e-9)
        means = 1000 * providers.era5_tp(TIMES[kept], *at)
    np.testing.assert_allclose(coarse["precipitation"], means, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TASK_OF)
def test_ground_is_interpolated_between_era5_s_points(name: str, whole: dict[str, Job]) -> None:
    lat, lon = pixels(MELANESIA)
    static = stored(whole[name], MELANESIA, "static")
    for field, truth in (("orography", weather.height), ("land_fraction", weather.land)):
        expected = np.empty((200, 200))
        points = truth(providers.ARCO_LAT, providers.ARCO_LON)
        for j, y in enumerate(lat):
            at = (90 - y) / 0.25
            k, share = int(at), at - int(at)
            row = (1 - share) * points[k] + share * points[k + 1]
            expected[j] = np.interp(lon, providers.ARCO_LON, row)
        np.testing.assert_allclose(static[field], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", TASK_OF)
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, nasa: PlayedServer, whole: dict[str, Job], tmp_path: Path
) -> None:
    again = builds.at(whole[name], tmp_path)
    path = archive_path(TIMES[4])
    builds.killed_while_fetching(again, nasa, lambda request: request.path == path)
    builds.killed_while_writing(again)
    assert again.blocks(MELANESIA) == 1
    nasa.requests.clear()
    builds.resume(again, workers=2)
    assert nasa.requests == []
    assert builds.same_store(again, whole[name])


@pytest.mark.parametrize("name", TASK_OF)
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, whole: dict[str, Job], tmp_path: Path
) -> None:
    assert builds.same_store(builds.by_a_cluster(whole[name], tmp_path, scheduler), whole[name])


def test_faults_workers_and_a_second_build_do_not_change_a_bit(
    nasa: PlayedServer, whole: dict[str, Job], tmp_path: Path
) -> None:
    name = "rainshift.earthdata"
    faults = (
        Fault(status=429),
        Fault(status=500),
        Fault(reset_after=900),
        Fault(truncate_after=70),
    )
    struck = [archive_path(time) for time in TIMES[:4]]
    for path, fault in zip(struck, faults, strict=True):
        nasa.fault(path, fault)
    nasa.fault(SEARCH, Fault(status=503))
    nasa.requests.clear()
    again = builds.at(whole[name], tmp_path)
    made(again, workers=2)
    assert all(len(nasa.asked(path)) == 2 for path in struck)
    assert builds.same_store(again, whole[name])
    nasa.requests.clear()
    made(again)
    assert nasa.requests == []
