"""The CERRA recipes from a played Climate Data Store: values, kills, workers, what is asked for.

Those of the choice `arco` have ERA5 from a played bucket, and CERRA as it came for the others.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from played.cds import PlayedCds
from played.gcs import BUCKET, Bucket, media
from played.http import PlayedServer

from benchmark.errors import InputError
from recipes import builds, providers
from recipes import cerra_world as world
from recipes.builds import Job, blocks_of, made, stored
from recipes.cerra_truth import ORACLES, PACKING, cell_means, daily, in_box, true_areas
from recipes.cerra_world import World, era5, every, spans

THREE = ("czechia", "ireland", "italy")
# Three hours at a time within one month; days that end at 06 UTC from the first of a year on.
MARCH = (every("2018-03-01T00", 6, 3), every("2018-03-12T00", 2, 3), every("2018-03-23T00", 4, 3))
DAYS = (every("2018-01-01T06", 3, 24), every("2018-01-17T06", 1, 24), every("2018-01-28T06", 1, 24))
RUNS = {"cerra-wind": MARCH, "cerra-t2m": MARCH, "cerra-precip": DAYS}
ARCO = {
    "cerra-wind.arco": "10m_v_component_of_wind",
    "cerra-t2m.arco": "2m_temperature",
    "cerra-precip.arco": "total_precipitation",
}
"""Recipes with ERA5 from the bucket, and what of it they fetch last."""
BUILT = {name: ("czechia", "italy") if name == "cerra-wind" else ("italy",) for name in RUNS}
PLACES = [(name, region) for name, regions in BUILT.items() for region in regions]
NAMES = {"cerra-wind": "wind_speed", "cerra-t2m": "t2m", "cerra-precip": "precipitation"}
TIMES = {name: np.concatenate(runs) for name, runs in RUNS.items()}
RAINY = np.unique(TIMES["cerra-precip"] - np.arange(24)[:, None] * np.timedelta64(3600, "s"))
HOURS = np.concatenate([RAINY, TIMES["cerra-wind"]])
STEP = 3
BUCKET_FIRST = "2017-12-30T00"


@pytest.fixture(scope="module")
def store() -> Iterator[PlayedCds]:
    with world.played(World(HOURS)) as played, pytest.MonkeyPatch.context() as patch:
        blocks_of(STEP, patch.setattr)
        yield played


class Builds:
    """Each recipe built once without disturbance, one after the other in one data folder."""

    def __init__(self, store: PlayedCds, data: Path) -> None:
        self.data = data
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.jobs: dict[str, Job] = {}
        for name, runs in RUNS.items():
            before = len(store.jobs)
            self.jobs[name] = Job(
                builds.small(name, THREE, *spans(*runs)),
                builds.shipped_table(name),
                data,
                steps=STEP,
                regions=BUILT[name],
            )
            made(self.jobs[name])
            self.asked[name] = store.submitted[before:]


@pytest.fixture(scope="module")
def whole(store: PlayedCds, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(store, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedServer]:
    """ARCO-ERA5 with ERA5's own values."""
    folder = tmp_path_factory.mktemp("bucket")
    variables = {
        name: world.on_the_globe(name, RAINY if "precipitation" in name else TIMES["cerra-wind"])
        for name in ("10m_u_component_of_wind", *ARCO.values())
    }
    providers.make_arco(folder, BUCKET_FIRST, "2018-04-10T23", variables)
    with (
        PlayedServer(answer=Bucket(BUCKET, folder)) as played,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", played.url)
        yield played


@pytest.fixture(scope="module")
def jobs(
    bucket: PlayedServer, whole: Builds, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Job]:
    """All six, whole."""
    assert bucket
    data = tmp_path_factory.mktemp("arco")
    with_cerra(whole, data)
    arco = {
        f"{name}.arco": replace(job, table=builds.shipped_table(f"{name}.arco"), data=data,
                                regions=("italy",))
        for name, job in whole.jobs.items()
    }  # fmt: skip
    for job in arco.values():
        made(job)
    return whole.jobs | arco


def with_cerra(whole: Builds, folder: Path) -> None:
    """Let a data folder have what was fetched of CERRA."""
    (folder / "downloads" / "cds").mkdir(parents=True)
    for name in ("cerra-single-levels", "cerra-land"):
        path = Path("downloads", "cds", f"reanalysis-{name}")
        (folder / path).symlink_to(whole.data / path)


@pytest.mark.parametrize(("name", "region"), PLACES)
def test_fine_is_cerra_at_its_own_points(name: str, region: str, whole: Builds) -> None:
    job = whole.jobs[name]
    fine = stored(job, region, "fine")
    (south, north), (west, east) = job.task.region(region).bounds
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), TIMES[name])
    np.testing.assert_allclose(fine["y"], np.arange(north - 2750, south, -5500), atol=1e-6)
    np.testing.assert_allclose(fine["x"], np.arange(west + 2750, east, 5500), atol=1e-6)
    truth = in_box(job, region, ORACLES[name][0], TIMES[name])
    found = fine[NAMES[name]].values
    assert found.shape == (len(TIMES[name]), 160, 160)
    np.testing.assert_allclose(found, truth, atol=PACKING * np.nanmax(truth) / 10)
    missing = np.isnan(truth).mean()
    # Over the sea CERRA-Land has none, and none is filled.
    assert (0.02 < missing < 0.9) if name == "cerra-precip" else missing == 0


