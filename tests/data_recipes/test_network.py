"""A tiny real request to each provider: `pytest -m network tests/data_recipes/test_network.py`.

Off by default. What takes a key is skipped without one; what takes none fails where there is no
network. They show that names, units, places and grids of the real products are what the played
ones have; their values are checked to be weather only.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from benchmark.toml_model import validate
from data_recipes import recipe_file
from data_recipes.recipe_file import read_recipe
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources import (
    arco,
    cds,
    cds_jobs,
    earthdata,
    icechunk_store,
    products,
    rainshift,
)
from data_recipes.sources.product_table import PRODUCTS

pytestmark = pytest.mark.network
NEW_YEAR = np.array(["2020-01-01T00:00:00"], "datetime64[s]")
NO_TIMES = NEW_YEAR[:0]
ALPS = (45.5, 47.0, 6.5, 9.0)
RECIPES = Path(recipe_file.__file__).with_name("recipes")
BRIEF = Retries(attempts=3, base_s=1, longest_s=4, timeout_s=60)


def has_cds_key() -> bool:
    files = ("~/.ecmwfdatastoresrc", "~/.cdsapirc")
    named = os.environ.get("ECMWF_DATASTORES_KEY")
    return bool(named) or any(Path(file).expanduser().is_file() for file in files)


def has_earthdata_key() -> bool:
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    named = os.environ.get("EARTHDATA_TOKEN") or os.environ.get("EARTHDATA_USERNAME")
    return bool(named) or (netrc.is_file() and "urs.earthdata.nasa.gov" in netrc.read_text())


cds_key = pytest.mark.skipif(
    not has_cds_key(), reason="no key of the Climate Data Store (ECMWF_DATASTORES_KEY, ~/.cdsapirc)"
)
earthdata_key = pytest.mark.skipif(
    not has_earthdata_key(), reason="no key of NASA's Earthdata (EARTHDATA_TOKEN, ~/.netrc)"
)


def brought(source: Any, window: Window) -> Any:
    """The window's one field of its one time, or of none, after a fetch."""
    source = replace(source, retries=BRIEF)
    source.fetch(window)
    times = source.times(window) if len(window.times) else window.times
    np.testing.assert_array_equal(times, window.times)
    assert source.to_fetch(window) == {}
    data = source.read(window, times)
    return data[window.names[0]]


@cds_key
def test_an_hour_of_era5(tmp_path: Path) -> None:
    table = {
        "provider": "cds",
        "dataset": "reanalysis-era5-single-levels",
        "variables": {"t2m": "2m_temperature"},
        "request": {"product_type": ["reanalysis"]},
        "hours": [0],
        "split": "day",
    }
    options = validate(table, cds.CdsOptions, where="a test")
    window = Window(44.0, 45.0, 6.0, 7.0, ("t2m",), NEW_YEAR)
    field = brought(cds.open_source(options, cache=tmp_path), window)
    assert field.attrs["units"] == "K"
    assert np.isfinite(field.values).all()
    assert 230 < field.values.min() < field.values.max() < 310


@cds_key
def test_a_month_of_daily_statistics(tmp_path: Path) -> None:
    table = {
        "provider": "cds",
        "dataset": "derived-era5-single-levels-daily-statistics",
        "variables": {"t2m": "2m_temperature"},
        "format_key": False,
        "request": {
            "product_type": "reanalysis", "daily_statistic": "daily_mean",
            "time_zone": "utc+00:00", "frequency": "1_hourly",
        },
    }  # fmt: skip
    options = validate(table, cds.CdsOptions, where="a test")
    window = Window(44.0, 45.0, 6.0, 7.0, ("t2m",), NEW_YEAR)
    field = brought(cds.open_source(options, cache=tmp_path), window)
    assert 230 < field.values.min() < field.values.max() < 310


@cds_key
@pytest.mark.parametrize(
    ("recipe", "name", "hour", "units", "low", "high"),
    [
        ("cerra-wind", "si10", 0, ["m s**-1"], 0, 60),
        ("cerra-t2m", "t2m", 0, ["K"], 230, 310),
        ("cerra-precip", "tp", 6, ["kg m**-2", "mm"], 0, 500),
    ],
)
def test_a_field_of_cerra(
    recipe: str, name: str, hour: int, units: list[str], low: float, high: float, tmp_path: Path
) -> None:
    """One time of the full domain, as the recipe asks for it: some megabytes."""
    found = read_recipe(RECIPES / f"{recipe}.toml")
    assert isinstance(found.fine.source, cds.CdsOptions)
    options = found.fine.source.model_copy(update={"split": "day", "hours": (hour,)})
    time = np.array([f"2020-01-01T{hour:02}:00:00"], "datetime64[s]")
    field = brought(cds.open_source(options, cache=tmp_path), Window(*ALPS, (name,), time))
    assert field.attrs["units"] in units
    assert field.shape[0] == 1
    np.testing.assert_allclose(np.diff(field["x"].values), 5500, atol=1)
    assert low <= field.values.min() < field.values.max() < high


@cds_key
def test_the_ground_of_cerra(tmp_path: Path) -> None:
    found = read_recipe(RECIPES / "cerra-wind.toml")
    assert found.static is not None
    assert isinstance(found.static.source, cds.CdsOptions)
    source = cds.open_source(found.static.source, cache=tmp_path)
    height = brought(source, Window(*ALPS, ("orog", "lsm"), NO_TIMES))
    assert 2000 < height.values.max() < 4800


