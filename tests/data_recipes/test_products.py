"""MRMS, CPC, CHIRPS and PRISM from played servers: what is fetched, read and refused."""

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played.http import Fault, PlayedServer
from played.products import chirps, cpc, mrms, prism

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes.download import arrived
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.product_table import PRODUCTS
from data_recipes.sources.products import ProductFiles, ProductOptions, open_source

MRMS, CPC, CHIRPS, PRISM = (
    "mrms-multisensor-pass2", "cpc-global-daily", "chirps-v2-daily", "prism-daily",
)  # fmt: skip
CPC_PATH, CHIRPS_PATH = "/precip.2020.nc", "/chirps-v2.0.2020.days_p05.nc"
RAIN = np.random.default_rng(11)


def stamps(start: str, count: int, hours: int = 24) -> Any:
    return np.datetime64(start, "s") + 3600 * hours * np.arange(count).astype("timedelta64[s]")


def mrms_path(stamp: Any) -> str:
    day = str(stamp)[:10].replace("-", "")
    return (
        f"/CONUS/MultiSensor_QPE_01H_Pass2_00.00/{day}/"
        f"MRMS_MultiSensor_QPE_01H_Pass2_00.00_{day}-{str(stamp)[11:13]}0000.grib2.gz"
    )


@pytest.fixture
def server() -> Iterator[PlayedServer]:
    with PlayedServer({}) as played:
        yield played


def source(name: str, server: PlayedServer, cache: Path) -> ProductFiles:
    table = {"provider": "product", "product": name, "base_url": server.url}
    opened = open_source(validate(table, ProductOptions, where="test"), cache=cache)
    return replace(opened, retries=Retries(attempts=3, timeout_s=5, sleep=lambda _: None))


# A day of the whole globe at 0.5 degrees, and the year's first five.
GLOBE_Y, GLOBE_X = 89.75 - 0.5 * np.arange(360), 0.25 + 0.5 * np.arange(720)
GLOBE = RAIN.gamma(0.3, 5.0, (5, 360, 720)).astype(np.float32)
GLOBE[2, 80:83, 718:] = np.nan
DAYS = stamps("2020-01-01", 5)


@pytest.fixture(scope="module")
def globe() -> bytes:
    return cpc(DAYS, GLOBE_Y, GLOBE_X, GLOBE)


def across_greenwich(times: Any = DAYS) -> Window:
    return Window(45.0, 50.0, -3.0, 2.0, ("precip",), times)


def test_a_window_across_0_degrees_of_a_product_from_0_to_360(
    server: PlayedServer, globe: bytes, tmp_path: Path
) -> None:
    server.files[CPC_PATH] = globe
    gauges, asked = source(CPC, server, tmp_path), across_greenwich(DAYS[1:4])
    gauges.fetch(asked)
    np.testing.assert_array_equal(gauges.times(asked), DAYS[1:4])
    read = gauges.read(asked, DAYS[[1, 3]])
    assert read["precip"].dims == ("time", "y", "x")
    np.testing.assert_allclose(read["y"], np.arange(50.25, 44.5, -0.5))
    np.testing.assert_allclose(read["x"], np.arange(-3.25, 2.5, 0.5))
    west = GLOBE[[1, 3]][:, 79:91, 713:]
    east = GLOBE[[1, 3]][:, 79:91, :5]
    np.testing.assert_array_equal(read["precip"].values, np.concatenate([west, east], axis=-1))
    gap = gauges.read(asked, DAYS[2:3])["precip"].values[0]
    np.testing.assert_array_equal(np.argwhere(np.isnan(gap)),
                                  [[i, j] for i in (1, 2, 3) for j in (5, 6)])  # fmt: skip
    assert read["precip"].attrs["units"] == "mm"
    assert read.attrs["crs"] == ""


@pytest.mark.parametrize(("west", "east"), [(175.0, 185.0), (-180.0, -170.0)])
def test_a_window_at_the_date_line(
    server: PlayedServer, globe: bytes, tmp_path: Path, west: float, east: float
) -> None:
    server.files[CPC_PATH] = globe
    gauges = source(CPC, server, tmp_path)
    asked = Window(0.0, 5.0, west, east, ("precip",), DAYS[:1])
    gauges.fetch(asked)
    read = gauges.read(asked, DAYS[:1])["precip"]
    np.testing.assert_allclose(read["x"], np.arange(west - 0.25, east + 0.5, 0.5))
    columns = np.round((read["x"].values % 360 - 0.25) / 0.5).astype(int)
    rows = np.round((89.75 - read["y"].values) / 0.5).astype(int)
    np.testing.assert_array_equal(read.values[0], GLOBE[0][np.ix_(rows, columns)])