@pytest.mark.parametrize(("name", "region"), PLACES)
def test_coarse_is_the_area_mean_of_era5s_cells(name: str, region: str, whole: Builds) -> None:
    """Against points sampled in each block; much closer than any interpolation would be."""
    job = whole.jobs[name]
    bounds, at = job.task.region(region).bounds, [0, 4, -1]
    coarse = stored(job, region, "coarse")
    found = coarse[NAMES[name]].values[at]
    field = ORACLES[name][1](TIMES[name][at])
    sampled = cell_means(field, bounds)
    spread = float(np.std(sampled))
    assert found.shape == (3, 32, 32)
    np.testing.assert_allclose(found, sampled, atol=0.1 * spread)
    assert np.abs(found - sampled).mean() < 0.01 * spread
    np.testing.assert_allclose(coarse["y"].values[0], bounds[0][1] - 13750)
    # Three blocks alone, by many more points.
    for row, column in ((0, 31), (31, 0), (17, 12)):
        north, west = bounds[0][1] - 27_500 * row, bounds[1][0] + 27_500 * column
        block = ((north - 27_500, north), (west, west + 27_500))
        exact = cell_means(field, block, samples=800)[:, 0, 0]
        np.testing.assert_allclose(found[:, row, column], exact, atol=1e-3 * spread)


def test_speed_is_taken_before_the_mean(whole: Builds) -> None:
    """The speed of mean components is less, by far more than the mean is uncertain."""
    job = whole.jobs["cerra-wind"]
    bounds, times = job.task.region("italy").bounds, TIMES["cerra-wind"][:1]
    parts = [
        cell_means(
            lambda lat, lon, c=c: era5(f"10m_{c}_component_of_wind", times, lat, lon), bounds
        )
        for c in "uv"
    ]
    found = stored(job, "italy", "coarse")["wind_speed"].values[:1]
    lost = found - np.hypot(*parts)
    assert lost.min() > -0.05
    assert lost.mean() > 0.05


def test_days_are_of_the_hours_07_to_06(whole: Builds) -> None:
    """Any other 24 hours would be seen."""
    job = whole.jobs["cerra-precip"]
    bounds, times = job.task.region("italy").bounds, TIMES["cerra-precip"][:1]
    assert str(times[0]).endswith("T06:00:00")
    found = stored(job, "italy", "coarse")["precipitation"].values[:1]
    for moved in (-1, 1):
        other = cell_means(daily(times + np.timedelta64(moved, "h")), bounds)
        assert np.abs(found - other).mean() > 0.1


