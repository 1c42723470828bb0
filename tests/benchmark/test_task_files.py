"""The shipped tasks: each against what it says of its products, places and sister tasks."""

from datetime import datetime
from importlib import resources
from io import StringIO
from math import gcd
from typing import Any

import numpy as np
import pyproj
import pytest
from rich.console import Console

from benchmark.cli.tasks import _show
from benchmark.distance import box_distance_km, cluster_labels
from benchmark.grid import RegionGrid, region_grid
from benchmark.leaks import check_task
from benchmark.region import Region
from benchmark.task import Task
from benchmark.task_files import load_task, task_names

CERRA = ("cerra-precip", "cerra-t2m", "cerra-wind")
GAP = ("gap-era5-perfect", "gap-imerg-perfect", "gap-era5-imerg")
RAINSHIFT = ("rainshift", "rainshift2025", "imerg-perfect")
TCW = ("tcw-2", "tcw-4", "tcw-8", "tcw-16")
NEW = (*CERRA, *GAP, *RAINSHIFT, *TCW, "merizzi-wind", "radar-perfect")

# A town (latitude, longitude) in each box, so that a box is where its name says.
TOWNS = {
    "benelux": (50.85, 4.35), "czechia": (50.09, 14.42), "poland": (52.23, 21.01),
    "iceland": (64.15, -21.94), "ireland": (53.35, -6.26), "ukraine-russia": (49.99, 36.23),
    "algeria-tunisia": (36.75, 3.06), "anatolia": (39.93, 32.86), "egypt-levant": (30.04, 31.24),
    "finland": (60.17, 24.94), "greece": (37.98, 23.73), "iberia": (40.42, -3.70),
    "italy": (41.90, 12.50), "morocco": (31.63, -7.99), "norway-south": (59.91, 10.75),
    "scandinavia-north": (69.65, 18.96),
}  # fmt: skip


def grids(task: Task) -> dict[str, RegionGrid]:
    """Both grids of every region."""
    return {region.name: region_grid(task, region) for region in task.regions}


def places(task: Task) -> dict[str, tuple[Any, ...]]:
    """Role and bounds of every region."""
    return {region.name: (region.role, *region.bounds) for region in task.regions}


def holds(region: Region, lat: float, lon: float) -> bool:
    """Whether a point lies in a box of a map, by PROJ alone."""
    assert region.grid is not None
    x, y = pyproj.Proj(region.grid.crs)(lon, lat)
    (south, north), (west, east) = region.bounds
    return bool(south < y < north and west < x < east)


def whole(values: Any) -> bool:
    """Whether all are whole numbers, to rounding."""
    return bool(np.allclose(values, np.round(values), rtol=0, atol=1e-6))


def test_the_issues_tasks_ship() -> None:
    """All of them, and nothing that no test here knows."""
    assert {*NEW, "era5-sample"} == set(task_names())


@pytest.mark.parametrize("name", NEW)
def test_each_file_is_a_contract_without_leaks(name: str) -> None:
    """It loads, is named as its file, leaks nothing and has boxes of one size."""
    task = load_task(name)
    assert check_task(task) == []
    assert task.name == name
    assert len({(grid.fine.shape, grid.coarse.shape) for grid in grids(task).values()}) == 1
    text = (resources.files("benchmark") / "tasks" / f"{name}.toml").read_text()
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("name", NEW)
def test_a_contract_can_be_read_by_people_and_programs(name: str) -> None:
    """`elsewhere task NAME` shows every region and each grid's spacing; JSON gives it back."""
    task = load_task(name)
    shown = StringIO()
    _show(task, Console(file=shown, width=400))
    for region in task.regions:
        assert region.name in shown.getvalue()
        unit = f"m (map {region.grid.name})" if region.grid else "degrees"
        assert f"{task.spacing_of(region):g} {unit}" in shown.getvalue()
    assert Task.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize("name", NEW)
def test_scores_are_asked_where_values_are(name: str) -> None:
    """Thresholds and classes lie within the bins and the data range; windows fit the box."""
    task = load_task(name)
    size = min(next(iter(grids(task).values())).scored.fine.shape)
    assert max(task.windows) < size / 2
    assert max(task.lags) < size / 2
    for variable in task.variables:
        low, high = variable.data_range
        for value in (*variable.thresholds, *variable.intensity):
            assert low < value <= high
            assert variable.bins.low < value < variable.bins.high
        assert variable.bins.high >= high


