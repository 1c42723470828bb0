"""GRIB: real files made by eccodes come out with their values, valid times and coordinates."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from played.gribs import LAMBERT, write_grib

from benchmark.errors import InputError
from data_recipes import extra
from data_recipes.grib import decode_grib
from data_recipes.source import Window
from data_recipes.sources.files import FilesOptions, FilesSource

CERRA = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
SPACING = 5500.0
SIZE = 8


def lambert(*, south_first: bool = True) -> dict[str, Any]:
    """CERRA's grid, of 8 x 8 points about its centre."""
    start = -(SIZE - 1) / 2 * SPACING
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS(CERRA).geodetic_crs, CERRA, always_xy=True)
    lon, lat = to_degrees.transform(start, start if south_first else -start, direction="INVERSE")
    return LAMBERT | {
        "Nx": SIZE, "Ny": SIZE, "DxInMetres": SPACING, "DyInMetres": SPACING,
        "latitudeOfFirstGridPointInDegrees": lat, "longitudeOfFirstGridPointInDegrees": lon,
        "jScansPositively": int(south_first),
    }  # fmt: skip


def message(name: str, day: int, hour: int, step: int, values: Any, **keys: Any) -> dict[str, Any]:
    level = {"typeOfLevel": "heightAboveGround", "level": 2 if name == "2t" else 10}
    if name == "tp":
        level = {"productDefinitionTemplateNumber": 8, "typeOfLevel": "surface", "level": 0}
    steps = {"stepRange": f"0-{step}"} if name == "tp" else {"step": step}
    date = {"dataDate": 20200200 + day, "dataTime": 100 * hour}
    return {
        "keys": date | level | {"shortName": name} | steps | keys,
        "values": np.asarray(values, dtype=float).ravel().tolist(),
    }