@pytest.mark.parametrize("name", RUNS)
def test_statics_areas_and_the_map(name: str, whole: Builds) -> None:
    job = whole.jobs[name]
    static = stored(job, "italy", "static")
    first = np.datetime64("2020-01-01", "s")
    for field, asked in (("land_fraction", "land_sea_mask"), ("orography", "orography")):
        truth = in_box(job, "italy", asked, [first])[0]
        np.testing.assert_allclose(static[field], truth, atol=PACKING * truth.max() / 10)
    assert static["orography"].attrs["units"] == "m"
    assert static["land_fraction"].attrs["standard_name"] == "land_area_fraction"
    for group, step in (("fine", 5500.0), ("coarse", 27_500.0)):
        data = stored(job, "italy", group)
        variable = data[NAMES[name]]
        assert variable.attrs["units"] == job.task.variable(NAMES[name]).units
        assert variable.attrs["grid_mapping"] == "crs"
        assert variable.attrs["cell_measures"] == "area: cell_area"
        assert data["crs"].attrs["grid_mapping_name"] == "lambert_conformal_conic"
        assert data["crs"].attrs["standard_parallel"] == [50.0, 50.0]
        assert data["crs"].attrs["longitude_of_central_meridian"] == 8.0
        read = pyproj.CRS.from_cf(data["crs"].attrs)
        assert read.ellipsoid is not None
        assert read.ellipsoid.semi_major_metre == read.ellipsoid.semi_minor_metre == 6371229
        np.testing.assert_allclose(data["cell_area"], true_areas(data, step), rtol=2e-5)
        x, y = np.meshgrid(data["x"], data["y"])
        lon, lat = pyproj.Proj(world.CRS)(x, y, inverse=True)
        np.testing.assert_allclose(data["latitude"], lat, atol=1e-9)
        np.testing.assert_allclose(data["longitude"], lon, atol=1e-9)


def test_the_full_domain_is_asked_for_once(whole: Builds) -> None:
    """ERA5 by region, CERRA once for both; what does not change once for all three tasks."""

    def asked(name: str) -> list[tuple[str, str, bool]]:
        return sorted(
            (
                request["variable"][0],
                "-".join([*request["year"], *request["month"]]),
                "area" in request,
            )
            for request in whole.asked[name]
        )

    assert asked("cerra-wind") == [
        *[("10m_u_component_of_wind", "2018-03", True)] * 2,
        ("10m_wind_speed", "2018-03", False),
        ("land_sea_mask", "2020-01", False),
    ]
    assert asked("cerra-t2m") == [
        ("2m_temperature", "2018-03", False),
        ("2m_temperature", "2018-03", True),
    ]
    assert asked("cerra-precip") == [
        ("total_precipitation", "2017-12", True),
        ("total_precipitation", "2018-01", False),
        ("total_precipitation", "2018-01", True),
    ]
    (wind,) = [r for r in whole.asked["cerra-wind"] if r["variable"] == ["10m_wind_speed"]]
    assert wind == {
        "variable": ["10m_wind_speed"], "level_type": "surface_or_atmosphere",
        "data_type": ["reanalysis"], "product_type": "analysis", "year": ["2018"],
        "month": ["03"], "day": [f"{day:02}" for day in range(1, 32)],
        "time": [f"{hour:02}:00" for hour in range(0, 24, 3)], "data_format": "grib",
    }  # fmt: skip

    (rain,) = [
        request
        for request in whole.asked["cerra-precip"]
        if request["variable"] == ["total_precipitation"] and "area" not in request
    ]
    # Requests of CERRA-Land that are known to work have no `data_type`: it is but a reanalysis.
    assert rain == {
        "variable": ["total_precipitation"], "level_type": ["surface"],
        "product_type": ["analysis"], "year": ["2018"], "month": ["01"],
        "day": [f"{day:02}" for day in range(1, 32)], "time": ["06:00"], "data_format": "grib",
    }  # fmt: skip


def test_a_second_build_asks_for_nothing(store: PlayedCds, whole: Builds) -> None:
    before = len(store.server.requests)
    for job in whole.jobs.values():
        made(job)
    assert len(store.server.requests) == before


@pytest.mark.parametrize("name", RUNS)
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, store: PlayedCds, whole: Builds, tmp_path: Path
) -> None:
    """Thrice: while CERRA's job runs, when its result is downloaded, and between two blocks."""
    again = builds.at(whole.jobs[name], tmp_path, regions=("italy",))
    before = len(store.jobs)

    def at_cerra(path: str) -> bool:
        jobs = [job for job in list(store.jobs.values())[before:] if "area" not in job.request]
        wanted = [job for job in jobs if job.request["variable"] == [ORACLES[name][0]]]
        ours = [job.id for job in wanted if job.status == "running"]
        return any(re.search(rf"/jobs/{job}$", path) for job in ours)

    builds.killed_while_fetching(again, store.server, lambda request: at_cerra(request.path))
    submitted = store.submitted[before:]
    assert [ORACLES[name][0]] in [r["variable"] for r in submitted if "area" not in r]
    results = {store.result_path(job) for job in list(store.jobs)[before:]}
    fetched = {request.path for request in store.server.requests} & results
    builds.killed_while_fetching(
        again, store.server, lambda request: request.path in results - fetched
    )
    assert store.submitted[before:] == submitted  # the first process's jobs were waited for
    builds.killed_while_writing(again)
    assert again.blocks("italy") == 1
    asked = len(store.server.requests)
    builds.resume(again, workers=2)
    assert len(store.server.requests) == asked
    assert builds.same_store(again, whole.jobs[name])


