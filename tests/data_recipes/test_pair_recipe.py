"""Pairs from products: coarse is the mean of fine to rounding; gaps are recorded, not filled."""

import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from numpy.typing import NDArray
from own_world import (
    COARSE,
    EXPECTED,
    FINE,
    TASK,
    TIMES,
    coarse_product,
    edited,
    product,
    temperature,
    truth,
    write,
)

from benchmark import pair_parts
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Variable
from data_recipes.build import build
from data_recipes.own_task import known_variables
from data_recipes.pair_recipe import BlockMaker, PairRecipe
from data_recipes.recipe_checks import check_recipe
from data_recipes.recipe_file import RecipeFile
from data_recipes.shipped import own_recipe
from data_recipes.source import Load

Array = NDArray[np.float64]

SHORT = """\
[task.periods]
embargo_hours = 2
train = { first = 2021-06-01T00:00:00, last = 2021-06-01T02:00:00 }
val = { first = 2021-06-01T04:00:00, last = 2021-06-01T05:00:00 }
test = { first = 2021-06-01T07:00:00, last = 2021-06-01T08:00:00 }
"""
HEAD = TASK.partition("[task.periods]")[0]


def built(recipe: Path, **options: Any) -> PairStore:
    """The store of a recipe."""
    task, made = own_recipe(recipe, recipe.parent / "data")
    return build(task, recipe.parent / "data", recipe=made, **options)


def read(store: PairStore, region: str, side: str) -> NDArray[np.float32]:
    """All steps."""
    return store.region(region).read(side, "t2m", slice(None))


def assert_close(found: NDArray[np.float32], expected: Array) -> None:
    """To half a unit in the last place of float32, and no more than rounding of the sums."""
    bound = 2.0**-24 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.001 * bound)


@pytest.mark.parametrize("factor", [2, 2.5, 4, 5, 8, 16])
def test_the_coarse_input_is_the_mean_of_fine_on_the_sphere(factor: float, tmp_path: Path) -> None:
    """At each factor of the issue, from the values that were stored.

    Oracle: each overlap of a fine with a coarse cell, by differences of sin(latitude) and of
    longitude.
    """
    text = edited(HEAD, a=f"factor = 2 -> factor = {factor}\nmargin = 0",
                  b="spacing = 0.5 -> spacing = 0.1") + SHORT  # fmt: skip
    fine = product(0.1, lat=(39, 61), lon=(-21, 29), times=TIMES[:9])
    store = built(write(tmp_path, text + FINE, fine=fine))
    for region, (north, west) in {"away": (60, 20), "middle": (48, -4)}.items():
        values = read(store, region, "fine").astype(np.float64)
        cells = round(80 / factor)
        expected = np.zeros((len(values), cells, cells))
        size = 0.1 * factor
        for row in range(cells):
            for column in range(cells):
                top, left = north - size * row, west + size * column
                tops = np.minimum(top, north - 0.1 * np.arange(80))
                bottoms = np.maximum(top - size, north - 0.1 * np.arange(1, 81))
                lefts = np.maximum(left, west + 0.1 * np.arange(80))
                rights = np.minimum(left + size, west + 0.1 * np.arange(1, 81))
                high = np.sin(np.radians(tops)) - np.sin(np.radians(bottoms))
                weights = np.maximum(high, 0)[:, None] * np.maximum(rights - lefts, 0)
                expected[:, row, column] = (values * weights).sum(axis=(1, 2)) / weights.sum()
        assert_close(read(store, region, "coarse"), expected)


MAPS = {
    "lambert": ("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m", 0),
    "stereographic": (
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=m", -4_000_000,
    ),
}  # fmt: skip


def on_map(crs: str, south: float, size: float) -> tuple[str, xr.Dataset, dict[str, Array]]:
    """A task of boxes of 20 x 20 cells of `size` m, a file, and (south, west) of each box."""
    boxes = {"home": (0.0, 0.0), "middle": (0.0, 25.0), "away": (25.0, 50.0)}
    y, x = (np.arange(-2, 73) * size + size / 2 + start for start in (south, 0.0))
    lon, lat = pyproj.Proj(crs)(*np.meshgrid(x, y), inverse=True)
    values = temperature(np.asarray(lat), np.asarray(lon), TIMES[:9]).astype(np.float32)
    times = TIMES[:9].astype("datetime64[ns]")
    made = xr.Dataset(
        {"t": (("time", "y", "x"), values, {"units": "K"})}, coords={"time": times, "y": y, "x": x}
    )
    corners = {name: np.array([south, 0]) + size * np.array(at) for name, at in boxes.items()}
    roles = dict(zip(boxes, ("train", "val_ood", "test_ood"), strict=True))
    regions = ", ".join(
        f'{{ name = "{name}", role = "{roles[name]}", grid = "g", '
        f"y = [{at[0]}, {at[0] + 20 * size}], x = [{at[1]}, {at[1] + 20 * size}] }}"
        for name, at in corners.items()
    )
    head = HEAD.partition("regions = [")[0]
    grids = f'grids = [{{ name = "g", crs = "{crs}", spacing = {size} }}]'
    head = edited(head, a=f"spacing = 0.5 -> {grids}", b="factor = 2 -> factor = 5")
    fine = edited(FINE, a=f'"fine.nc" -> "fine.nc", crs = "{crs}"')
    return f"{head}regions = [{regions}]\n{SHORT}{fine}", made, corners


