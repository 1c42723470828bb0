"""Small real files, through the recipe for own files: built, scored, and their shift shown.

They are never copied into the project: `../shared/data` beside the checkout, else all is skipped.
"""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.pair_store import PairStore, open_pair_store
from benchmark.task_files import find_task

SHARED = Path(__file__).parents[3] / "shared" / "data"
MODELS = ("nearest", "bilinear", "bicubic")
NAMES = ("radar-perfect", "uk", "gale", "chirps")

pytestmark = pytest.mark.skipif(not (SHARED / "README.md").is_file(), reason="no shared data")

Command = Callable[..., CompletedProcess[str]]
Array = NDArray[np.float64]

UK = """\
[task]
name = "uk"
title = "2 m temperature of the British Isles"
licence = "CC-BY 4.0"
attribution = "ERA5, Copernicus Climate Change Service"
factor = 4
spacing = 0.25
variables = ["t2m"]
regions = [
  { name = "scotland", role = "train", lat = [54.125, 58.125], lon = [-6.125, -2.125] },
  { name = "ireland", role = "val_ood", lat = [49.875, 53.875], lon = [-10.125, -6.125] },
  { name = "england", role = "test_ood", lat = [49.875, 53.875], lon = [-1.875, 2.125] },
]
[task.periods]
embargo_hours = 24
train = { first = 2019-03-01T00:00:00, last = 2019-03-18T23:00:00 }
val = { first = 2019-03-20T00:00:00, last = 2019-03-23T23:00:00 }
test = { first = 2019-03-25T00:00:00, last = 2019-03-31T23:00:00 }
[fine]
source = { provider = "files", engine = "netcdf4", paths = "era5_t2m_uk_201903_hourly_0p25.nc" }
variables = { t2m = "t2m" }
"""
GALE = """\
[task]
name = "gale"
title = "A day over north-western Europe"
licence = "CC-BY 4.0"
attribution = "ERA5, Copernicus Climate Change Service"
factor = 4
spacing = 0.25
variables = ["wind_speed", "precipitation"]
regions = [
  { name = "north", role = "train", lat = [50.125, 54.125], lon = [0.125, 4.125] },
  { name = "south", role = "val_ood", lat = [45.125, 49.125], lon = [0.125, 4.125] },
  { name = "alps", role = "test_ood", lat = [45.125, 49.125], lon = [5.125, 9.125] },
]
[task.periods]
embargo_hours = 1
train = { first = 2020-01-01T00:00:00, last = 2020-01-01T11:00:00 }
val = { first = 2020-01-01T13:00:00, last = 2020-01-01T16:00:00 }
test = { first = 2020-01-01T18:00:00, last = 2020-01-01T23:00:00 }
[fine.source]
provider = "files"
engine = "h5netcdf"
paths = "era5_nw*.nc"
[fine.variables]
wind_speed = { from = ["u10", "v10"], rule = "speed" }
precipitation = { from = "tp", hours = 1, over_hours = 1 }
"""
CHIRPS = """\
every_hours = 24
[task]
name = "chirps"
title = "Daily rain in Central America"
licence = "public domain"
attribution = "CHIRPS"
factor = 2
spacing = 0.25
variables = ["daily_precipitation"]
regions = [
  { name = "west", role = "train", lat = [14, 16], lon = [-88, -86] },
  { name = "south", role = "val_ood", lat = [11.5, 13.5], lon = [-86, -84] },
  { name = "east", role = "test_ood", lat = [13.75, 15.75], lon = [-85.75, -83.75] },
]
[task.periods]
embargo_hours = 24
train = { first = 1981-01-02T00:00:00, last = 1981-12-31T00:00:00 }
val = { first = 1982-01-02T00:00:00, last = 1982-05-31T00:00:00 }
test = { first = 1982-06-02T00:00:00, last = 1982-12-31T00:00:00 }
[fine]
source = { provider = "files", engine = "netcdf4", paths = "chirps_nicaragua_daily_0p25.nc" }
[fine.variables]
daily_precipitation = { from = "precip", hours = 24, over_hours = 24, stamp = "start" }
"""


