"""Recipes of one's own from a played Climate Data Store: daily statistics of ERA5, and E-OBS."""

import io
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from played.cds import PlayedCds
from played.era5 import netcdf_bytes, request_times

from data_recipes.own_task import own_task
from recipes import builds
from recipes import cerra_world as world
from recipes.builds import Job, area_means, blocks_of, made, stored
from recipes.cerra_world import World, era5, every, rough

STEP = 4
TASK = """\
every_hours = 24
[task]
licence = "CC-BY 4.0"
attribution = "Copernicus Climate Change Service"
[task.periods]
embargo_hours = 48
train = { first = 2020-02-26T00:00:00, last = 2020-03-03T00:00:00 }
val = { first = 2020-03-06T00:00:00, last = 2020-03-07T00:00:00 }
test = { first = 2020-03-10T00:00:00, last = 2020-03-12T00:00:00 }
"""
# ERA5's points are the centres of cells, E-OBS's cells have round edges.
DAILY = (
    TASK.replace(
        "[task.",
        """\
name = "daily-means"
title = "ERA5 daily means"
factor = 3
spacing = 0.25
variables = [{ like = "t2m", name = "t2m", cell_methods = "time: mean (interval: 1 day)" }]
regions = [
  { name = "home", role = "train", lat = [43.875, 49.875], lon = [3.875, 9.875] },
  { name = "north", role = "val_ood", lat = [53.875, 59.875], lon = [3.875, 9.875] },
  { name = "away", role = "test_ood", lat = [43.875, 49.875], lon = [13.875, 19.875] },
]
[task.""",
    )
    + """\
[fine]
variables.t2m = { from = "t2m", hours = 24, stamp = "start", over_hours = 24 }
[fine.source]
provider = "cds"
dataset = "derived-era5-single-levels-daily-statistics"
format_key = false
variables = { t2m = "2m_temperature" }
[fine.source.request]
product_type = "reanalysis"
daily_statistic = "daily_mean"
time_zone = "utc+00:00"
frequency = "1_hourly"
"""
)
EOBS = TASK.replace("[task.", """\
name = "e-obs"
title = "ERA5 to E-OBS, precipitation by day"
factor = 5
spacing = 0.1
variables = ["daily_precipitation"]
regions = [
  { name = "home", role = "train", lat = [44, 50], lon = [4, 10] },
  { name = "north", role = "val_ood", lat = [54, 60], lon = [4, 10] },
  { name = "away", role = "test_ood", lat = [44, 50], lon = [14, 20] },
]
[task.""") + """\
[coarse]
onto = "area"
variables.daily_precipitation = { from = "tp", hours = 1, over_hours = 24 }
[coarse.source]
provider = "cds"
dataset = "reanalysis-era5-single-levels"
request = { product_type = ["reanalysis"] }
hours = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
variables = { tp = "total_precipitation" }
[fine]
variables.daily_precipitation = { from = "rr", hours = 24, stamp = "start", over_hours = 24 }
[fine.source]
provider = "cds"
dataset = "insitu-gridded-observations-europe"
split = "whole"
area = false
format_key = false
points = 327825
variables = { rr = "precipitation_amount" }
[fine.source.request]
product_type = "ensemble_mean"
grid_resolution = "0_1deg"
period = "2011_2024"
version = "31_0e"
"""  # fmt: skip
TEXTS = {"daily-means": DAILY, "e-obs": EOBS}
TIMES = np.concatenate(
    [every("2020-02-26", 7, 24), every("2020-03-06", 2, 24), every("2020-03-10", 3, 24)]
)
HOURS = every("2020-02-24", 24 * 20, 1)
OBS_LAT, OBS_LON = 25.05 + 0.1 * np.arange(465), -24.95 + 0.1 * np.arange(705)
OBS_DAYS = every("2020-02-20", 30, 24)
TWO = ("away", "home")


def day_mean(starts: Any, lat: Any, lon: Any) -> NDArray[np.float64]:
    """(day, *points) of ERA5's temperatures at 00 to 23 UTC."""
    return np.array(
        [era5("2m_temperature", every(str(day), 24, 1), lat, lon).mean(axis=0) for day in starts]
    )