@pytest.mark.parametrize("name", sorted(set(NEW) - {"radar-perfect"}))
def test_labelled_days_are_five_draws_over_all_seasons(name: str) -> None:
    """Five draws as the design says; each has days in every quarter of the year."""
    few_shot = load_task(name).few_shot
    assert few_shot is not None
    assert len(few_shot.draws) == 5
    for draw in few_shot.draws:
        assert {(day.month - 1) // 3 for day in draw} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("names", "steps_a_day"),
    [((*GAP, *RAINSHIFT), 24), (("cerra-wind", "cerra-t2m", "merizzi-wind"), 8), (TCW, 4)],
)
def test_pictures_are_of_all_hours_of_the_day(names: tuple[str, ...], steps_a_day: int) -> None:
    """Every n-th step would be of one hour if n divided the day."""
    for name in names:
        assert gcd(load_task(name).image_every, steps_a_day) == 1


@pytest.mark.parametrize("name", NEW)
def test_sources_are_credited_as_their_providers_ask(name: str) -> None:
    """The words of Copernicus and the DOI of each product."""
    asked = {
        "ERA5 hourly": ("Contains modified Copernicus", "10.24381/cds.adbb2d47"),
        "CERRA sub": ("Contains modified Copernicus", "10.24381/cds.622a565a"),
        "CERRA-Land": ("Contains modified Copernicus", "10.24381/cds.a7f3cd0b"),
        "GPM IMERG": ("Huffman", "10.5067/GPM/IMERG/3B-HH/07"),
        "RainShift": ("Harder", "10.1038/s41598-025-34557-4"),
        "NOAA": ("NOAA",), "KNMI": ("Royal Netherlands",), "FMI": ("Finnish Meteorological",),
    }  # fmt: skip
    for source in load_task(name).sources:
        (words,) = [words for start, words in asked.items() if source.product.startswith(start)]
        assert all(word in source.attribution for word in words)
        assert source.licence
        if source.product.startswith("RainShift"):
            assert "unknown" in source.licence


def test_rainshift_has_the_published_boxes() -> None:
    """Eighteen, as the data set's own table has them; twelve are not evaluated."""
    from data_recipes.sources.rainshift import REGIONS

    for name in RAINSHIFT:
        task = load_task(name)
        assert {
            region.name: tuple(bound for axis in region.bounds for bound in axis)
            for region in task.regions
        } == REGIONS
        assert places(task) == places(load_task("rainshift"))
        assert len(task.regions_of("test_ood")) == 6
        assert "roles are ours" in " ".join(task.banner.split())


def test_rainshifts_roles_are_apart_as_the_banner_says() -> None:
    """Six clusters in the test; 556 km from training to test, 222 km from validation to test."""
    task = load_task("rainshift")
    ood = task.regions_of("test_ood")
    assert len(set(cluster_labels(ood, within_km=1000))) == 6
    for split, least in (("train", 556), ("val_ood", 222)):
        found = min(box_distance_km(a, b) for a in task.regions_of(split) for b in ood)
        assert int(found + 0.5) == least


def test_rainshifts_coarse_cells_are_centred_on_era5s_points() -> None:
    """True coordinates: 60.0 to 40.25 north, -5.0 to 14.75 east; IMERG 59.95 to 40.05."""
    task = load_task("rainshift")
    grid = grids(task)["europe_west"]
    np.testing.assert_allclose(grid.coarse.y.centres, 60 - 0.25 * np.arange(80))
    np.testing.assert_allclose(grid.coarse.x.centres, -5 + 0.25 * np.arange(80))
    np.testing.assert_allclose(grid.fine.y.centres, 59.95 - 0.1 * np.arange(200))
    np.testing.assert_allclose(grid.fine.x.centres, -4.95 + 0.1 * np.arange(200))
    for both in grids(task).values():
        assert whole(both.coarse.y.centres * 4)
        assert whole(both.coarse.x.centres * 4)
        for part in (both.scored.fine, both.scored.coarse):
            for whole_box in (both.fine, both.coarse):
                assert part.y.first <= whole_box.y.first
                assert part.y.last >= whole_box.y.last
                assert part.x.first >= whole_box.x.first
                assert part.x.last <= whole_box.x.last


