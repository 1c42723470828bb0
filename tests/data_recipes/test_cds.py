"""ERA5 from a played Climate Data Store, through the real client: what comes, and how."""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from played import era5
from played.cds import KEY, PlayedCds
from played.era5 import netcdf_bytes, truth

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes.retries import Retries
from data_recipes.source import Times, Window, weigh
from data_recipes.sources.cds import CdsOptions, CdsSource, open_source
from data_recipes.sources.cds_requests import pieces

RETRIES = Retries(attempts=4, base_s=0.01, longest_s=0.01, timeout_s=20)
LONG = {"t2m": "2m_temperature", "u10": "10m_u_component_of_wind", "tp": "total_precipitation"}


def options(**changes: Any) -> CdsOptions:
    table = {
        "provider": "cds",
        "dataset": "reanalysis-era5-single-levels",
        "variables": LONG,
        "static": {"lsm": "land_sea_mask", "z": "geopotential"},
        "request": {"product_type": ["reanalysis"]},
        "hours": [0, 6, 12, 18],
        "split": "day",
    }
    return validate(table | changes, CdsOptions, where="a test")


def hours(first: str, count: int, step: int = 6) -> Times:
    start = np.datetime64(first, "s")
    return start + np.arange(count) * np.timedelta64(step, "h").astype("timedelta64[s]")


WINDOW = Window(44.1, 45.2, 6.0, 7.5, ("t2m", "tp", "u10"), hours("2020-02-28T06", 8))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCds]:
    with PlayedCds(era5.payload) as played:
        log_in(monkeypatch, played)
        yield played


def log_in(monkeypatch: pytest.MonkeyPatch, store: PlayedCds, key: str = KEY) -> None:
    monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", key)


def source(cache: Path, **changes: Any) -> CdsSource:
    return open_source(options(**changes), cache=cache, retries=RETRIES)


@pytest.mark.usefixtures("store")
def test_a_window_comes_with_its_true_values(tmp_path: Path) -> None:
    """Instantaneous and accumulated variables, which come as two files in a zip."""
    era = source(tmp_path)
    era.fetch(WINDOW)
    np.testing.assert_array_equal(era.times(WINDOW), WINDOW.times)
    data = era.read(WINDOW, WINDOW.times[2:7])
    assert data.t2m.dims == ("time", "y", "x")
    assert set(data.variables) == {"t2m", "tp", "u10", "time", "y", "x"}
    assert data.attrs == {"crs": "", "expver": "0001"}
    assert [data[name].units for name in ("t2m", "tp", "u10")] == ["K", "m", "m s**-1"]
    np.testing.assert_array_equal(data.time, WINDOW.times[2:7])
    np.testing.assert_array_equal(data.y, np.arange(45.5, 43.7, -0.25))
    np.testing.assert_array_equal(data.x, np.arange(5.75, 7.76, 0.25))
    for name, long in LONG.items():
        expected = truth(
            long, data.time.values[:, None, None], data.y.values[:, None], data.x.values
        )
        np.testing.assert_allclose(data[name], expected, rtol=1e-6)


@pytest.mark.usefixtures("store")
def test_times_in_another_order_are_read_in_that_order(tmp_path: Path) -> None:
    era = source(tmp_path)
    era.fetch(WINDOW)
    asked = WINDOW.times[[6, 0, 3]]
    data = era.read(WINDOW, asked)
    np.testing.assert_array_equal(data.time, asked)
    expected = truth("2m_temperature", asked[:, None, None], data.y.values[:, None], data.x.values)
    np.testing.assert_allclose(data.t2m, expected, rtol=1e-6)


def test_requests_are_what_the_store_wants(store: PlayedCds, tmp_path: Path) -> None:
    source(tmp_path).fetch(WINDOW)
    assert [request["day"] for request in store.submitted] == [["28"], ["29"], ["01"]]
    assert store.submitted[1] == {
        "product_type": ["reanalysis"],
        "variable": ["10m_u_component_of_wind", "2m_temperature", "total_precipitation"],
        "year": ["2020"], "month": ["02"], "day": ["29"],
        "time": ["00:00", "06:00", "12:00", "18:00"],
        "area": [45.5, 5.75, 43.75, 7.75], "data_format": "netcdf",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("split", "count", "days"), [("day", 61, 1), ("month", 3, 31), ("year", 1, 31)]
)
def test_one_request_covers_a_day_a_month_or_a_year(split: str, count: int, days: int) -> None:
    window = replace(WINDOW, times=hours("2020-01-31T00", 61, 24))
    made = pieces(options(split=split), window)
    assert len(made) == count
    assert len(made[0].keys["day"]) == days
    assert all(box == (45.5, 5.75, 43.75, 7.75) for box in (tuple(p.keys["area"]) for p in made))


def test_what_is_here_is_not_asked_for_again(store: PlayedCds, tmp_path: Path) -> None:
    era = source(tmp_path)
    assert weigh(era.to_fetch(WINDOW)).fetched == 3 * 8 * 9 * 4 * 3 * 2
    era.fetch(replace(WINDOW, times=WINDOW.times[:1]))
    assert weigh(era.to_fetch(WINDOW)).fetched == 2 * 8 * 9 * 4 * 3 * 2
    era.fetch(WINDOW)
    assert weigh(era.to_fetch(WINDOW)).fetched == 0
    asked = len(store.server.requests)
    era.fetch(WINDOW)
    assert len(store.server.requests) == asked
    assert len(store.jobs) == 3