def test_chirps_from_the_south_with_float32_centres(server: PlayedServer, tmp_path: Path) -> None:
    y, x = -5.975 + 0.05 * np.arange(100), 29.025 + 0.05 * np.arange(120)
    put = RAIN.gamma(0.3, 5.0, (3, 100, 120)).astype(np.float32)
    put[0, 40:42, 50] = np.nan
    times = stamps("2020-02-27", 3)
    server.files[CHIRPS_PATH] = chirps(times, y, x, put)
    rain = source(CHIRPS, server, tmp_path)
    asked = Window(-4.0, -3.0, 31.0, 33.0, ("precip",), times)
    rain.fetch(asked)
    np.testing.assert_array_equal(rain.times(asked), times)
    read = rain.read(asked, times)
    np.testing.assert_allclose(read["y"], -4.025 + 0.05 * np.arange(22), rtol=0, atol=1e-9)
    np.testing.assert_allclose(read["x"], 30.975 + 0.05 * np.arange(42), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(read["precip"].values, put[:, 39:61, 39:81])
    assert np.isnan(read["precip"].values).sum() == 2


PRISM_Y, PRISM_X = 40.0 + np.arange(60) / 24, -110.0 + np.arange(72) / 24


def prism_window(times: Any) -> Window:
    return Window(41.0, 42.0, -109.0, -108.0, ("ppt",), times)


def test_prism_out_of_its_zip(server: PlayedServer, tmp_path: Path) -> None:
    put = RAIN.gamma(0.3, 5.0, (60, 72)).astype(np.float32)
    put[30, 30] = np.nan
    server.files["/20200102"] = prism("20200102", PRISM_Y, PRISM_X, put)
    times = stamps("2020-01-02", 1)
    slept: list[float] = []
    grids = replace(source(PRISM, server, tmp_path), retries=Retries(sleep=slept.append))
    grids.fetch(prism_window(times))
    assert [request.query for request in server.requests] == [{"format": ["nc"]}]
    assert slept == [2.0]
    np.testing.assert_array_equal(grids.times(prism_window(times)), times)
    read = grids.read(prism_window(times), times)["ppt"]
    np.testing.assert_allclose(read["y"], PRISM_Y[24:49])
    np.testing.assert_array_equal(read.values[0], put[24:49, 24:49])
    assert read.attrs["cell_methods"] == "sum from -12 h to +12 h of the time stamp"


def test_a_page_instead_of_a_file_is_shown_and_not_kept(
    server: PlayedServer, tmp_path: Path
) -> None:
    said = b"You have tried to download the file more than twice in one day."
    server.files["/20200102"] = said
    grids, asked = source(PRISM, server, tmp_path), prism_window(stamps("2020-01-02", 1))
    with pytest.raises(InputError, match="more than twice in one day"):
        grids.fetch(asked)
    assert len(server.requests) == 1
    server.files["/20200102"] = prism("20200102", PRISM_Y, PRISM_X, np.zeros((60, 72)))
    grids.fetch(asked)
    assert (grids.read(asked, asked.times)["ppt"].values == 0).all()


def test_a_zip_damaged_inside_is_fetched_again(server: PlayedServer, tmp_path: Path) -> None:
    good = prism("20200102", PRISM_Y, PRISM_X, np.ones((60, 72)))
    spoilt = bytearray(good)
    spoilt[len(good) // 3 : len(good) // 3 + 50] = bytes(50)
    server.files["/20200102"] = good
    grids, asked = source(PRISM, server, tmp_path), prism_window(stamps("2020-01-02", 1))
    server.fault("/20200102", Fault(body=bytes(spoilt)))
    came: list[int] = []
    grids.fetch(asked, advance=lambda size, _: came.append(size))
    assert sum(came) == len(good)
    assert len(server.requests) == 2
    assert (grids.read(asked, asked.times)["ppt"].values == 1).all()
    server.fault("/20200103", *[Fault(body=bytes(spoilt))] * 3)
    server.files["/20200103"] = good
    with pytest.raises(InputError, match="3 times"):
        grids.fetch(prism_window(stamps("2020-01-03", 1)))


MRMS_Y, MRMS_X = 40.995 - 0.01 * np.arange(60), 260.005 + 0.01 * np.arange(80)
HOURS = stamps("2021-06-01T22", 4, 1)


@pytest.fixture(scope="module")
def radar() -> tuple[np.ndarray, dict[str, bytes]]:
    put = np.round(RAIN.gamma(0.3, 5.0, (4, 60, 80)), 1)
    put[:, 10, 20], put[:, 11, 21] = -3.0, -1.0
    return put, {
        mrms_path(time): mrms(str(time), MRMS_Y, MRMS_X, put[number])
        for number, time in enumerate(HOURS)
    }


def conus(times: Any) -> Window:
    return Window(40.6, 40.9, -99.9, -99.3, ("MultiSensor_QPE_01H_Pass2",), times)


def test_mrms_hours_with_one_that_was_never_published(
    server: PlayedServer, radar: tuple[np.ndarray, dict[str, bytes]], tmp_path: Path
) -> None:
    put, files = radar
    server.files = {path: body for path, body in files.items() if path != mrms_path(HOURS[1])}
    rain, asked = source(MRMS, server, tmp_path), conus(HOURS)
    rain.fetch(asked)
    np.testing.assert_array_equal(rain.times(asked), HOURS[[0, 2, 3]])
    read = rain.read(asked, HOURS[[0, 2, 3]])["MultiSensor_QPE_01H_Pass2"]
    np.testing.assert_allclose(read["x"], -99.905 + 0.01 * np.arange(62), atol=1e-6)
    np.testing.assert_allclose(read["y"], 40.905 - 0.01 * np.arange(32), atol=1e-6)
    expected = put[[0, 2, 3]][:, 9:41, 9:71].astype(np.float32)
    expected[:, [1, 2], [11, 12]] = np.nan
    np.testing.assert_allclose(read.values, expected, atol=0.051)
    assert read.attrs["cell_methods"] == "sum from -1 h to +0 h of the time stamp"
    with pytest.raises(InputError, match=r"23.*no file"):
        rain.read(asked, HOURS[1:2])
    before = len(server.requests)
    rain.fetch(asked)
    assert weigh(rain.to_fetch(asked)).fetched == 0
    assert len(server.requests) == before


def test_a_young_missing_hour_is_asked_for_again(
    server: PlayedServer, radar: tuple[np.ndarray, dict[str, bytes]], tmp_path: Path
) -> None:
    rain, asked = source(MRMS, server, tmp_path), conus(HOURS[:1])
    rain.fetch(asked)
    assert rain.times(asked).size == 0
    (marker,) = tmp_path.rglob("*.absent.json")
    kept = json.loads(marker.read_text())
    marker.write_text(json.dumps(kept | {"asked": "2021-06-02T00:00:00"}))
    server.files = radar[1]
    rain.fetch(asked)
    np.testing.assert_array_equal(rain.times(asked), HOURS[:1])


def test_a_mirror_without_any_hour_is_refused(server: PlayedServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of this window's"):
        source(MRMS, server, tmp_path).fetch(conus(stamps("2021-06-01", 48, 1)))


def test_a_year_that_is_not_there_is_an_error(
    server: PlayedServer, globe: bytes, tmp_path: Path
) -> None:
    server.files[CPC_PATH] = globe
    with pytest.raises(InputError, match="404"):
        source(CPC, server, tmp_path).fetch(across_greenwich(stamps("2020-12-31", 2)))


def test_faults_on_the_way_pass_and_a_second_fetch_asks_nothing(
    server: PlayedServer, globe: bytes, tmp_path: Path
) -> None:
    server.files[CPC_PATH] = globe
    server.fault(
        CPC_PATH, Fault(status=429), Fault(status=500), Fault(reset_after=300_000),
        Fault(truncate_after=100_000), Fault(status=503),
    )  # fmt: skip
    gauges, came = source(CPC, server, tmp_path), list[int]()
    assert weigh(gauges.to_fetch(across_greenwich())).fetched == PRODUCTS[CPC].bytes_a_file
    gauges.fetch(across_greenwich(), advance=lambda size, _: came.append(size))
    (path,) = tmp_path.rglob("precip.2020.nc")
    assert path.read_bytes() == globe
    assert sum(came) == len(globe)
    before = len(server.requests)
    source(CPC, server, tmp_path).fetch(across_greenwich())
    assert weigh(gauges.to_fetch(across_greenwich())).fetched == 0
    assert len(server.requests) == before


def test_a_server_that_keeps_failing_is_given_up(server: PlayedServer, tmp_path: Path) -> None:
    server.fault(CPC_PATH, *[Fault(status=500)] * 3)
    with pytest.raises(InputError, match="3 times in a row"):
        source(CPC, server, tmp_path).fetch(across_greenwich())


def test_a_file_that_changed_here_is_removed_and_fetched_again(
    server: PlayedServer, globe: bytes, tmp_path: Path
) -> None:
    server.files[CPC_PATH] = globe
    gauges = source(CPC, server, tmp_path)
    gauges.fetch(across_greenwich())
    (path,) = tmp_path.rglob("precip.2020.nc")
    path.write_bytes(bytes(len(globe)))
    assert arrived(path)
    with pytest.raises(InputError, match="fetched again"):
        gauges.read(across_greenwich(), DAYS)
    gauges.fetch(across_greenwich())
    assert gauges.read(across_greenwich(), DAYS).sizes["time"] == 5


def test_another_grid_than_the_product_s_is_refused(server: PlayedServer, tmp_path: Path) -> None:
    coarse = cpc(DAYS[:1], GLOBE_Y[::2], GLOBE_X[::2], GLOBE[:1, ::2, ::2])
    part = cpc(DAYS[:1], GLOBE_Y[:60], GLOBE_X, GLOBE[:1, :60])
    for number, (body, said) in enumerate(
        ((coarse, "latitudes 0.5 degrees apart"), (part, "latitudes: expected some between 45"))
    ):
        server.files[CPC_PATH] = body
        gauges = source(CPC, server, tmp_path / str(number))
        gauges.fetch(across_greenwich())
        with pytest.raises(InputError, match=said):
            gauges.read(across_greenwich(), DAYS[:1])


def test_what_a_product_does_not_have_is_refused_before_anything_is_asked(
    server: PlayedServer, tmp_path: Path
) -> None:
    rain = source(CHIRPS, server, tmp_path)
    early, none = stamps("1980-12-31", 1), DAYS[:0]
    for box, names, times, said in (
        ((45.0, 51.0, 0.0, 5.0), ("precip",), DAYS, "a box within"),
        ((40.0, 45.0, 0.0, 5.0), ("rain",), DAYS, "Ask for precip"),
        ((40.0, 45.0, 0.0, 5.0), ("precip",), early, "1981-01-01"),
        ((40.0, 45.0, 0.0, 5.0), ("precip",), none, "at least one time"),
    ):
        with pytest.raises(InputError, match=said):
            rain.fetch(Window(*box, names, times))
    with pytest.raises(InputError, match="a box within"):
        source(MRMS, server, tmp_path).fetch(
            Window(40.0, 45.0, 0.0, 5.0, ("MultiSensor_QPE_01H_Pass2",), HOURS)
        )
    assert not server.requests


def test_an_unknown_product_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="chirps-v2-daily"):
        validate({"product": "chirps-v2-day"}, ProductOptions, where="test")


@pytest.mark.parametrize(("name", "row"), PRODUCTS.items())
def test_every_row_is_whole(name: str, row: Any) -> None:
    opened = open_source(ProductOptions(product=name), cache=Path("cache"))
    assert opened.ids("") == {name: row.version}
    assert opened.base.startswith("https://")
    assert row.licence
    assert row.attribution
    assert row.citation
    assert row.covers_h[1] - row.covers_h[0] == row.step_h
    south, north, west, east = row.box
    for low, high in ((south, north), (west, east)):
        assert (high - low) / row.cell == pytest.approx(round((high - low) / row.cell))


def test_a_kill_in_the_middle_is_resumed(
    server: PlayedServer, globe: bytes, tmp_path: Path
) -> None:
    server.files[CPC_PATH] = globe
    server.fault(CPC_PATH, Fault(truncate_after=len(globe) // 3), Fault(pause_s=30.0))
    code = "import pickle, sys; s, w = pickle.load(sys.stdin.buffer); s.fetch(w)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert child.stdin is not None
    killed = replace(source(CPC, server, tmp_path), retries=Retries(base_s=0.01))
    child.stdin.write(pickle.dumps((killed, across_greenwich())))
    child.stdin.close()
    deadline = time.monotonic() + 30
    while len(server.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    gauges = source(CPC, server, tmp_path)
    assert weigh(gauges.to_fetch(across_greenwich())).fetched > 0
    gauges.fetch(across_greenwich())
    start = int(server.requests[-1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= len(globe) // 3
    assert gauges.read(across_greenwich(), DAYS).sizes["time"] == 5
