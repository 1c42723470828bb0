"""CERRA and E-OBS from a played store: Lambert grids, GRIB, lead times, the full domain once."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from played import cerra
from played.cds import KEY, PlayedCds
from played.era5 import netcdf_bytes

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes import extra
from data_recipes.retries import Retries
from data_recipes.source import Times, Window, weigh
from data_recipes.sources.cds import CdsOptions, CdsSource, open_source
from data_recipes.sources.cds_files import check_cerra_grid
from data_recipes.sources.cds_requests import CERRA_CRS

SIZE = 40
RETRIES = Retries(attempts=4, base_s=0.01, longest_s=0.01, timeout_s=20)
WIND = {"si10": "10m_wind_speed", "wdir10": "10m_wind_direction"}


def hours(first: str, count: int, step: int) -> Times:
    start = np.datetime64(first, "s")
    return start + np.arange(count) * np.timedelta64(step * 3600, "s")


# A box inside the domain, which spans about 49.0 to 51.0 N and 6.5 to 9.5 E.
WINDOW = Window(49.5, 50.2, 7.4, 8.3, ("si10", "wdir10"), hours("2020-02-29T12", 8, 3))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCds]:
    with PlayedCds(cerra.payload(SIZE)) as played:
        log_in(monkeypatch, played)
        yield played


def log_in(monkeypatch: pytest.MonkeyPatch, store: PlayedCds) -> None:
    monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", KEY)


def source(cache: Path, **changes: Any) -> CdsSource:
    table = {
        "provider": "cds", "dataset": "reanalysis-cerra-single-levels", "variables": WIND,
        "request": {
            "level_type": "surface_or_atmosphere", "data_type": ["reanalysis"],
            "product_type": "analysis",
        },
        "hours": [0, 3, 6, 9, 12, 15, 18, 21], "split": "day", "area": False, "grid": "cerra",
        "size": SIZE,
    }  # fmt: skip
    options = validate(table | changes, CdsOptions, where="a test")
    return open_source(options, cache=cache, retries=RETRIES)


def expected(name: str, times: Times, data: xr.Dataset) -> np.ndarray:
    """The truth of the whole domain, at the data's own x and y."""
    axis = cerra.axis(SIZE)
    rows, columns = np.searchsorted(axis, data.y), np.searchsorted(axis, data.x)
    np.testing.assert_allclose(axis[rows], data.y)
    np.testing.assert_allclose(axis[columns], data.x)
    return cerra.truth(name, times, SIZE)[:, rows][:, :, columns]


@pytest.mark.parametrize("grib", [False, True])
def test_a_box_of_the_map_comes_with_its_true_values(
    store: PlayedCds, tmp_path: Path, grib: bool
) -> None:
    product = source(tmp_path, grib=grib)
    product.fetch(WINDOW)
    np.testing.assert_array_equal(product.times(WINDOW), WINDOW.times)
    data = product.read(WINDOW, WINDOW.times[1:4])
    assert data.attrs["crs"] == CERRA_CRS
    assert data.si10.dims == ("time", "y", "x")
    assert data.si10.units == "m s**-1"
    assert data.wdir10.units.startswith("Degree")
    for short, name in WIND.items():
        np.testing.assert_allclose(
            data[short], expected(name, data.time.values, data), atol=2e-3, rtol=1e-5
        )
    assert {"area" in request for request in store.submitted} == {False}
    assert {request["data_format"] for request in store.submitted} == {"grib" if grib else "netcdf"}


@pytest.mark.usefixtures("store")
def test_the_box_is_covered_and_not_much_more(tmp_path: Path) -> None:
    product = source(tmp_path)
    product.fetch(WINDOW)
    data = product.read(WINDOW, WINDOW.times[:1])
    lat, lon = np.meshgrid(
        np.linspace(WINDOW.south, WINDOW.north, 99), np.linspace(WINDOW.west, WINDOW.east, 99)
    )
    x, y = pyproj.Proj(CERRA_CRS)(lon, lat)
    for found, wanted in ((data.x.values, x), (data.y.values, y)):
        assert wanted.min() - 2 * 5500 <= found[0] <= wanted.min() - 2750
        assert wanted.max() + 2750 <= found[-1] <= wanted.max() + 2 * 5500