@pytest.mark.parametrize("name", ARCO)
def test_killed_twice_and_resumed_it_is_the_same_store_with_era5_of_the_public_bucket(
    name: str,
    store: PlayedCds,
    bucket: PlayedServer,
    whole: Builds,
    jobs: dict[str, Job],
    tmp_path: Path,
) -> None:
    """While ERA5 arrives, and between two blocks; the values are those of the default recipe."""
    with_cerra(whole, tmp_path)
    asked = len(store.server.requests)
    again = builds.at(jobs[name], tmp_path)
    variable = ARCO[name]
    times = RAINY if variable == "total_precipitation" else TIMES["cerra-wind"]
    hour = (times[len(times) // 2] - np.datetime64(BUCKET_FIRST)) // np.timedelta64(1, "h")
    step = media(f"{variable}/{hour}.0.0")
    builds.killed_while_fetching(again, bucket, lambda request: request.path == step)
    builds.killed_while_writing(again)
    assert again.blocks("italy") == 1
    bucket.requests.clear()
    builds.resume(again, workers=2)
    assert bucket.requests == []
    assert len(store.server.requests) == asked
    assert builds.same_store(again, jobs[name])
    default = builds.manifests(whole.jobs[name.removesuffix(".arco")])["italy"]
    assert builds.manifests(again)["italy"].digests == default.digests


@pytest.mark.parametrize("name", [*RUNS, *ARCO])
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, jobs: dict[str, Job], tmp_path: Path
) -> None:
    assert builds.same_store(builds.by_a_cluster(jobs[name], tmp_path, scheduler), jobs[name])


@pytest.mark.parametrize("name", RUNS)
def test_the_two_recipes_of_a_task_differ_in_where_era5_comes_from_alone(name: str) -> None:
    """The bucket's names are those of the store's requests."""
    default, arco = builds.shipped_table(name), builds.shipped_table(f"{name}.arco")
    long_names = default["coarse"].pop("source")["variables"]
    assert arco["coarse"].pop("source") == {"provider": "arco"}
    words = repr(default["coarse"])
    for short, name_there in long_names.items():
        words = re.sub(f"'{short}'(?!:)", repr(name_there), words)
    assert repr(arco["coarse"]) == words
    assert {**arco, "coarse": 0} == {**default, "coarse": 0}


def upside_down(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(latitude=("latitude", data["latitude"].values[::-1]))


def in_celsius(data: xr.Dataset) -> xr.Dataset:
    return data.assign(t2m=data["t2m"].copy(data=data["t2m"].values - 273.15))


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("cerra-wind", {"era5_change": upside_down}, r"flipped latitude"),
        ("cerra-wind", {"era5_moved": 0.125}, r"coarse product lies 0\.[3-7]\d? cells north"),
        ("cerra-wind", {"era5_moved": -0.125}, r"coarse product lies 0\.[3-7]\d? cells south"),
        ("cerra-t2m", {"era5_change": in_celsius}, r"coarse t2m: expected temperatures in K.*degC"),
    ],
)
def test_another_era5_is_refused(
    name: str, wrong: dict[str, Any], said: str, whole: Builds, tmp_path: Path
) -> None:
    """And nothing of a store is left, nor of what would be taken for one."""
    with_cerra(whole, tmp_path)
    with world.played(World(HOURS, **wrong)), pytest.raises(InputError, match=said):
        made(builds.at(whole.jobs[name], tmp_path, regions=("italy",)))
    assert not list(tmp_path.glob(f"{name}@1/*.json"))
    assert not list(tmp_path.glob(f"{name}@1/*.zarr"))
