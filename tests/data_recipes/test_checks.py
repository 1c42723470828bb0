"""Good data pass every check; broken in one way, they are refused for that and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import Problem
from benchmark.grid import Axis, Grid
from benchmark.pair_store import PairStore, RegionStore
from benchmark.projection import Map
from benchmark.task import Task, Variable
from data_recipes.checks import (
    Summary,
    check_same_grid,
    check_static,
    check_summary,
    check_values,
    summarise,
)

Array = NDArray[np.float64]

SHARED = Path("/work/shared/data")
RADARS = ("mrms_us1", "mrms_us2", "knmi_nl", "fmi_finland_20160928")


@pytest.fixture(scope="module")
def region(store: PairStore) -> RegionStore:
    """The wettest of the sample's regions."""
    every = store.regions("train", "test_ood")
    return max(every, key=lambda one: one.read("fine", "precipitation", slice(None)).mean())


def tcw(task: Task) -> Variable:
    return task.variable("t2m").model_copy(
        update={"name": "tcw", "units": "kg m-2", "standard_name": "total_column_water"}
    )


def shared(name: str, variable: str) -> Array:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with xr.open_dataset(path, engine="netcdf4") as data:
        return np.asarray(data[variable].values, np.float64)


def rain(times: int = 240, side: int = 16, seed: int = 1) -> Array:
    """Hourly showers of a gamma rate that build up, decay and leave most cells dry."""
    draws = np.random.default_rng(seed)
    shocks = draws.normal(size=(times + 20, side, side))
    level = np.zeros_like(shocks)
    for k in range(1, len(level)):
        level[k] = 0.8 * level[k - 1] + shocks[k]
    return np.maximum(level[20:] - 1.5, 0) ** 2


def only(problems: list[Problem], *words: str) -> None:
    """One problem, and it says these words."""
    assert len(problems) == 1, [str(problem) for problem in problems]
    for word in words:
        assert word in str(problems[0])


# Good data


def test_the_sample_passes(store: PairStore) -> None:
    """Real ERA5: every region, variable and side, as a whole and day by day."""
    for region in store.regions("train", "val_ood", "test_ood"):
        for variable in store.task.variables:
            for side in ("coarse", "fine"):
                values = region.read(side, variable.name, slice(None))
                assert check_values(region.name, variable, values, side=side) == []
                for start in range(0, len(values), 24):
                    day = values[start : start + 24]
                    assert check_values(region.name, variable, day, side=side) == []


@pytest.mark.parametrize("name", RADARS)
def test_radars_pass(task: Task, name: str) -> None:
    values = shared(f"{name}.nc", "precip_rate")
    assert check_values(name, task.variable("precipitation"), values, side="fine") == []


def test_real_reanalysis_and_daily_rain_pass(task: Task) -> None:
    file = "era5_nweurope_20200101_hourly_0p25.nc"
    hourly = shared(file, "tp") * 1000
    rate = task.variable("precipitation")
    assert check_values("x", rate, np.maximum(hourly, 0), side="coarse") == []
    daily = rate.model_copy(update={"units": "mm d-1"})
    chirps = shared("chirps_nicaragua_daily_0p25.nc", "precip")
    assert check_values("x", daily, chirps, side="fine") == []
    wind = task.variable("wind_speed").model_copy(update={"nonnegative": False})
    for name in ("u10", "v10"):
        assert check_values("x", wind, shared(file, name), side="coarse") == []


def test_dry_and_short_samples_pass(task: Task) -> None:
    """A desert week without rain, a drizzle that never gets far, one single step."""
    rate = task.variable("precipitation")
    for values in (
        np.zeros((168, 20, 20)),
        np.where(np.random.default_rng(1).random((240, 20, 20)) > 0.995, 0.03, 0),
        np.random.default_rng(1).choice([0, 5e-5], (240, 20, 20)),  # noise of packing
        rain()[:1],
        np.where(np.random.default_rng(2).random((20, 9, 9)) > 0.5, np.nan, rain(20, 9)),
    ):
        assert check_values("x", rate, values, side="fine") == []


def test_honest_rain_that_looks_odd_passes(task: Task) -> None:
    rate = task.variable("precipitation")
    few = np.full((30, 9, 9), 0.01) * (1 + np.random.default_rng(1).random((30, 9, 9)))
    assert check_values("x", rate, few, side="fine") == []  # too few values to tell
    # A storm that grows: a third of its cells weaken at any time.
    steps = np.where(np.random.default_rng(2).random((40, 20, 20)) < 0.33, -0.05, 0.1)
    assert check_values("x", rate, 5 + steps.cumsum(axis=0), side="fine") == []
    # Steady rain that spreads, 25 cells at a time.
    cells = np.arange(900).reshape(30, 30)
    spreading = np.stack([np.where(cells < 25 * k, 2.0, 0.0) for k in range(30)])
    assert check_values("x", rate, spreading, side="fine") == []


def test_a_month_without_any_rain_is_no_data(task: Task) -> None:
    rate = task.variable("precipitation")
    assert check_values("x", rate, np.zeros((700, 3, 3)), side="fine") == []
    only(check_values("x", rate, np.zeros((730, 3, 3)), side="fine"), "the same values at all")


# Broken data