def test_all_regions_share_the_full_domain(store: PlayedCds, tmp_path: Path) -> None:
    product = source(tmp_path)
    assert weigh(product.to_fetch(WINDOW)).fetched == 2 * 8 * SIZE**2 * 2 * 2
    product.fetch(WINDOW)
    other = replace(WINDOW, south=49.3, north=49.6, west=8.0, east=8.5)
    assert weigh(product.to_fetch(other)).fetched == 0
    asked = len(store.server.requests)
    product.fetch(other)
    assert len(store.server.requests) == asked
    data = product.read(other, WINDOW.times)
    np.testing.assert_allclose(data.si10, expected("10m_wind_speed", WINDOW.times, data), rtol=1e-5)


@pytest.mark.parametrize("grib", [False, True])
@pytest.mark.usefixtures("store")
def test_forecasts_are_read_at_valid_times(tmp_path: Path, grib: bool) -> None:
    """Hourly from three lead times; midnight's last comes from the day before."""
    product = source(
        tmp_path, grib=grib, variables={"t2m": "2m_temperature"},
        request={"product_type": "forecast", "leadtime_hour": ["1", "2", "3"]},
    )  # fmt: skip
    window = replace(WINDOW, names=("t2m",), times=hours("2020-02-28T22", 6, 1))
    product.fetch(window)
    np.testing.assert_array_equal(product.times(window), window.times)
    data = product.read(window, window.times)
    np.testing.assert_allclose(data.t2m, expected("2m_temperature", window.times, data), atol=2e-3)


def test_only_base_times_that_exist_are_asked_for(store: PlayedCds, tmp_path: Path) -> None:
    """01 UTC could come from 23 UTC of the day before, were there such a forecast."""
    product = source(
        tmp_path, variables={"t2m": "2m_temperature"},
        request={"product_type": "forecast", "leadtime_hour": ["1", "2", "3"]},
    )  # fmt: skip
    window = replace(WINDOW, names=("t2m",), times=hours("2020-02-29T01", 3, 1))
    product.fetch(window)
    assert [request["day"] for request in store.submitted] == [["29"]]
    np.testing.assert_array_equal(product.times(window), window.times)


def test_a_time_comes_from_the_base_time_that_has_it(store: PlayedCds, tmp_path: Path) -> None:
    product = source(
        tmp_path, variables={"t2m": "2m_temperature"}, hours=[0, 12],
        request={"product_type": "forecast", "leadtime_hour": ["24"]},
    )  # fmt: skip
    window = replace(WINDOW, names=("t2m",), times=hours("2020-03-01T00", 1, 1))
    product.fetch(window)
    assert [request["day"] for request in store.submitted] == [["29"]]
    data = product.read(window, window.times)
    np.testing.assert_allclose(data.t2m, expected("2m_temperature", window.times, data), rtol=1e-6)


@pytest.mark.parametrize("grib", [False, True])
def test_another_grid_is_refused_on_arrival(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grib: bool
) -> None:
    with PlayedCds(cerra.payload(SIZE, shift_m=2750)) as store:
        log_in(monkeypatch, store)
        product = source(tmp_path, grib=grib)
        with pytest.raises(InputError, match=r"CERRA's grid.*0\.0\d+ of longitude off"):
            product.fetch(WINDOW)
        assert len(store.server.asked(store.result_path(next(iter(store.jobs))))) == 1
    assert weigh(product.to_fetch(WINDOW)).fetched > 0


def test_another_size_is_refused_on_arrival(store: PlayedCds, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"39 x 39 points.*'y': 40"):
        source(tmp_path, size=39).fetch(WINDOW)
    assert len(store.jobs) >= 1