def test_rainshift2025_is_the_papers_tiling() -> None:
    """80 x 80 tiles cover the box of 200 x 200 pixels, all of which is scored; no other change."""
    ours, theirs = load_task("rainshift"), load_task("rainshift2025")
    for grid in grids(theirs).values():
        assert grid.coarse.shape == (80, 80)
        assert grid.scored.fine.shape == grid.fine.shape == (200, 200)
        assert grid.fine.edges[0][0] == grid.coarse.edges[0][0]
        assert grid.fine.edges[1][-1] == grid.coarse.edges[1][-1]
    for field in ("periods", "few_shot", "variables", "members", "primary", "factor"):
        assert getattr(ours, field) == getattr(theirs, field)


def test_the_gap_triplet_differs_in_its_products_alone() -> None:
    """One set of boxes, roles, days, cells and scores; both sides on ERA5's own cells."""
    first, *others = (load_task(name) for name in GAP)
    for task in others:
        named = {"name", "title", "summary", "track", "sources"}
        assert task.model_dump(exclude=named) == first.model_dump(exclude=named)
    for name, grid in grids(first).items():
        for task in others:
            other = grids(task)[name]
            for side in ("fine", "coarse"):
                for mine, theirs in zip(
                    getattr(grid, side).edges, getattr(other, side).edges, strict=True
                ):
                    np.testing.assert_array_equal(mine, theirs)
        assert whole(grid.fine.y.centres * 4)
        assert whole(grid.fine.x.centres * 4)
    assert [load_task(name).track for name in GAP] == ["perfect_model"] * 2 + ["real_pair"]


def test_the_gap_triplet_can_be_built_from_rainshifts_files() -> None:
    """Every fine cell lies within what both of its products cover."""
    published = grids(load_task("rainshift"))
    for name, grid in grids(load_task("gap-era5-imerg")).items():
        for box in (published[name].fine, published[name].coarse):
            assert box.y.last <= grid.fine.y.last
            assert grid.fine.y.first <= box.y.first
            assert box.x.first <= grid.fine.x.first
            assert grid.fine.x.last <= box.x.last
    assert places(load_task(GAP[0])).keys() == published.keys()


def test_cerras_crs_puts_its_corners_where_they_are_published() -> None:
    """The outermost points of 1069 x 1069 at 5.5 km: 63.77 N 58.11 W to 20.29 N 33.49 E."""
    (grid,) = load_task("cerra-wind").grids
    half = 534 * grid.spacing
    corners = pyproj.Proj(grid.crs)([-half, half, half, -half], [half, half, -half, -half],
                                    inverse=True)  # fmt: skip
    np.testing.assert_allclose(corners[0], [-58.11, 74.11, 33.49, -17.49], atol=0.01)
    np.testing.assert_allclose(corners[1], [63.77, 63.77, 20.29, 20.29], atol=0.01)


@pytest.mark.parametrize("name", CERRA)
def test_cerras_boxes_are_cells_of_its_own_grid(name: str) -> None:
    """160 x 160 whole cells, 32 x 32 blocks, thirty points from the edge of the domain."""
    task = load_task(name)
    for region in task.regions:
        for low, high in region.bounds:
            first, last = low / 5500 + 0.5 + 534, high / 5500 - 0.5 + 534
            assert whole([first, last])
            assert (round(first) >= 30, round(last) <= 1068 - 30) == (True, True), region.name
            assert round(last) - round(first) + 1 == 160
    assert {grid.coarse.shape for grid in grids(task).values()} == {(32, 32)}


def test_cerras_boxes_are_where_their_names_say() -> None:
    """A town in each, from Morocco to beyond the polar circle; Central Europe is trained on."""
    task = load_task("cerra-wind")
    assert TOWNS.keys() == places(task).keys()
    for name, town in TOWNS.items():
        assert holds(task.region(name), *town), name
    assert len(task.regions) >= 12
    assert len(task.regions_of("test_ood")) >= 6
    assert {region.name for region in task.regions_of("train")} == {"benelux", "czechia", "poland"}
    for name in ("italy", "morocco", "scandinavia-north"):
        assert task.region(name).role == "test_ood"
    assert task.region("morocco").centre[0] < 33
    assert task.region("scandinavia-north").centre[0] > 66.5


