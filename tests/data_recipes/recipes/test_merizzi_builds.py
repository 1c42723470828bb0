"""The recipe of Merizzi et al. from a played Climate Data Store: CERRA on regular points."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from played.cds import PlayedCds

from benchmark.errors import InputError
from recipes import builds
from recipes import cerra_world as world
from recipes.builds import Job, blocks_of, made, stored
from recipes.cerra_truth import PACKING, between_points
from recipes.cerra_world import World, era5, every, spans

THREE = ("british-isles", "iberia", "italy")
TWO = ("iberia", "italy")
RUNS = (every("2018-12-08T12", 6, 3), every("2018-12-20T00", 2, 3), every("2019-01-01T00", 2, 3))
TIMES = np.concatenate(RUNS)
STEP = 4
EARTH_M = 6371229.0


@pytest.fixture(scope="module")
def store() -> Iterator[PlayedCds]:
    with world.played(World(TIMES)) as played, pytest.MonkeyPatch.context() as patch:
        blocks_of(STEP, patch.setattr)
        yield played


@pytest.fixture(scope="module")
def whole(store: PlayedCds, tmp_path_factory: pytest.TempPathFactory) -> Job:
    assert store
    job = Job(
        builds.small("merizzi-wind", THREE, *spans(*RUNS)),
        builds.shipped_table("merizzi-wind"),
        tmp_path_factory.mktemp("whole"),
        steps=STEP,
        regions=TWO,
    )
    made(job)
    return job


def centres(job: Job, region: str, count: int) -> tuple[Any, Any]:
    """(latitudes, the north first, longitudes) of so many cells a side."""
    (south, north), (west, east) = job.task.region(region).bounds
    half = (north - south) / count / 2
    return np.linspace(north - half, south + half, count), np.linspace(
        west + half, east - half, count
    )


@pytest.mark.parametrize("region", TWO)
def test_fine_is_cerra_between_its_points(region: str, whole: Job) -> None:
    fine = stored(whole, region, "fine")
    lat, lon = centres(whole, region, 260)
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), TIMES)
    np.testing.assert_allclose(fine["y"], lat, atol=1e-9)
    np.testing.assert_allclose(fine["x"], lon, atol=1e-9)
    if region == "italy":  # the paper's 256 x 256 points, and two more on each side
        np.testing.assert_allclose(fine["y"][[2, -3]], [47.75, 35.0], atol=1e-9)
        np.testing.assert_allclose(fine["x"][[2, -3]], [6.0, 18.75], atol=1e-9)
    truth = np.array([between_points("10m_wind_speed", time, lat, lon) for time in TIMES])
    np.testing.assert_allclose(fine["wind_speed"], truth, atol=PACKING)


@pytest.mark.parametrize("region", TWO)
def test_coarse_is_era5_at_its_own_points(region: str, whole: Job) -> None:
    """And the speed is of its components there."""
    coarse = stored(whole, region, "coarse")
    lat, lon = centres(whole, region, 52)
    assert (lat * 4 == np.round(lat * 4)).all()
    np.testing.assert_array_equal(coarse["y"], lat)
    np.testing.assert_array_equal(coarse["x"], lon)
    u, v = (
        era5(f"10m_{part}_component_of_wind", TIMES, lat[:, None], lon[None]).astype(float)
        for part in "uv"
    )
    np.testing.assert_array_equal(coarse["wind_speed"], np.hypot(u, v).astype(np.float32))


def test_statics_and_areas(whole: Job) -> None:
    static = stored(whole, "italy", "static")
    lat, lon = centres(whole, "italy", 260)
    first = np.datetime64("2020-01-01", "s")
    for name, asked in (("land_fraction", "land_sea_mask"), ("orography", "orography")):
        truth = between_points(asked, first, lat, lon)
        np.testing.assert_allclose(static[name], truth, atol=PACKING * truth.max() / 10)
    edges = np.radians(47.875 - 0.05 * np.arange(261))
    areas = EARTH_M**2 * np.radians(0.05) * -np.diff(np.sin(edges))
    for group in ("static", "fine"):
        found = stored(whole, "italy", group)["cell_area"]
        np.testing.assert_allclose(found, np.tile(areas[:, None], (1, 260)), rtol=1e-9)
    assert stored(whole, "italy", "fine")["y"].attrs["units"] == "degrees_north"
    assert stored(whole, "italy", "fine")["wind_speed"].attrs["units"] == "m s-1"


def test_cerra_is_shared_with_the_other_tasks(store: PlayedCds, whole: Job) -> None:
    """Two months of it, asked for once for both boxes; `cerra-wind` then needs ERA5 alone."""
    asked = [r for r in store.submitted if "area" not in r]
    assert sorted((*r["variable"], *r["year"], *r["month"]) for r in asked) == [
        ("10m_wind_speed", "2018", "12"),
        ("10m_wind_speed", "2019", "01"),
        ("land_sea_mask", "orography", "2020", "01"),
    ]
    assert len(store.submitted) - len(asked) == 2 * 2
    other = Job(
        builds.small("cerra-wind", ("czechia", "iceland", "italy"), *spans(*RUNS)),
        builds.shipped_table("cerra-wind"),
        whole.data,
    )
    # Two months of two winds: at most 31 days, 8 times a day, 60 x 70 points, 2 bytes.
    assert (
        0
        < builds.recipe(other).to_fetch([other.task.region("italy")]).fetched
        < 2 * 2 * 248 * 4200 * 2
    )


@pytest.mark.parametrize("name", ["merizzi-wind"])
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, store: PlayedCds, whole: Job, tmp_path: Path
) -> None:
    """While the second of CERRA's months is downloaded, and between two blocks."""
    assert whole.task.name == name
    again = builds.at(whole, tmp_path, regions=TWO[1:])
    before = len(store.jobs)

    def of_cerra() -> list[str]:
        jobs = list(store.jobs.values())[before:]
        asked = [job.id for job in jobs if job.request["variable"] == ["10m_wind_speed"]]
        return [store.result_path(job) for job in asked]

    builds.killed_while_fetching(
        again, store.server, lambda request: request.path in of_cerra()[1:]
    )
    submitted = len(store.jobs)
    builds.killed_while_writing(again)
    assert again.blocks("italy") == 1
    builds.resume(again, workers=2)
    # What was waited for by the first process was taken over.
    assert len(store.jobs) == submitted
    assert builds.same_store(again, whole)


@pytest.mark.parametrize("name", ["merizzi-wind"])
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, whole: Job, tmp_path: Path
) -> None:
    assert whole.task.name == name
    assert builds.same_store(builds.by_a_cluster(whole, tmp_path, scheduler), whole)


def half_a_cell_up(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(latitude=data["latitude"] + 0.125)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"era5_change": half_a_cell_up}, r"0\.5 cells in y.*Half a cell: are points taken"),
        ({"era5_moved": 0.125}, r"coarse product lies 0\.[3-7]\d? cells north"),
    ],
)
def test_era5_half_a_cell_off_is_refused(
    wrong: dict[str, Any], said: str, whole: Job, tmp_path: Path
) -> None:
    """By its coordinates, or by its values where the coordinates are right."""
    path = Path("downloads", "cds", "reanalysis-cerra-single-levels")
    (tmp_path / path.parent).mkdir(parents=True)
    (tmp_path / path).symlink_to(whole.data / path)
    with world.played(World(TIMES, **wrong)), pytest.raises(InputError, match=said):
        made(builds.at(whole, tmp_path, regions=TWO[1:]))
    assert not list(tmp_path.glob("merizzi-wind@1/italy.*"))