def some(seed: int, shape: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    return 280 + 10 * np.random.default_rng(seed).random(shape)


def decoded(tmp_path: Path, grid: dict[str, Any], *messages: dict[str, Any]) -> xr.Dataset:
    write_grib(tmp_path / "a.grib", grid, list(messages))
    decode_grib(tmp_path / "a.grib", tmp_path / "a.nc")
    assert {path.name for path in tmp_path.iterdir()} == {"a.grib", "a.nc"}
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        return data.load()


def test_a_lambert_file(tmp_path: Path) -> None:
    fields = [some(seed) for seed in range(4)]
    fields[3][2, 5] = np.nan
    data = decoded(
        tmp_path,
        lambert(),
        message("2t", 29, 21, 0, fields[1]),
        message("10si", 29, 18, 0, fields[2] - 270),
        message("2t", 29, 18, 0, fields[0]),
        message("10si", 29, 21, 0, fields[3] - 270),
    )
    assert set(data.data_vars) == {"t2m", "si10"}
    assert data.t2m.dims == ("valid_time", "y", "x")
    assert data.t2m.dtype == np.float32
    assert data.t2m.units == "K"
    assert data.si10.units == "m s**-1"
    assert [str(time)[:16] for time in data.valid_time.values] == [
        "2020-02-29T18:00", "2020-02-29T21:00",
    ]  # fmt: skip
    np.testing.assert_allclose(data.t2m, fields[:2], atol=1e-3)
    np.testing.assert_allclose(data.si10, np.array(fields[2:]) - 270, atol=1e-3)
    assert int(data.si10.isnull().sum()) == 1


def test_the_map_of_a_lambert_file(tmp_path: Path) -> None:
    """The axes are CERRA's, and lead to true latitudes and longitudes."""
    data = decoded(tmp_path, lambert(), message("2t", 1, 0, 0, some(1)))
    assert data.crs == CERRA
    expected = (np.arange(SIZE) - (SIZE - 1) / 2) * SPACING
    np.testing.assert_allclose(data.x, expected, atol=1)
    np.testing.assert_allclose(data.y, expected, atol=1)
    x, y = np.meshgrid(expected, expected)
    lon, lat = pyproj.Proj(CERRA)(x, y, inverse=True)
    np.testing.assert_allclose(data.latitude, lat, atol=1e-4)
    np.testing.assert_allclose(data.longitude, lon, atol=1e-4)
    assert data.longitude.max() < 180


def test_a_lambert_file_with_north_first(tmp_path: Path) -> None:
    data = decoded(tmp_path, lambert(south_first=False), message("2t", 1, 0, 0, some(1)))
    expected = ((SIZE - 1) / 2 - np.arange(SIZE)) * SPACING
    np.testing.assert_allclose(data.y, expected, atol=1)
    assert data.latitude[0, 0] > data.latitude[-1, 0]
    np.testing.assert_allclose(data.t2m[0], some(1), atol=1e-3)


def test_lead_times_become_valid_times(tmp_path: Path) -> None:
    """Forecasts from two base times: a step that is missing is no time, not a field of NaN."""
    steps = [(0, 1), (0, 2), (0, 3), (3, 1), (3, 3)]
    data = decoded(
        tmp_path,
        lambert(),
        *(message("tp", 1, hour, step, some(hour + step)) for hour, step in steps),
        *(message("2t", 1, hour, step, some(hour + step)) for hour, step in steps),
    )
    assert data.valid_time.dt.hour.values.tolist() == [1, 2, 3, 4, 6]
    assert data.tp.attrs["GRIB_stepType"] == "accum"
    for time, field in zip([1, 2, 3, 4, 6], data.tp.values, strict=True):
        np.testing.assert_allclose(field, some(time), atol=1e-3)
    np.testing.assert_allclose(data.t2m, data.tp, atol=1e-3)


def regular(*, west: float) -> dict[str, Any]:
    return {
        "Ni": 6, "Nj": 4,
        "latitudeOfFirstGridPointInDegrees": 45.0, "latitudeOfLastGridPointInDegrees": 44.25,
        "longitudeOfFirstGridPointInDegrees": west,
        "longitudeOfLastGridPointInDegrees": (west + 1.25) % 360,
        "iDirectionIncrementInDegrees": 0.25, "jDirectionIncrementInDegrees": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize("west", [230.0, 359.5])
def test_a_regular_file(tmp_path: Path, west: float) -> None:
    data = decoded(tmp_path, regular(west=west), message("2t", 1, 0, 0, some(3, (4, 6))))
    assert data.t2m.dims == ("valid_time", "latitude", "longitude")
    np.testing.assert_allclose(data.latitude, [45, 44.75, 44.5, 44.25])
    expected = west + 0.25 * np.arange(6)
    np.testing.assert_allclose((data.longitude - expected + 180) % 360, 180)
    assert (np.diff(data.longitude) > 0).all()
    np.testing.assert_allclose(data.t2m[0], some(3, (4, 6)), atol=1e-3)
    assert "crs" not in data.attrs


def on_level(name: str, level: float, member: int, values: Any, *, hour: int = 0) -> dict[str, Any]:
    """A field of an ensemble on a pressure level, as centres code it."""
    ensemble = {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 3}
    place = {"typeOfLevel": "isobaricInhPa", "level": level, "perturbationNumber": member}
    keys = ensemble | {"dataDate": 20200201, "dataTime": 100 * hour, "shortName": name} | place
    return {"keys": keys, "values": np.asarray(values, dtype=float).ravel().tolist()}


def test_members_and_levels_are_dimensions(tmp_path: Path) -> None:
    """Of what there is several of; in any order of messages, NaN where there is none."""
    places = [(850, 2), (500, 0), (850, 0), (500, 2)]
    fields = {(level, member): some(level + member) for level, member in places}
    data = decoded(
        tmp_path, lambert(),
        *(on_level("t", *place, fields[place]) for place in places),
        on_level("t", 850, 2, some(7), hour=1),
        on_level("r", 500, 0, some(8)),
        message("2t", 1, 0, 0, some(9)),
    )  # fmt: skip
    assert data.t.dims == ("valid_time", "number", "isobaricInhPa", "y", "x")
    assert data.number.values.tolist() == [0, 2]
    assert data.isobaricInhPa.values.tolist() == [500, 850]
    for (level, member), field in fields.items():
        found = data.t.isel(valid_time=0).sel(number=member, isobaricInhPa=level)
        np.testing.assert_allclose(found, field, atol=1e-3)
    np.testing.assert_allclose(data.t[1, 1, 1], some(7), atol=1e-3)
    assert int(data.t.isnull().sum()) == 3 * SIZE**2
    np.testing.assert_allclose(data.r.sel(number=0, isobaricInhPa=500)[0], some(8), atol=1e-3)
    assert int(data.r.notnull().sum()) == SIZE**2
    assert data.t2m.dims == ("valid_time", "y", "x")
    assert data.t2m.heightAboveGround == 2


def test_own_files_choose_a_member_and_a_level(tmp_path: Path) -> None:
    """By their values; every choice is listed where one is not made, or not there."""
    places = [(level, member) for level in (500, 850) for member in (0, 2)]
    fields = {place: some(k, (4, 6)) for k, place in enumerate(places)}
    messages = [on_level("t", *place, field) for place, field in fields.items()]
    write_grib(tmp_path / "a.grib", regular(west=5), messages)
    time = np.array(["2020-02-01T00"], "datetime64[s]")
    window = Window(44.4, 44.8, 5.3, 5.9, ("t",), time)

    def source(**select: float) -> FilesSource:
        options = FilesOptions(provider="files", engine="grib", paths="a.grib", select=select)
        return FilesSource(options, tmp_path / "cache", tmp_path)

    for (level, member), field in fields.items():
        chosen = source(number=member, isobaricInhPa=level)
        chosen.fetch(window)
        found = chosen.read(window, time)
        rows, columns = ((45 - found.y) / 0.25).astype(int), ((found.x - 5) / 0.25).astype(int)
        np.testing.assert_allclose(found.t[0], field[np.ix_(rows, columns)], atol=1e-3)
    with pytest.raises(InputError) as refused:
        source().read(window, time)
    assert "also number (2): 0, 2; isobaricInhPa (2): 500, 850." in str(refused.value)
    assert "select = { number = 0, isobaricInhPa = 500 }" in str(refused.value)
    with pytest.raises(InputError, match=r"also isobaricInhPa \(2\): 500, 850"):
        source(number=2).read(window, time)
    with pytest.raises(InputError) as refused:
        source(number=1, isobaricInhPa=700).fetch(window)
    first, second = map(str, refused.value.problems)
    assert "select.number: expected one of 0, 2; got 1" in first
    assert "select.isobaricInhPa: expected one of 500, 850; got 700" in second


def test_one_level_is_no_dimension(tmp_path: Path) -> None:
    """But its value is known."""
    data = decoded(tmp_path, lambert(), on_level("t", 850, 1, some(1)))
    assert data.t.dims == ("valid_time", "y", "x")
    assert (data.t.isobaricInhPa, data.t.number) == (850, 1)


def test_levels_of_several_kinds_are_refused(tmp_path: Path) -> None:
    """Of one variable: they would be no dimension."""
    surface = on_level("t", 0, 0, some(1))
    surface["keys"] |= {"typeOfLevel": "surface", "level": 0}
    write_grib(tmp_path / "a.grib", lambert(), [on_level("t", 850, 0, some(1)), surface])
    refused(tmp_path, r"t on levels of several kinds \(isobaricInhPa and surface\)")


def refused(tmp_path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        decode_grib(tmp_path / "a.grib", tmp_path / "a.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["a.grib"]


def test_a_field_twice_is_refused(tmp_path: Path) -> None:
    twice = [message("2t", 1, 3, 0, some(1)), message("2t", 1, 0, 3, some(2))]
    write_grib(tmp_path / "a.grib", lambert(), twice)
    refused(tmp_path, "t2m at 2020-02-01T03:00:00, heightAboveGround 2 twice")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write_grib(path, lambert(), [message("2t", 1, 3, 0, some(1))])
    path.write_bytes(path.read_bytes()[:-20])
    refused(tmp_path, "[Ee]nd of (file|resource)")
    path.write_bytes(b"<html>please log in</html>")
    refused(tmp_path, "no GRIB message")


def test_another_grid_is_refused(tmp_path: Path) -> None:
    polar = {"gridType": "polar_stereographic", "Nx": 8, "Ny": 8}
    write_grib(tmp_path / "a.grib", polar, [message("2t", 1, 3, 0, some(1))])
    refused(tmp_path, "polar_stereographic; regular_ll and lambert")


def test_without_eccodes_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.grib").write_bytes(b"GRIB")
    monkeypatch.setattr(extra, "_is_there", lambda module: module != "eccodes")
    refused(tmp_path, r"expected eccodes; got not installed. pip install 'elsewhere\[recipes\]'")


def test_this_process_never_loads_eccodes() -> None:
    code = "import sys, data_recipes.grib; sys.exit('eccodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