def test_longitudes_may_count_to_360(tmp_path: Path) -> None:
    """As in the true domain, which crosses Greenwich."""
    size = 300
    lat, lon = cerra._degrees(size, 0.0)
    assert lon.max() > 350
    data = xr.Dataset(coords={"latitude": (("y", "x"), lat), "longitude": (("y", "x"), lon)})
    check_cerra_grid(data, tmp_path, source(tmp_path, size=size).options)
    moved = data.assign_coords(longitude=data.longitude + 0.011)
    with pytest.raises(InputError, match="of longitude off"):
        check_cerra_grid(moved, tmp_path, source(tmp_path, size=size).options)


def test_the_corners_of_cerra() -> None:
    """The published corners of the 1069 x 1069 domain."""
    to_degrees = pyproj.Proj(CERRA_CRS)
    for sign, (lat, west, east) in {-1: (20.29, -17.49, 33.49), 1: (63.77, -58.11, 74.11)}.items():
        for x, lon in ((-534 * 5500.0, west), (534 * 5500.0, east)):
            found = to_degrees(x, sign * 534 * 5500.0, inverse=True)
            np.testing.assert_allclose(found, (lon, lat), atol=0.006)


@pytest.mark.parametrize("to_360", [False, True])
def test_a_data_set_without_dates_is_fetched_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to_360: bool
) -> None:
    """E-OBS: one zip of one file a variable, dims time, latitude, longitude, south first."""
    times = hours("2019-12-30T00", 40, 24)
    lat, lon = 25.05 + 0.1 * np.arange(30), -2.05 + 0.1 * np.arange(50)
    truth = np.random.default_rng(3).random((40, 30, 50)).astype(np.float32)
    truth[:, 10:12] = np.nan

    def eobs(_: str, request: dict[str, Any]) -> bytes:
        assert {"year", "data_format", "area"}.isdisjoint(request)
        data = xr.Dataset(
            {"rr": (("time", "latitude", "longitude"), truth, {"units": "mm"})},
            {"time": times.astype("datetime64[ns]"), "latitude": lat, "longitude": lon},
        )
        if to_360:
            data = data.assign_coords(longitude=data.longitude % 360).sortby("longitude")
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as zipped:
            zipped.writestr("rr_ens_mean_0.1deg_reg_2011-2024_v31.0e.nc", netcdf_bytes(data))
        return held.getvalue()

    with PlayedCds(eobs) as store:
        log_in(monkeypatch, store)
        product = source(
            tmp_path, dataset="insitu-gridded-observations-europe", split="whole",
            variables={"rr": "precipitation_amount"}, grid="lat_lon", hours=[], points=1500,
            format_key=False,
            request={
                "product_type": "ensemble_mean", "grid_resolution": "0_1deg",
                "period": ["2011_2024"], "version": ["31_0e"],
            },
        )  # fmt: skip
        window = Window(25.5, 27.0, -0.5, 1.0, ("rr",), times[5:20])
        assert weigh(product.to_fetch(window)).fetched == 15 * 1500 * 2
        product.fetch(window)
    np.testing.assert_array_equal(product.times(window), times[5:20])
    data = product.read(window, times[5:20])
    assert data.attrs["crs"] == ""
    rows, columns = np.searchsorted(lat, data.y - 0.01), np.searchsorted(lon, data.x - 0.01)
    np.testing.assert_array_equal(data.rr, truth[5:20][:, rows][:, :, columns])
    assert data.y[0] < 25.5 < 27 < data.y[-1]
    assert data.x[0] < -0.5 < 1 < data.x[-1]


def test_without_eccodes_nothing_is_asked_for(
    store: PlayedCds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "_is_there", lambda module: module != "eccodes")
    with pytest.raises(InputError, match=r"expected eccodes; .*elsewhere\[recipes\]"):
        source(tmp_path, grib=True).fetch(WINDOW)
    assert store.server.requests == []