def observed(starts: Any, lat: Any, lon: Any) -> NDArray[np.float64]:
    """(day, *points) [mm], in tenths; NaN where no land is."""
    fell = 24 * world.rain(starts + np.timedelta64(24, "h"), lat, lon, hours=24)
    fell = np.round(fell * (1 + rough("rr", starts, lat, lon) / 4), 1)
    return np.where(world.land(lat, lon) < 0.3, np.nan, fell)


class Store(World):
    """The two data sets besides ERA5's."""

    def payload(self, dataset: str, request: dict[str, Any]) -> bytes:
        if dataset.startswith("derived"):
            return self._daily(request)
        return (
            self._obs(request)
            if dataset.startswith("insitu")
            else super().payload(dataset, request)
        )

    def _daily(self, request: dict[str, Any]) -> bytes:
        """One file, without the streams' names."""
        assert {"time", "data_format"}.isdisjoint(request)
        assert request["daily_statistic"] == "daily_mean"
        assert isinstance(request["year"], str)  # its form offers one
        assert request["frequency"] == "1_hourly"
        assert request["time_zone"] == "utc+00:00"
        north, west, south, east = request["area"]
        lat = north - 0.25 * np.arange(round((north - south) * 4) + 1)
        lon = west + 0.25 * np.arange(round((east - west) * 4) + 1)
        days = np.intersect1d(request_times(request), self.times)
        values = day_mean(days, lat[:, None], lon[None]).astype(np.float32)
        data = xr.Dataset(
            {"t2m": (("valid_time", "latitude", "longitude"), values, {"units": "K"})},
            {
                "valid_time": days.astype("datetime64[ns]"),
                "latitude": lat,
                "longitude": lon,
                "number": 0,
            },
        )
        return netcdf_bytes(data)

    def _obs(self, request: dict[str, Any]) -> bytes:
        """A zip of one file of all days, packed, from south to north."""
        assert {"year", "area", "data_format"}.isdisjoint(request)
        key = "obs"
        if key not in self._made:
            values = np.full((len(OBS_DAYS), 465, 705), np.nan, np.float32)
            rows, columns = slice(150, 380), slice(240, 480)
            values[:, rows, columns] = observed(
                OBS_DAYS, OBS_LAT[rows, None], OBS_LON[None, columns]
            )
            attributes = {"units": "mm", "standard_name": "thickness_of_rainfall_amount"}
            data = xr.Dataset(
                {"rr": (("time", "latitude", "longitude"), values, attributes)},
                {
                    "time": OBS_DAYS.astype("datetime64[ns]"),
                    "latitude": OBS_LAT,
                    "longitude": OBS_LON,
                },
            )
            packing = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -9999, "zlib": True}
            data["rr"].encoding.update(packing)
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as zipped:
                name = "rr_ens_mean_0.1deg_reg_2011-2024_v31.0e.nc"
                zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), netcdf_bytes(data))
            self._made[key] = content.getvalue()
        return self._made[key]


@pytest.fixture(scope="module")
def store() -> Iterator[PlayedCds]:
    with world.played(Store(HOURS)) as played, pytest.MonkeyPatch.context() as patch:
        blocks_of(STEP, patch.setattr)
        yield played


def job(name: str, data: Path) -> Job:
    table = tomllib.loads(TEXTS[name])
    track = "real_pair" if "coarse" in table else "perfect_model"
    task = own_task(table.pop("task"), track=track, where="a test")
    return Job(task, table, data, steps=STEP, regions=TWO)


@pytest.fixture(scope="module")
def whole(store: PlayedCds, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    assert store
    found = {name: job(name, tmp_path_factory.mktemp(name)) for name in TEXTS}
    for each in found.values():
        made(each)
    return found


@pytest.mark.parametrize("region", TWO)
def test_daily_means_carry_the_time_at_their_end(region: str, whole: dict[str, Job]) -> None:
    each = whole["daily-means"]
    (_, north), (west, _) = each.task.region(region).bounds
    lat, lon = north - 0.125 - 0.25 * np.arange(24), west + 0.125 + 0.25 * np.arange(24)
    fine, coarse = (stored(each, region, side) for side in ("fine", "coarse"))
    np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), TIMES)
    truth = day_mean(TIMES - np.timedelta64(24, "h"), lat[:, None], lon[None])
    np.testing.assert_allclose(fine["t2m"], truth, rtol=2e-7)
    means = area_means(truth, north - 0.25 * np.arange(25), 3)
    np.testing.assert_allclose(coarse["t2m"], means, rtol=2e-7)
    assert fine["t2m"].attrs["cell_methods"] == "time: mean (interval: 1 day)"