def test_static_fields_have_no_time(store: PlayedCds, tmp_path: Path) -> None:
    era = source(tmp_path)
    window = replace(WINDOW, names=("lsm", "z"), times=WINDOW.times[:0])
    era.fetch(window)
    assert [r["variable"] for r in store.submitted] == [["geopotential", "land_sea_mask"]]
    assert len(era.times(window)) == 0
    data = era.read(window, window.times)
    assert data.z.dims == ("y", "x")
    when = np.datetime64("2020-01-01", "s")
    expected = truth("geopotential", when, data.y.values[:, None], data.x.values)
    np.testing.assert_allclose(data.z, expected, rtol=1e-6)


@pytest.mark.parametrize(("west", "east"), [(178.0, 183.0), (-180.0, -178.0), (170.0, 179.9)])
def test_a_box_at_the_date_line_is_whole(
    store: PlayedCds, tmp_path: Path, west: float, east: float
) -> None:
    window = replace(WINDOW, west=west, east=east, names=("t2m",), times=WINDOW.times[:5])
    era = source(tmp_path)
    era.fetch(window)
    np.testing.assert_array_equal(era.times(window), window.times)
    data = era.read(window, window.times)
    np.testing.assert_allclose(np.diff(data.x), 0.25)
    assert data.x[0] <= west - 0.125
    assert data.x[-1] >= east + 0.125
    on_globe = (data.x.values + 180) % 360 - 180
    expected = truth(
        "2m_temperature", window.times[:, None, None], data.y.values[:, None], on_globe
    )
    np.testing.assert_allclose(data.t2m, expected, rtol=1e-5)
    assert all(-180 <= r["area"][1] < r["area"][3] < 180 for r in store.submitted)


@pytest.mark.usefixtures("store")
def test_preliminary_data_are_named(tmp_path: Path) -> None:
    era = source(tmp_path)
    window = replace(WINDOW, times=hours("2024-05-31T00", 8))
    era.fetch(window)
    assert era.read(window, window.times).attrs["expver"] == "0001,0005"
    assert era.read(window, window.times[:4]).attrs["expver"] == "0001"


def test_a_time_that_did_not_come_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gap(dataset: str, request: dict[str, Any]) -> bytes:
        return era5.payload(dataset, request | {"time": ["00:00", "12:00", "18:00"]})

    with PlayedCds(gap) as store:
        log_in(monkeypatch, store)
        era = source(tmp_path)
        era.fetch(WINDOW)
    there = WINDOW.times
    found = era.times(WINDOW)
    np.testing.assert_array_equal(found, there[there.astype("datetime64[h]").astype(int) % 24 != 6])
    with pytest.raises(InputError, match=r"t2m: .*none at 2020-02-28T06:00:00"):
        era.read(WINDOW, WINDOW.times)


def test_a_time_counts_where_every_variable_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The accumulated file lacks 06 UTC; so does the window, unless it wants the others alone."""

    def gap(dataset: str, request: dict[str, Any]) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as zipped:
            for number, name in enumerate(request["variable"]):
                late = {"time": ["00:00", "12:00", "18:00"]} if name == LONG["tp"] else {}
                content = era5.payload(dataset, request | late | {"variable": [name]})
                zipped.writestr(f"{number}.nc", content)
        return held.getvalue()

    with PlayedCds(gap) as store:
        log_in(monkeypatch, store)
        era = source(tmp_path)
        era.fetch(WINDOW)
    early = WINDOW.times.astype("datetime64[h]").astype(int) % 24 == 6
    np.testing.assert_array_equal(era.times(WINDOW), WINDOW.times[~early])
    others = replace(WINDOW, names=("t2m", "u10"))
    np.testing.assert_array_equal(era.times(others), WINDOW.times)


def test_a_time_that_came_twice_is_told_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def twice(dataset: str, request: dict[str, Any]) -> bytes:
        return era5.payload(dataset, request | {"time": ["00:00", "06:00", "06:00"]})

    with PlayedCds(twice) as store:
        log_in(monkeypatch, store)
        era = source(tmp_path)
        window = replace(WINDOW, times=WINDOW.times[:1])
        era.fetch(window)
    np.testing.assert_array_equal(era.times(window), WINDOW.times[[0, 0]])


@pytest.mark.parametrize(
    "change", [lambda d: d.expand_dims(number=[0, 1]), lambda d: d.drop_vars("latitude")]
)
def test_another_layout_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    def changed(dataset: str, request: dict[str, Any]) -> bytes:
        raw = era5.payload(dataset, request | {"variable": ["2m_temperature"]})
        with xr.open_dataset(io.BytesIO(raw), engine="h5netcdf") as data:
            return netcdf_bytes(change(data.drop_vars("number").load()))

    with PlayedCds(changed) as store:
        log_in(monkeypatch, store)
        era = source(tmp_path, variables={"t2m": "2m_temperature"})
        window = replace(WINDOW, names=("t2m",))
        era.fetch(window)
    with pytest.raises(InputError, match=r"2 of number|no coordinates"):
        era.read(window, window.times)


def test_unknown_variables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"variables: expected msl; .*Add the name"):
        source(tmp_path).fetch(replace(WINDOW, names=("t2m", "msl")))


def test_ids_need_no_network_and_change_with_the_request(tmp_path: Path) -> None:
    first, same = source(tmp_path, doi="10.24381/cds.adbb2d47"), source(tmp_path / "b")
    (name,) = first.ids("")
    assert name == "cds:reanalysis-era5-single-levels"
    assert first.ids("")[name].startswith("doi:10.24381/cds.adbb2d47 request:")
    assert first.ids("")[name].endswith(same.ids("")[name])
    other = source(tmp_path, request={"product_type": ["ensemble_members"]})
    assert other.ids("") != same.ids("")


@pytest.mark.usefixtures("store")
def test_a_source_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    era = source(tmp_path)
    era.fetch(WINDOW)
    sent = pickle.loads(pickle.dumps(era))
    assert sent.read(WINDOW, WINDOW.times).identical(era.read(WINDOW, WINDOW.times))
