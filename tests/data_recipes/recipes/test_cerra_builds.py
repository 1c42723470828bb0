"""The CERRA recipes from a played Climate Data Store: values, kills, workers, what is asked for."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from distributed import LocalCluster
from numpy.typing import NDArray
from played.cds import PlayedCds
from played.gcs import BUCKET, Bucket, media
from played.http import PlayedServer

from benchmark.errors import InputError
from recipes import builds
from recipes import cerra_world as world
from recipes.builds import Job, blocks_of, made, stored
from recipes.cerra_world import World, cell_means, era5, every, spans

THREE = ("czechia", "ireland", "italy")
TWO = ("czechia", "italy")
# Three hours at a time within one month; days that end at 06 UTC from the first of a year on.
MARCH = (every("2018-03-01T00", 6, 3), every("2018-03-12T00", 2, 3), every("2018-03-23T00", 4, 3))
DAYS = (every("2018-01-01T06", 6, 24), every("2018-01-17T06", 2, 24), every("2018-01-28T06", 4, 24))
RUNS = {"cerra-wind": MARCH, "cerra-t2m": MARCH, "cerra-precip": DAYS}
NAMES = {"cerra-wind": "wind_speed", "cerra-t2m": "t2m", "cerra-precip": "precipitation"}
TIMES = {name: np.concatenate(runs) for name, runs in RUNS.items()}
HOURS = np.concatenate([every("2017-12-31T00", 24 * 40, 1), TIMES["cerra-wind"]])
STEP = 3
PACKING = 3e-4
"""Of 16 bits, by the largest value; twice what rounding leaves."""


@pytest.fixture(scope="module")
def store() -> Iterator[PlayedCds]:
    with world.played(World(HOURS)) as played, pytest.MonkeyPatch.context() as patch:
        blocks_of(STEP, patch.setattr)
        yield played


class Builds:
    """Each recipe built once without disturbance, one after the other in one data folder."""

    def __init__(self, store: PlayedCds, data: Path) -> None:
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.jobs: dict[str, Job] = {}
        for name, runs in RUNS.items():
            before = len(store.jobs)
            self.jobs[name] = Job(
                builds.small(name, THREE, *spans(*runs)),
                builds.shipped_table(name),
                data,
                builds.environment("ECMWF_DATASTORES_URL", "ECMWF_DATASTORES_KEY"),
                steps=STEP,
                regions=TWO,
            )
            made(self.jobs[name])
            self.asked[name] = store.submitted[before:]


@pytest.fixture(scope="module")
def whole(store: PlayedCds, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(store, tmp_path_factory.mktemp("whole"))


def in_box(job: Job, region: str, name: str, times: Any) -> NDArray[np.float32]:
    """(time, 160, 160) CERRA's own values of a request's variable in a region, the north first."""
    rows, columns = world.box(job.task.region(region).bounds)
    return np.array([world.cerra(name, time)[rows, columns][::-1] for time in times])


def speeds(times: Any) -> Any:
    def at(lat: Any, lon: Any) -> Any:
        u, v = (era5(f"10m_{name}_component_of_wind", times, lat, lon) for name in "uv")
        return np.hypot(u.astype(float), v)

    return at


def daily(times: Any) -> Any:
    """[mm d-1] the sum of the 24 hours stamped 07 to 06 UTC."""

    def at(lat: Any, lon: Any) -> Any:
        total = 0.0
        for hour in range(24):
            then = times - np.timedelta64(hour, "h")
            total = total + 1000 * era5("total_precipitation", then, lat, lon).astype(float)
        return total

    return at


def temperatures(times: Any) -> Any:
    return lambda lat, lon: era5("2m_temperature", times, lat, lon)


ORACLES = {
    "cerra-wind": ("10m_wind_speed", speeds),
    "cerra-t2m": ("2m_temperature", temperatures),
    "cerra-precip": ("total_precipitation", daily),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("region", TWO)
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


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("region", TWO)
def test_coarse_is_the_area_mean_of_era5s_cells(name: str, region: str, whole: Builds) -> None:
    """Against points sampled in each block; much closer than any interpolation would be."""
    job = whole.jobs[name]
    bounds, at = job.task.region(region).bounds, [0, 9, -1]
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


def true_areas(data: Any, step: float) -> NDArray[np.float64]:
    """[m2] on the sphere: of each cell's corners, in an equal-area projection."""
    y = np.append(data["y"].values + step / 2, data["y"].values[-1] - step / 2)
    x = np.append(data["x"].values - step / 2, data["x"].values[-1] + step / 2)
    to_degrees, equal = (
        pyproj.Proj(world.CRS),
        pyproj.Proj("+proj=laea +lat_0=40 +lon_0=12 +R=6371229"),
    )
    across, up = equal(*to_degrees(*np.meshgrid(x, y), inverse=True))
    one = (across[1:, 1:] - across[:-1, :-1]) * (up[1:, :-1] - up[:-1, 1:])
    other = (across[1:, :-1] - across[:-1, 1:]) * (up[1:, 1:] - up[:-1, :-1])
    return np.abs(one - other) / 2


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
        *[("2m_temperature", "2018-03", True)] * 2,
    ]
    assert asked("cerra-precip") == [
        *[("total_precipitation", "2017-12", True)] * 2,
        ("total_precipitation", "2018-01", False),
        *[("total_precipitation", "2018-01", True)] * 2,
    ]
    (wind,) = [r for r in whole.asked["cerra-wind"] if r["variable"] == ["10m_wind_speed"]]
    assert wind == {
        "variable": ["10m_wind_speed"], "level_type": "surface_or_atmosphere",
        "data_type": ["reanalysis"], "product_type": "analysis", "year": ["2018"],
        "month": ["03"], "day": [f"{day:02}" for day in range(1, 32)],
        "time": [f"{hour:02}:00" for hour in range(0, 24, 3)], "data_format": "grib",
    }  # fmt: skip