def test_cerras_tasks_share_boxes_and_years() -> None:
    """Days of precipitation end at 06 UTC; the others begin at 00 and end at 21 UTC."""
    tasks = [load_task(name) for name in CERRA]
    assert all(task.regions == tasks[0].regions for task in tasks)
    for task, first, last in zip(tasks, (6, 0, 0), (6, 21, 21), strict=True):
        for period in ("train", "val", "test"):
            mine, other = getattr(task.periods, period), getattr(tasks[0].periods, period)
            assert (mine.first.date(), mine.last.date()) == (other.first.date(), other.last.date())
            assert (mine.first.hour, mine.last.hour) == (first, last)


def test_merizzis_box_holds_the_papers_points() -> None:
    """The coarse cells are its 52 x 52 points; its 256 x 256 stand within a rim of two cells."""
    task = load_task("merizzi-wind")
    (italy,) = task.regions_of("train")
    grid = region_grid(task, italy)
    np.testing.assert_allclose(grid.coarse.y.centres, 47.75 - 0.25 * np.arange(52))
    np.testing.assert_allclose(grid.coarse.x.centres, 6 + 0.25 * np.arange(52))
    np.testing.assert_allclose(grid.fine.y.centres[2:-2][::-1], 35 + 0.05 * np.arange(256))
    np.testing.assert_allclose(grid.fine.x.centres[2:-2], 6 + 0.05 * np.arange(256))
    assert grid.scored.fine.shape == (260, 260)
    assert task.periods.test.first.year == task.periods.test.last.year == 2020


def test_merizzis_other_boxes_lie_in_cerras_domain() -> None:
    """Every point of every border, thirty points from the domain's edge."""
    task = load_task("merizzi-wind")
    (cerra,) = load_task("cerra-wind").grids
    for grid in grids(task).values():
        lat, lon = grid.fine.edges
        points = np.meshgrid(lon[[0, -1]], lat), np.meshgrid(lon, lat[[0, -1]])
        for lons, lats in points:
            x, y = pyproj.Proj(cerra.crs)(lons, lats)
            assert max(np.abs(x).max(), np.abs(y).max()) < (534 - 30) * 5500


def test_tcws_factors_share_boxes_and_scored_cells() -> None:
    """128 x 128 points of ERA5 each, of which all four score the same 96 x 96."""
    first = load_task(TCW[0])
    for name in TCW:
        task = load_task(name)
        assert name == f"tcw-{task.factor:g}"
        assert (task.regions, task.periods, task.few_shot) == (
            first.regions, first.periods, first.few_shot
        )  # fmt: skip
        for region, grid in grids(task).items():
            assert grid.fine.shape == (128, 128)
            assert grid.scored.fine.shape == (96, 96)
            assert whole(grid.fine.y.centres * 4)
            assert whole(grid.fine.x.centres * 4)
            theirs = grids(first)[region].scored.fine
            for mine, other in zip(grid.scored.fine.edges, theirs.edges, strict=True):
                np.testing.assert_array_equal(mine, other)


def test_radars_stand_on_their_own_grids() -> None:
    """Near De Bilt and Kajaani; MRMS boxes are 320 of the files' 384 cells, which are whole."""
    task = load_task("radar-perfect")
    assert holds(task.region("knmi"), 52.10, 5.18)
    assert holds(task.region("fmi"), 64.22, 27.73)
    assert {grid.fine.shape for grid in grids(task).values()} == {(320, 320)}
    ends = {"us1": (47.315, 43.485, -87.755, -83.925), "us2": (31.955, 28.125, -80.075, -76.245)}
    for name, (north, south, west, east) in ends.items():
        grid = grids(task)[name].fine
        lat = np.linspace(north, south, 384)[32:-32]
        np.testing.assert_allclose(grid.y.centres, lat, atol=1e-9)
        np.testing.assert_allclose(grid.x.centres, np.linspace(west, east, 384)[32:-32])
    assert task.static == ()
    assert "not science" in " ".join(task.banner.split())


def test_years_are_of_the_products() -> None:
    """IMERG since 2000-06, CERRA of 1984-09 to 2021-06 and no future."""
    for name in set(NEW) - {"radar-perfect"}:
        periods = load_task(name).periods
        assert datetime(2000, 7, 1) < periods.train.first < periods.test.last
        assert periods.test.last < datetime(2023, 1, 1)
        if name in CERRA or name == "merizzi-wind":
            assert periods.test.last < datetime(2021, 6, 1)