@pytest.mark.parametrize("name", MAPS)
def test_the_coarse_input_is_the_mean_of_fine_on_a_map(name: str, tmp_path: Path) -> None:
    """With true areas of the cells; oracle: their polygons' areas on the map's own earth."""
    crs, south = MAPS[name]
    size = 20_000.0
    text, fine, corners = on_map(crs, south, size)
    store = built(write(tmp_path, text, fine=fine))
    earth = pyproj.CRS(crs).get_geod()
    assert earth is not None
    for region, (low, left) in corners.items():
        values = read(store, region, "fine").astype(np.float64)
        rows = np.flatnonzero((fine.y > low) & (fine.y < low + 20 * size))[::-1]
        columns = np.flatnonzero((fine.x > left) & (fine.x < left + 20 * size))
        np.testing.assert_array_equal(
            values, fine.t.values[np.ix_(np.isin(fine.time, store.region(region).times.astype(
                "datetime64[ns]")), rows, columns)],
        )  # fmt: skip
        area = np.zeros((20, 20))
        for row in range(20):
            for column in range(20):
                top, west = low + (20 - row) * size, left + column * size
                xs = west + size * np.array([0, 1, 1, 0])
                ys = top - size * np.array([1, 1, 0, 0])
                area[row, column] = abs(
                    earth.polygon_area_perimeter(*pyproj.Proj(crs)(xs, ys, inverse=True))[0]
                )
        blocks = (values * area).reshape(-1, 4, 5, 4, 5).sum(axis=(2, 4))
        expected = blocks / area.reshape(4, 5, 4, 5).sum(axis=(1, 3))
        # What the area of a cell, at its centre, is off by moves no mean by more than rounding.
        np.testing.assert_allclose(read(store, region, "coarse"), expected, rtol=0, atol=3e-5)


def with_gaps(side: str) -> str:
    """The side's table, with gaps."""
    return side.replace("]\n", "]\ngaps = true\n", 1)


def hole(at: int | slice, *, south: float = 52, north: float = 60) -> xr.Dataset:
    """The fine product, but at some time without one cell in each row of some latitudes."""
    fine = product()
    inside = ((fine.lat > south) & (fine.lat < north)).values
    values = fine.t.values.copy()
    values[at, inside, 95] = np.nan  # 23.75 E
    fine["t"] = (fine.t.dims, values, fine.t.attrs)
    return fine


def test_times_with_a_missing_cell_are_left_out_and_recorded(tmp_path: Path) -> None:
    """On the perfect-model track, of the region that has the hole; a mean over it is no mean."""
    store = built(write(tmp_path, TASK + with_gaps(FINE), fine=hole(5)))
    (gap,) = store.manifests["away"].missing_intervals
    assert gap.first == gap.last == datetime(2021, 6, 1, 5)
    kept = np.delete(EXPECTED, 5)
    np.testing.assert_array_equal(store.region("away").times, kept)
    np.testing.assert_array_equal(read(store, "away", "fine"), truth("away", kept))
    for other in ("home", "middle"):
        assert store.manifests[other].missing_intervals == ()
        assert store.manifests[other].steps == len(EXPECTED)


def test_missing_hours_are_recorded_as_intervals(tmp_path: Path) -> None:
    """Consecutive ones are one interval; between two periods there is none to miss."""
    fine = product().isel(time=[k for k in range(60) if k not in (3, 4, 22, 23, 24, 25, 26)])
    store = built(write(tmp_path, TASK + with_gaps(FINE), fine=fine))
    for manifest in store.manifests.values():
        found = [(gap.first, gap.last) for gap in manifest.missing_intervals]
        assert found == [
            (datetime(2021, 6, 1, 3), datetime(2021, 6, 1, 4)),
            (datetime(2021, 6, 1, 22), datetime(2021, 6, 1, 23)),
            (datetime(2021, 6, 2, 2), datetime(2021, 6, 2, 2)),
        ]
        assert manifest.steps == 43