@pytest.fixture(scope="module")
def data(elsewhere: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with all four stores, built as a user would."""
    folder = tmp_path_factory.mktemp("shared")
    recipes = {"uk": UK, "gale": GALE, "chirps": CHIRPS}
    for name in NAMES:
        what: str | Path = name
        if name in recipes:
            what = folder / f"{name}.toml"
            what.write_text(recipes[name])
            done = elsewhere("recipe", "check", what, "--files", SHARED, "--data", folder)
            assert done.returncode == 0, done.stderr
        done = elsewhere("build", what, "--files", SHARED, "--data", folder)
        assert done.returncode == 0, done.stderr
    return folder


def store(data: Path, name: str) -> PairStore:
    """One of them."""
    return open_pair_store(find_task(name, data), data)


def shared(name: str) -> xr.Dataset:
    """A file, in memory."""
    with xr.open_dataset(SHARED / f"{name}.nc", engine="netcdf4") as found:
        return found.load()


def box(found: xr.Dataset, at: PairStore, region: str) -> xr.Dataset:
    """The cells of a region by their centres."""
    (south, north), (west, east) = at.task.region(region).bounds
    return found.sel(latitude=slice(north, south), longitude=slice(west, east))


def test_recipes_are_short() -> None:
    """At most 25 lines for one variable of one file."""
    assert len(UK.splitlines()) <= 25


def test_values_are_those_of_the_files(data: Path) -> None:
    """Temperatures as they are, speeds of two components, hourly metres as mm h-1, daily rain."""
    uk = store(data, "uk")
    times = uk.region("england").times
    expected = box(shared("era5_t2m_uk_201903_hourly_0p25"), uk, "england").t2m.sel(time=times)
    np.testing.assert_array_equal(uk.region("england").read("fine", "t2m", slice(None)), expected)

    gale = store(data, "gale")
    alps = gale.region("alps")
    found = box(shared("era5_nweurope_20200101_hourly_0p25"), gale, "alps").sel(time=alps.times)
    speed = np.hypot(found.u10.values.astype(np.float64), found.v10.values.astype(np.float64))
    np.testing.assert_allclose(alps.read("fine", "wind_speed", slice(None)), speed, rtol=1e-7)
    rain = 1000 * found.tp.values.astype(np.float64)
    rain = np.where((rain < 0) & (rain > -1e-3), 0, rain)
    np.testing.assert_allclose(alps.read("fine", "precipitation", slice(None)), rain, rtol=1e-6)

    chirps = store(data, "chirps")
    east = chirps.region("east")
    days = east.times - np.timedelta64(86400, "s")  # stamped at the day's start, ours at its end
    found = box(shared("chirps_nicaragua_daily_0p25"), chirps, "east").sel(time=days)
    np.testing.assert_array_equal(
        east.read("fine", "daily_precipitation", slice(None)), found.precip
    )


def test_radar_frames_stand_in_their_boxes(data: Path) -> None:
    """The four composites: two by latitude and longitude, two by counts of km."""
    radar = store(data, "radar-perfect")
    for region, name in {"us1": "mrms_us1", "us2": "mrms_us2"}.items():
        steps = radar.region(region).times.astype("datetime64[h]").astype(int) % 24
        found = shared(name)
        (south, north), (west, east) = radar.task.region(region).bounds
        rows = (found.latitude.values > south) & (found.latitude.values < north)
        columns = (found.longitude.values > west) & (found.longitude.values < east)
        expected = found.precip_rate.values[np.ix_(steps, rows, columns)].astype(np.float32)
        fine = radar.region(region).read("fine", "precipitation", slice(None))
        np.testing.assert_array_equal(
            fine, np.where((expected < 0) & (expected > -1e-3), 0, expected)
        )
    for region, name in {"knmi": "knmi_nl", "fmi": "fmi_finland_20160928"}.items():
        steps = radar.region(region).times.astype("datetime64[h]").astype(int) % 24
        found = shared(name).precip_rate.values[steps].astype(np.float32)
        ny, nx = radar.region(region).grid.fine.shape
        top, left = (found.shape[1] - ny) // 2, (found.shape[2] - nx) // 2
        fine = radar.region(region).read("fine", "precipitation", slice(None))
        np.testing.assert_array_equal(fine, found[:, top : top + ny, left : left + nx])


@pytest.fixture(scope="module")
def scores(data: Path, elsewhere: Command) -> dict[tuple[str, str], dict]:  # type: ignore[type-arg]
    """The metrics of the three interpolations on all four."""
    found = {}
    for name in NAMES:
        for model in MODELS:
            out = data / "scores" / f"{name}-{model}"
            words = ("predict", name, model, "--score-only", "--out", out, "--data", data)
            done = elsewhere(*words)
            assert done.returncode == 0, done.stderr
            found[name, model] = json.loads((out / "scores.json").read_text())["metrics"]
    return found


def test_bilinear_over_florida_by_hand(
    data: Path,
    scores: dict[tuple[str, str], dict],  # type: ignore[type-arg]
) -> None:
    """Its RMSE from the file alone: 8 x 8 means, interpolated between their centres, and weighed
    by areas, without the border of a coarse cell.
    """
    radar = store(data, "radar-perfect")
    found = shared("mrms_us2")
    (south, north), (west, east) = radar.task.region("us2").bounds
    rows = (found.latitude.values > south) & (found.latitude.values < north)
    columns = (found.longitude.values > west) & (found.longitude.values < east)
    truth = found.precip_rate.values[np.ix_([9, 10, 11], rows, columns)].astype(np.float32)
    truth = truth.astype(np.float64)
    size = truth.shape[1]
    bands = -np.diff(np.sin(np.radians(north - 0.01 * np.arange(size + 1))))
    blocks = (truth * bands[:, None]).reshape(3, size // 8, 8, size // 8, 8).sum(axis=(2, 4))
    coarse = blocks / (8 * bands.reshape(-1, 8).sum(axis=1))[:, None]
    at = (np.arange(size) + 0.5) / 8 - 0.5
    known = np.arange(size // 8)
    across = np.apply_along_axis(lambda line: np.interp(at, known, line), 2, coarse)
    guess = np.apply_along_axis(lambda line: np.interp(at, known, line), 1, across)
    inner = slice(8, -8)
    weights = np.broadcast_to(bands[inner, None], (3, size - 16, size - 16))
    error = (guess - truth)[:, inner, inner] ** 2
    expected = np.sqrt((error * weights).sum() / weights.sum())
    rmse = scores["radar-perfect", "bilinear"]["precipitation"]["rmse"]["us2"]["all"]
    assert rmse == pytest.approx(expected, rel=1e-6)


def test_interpolations_are_scored(
    scores: dict[tuple[str, str], dict],  # type: ignore[type-arg]
) -> None:
    """On every store, for every variable and test region, each with an error of its own."""
    variables = {
        "radar-perfect": ["precipitation"], "uk": ["t2m"],
        "gale": ["wind_speed", "precipitation"], "chirps": ["daily_precipitation"],
    }  # fmt: skip
    for name, expected in variables.items():
        assert list(scores[name, "nearest"]) == expected
        for variable in expected:
            rmse = {model: scores[name, model][variable]["rmse"] for model in MODELS}
            for region in rmse["nearest"]:
                one = {rmse[model][region]["all"] for model in MODELS}
                assert min(one) > 0
                assert len(one) == len(MODELS)


def test_nearest_over_england_by_hand(
    data: Path,
    scores: dict[tuple[str, str], dict],  # type: ignore[type-arg]
) -> None:
    """The nearest centre is that of the block, so that its mean stands for all of its cells."""
    uk = store(data, "uk")
    found = box(shared("era5_t2m_uk_201903_hourly_0p25"), uk, "england").t2m
    truth = found.sel(time=slice("2019-03-25", "2019-03-31")).values.astype(np.float64)
    bands = -np.diff(np.sin(np.radians(53.875 - 0.25 * np.arange(17))))
    means = (truth * bands[:, None]).reshape(-1, 4, 4, 4, 4).sum(axis=(2, 4))
    means /= (4 * bands.reshape(4, 4).sum(axis=1))[:, None]
    guess = np.repeat(np.repeat(means, 4, axis=1), 4, axis=2)
    error = ((guess - truth) ** 2)[:, 4:-4, 4:-4]
    weights = np.broadcast_to(bands[4:-4, None], error.shape)
    expected = np.sqrt((error * weights).sum() / weights.sum())
    rmse = scores["uk", "nearest"]["t2m"]["rmse"]["england"]["all"]
    assert rmse == pytest.approx(expected, rel=1e-6)


def test_the_shift_of_the_regions_in_one_table(data: Path, elsewhere: Command) -> None:
    """Every test region of a store is a row; `input` of the English t2m by hand.

    Oracle: the Wasserstein-1 distance of the sorted values, which weights hardly change.
    """
    for name in NAMES:
        done = elsewhere("shift", name, "--data", data)
        assert done.returncode == 0, done.stderr
        task = find_task(name, data)
        for region in task.regions_of("train", "test_ood"):
            assert region.name in done.stdout
    found = json.loads(elsewhere("shift", "uk", "--data", data, "--json").stdout)
    (england,) = (row for row in found if row["region"] == "england")
    uk = store(data, "uk")
    values = {}
    for region in ("england", "scotland"):
        one = uk.region(region)
        steps = one.steps(uk.task.periods.train)
        values[region] = np.sort(one.read("coarse", "t2m", steps), axis=None).astype(np.float64)
    distance = np.abs(values["england"] - values["scotland"]).mean() / values["scotland"].std()
    assert england["input_distance"] == pytest.approx(distance, rel=0.05)
    assert england["input_distance"] > 0.5