def test_a_second_build_asks_for_nothing(store: PlayedCds, whole: Builds) -> None:
    before = len(store.server.requests)
    for job in whole.jobs.values():
        made(job)
    assert len(store.server.requests) == before


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_it_is_the_same_store(
    name: str, store: PlayedCds, whole: Builds, tmp_path: Path
) -> None:
    """While CERRA's job runs, when its result is downloaded, and between two blocks."""
    again = builds.at(whole.jobs[name], tmp_path, regions=TWO[1:])
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
    builds.killed_while_writing(again, arrays=4)
    assert again.blocks("italy") == 1
    asked = len(store.server.requests)
    told: list[tuple[str, int, int]] = []
    made(again, report=lambda *report: told.append(report))
    assert len(store.server.requests) == asked
    assert told[0] == ("italy", STEP, len(TIMES[name]))
    assert builds.same_store(again, whole.jobs[name])


def test_workers_do_not_change_a_bit(whole: Builds, tmp_path: Path) -> None:
    (tmp_path / "downloads").symlink_to(whole.jobs["cerra-wind"].data / "downloads")
    for name, job in whole.jobs.items():
        again = builds.at(job, tmp_path, regions=TWO[:1])
        made(again, workers=2)
        assert builds.same_store(again, job), name


def test_a_cluster_does_not_change_a_bit(whole: Builds, tmp_path: Path) -> None:
    (tmp_path / "downloads").symlink_to(whole.jobs["cerra-wind"].data / "downloads")
    again = builds.at(whole.jobs["cerra-precip"], tmp_path, regions=TWO[:1])
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        made(again, scheduler=cluster.scheduler_address)
    assert builds.same_store(again, whole.jobs["cerra-precip"])


def shared(whole: Builds, folder: Path, *datasets: str) -> None:
    """Let a data folder have what was fetched of these data sets."""
    (folder / "downloads" / "cds").mkdir(parents=True)
    for name in datasets:
        path = Path("downloads", "cds", f"reanalysis-{name}")
        (folder / path).symlink_to(whole.jobs["cerra-wind"].data / path)


def test_era5_from_the_public_bucket_gives_the_same_values(
    store: PlayedCds, whole: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe `arco`, killed twice: CERRA from the same requests, ERA5 without any."""
    shared(whole, tmp_path, "cerra-single-levels")
    bucket = tmp_path / "bucket"
    world.make_arco(bucket, "2018-02-20T00", "2018-04-10T23", TIMES["cerra-wind"])
    asked = len(store.server.requests)
    with PlayedServer(answer=Bucket(BUCKET, bucket)) as gcs:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
        default = whole.jobs["cerra-wind"]
        job = replace(
            builds.at(default, tmp_path, regions=TWO[1:]),
            table=builds.shipped_table("cerra-wind.arco"),
            environment=default.environment | builds.environment("STORAGE_EMULATOR_HOST"),
        )
        hour = (TIMES["cerra-wind"][4] - np.datetime64("2018-02-20T00")) // np.timedelta64(1, "h")
        step = media(f"10m_v_component_of_wind/{hour}.0.0")
        builds.killed_while_fetching(job, gcs, lambda request: request.path == step)
        builds.killed_while_writing(job, arrays=4)
        found = made(job)["italy"].digests
    assert found == builds.manifests(default)["italy"].digests
    assert len(store.server.requests) == asked


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
        ("cerra-t2m", {"era5_change": upside_down}, r"flipped latitude"),
    ],
)
def test_another_era5_is_refused(
    name: str, wrong: dict[str, Any], said: str, whole: Builds, tmp_path: Path
) -> None:
    """And nothing of a store is left, nor of what would be taken for one."""
    shared(whole, tmp_path, "cerra-single-levels")
    with world.played(World(HOURS, **wrong)), pytest.raises(InputError, match=said):
        made(builds.at(whole.jobs[name], tmp_path, regions=TWO[1:]))
    assert not list(tmp_path.glob(f"{name}@1/*.json"))
    assert not list(tmp_path.glob(f"{name}@1/*.zarr"))