def test_gaps_that_leave_a_period_empty(tmp_path: Path) -> None:
    """Are not recorded but refused, for the splits that the region is of."""
    fine = product().isel(time=slice(0, 38))
    recipe = write(tmp_path, TASK + with_gaps(FINE), fine=fine)
    with pytest.raises(InputError, match="away, period test: expected times from 2021-06-02 16"):
        built(recipe)
    task, made = own_recipe(recipe, tmp_path / "data")
    build(task, tmp_path / "data", recipe=made, regions=["middle"])  # only for validation


def test_a_hole_in_the_coarse_product(tmp_path: Path) -> None:
    """Of a pair: refused, since models need whole inputs, unless such times may be left out."""
    coarse = coarse_product()
    coarse["t"][7] = coarse.t[7].where(coarse.lat < 58)
    files = {"fine": hole(9), "coarse": coarse}
    recipe = write(tmp_path / "refused", TASK + FINE + COARSE, **files)
    with pytest.raises(InputError, match=r"away: coarse t2m.*gaps = true"):
        built(recipe)
    recipe = write(tmp_path / "left out", TASK + FINE + with_gaps(COARSE), **files)
    store = built(recipe)
    (gap,) = store.manifests["away"].missing_intervals
    assert gap.first == gap.last == datetime(2021, 6, 1, 7)
    assert np.isnan(read(store, "away", "fine")[8]).sum() == 16, "the fine one's stays a hole"


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("side", ["fine", "coarse"])
def test_cells_that_are_never_there(side: str, gaps: bool, tmp_path: Path) -> None:
    """No gaps: a model's input would have them at all times. Said so, and not to state `gaps`."""
    fine, coarse = hole(slice(None)), coarse_product()
    coarse["t"] = coarse.t.where(coarse.lat < 58)
    text = TASK + (with_gaps(FINE) if gaps else FINE)
    if side == "coarse":
        text = TASK + FINE + (with_gaps(COARSE) if gaps else COARSE)
    with pytest.raises(InputError) as refused:
        built(write(tmp_path, text, fine=fine, coarse=coarse))
    (said,) = map(str, refused.value.problems)
    cells = {"fine": "16 of 256", "coarse": "16 of 64"}[side]
    assert f"away: {side} t2m" in said
    assert f"{cells} cells that are never there" in said
    assert "Choose regions without such cells" in said
    assert ("give a coarse product of its own" in said) == (side == "fine")
    assert "gaps = true" not in said