Break = Callable[[Array], Array]
BROKEN: list[tuple[str, Break, tuple[str, ...]]] = [
    ("t2m", lambda v: v - 273.15, ("K", "degC")),
    ("t2m", lambda v: (v - 273.15) * 1.8 + 32, ("K", "degF")),
    ("t2m", lambda v: np.where(np.arange(v[0].size).reshape(v[0].shape) == 5, -9999, v), ("170",)),
    ("t2m", lambda v: v * np.nan, ("nothing but missing",)),
    ("t2m", lambda v: np.where(v == v.max(), np.inf, v), ("infinite",)),
    ("t2m", lambda v: np.repeat(v[:1], len(v), axis=0), ("the same values at all",)),
    ("wind_speed", lambda v: v * 20, ("90 m s-1", "packing")),
    ("wind_speed", lambda v: v - v.mean(), ("-0.001 to 90",)),
    ("precipitation", lambda v: v / 1000, ("0.05 mm h-1", "m taken for mm")),
    ("precipitation", lambda v: v * 1000, ("500", "mm taken for m")),
    ("precipitation", lambda v: v - 0.01, ("-0.001 to 500", "Negative rain")),
    ("precipitation", lambda v: np.repeat(v[:1], len(v), axis=0), ("the same values at all",)),
]


@pytest.mark.parametrize(("name", "spoil", "words"), BROKEN)
def test_each_way_of_breaking_is_named(
    region: RegionStore, task: Task, name: str, spoil: Break, words: tuple[str, ...]
) -> None:
    good = region.read("fine", name, slice(None)).astype(np.float64)
    if name == "precipitation":
        good[0, 0, 0] = 1.0  # so that a field that is kept is not dry, nor all below 500
    problems = check_values("x", task.variable(name), spoil(good), side="fine")
    only(problems, *words, f"x: fine {name}")


def test_metres_for_millimetres_in_a_real_day(task: Task) -> None:
    hourly = np.maximum(shared("era5_nweurope_20200101_hourly_0p25.nc", "tp"), 0)
    only(check_values("x", task.variable("precipitation"), hourly, side="coarse"), "0.05 mm h-1")


@pytest.mark.parametrize("length", [3, 6, 12, 24])
def test_values_since_the_start_of_a_forecast(task: Task, length: int) -> None:
    hourly = rain()
    rate = task.variable("precipitation")
    assert check_values("x", rate, hourly, side="coarse") == []
    runs = hourly.reshape(-1, length, 16, 16).cumsum(axis=1).reshape(hourly.shape)
    only(check_values("x", rate, runs, side="coarse"), "only ever rise", "start of a forecast")


def test_column_water_in_the_wrong_unit(task: Task) -> None:
    good = 20 + 10 * np.random.default_rng(1).random((30, 30, 30))
    assert check_values("x", tcw(task), good, side="fine") == []
    only(check_values("x", tcw(task), good / 1000, side="fine"), "1 kg m-2 or more")
    only(check_values("x", tcw(task), good * 10, side="fine"), "-0.001 to 150 kg m-2")


def test_summaries_of_blocks_add_up(task: Task) -> None:
    """Only pairs of times across the blocks' borders are not compared."""
    values = rain(times=200)
    values[3, 4] = np.nan
    values[7, 1, 1] = np.inf
    parts = [summarise(values[start : start + 50]) for start in range(0, 200, 50)]
    total = sum(parts, Summary())
    whole = summarise(values)
    assert total.compared == whole.compared - 3
    assert whole.active - total.active in range(4)
    for name in ("known", "missing", "infinite", "wet", "low", "high", "times", "changed"):
        assert getattr(total, name) == getattr(whole, name)
    assert (whole.missing, whole.infinite) == (16, 1)
    only(check_summary("x", task.variable("precipitation"), total, side="fine"), "infinite")


def test_little_rain_is_told_by_all_blocks_together(task: Task) -> None:
    """No block alone would do."""
    rate = task.variable("precipitation")
    blocks = [rain(times=240, side=10, seed=k)[k * 20 : k * 20 + 20] / 1000 for k in range(12)]
    assert not any(check_values("x", rate, block, side="fine") for block in blocks)
    total = sum(map(summarise, blocks), Summary())
    only(check_summary("x", rate, total, side="fine"), "0.05 mm h-1")


# Statics


def test_statics_of_the_sample_pass(store: PairStore) -> None:
    for region in store.regions("train", "test_ood"):
        static = {name: region.static(name) for name in ("orography", "land_fraction")}
        assert check_static(region.name, static) == []


def test_broken_statics_are_named(region: RegionStore) -> None:
    height, land = region.static("orography"), region.static("land_fraction")
    high = height + 3000
    only(check_static("x", {"orography": high * 9.80665}), "orography", "geopotential")
    only(check_static("x", {"orography": height - 1e4}), "-500 to 9000 m")
    only(check_static("x", {"land_fraction": 100 * np.maximum(land, 0.5)}), "0 to 1", "percent")
    hole = np.where(land == land.max(), np.nan, land)
    only(check_static("x", {"land_fraction": hole}), "finite values")


def test_the_cells_of_statics_are_those_of_the_fields() -> None:
    fine = Grid(Axis(60, 40, 200), Axis(10, 30, 200))

    def moved(y: float = 0.0, x: float = 0.0, cells: int = 200) -> Grid:
        return Grid(Axis(60 + y, 40 + y, cells), Axis(10 + x, 30 + x, cells))

    assert check_same_grid("x", moved(1e-6, -1e-6), fine) == []
    only(check_same_grid("x", moved(-0.05), fine), "+0.5 cells (half a cell) along y")
    only(check_same_grid("x", moved(x=0.05), fine), "+0.5 cells (half a cell) along x")
    only(check_same_grid("x", moved(x=-0.02), fine), "-0.2 cells along x")
    only(check_same_grid("x", moved(cells=100), fine), "(200, 200) cells", "(100, 100)")
    on_map = Grid(fine.y, fine.x, Map("+proj=lcc +lat_0=50 +lat_1=50 +lon_0=8 +R=6371229"))
    only(check_same_grid("x", on_map, fine), "latitudes and longitudes")