def shares(edges: Any, cells: Any) -> NDArray[np.float64]:
    """(wide cell, cell) how much of each wide cell lies in each cell, by edges in any measure."""
    low, high = np.maximum.outer(edges[:-1], cells[:-1]), np.minimum.outer(edges[1:], cells[1:])
    return np.asarray(np.maximum(0, high - low) / np.diff(edges)[:, None])


@pytest.mark.parametrize("region", TWO)
def test_e_obs_beside_the_rain_of_era5(region: str, whole: dict[str, Job]) -> None:
    """ERA5's cells by exact overlap in sin(latitude) and longitude; E-OBS keeps its gaps."""
    each = whole["e-obs"]
    (south, north), (west, east) = each.task.region(region).bounds
    fine, coarse = (
        stored(each, region, side)["daily_precipitation"] for side in ("fine", "coarse")
    )
    rows = np.flatnonzero((south < OBS_LAT) & (north > OBS_LAT))
    columns = np.flatnonzero((west < OBS_LON) & (east > OBS_LON))
    starts = TIMES - np.timedelta64(24, "h")
    truth = observed(starts, OBS_LAT[rows, None], OBS_LON[None, columns])[:, ::-1]
    assert truth.shape == fine.shape == (12, 60, 60)
    assert 0.05 < np.isnan(truth).mean() < 0.9
    np.testing.assert_allclose(fine, truth, atol=2e-6 * np.nanmax(truth))

    lat, lon = np.arange(south - 0.25, north + 0.3, 0.25), np.arange(west - 0.25, east + 0.3, 0.25)
    wide_y, wide_x = (np.arange(13) / 2 + low for low in (south, west))

    def up(degrees: Any) -> Any:
        return np.sin(np.radians(degrees))

    by_row = shares(up(wide_y), up(np.append(lat, lat[-1] + 0.25) - 0.125))
    by_column = shares(wide_x, np.append(lon, lon[-1] + 0.25) - 0.125)
    total: Any = 0.0
    for hour in range(1, 25):
        then = starts + np.timedelta64(hour, "h")
        total = total + 1e3 * era5("total_precipitation", then, lat[:, None], lon[None]).astype(
            float
        )
    means = (by_row @ total @ by_column.T)[:, ::-1]
    np.testing.assert_allclose(coarse, means, rtol=1e-6)


def test_e_obs_comes_whole_and_once(store: PlayedCds, whole: dict[str, Job]) -> None:
    """One request for all regions and times, without dates, area or format."""
    assert whole
    asked = [job.request for job in store.jobs.values() if job.dataset.startswith("insitu")]
    assert asked == [
        {
            "variable": ["precipitation_amount"], "product_type": "ensemble_mean",
            "grid_resolution": "0_1deg", "period": "2011_2024", "version": "31_0e",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, store: PlayedCds, whole: dict[str, Job], tmp_path: Path
) -> None:
    """While the last of the jobs runs, and between two blocks."""
    again = builds.at(whole[name], tmp_path, regions=TWO[:1])
    before = len(store.jobs)
    count = {"daily-means": 2, "e-obs": 3}[name]

    def last_runs(path: str) -> bool:
        jobs = list(store.jobs.values())[before:]
        return len(jobs) == count and path.endswith(jobs[-1].id) and jobs[-1].status == "running"

    builds.killed_while_fetching(again, store.server, lambda request: last_runs(request.path))
    builds.killed_while_writing(again)
    assert again.blocks("away") == 1
    asked = len(store.server.requests)
    builds.resume(again, workers=2)
    assert len(store.server.requests) == asked
    assert len(store.jobs) == before + count
    assert builds.same_store(again, whole[name])