def test_the_fine_product_of_a_pair_may_lack_cells_for_ever(tmp_path: Path) -> None:
    """As the text for the perfect-model track says: they are masked."""
    store = built(
        write(tmp_path, TASK + FINE + COARSE, fine=hole(slice(None)), coarse=coarse_product())
    )
    assert np.isnan(read(store, "away", "fine")).sum() == 16 * len(EXPECTED)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The blocks of 8 of 48 times that a scan for missing cells looks at, "REGION FIRST-TIME"."""
    monkeypatch.setattr(pair_parts, "steps_per_shard", lambda *_: 8)
    names: list[str] = []
    plain = BlockMaker.inputs_are_whole

    def look(self: BlockMaker, block: slice) -> NDArray[np.bool_]:
        names.append(f"{self.region.name} {self.times[block][0]}")
        return plain(self, block)

    monkeypatch.setattr(BlockMaker, "inputs_are_whole", look)
    return names


@pytest.mark.parametrize("stop", [0, 1, 9, 18])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_scan_goes_on_where_it_was_stopped(
    stop: int, workers: int, tmp_path: Path, looked: list[str]
) -> None:
    """No block is looked at twice, whoever stops it; the gaps are those of an unbroken one."""
    expected = built(write(tmp_path / "whole", TASK + with_gaps(FINE), fine=hole(5)))
    assert len(looked) == 18
    recipe = write(tmp_path, TASK + with_gaps(FINE), fine=hole(5))
    seen: list[str] = []
    looked.clear()

    def stopping(name: str, done: int, total: int) -> None:
        if len(seen) == stop:
            raise KeyboardInterrupt
        if name.startswith("missing cells of "):
            assert 0 <= done < total == 48
            seen.append(name)

    with pytest.raises(KeyboardInterrupt):
        built(recipe, report=stopping)
    assert len(looked) == stop
    store = built(recipe, workers=workers)
    assert len(looked) == len(set(looked)) == 18
    assert store.manifests == expected.manifests


def test_a_scan_is_of_these_very_sources_and_settings(tmp_path: Path, looked: list[str]) -> None:
    """What is found is kept for the next build; another file or unit is looked at anew."""
    built(write(tmp_path, TASK + with_gaps(FINE), fine=hole(5)))
    shutil.rmtree(tmp_path / "data" / "mine@1")
    built(write(tmp_path, TASK + with_gaps(FINE), fine=hole(5)))
    assert len(looked) == 18
    store = built(write(tmp_path, TASK + with_gaps(FINE), fine=hole(7)))
    assert len(looked) == 36
    (gap,) = store.manifests["away"].missing_intervals
    assert gap.first == datetime(2021, 6, 1, 7)
    text = edited(TASK + with_gaps(FINE), a='"t" -> { from = "t", units = "K" }')
    built(write(tmp_path, text, fine=hole(7)))
    assert len(looked) == 54
    later = edited(
        text, a="T00:00:00, last = 2021-06-01T23 -> T01:00:00, last = 2021-06-02T00"
    )  # as many times, but others
    built(write(tmp_path, later, fine=hole(7)))
    assert len(looked) == 72
    for damaged in (tmp_path / "data" / "downloads" / "scans").iterdir():
        damaged.write_bytes(b"111")
    shutil.rmtree(tmp_path / "data" / "mine@1")
    again = built(write(tmp_path, text, fine=hole(7)))
    assert again.manifests["away"].missing_intervals == (gap,)


def test_nothing_long_is_fetched_where_something_is_wrong(tmp_path: Path) -> None:
    """All own files are looked at, in all regions; what would come over a network waits."""
    sides = [edited(side, a=".nc -> -?.nc") for side in (COARSE, FINE)]
    task, made = own_recipe(write(tmp_path, TASK + "".join(sides)), tmp_path)
    assert isinstance(made, PairRecipe)
    with pytest.raises(InputError) as refused:
        made.fetch(task.regions)
    assert ["coarse-?.nc" in str(p) for p in refused.value.problems] == [True, False]
    asked: list[str] = []
    far = SimpleNamespace(
        to_fetch=lambda window: {"piece": Load(1, 1)},  # noqa: ARG005
        fetch=lambda window, **_: asked.append(window.region),
    )
    with pytest.raises(InputError, match=r"coarse-\?\.nc"):
        with_sources(made, fine=far).fetch(task.regions)
    assert asked == []
    with_sources(made, fine=far, coarse=far).fetch(task.regions)
    assert asked == 2 * [region.name for region in task.regions]


def with_sources(made: PairRecipe, **sources: Any) -> PairRecipe:
    """The recipe with others in place of its sources."""
    made.sources = made.sources | sources
    return made


def test_sides_that_do_not_make_the_task(tmp_path: Path) -> None:
    """A variable too many, one too few, a coarse side where there is to be none."""
    task, _ = own_recipe(write(tmp_path, TASK + FINE, fine=product()), tmp_path)
    side = {"source": {"provider": "files", "engine": "zarr", "paths": "x"},
            "variables": {"t2n": "t"}}  # fmt: skip
    file = RecipeFile.model_validate({"fine": side, "coarse": side, "static": side})
    said = [str(problem) for problem in check_recipe(task, file, where="mine.toml")]
    assert len(said) == 6
    assert any("coarse: expected none" in line for line in said)
    assert sum("t2n" in line for line in said) == 3
    assert sum("Say in `" in line for line in said) == 2


@pytest.mark.parametrize(
    ("name", "hours", "stamp"),
    [("chirps-v2-daily", 24, "start"), ("prism-daily", 24, "middle"),
     ("mrms-multisensor-pass2", 1, "end")],
)  # fmt: skip
def test_a_product_s_stamps_are_held_against_its_table(
    name: str, hours: float, stamp: str, tmp_path: Path
) -> None:
    """A day taken for the one before it would be silently wrong; as the table says is well."""
    task, _ = own_recipe(write(tmp_path, TASK + FINE, fine=product()), tmp_path)

    rain = known_variables()["precipitation"] | {"name": "precipitation"}
    rain["cell_methods"] = f"time: mean (interval: {hours} hour)"
    task = task.model_copy(update={"variables": (Variable.model_validate(rain),)})

    def problems(**field: Any) -> list[str]:
        side = {"source": {"provider": "product", "product": name},
                "variables": {"precipitation": {"from": "p", **field}}}  # fmt: skip
        file = RecipeFile.model_validate({"fine": side})
        return [str(problem) for problem in check_recipe(task, file, where="mine.toml")]

    assert problems(hours=hours, over_hours=hours, stamp=stamp) == []
    other = "end" if stamp != "end" else "start"
    (said,) = problems(hours=hours, over_hours=hours, stamp=other)
    assert f'stamp = "{stamp}"' in said
    assert len(problems(hours=hours / 2, over_hours=hours, stamp=stamp)) == 1
    (said,) = problems(hours=hours, stamp=stamp)
    assert f"over_hours = {hours}" in said
