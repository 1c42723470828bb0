"""Six shipped recipes from a played Hugging Face Hub: values, places, gaps, kills, workers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from played.http import Fault
from played.huggingface import PlayedHub

from data_recipes.sources.rainshift import REGIONS
from recipes import builds, providers, weather
from recipes.builds import Job, area_means, blocks_of, made, pixels, stored
from recipes.providers import PERIODS, THREE, TIMES

NAMES = (
    "rainshift", "rainshift2025", "imerg-perfect",
    "gap-era5-perfect", "gap-imerg-perfect", "gap-era5-imerg",
)  # fmt: skip
PERFECT = {"imerg-perfect": 10, "gap-era5-perfect": 4, "gap-imerg-perfect": 4}
TWO = ("europe_west", "melanesia")
BUILT = {name: TWO if name in ("rainshift", "gap-era5-imerg") else TWO[:1] for name in NAMES}
PLACES = [(name, region) for name in NAMES for region in BUILT[name]]
GAP = (TIMES[3], slice(20, 23), slice(30, 35))


@pytest.fixture(scope="module")
def hub() -> Iterator[PlayedHub]:
    """The data set's files of two regions, at their true sizes but few hours."""
    with (
        PlayedHub(providers.rainshift_files(TWO, TIMES, GAP)) as played,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.delenv("HF_TOKEN", raising=False)
        patch.setenv("HF_ENDPOINT", played.url)
        blocks_of(8, patch.setattr)
        yield played


def job(name: str, folder: Path) -> Job:
    task = builds.small(name, THREE, *PERIODS)
    return Job(task, builds.shipped_table(name), folder, regions=BUILT[name])


class Builds:
    """Each recipe, built once without disturbance when it is first asked for; downloads shared."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.jobs: dict[str, Job] = {}

    def __getitem__(self, name: str) -> Job:
        if name not in self.jobs:
            built = job(name, self.data)
            made(built)
            self.jobs[name] = built
        return self.jobs[name]


@pytest.fixture(scope="module")
def whole(hub: PlayedHub, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    assert hub
    return Builds(tmp_path_factory.mktemp("whole") / "data")


def imerg(region: str) -> NDArray[np.float64]:
    """(time, 200, 200) what the Hub has, with its gap."""
    values = providers.imerg_hour(TIMES, *pixels(region))
    values[GAP[0] == TIMES, GAP[1], GAP[2]] = np.nan
    return values


def era5(region: str) -> NDArray[np.float64]:
    """(time, 80, 80) at ERA5's points [mm h-1], unpacked; what packing leaves of none is none."""
    _, north, west, _ = REGIONS[region]
    lat, lon = north - 0.25 * np.arange(80), west + 0.25 * np.arange(80)
    packed = providers.tp_steps(providers.era5_tp(TIMES, lat, lon)).astype(np.float64)
    values = 1000 * (packed * providers.TP_SCALE + providers.TP_OFFSET)
    return np.where(np.abs(values) < 1e-3, 0, values)


def onto_era5(fine: NDArray[np.float64], region: str) -> NDArray[np.float64]:
    """(..., 200, 200) of 0.1 degrees to the (..., 76, 76) cells of the gap tasks, by area.

    Both are made of cells of 0.025 degrees; the box begins 0.125 degrees inside.
    """
    small = fine.repeat(4, axis=-2).repeat(4, axis=-1)[..., 5:765, 5:765]
    edges = REGIONS[region][1] - 0.125 - 0.025 * np.arange(761)
    return area_means(small, edges, 10)


def expected(name: str, region: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(coarse, fine) at all times."""
    north = REGIONS[region][1]
    inner = era5(region)[:, 1:77, 1:77]  # whole cells within the box of the gap tasks
    edges = north - 0.125 - 0.25 * np.arange(77)
    if name in ("rainshift", "rainshift2025"):
        return era5(region), imerg(region)
    if name == "imerg-perfect":
        return area_means(imerg(region), north - 0.1 * np.arange(201), 10), imerg(region)
    if name == "gap-era5-perfect":
        return area_means(inner, edges, 4), inner
    fine = onto_era5(imerg(region), region)
    return area_means(inner if name == "gap-era5-imerg" else fine, edges, 4), fine


@pytest.mark.parametrize(("name", "region"), PLACES)
def test_the_store_is_what_the_products_make_by_hand(name: str, region: str, whole: Builds) -> None:
    """Units, cells, means and gaps; on a perfect model an hour with a gap is left out."""
    coarse, fine = expected(name, region)
    kept = np.isfinite(fine).all(axis=(1, 2)) if name in PERFECT else np.ones(len(TIMES), bool)
    assert kept.sum() == len(TIMES) - (name in ("imerg-perfect", "gap-imerg-perfect"))
    missing = builds.manifests(whole[name])[region].missing_intervals
    assert [(str(run.first), str(run.last)) for run in missing] == [
        (str(time.astype("datetime64[s]").item()),) * 2 for time in TIMES[~kept]
    ]
    for side, values in (("coarse", coarse[kept]), ("fine", fine[kept])):
        found = stored(whole[name], region, side)
        np.testing.assert_array_equal(found["time"].values.astype("datetime64[s]"), TIMES[kept])
        np.testing.assert_allclose(found["precipitation"].values, values, rtol=2e-5, atol=2e-5)
        assert found["precipitation"].attrs["units"] == "mm h-1"
        assert np.nanmax(values) > 5
    gaps = np.isnan(stored(whole[name], region, "fine")["precipitation"].values).sum()
    assert gaps == {"rainshift": 15, "rainshift2025": 15}.get(name, 0) or name == "gap-era5-imerg"


@pytest.mark.parametrize(
    ("name", "north", "west"),
    [
        ("rainshift", 60.0, -5.0),
        ("rainshift2025", 59.875, -4.875),
        ("gap-era5-imerg", 59.375, -4.375),
    ],
)
def test_coarse_cells_lie_where_they_belong_or_where_the_paper_has_them(
    name: str, north: float, west: float, whole: Builds
) -> None:
    found = stored(whole[name], "europe_west", "coarse")
    assert float(found["y"][0]) == pytest.approx(north)
    assert float(found["x"][0]) == pytest.approx(west)


@pytest.mark.parametrize(("name", "region"), PLACES)
def test_ground_and_land_are_those_of_the_fine_cells(name: str, region: str, whole: Builds) -> None:
    height, land = weather.height(*pixels(region)), weather.land(*pixels(region))
    if name.startswith("gap"):
        height, land = (onto_era5(field, region) for field in (height, land))
    found = stored(whole[name], region, "static")
    np.testing.assert_allclose(found["orography"].values, height, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found["land_fraction"].values, land, rtol=1e-5, atol=1e-6)
    assert height.max() > 300


@pytest.mark.parametrize("name", NAMES)
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, hub: PlayedHub, whole: Builds, tmp_path: Path
) -> None:
    """Once while files arrive, once between two arrays of a block."""
    again = builds.at(whole[name], tmp_path, regions=("europe_west",))
    side = "in" if name == "gap-era5-perfect" else "out"
    blob = hub.blob_path(f"europe_west/test_data_{side}.zarr.zip")
    builds.killed_while_fetching(again, hub, lambda request: request.path == blob)
    assert again.blocks("europe_west") == 0
    builds.killed_while_writing(again)
    assert again.blocks("europe_west") == 1
    assert builds.manifests(again) == {}
    hub.requests.clear()
    builds.resume(again, workers=2)
    assert hub.requests == []
    assert builds.same_store(again, whole[name])


def test_a_second_build_asks_and_writes_nothing(hub: PlayedHub, whole: Builds) -> None:
    jobs = [whole[name] for name in NAMES]
    hub.requests.clear()
    for each in jobs:
        before = {path: path.stat().st_mtime_ns for path in each.folder.rglob("*")}
        made(each)
        assert {path: path.stat().st_mtime_ns for path in each.folder.rglob("*")} == before
    assert hub.requests == []


def test_faults_and_workers_do_not_change_a_bit(
    hub: PlayedHub, whole: Builds, tmp_path: Path
) -> None:
    faults = (
        Fault(status=429),
        Fault(status=500),
        Fault(reset_after=5000),
        Fault(truncate_after=70),
    )
    hub.fault(hub.listing_path, Fault(status=503))
    for name in ("europe_west/train_data_out.zarr.zip", "melanesia/test_data_in.zarr.zip"):
        hub.fault(hub.blob_path(name), *faults)
    again = builds.at(whole["rainshift"], tmp_path)
    hub.requests.clear()
    made(again, workers=2)
    assert len(hub.asked(hub.blob_path("melanesia/test_data_in.zarr.zip"))) == 5
    assert builds.same_store(again, whole["rainshift"])


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, whole: Builds, tmp_path: Path
) -> None:
    assert builds.same_store(builds.by_a_cluster(whole[name], tmp_path, scheduler), whole[name])