@cds_key
def test_e_obs_is_in_the_catalogue() -> None:
    """It comes whole only, as gigabytes."""
    client = cds_jobs.connect(BRIEF)
    assert client.check_authentication()
    name = "insitu-gridded-observations-europe"
    assert client.get_collection(name).id == name


def test_a_step_of_arco_era5(tmp_path: Path) -> None:
    options = arco.ArcoOptions(provider="arco")
    source = arco.open_source(options, cache=tmp_path)
    window = Window(-1.0, 1.0, -1.0, 1.0, ("total_column_water",), NEW_YEAR)
    field = brought(source, window)
    assert field.attrs["units"] == "kg m**-2"
    assert {-1.0, 0.0, 1.0} <= set(field["x"].values) & set(field["y"].values)
    assert 5 < field.values.min() < field.values.max() < 90
    ground = Window(27.0, 29.0, 85.0, 88.0, ("geopotential_at_surface",), NO_TIMES)
    height = brought(source, ground)
    assert height.attrs["units"] == "m**2 s**-2"
    assert height.values.max() / 9.80665 > 4000  # the Himalaya


def test_the_ground_of_a_region_of_rainshift(tmp_path: Path) -> None:
    options = rainshift.RainShiftOptions(side="static")
    south, north, west, east = rainshift.REGIONS["tibetan-plateau"]
    window = Window(south, north, west, east, ("lsm", "z"), NO_TIMES)
    source = rainshift.open_source(options, cache=tmp_path)
    land = brought(source, window)
    np.testing.assert_allclose(np.sort(land["y"]), np.linspace(south + 0.05, north - 0.05, 200))
    assert 0 <= land.values.min() <= land.values.max() <= 1


def test_rainshift_has_the_files_that_its_recipes_take(tmp_path: Path) -> None:
    for side in ("in", "out"):
        options = rainshift.RainShiftOptions(side=side)
        source = replace(rainshift.open_source(options, cache=tmp_path), retries=BRIEF)
        for south, north, west, east in rainshift.REGIONS.values():
            window = Window(south, north, west, east, ("tp",), NEW_YEAR)
            assert weigh(source.to_fetch(window)).fetched > 1e8


@earthdata_key
def test_a_granule_of_imerg(tmp_path: Path) -> None:
    options = earthdata.EarthdataOptions(provider="earthdata")
    window = Window(-5.0, 5.0, 130.0, 140.0, ("precipitation",), NEW_YEAR)
    field = brought(earthdata.open_source(options, cache=tmp_path), window)
    assert field.attrs["units"] in ("mm/hr", "mm/h")
    np.testing.assert_allclose(np.diff(field["x"].values), 0.1, atol=1e-4)
    assert 0 <= np.nanmin(field.values) <= np.nanmax(field.values) < 200


def test_the_icechunk_store_of_imerg_opens() -> None:
    store = icechunk_store._open(icechunk_store.IcechunkOptions(provider="icechunk"))
    field = store.data["precipitation_surface"]
    assert set(field.dims) == {"time", "y", "x"}
    assert (field.sizes["y"], field.sizes["x"]) == (1800, 3600)
    assert field.attrs["units"] == "kg m-2 s-1"


def test_an_hour_of_mrms(tmp_path: Path) -> None:
    pytest.importorskip("eccodes", reason="GRIB needs eccodes")
    options = products.ProductOptions(product="mrms-multisensor-pass2")
    hour = np.array(["2021-08-29T18:00:00"], "datetime64[s]")  # hurricane Ida
    window = Window(29.0, 30.0, -91.0, -90.0, ("MultiSensor_QPE_01H_Pass2",), hour)
    field = brought(products.open_source(options, cache=tmp_path), window)
    np.testing.assert_allclose(np.abs(np.diff(field["y"].values)), 0.01, atol=1e-4)
    assert 5 < np.nanmax(field.values) < 200


def test_a_day_of_prism(tmp_path: Path) -> None:
    """The provider answers for one day twice in 24 hours, and then no more."""
    options = products.ProductOptions(product="prism-daily")
    window = Window(45.0, 46.0, -123.0, -122.0, ("ppt",), NEW_YEAR)
    field = brought(products.open_source(options, cache=tmp_path), window)
    np.testing.assert_allclose(np.abs(np.diff(field["y"].values)), 1 / 24, atol=1e-5)
    assert 0 <= np.nanmin(field.values) <= np.nanmax(field.values) < 300


@pytest.mark.parametrize(
    "name", ["cpc-global-daily", "cpc-us-rt-daily", "chirps-v2-daily", "chirps-v3-daily-rnl"]
)
def test_a_year_of_a_daily_product_is_there(name: str) -> None:
    """Its headers only: a year is up to a gigabyte."""
    row = PRODUCTS[name]
    url = f"{row.base}/{NEW_YEAR[0].item().strftime(row.path)}"
    answer = requests.head(url, timeout=BRIEF.timeout_s, allow_redirects=True)
    assert answer.status_code == 200
    size = int(answer.headers["Content-Length"])
    assert 0.3 * row.bytes_a_file < size < 3 * row.bytes_a_file
