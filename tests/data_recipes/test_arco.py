"""ARCO-ERA5: the real gcsfs client against a played bucket; values, edges, faults, kills."""

import asyncio
import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gcsfs.retry
import numpy as np
import pytest
from played.gcs import BUCKET, STORE, Bucket, make_arco, media, t2m
from played.http import Fault, PlayedServer
from played.killed import fetch_until_killed, files

from benchmark.errors import InputError
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.arco import ArcoOptions, ArcoSource, open_source

pytestmark = pytest.mark.usefixtures("server")
HOURS = np.arange("2019-12-31T22", "2020-01-01T03", dtype="datetime64[h]").astype("datetime64[s]")
EUROPE = Window(40.0, 50.0, -10.0, 10.0, ("2m_temperature",), HOURS)
PACIFIC = Window(-20.0, -10.0, 172.5, 187.5, ("2m_temperature",), HOURS)
EUROPE_X = [-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gcs")
    make_arco(folder)
    return folder


@pytest.fixture
def server(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedServer]:
    folder = tmp_path / "bucket"
    shutil.copytree(store, folder)

    async def at_once(_: float) -> None:
        """The client's own waits, left out."""

    quick = SimpleNamespace(**{**vars(asyncio), "sleep": at_once})
    monkeypatch.setattr(gcsfs.retry, "asyncio", quick)
    with PlayedServer(answer=Bucket(BUCKET, folder)) as played:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", played.url)
        yield played


@pytest.fixture
def source(tmp_path: Path) -> ArcoSource:
    opened = open_source(ArcoOptions(provider="arco"), cache=tmp_path / "cache")
    assert isinstance(opened, ArcoSource)
    return replace(opened, retries=Retries(attempts=2, sleep=_no_wait))


def _no_wait(_: float) -> None:
    """Stands for a wait."""


def _temperature(times: np.ndarray, lat: list[float], lon: list[float]) -> np.ndarray:
    hours = (times - np.datetime64("1900-01-01T00", "s")) / np.timedelta64(1, "h")
    return t2m(*np.meshgrid(hours, lat, lon, indexing="ij"))


def test_a_window_across_greenwich_has_the_values_of_its_points(source: ArcoSource) -> None:
    source.fetch(EUROPE)
    data = source.read(EUROPE, source.times(EUROPE))
    assert list(data["x"].values) == EUROPE_X
    assert list(data["y"].values) == [50.0, 47.5, 45.0, 42.5, 40.0]
    assert data["2m_temperature"].dims == ("time", "y", "x")
    assert (data["time"].values == HOURS).all()
    expected = _temperature(HOURS, [50.0, 47.5, 45.0, 42.5, 40.0], EUROPE_X)
    np.testing.assert_array_equal(data["2m_temperature"].values, expected)
    assert data["2m_temperature"].attrs["units"] == "K"
    assert data.attrs["crs"] == ""


def test_a_window_across_the_date_line_rises_past_180(source: ArcoSource) -> None:
    source.fetch(PACIFIC)
    data = source.read(PACIFIC, HOURS[1:3])
    assert list(data["x"].values) == [172.5, 175.0, 177.5, 180.0, 182.5, 185.0, 187.5]
    expected = _temperature(HOURS[1:3], list(data["y"].values), list(data["x"].values))
    np.testing.assert_array_equal(data["2m_temperature"].values, expected)


def test_half_a_cell_around_a_box_between_points_is_there(source: ArcoSource) -> None:
    window = replace(EUROPE, south=41.0, north=44.0, west=-1.0, east=1.0, times=HOURS[:1])
    source.fetch(window)
    data = source.read(window, HOURS[:1])
    assert list(data["x"].values) == [-2.5, 0.0, 2.5]
    assert list(data["y"].values) == [45.0, 42.5, 40.0]


def test_static_fields_have_no_time(source: ArcoSource) -> None:
    window = replace(EUROPE, names=("land_sea_mask",), times=HOURS[:0])
    source.fetch(window)
    data = source.read(window, HOURS[:0])
    assert data["land_sea_mask"].dims == ("y", "x")
    assert list(data["land_sea_mask"].values[0]) == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(InputError, match="one that does not change"):
        source.fetch(replace(window, times=HOURS))


def test_times_end_with_the_last_day_that_is_valid(
    server: PlayedServer, source: ArcoSource
) -> None:
    late = np.arange("2020-01-02T20", "2020-01-03T06", dtype="datetime64[h]")
    window = replace(EUROPE, times=late.astype("datetime64[s]"))
    source.fetch(window)
    assert [str(time) for time in source.times(window)] == [
        f"2020-01-02T{hour}:00:00" for hour in (20, 21, 22, 23)
    ]
    with pytest.raises(InputError, match="4 of them"):
        source.read(window, window.times)
    server.requests.clear()
    source.fetch(window)  # the store may have grown
    assert server.requests


def test_a_step_that_was_never_written_is_absent_not_filled(
    source: ArcoSource, tmp_path: Path
) -> None:
    position = int((HOURS[1] - np.datetime64("2019-12-30T00", "s")) / np.timedelta64(1, "h"))
    (tmp_path / "bucket" / STORE / "2m_temperature" / f"{position}.0.0").unlink()
    both = replace(EUROPE, names=("total_precipitation", "2m_temperature"))
    source.fetch(both)
    assert list(source.times(both)) == [HOURS[0], *HOURS[2:]]
    data = source.read(both, source.times(both))
    assert np.isfinite(data["total_precipitation"].values).all()


def test_a_second_fetch_asks_nothing(server: PlayedServer, source: ArcoSource) -> None:
    assert weigh(source.to_fetch(EUROPE)).fetched > 5 * 1_000_000
    told: list[int] = []
    source.fetch(EUROPE, advance=lambda size, _: told.append(size))
    assert sum(told) == 5 * 2_000_000
    server.requests.clear()
    assert weigh(source.to_fetch(EUROPE)).fetched == 0
    pickle.loads(pickle.dumps(source)).fetch(EUROPE)
    assert server.requests == []
    record = json.loads(next(source.cache.rglob("2020-01.*.json")).read_text())
    assert record["store"]["valid_time_stop"] == "2020-01-02"


def test_several_windows_share_each_step(server: PlayedServer, source: ArcoSource) -> None:
    shifted = replace(PACIFIC, times=HOURS[2:])
    source.fetch_many([EUROPE, shifted])
    chunks = [r.path for r in server.requests if "2m_temperature%2F" in r.path]
    assert len([path for path in chunks if path.endswith(".0.0")]) == len(HOURS)
    for window in (EUROPE, shifted):
        data = source.read(window, window.times)
        expected = _temperature(window.times, list(data["y"].values), list(data["x"].values))
        np.testing.assert_array_equal(data["2m_temperature"].values, expected)


@pytest.mark.parametrize(
    "fault",
    [Fault(status=429), Fault(status=503), Fault(reset_after=50), Fault(truncate_after=50)],
    ids=["429", "503", "reset", "truncated"],
)
def test_faults_that_pass_leave_no_trace(
    fault: Fault, server: PlayedServer, source: ArcoSource
) -> None:
    server.fault(media("2m_temperature/46.0.0"), fault, fault)
    server.fault(media(".zmetadata"), fault)
    source.fetch(EUROPE)
    data = source.read(EUROPE, HOURS)
    np.testing.assert_array_equal(
        data["2m_temperature"].values, _temperature(HOURS, list(data["y"].values), EUROPE_X)
    )


def test_a_bucket_that_keeps_failing_is_said_in_words(
    server: PlayedServer, source: ArcoSource
) -> None:
    server.fault(media("2m_temperature/46.0.0"), *[Fault(status=503)] * 12)
    with pytest.raises(InputError, match="Try again later"):
        source.fetch(EUROPE)
    source.fetch(EUROPE)  # what has not arrived is asked for again
    assert len(source.times(EUROPE)) == len(HOURS)


@pytest.mark.parametrize(
    ("status", "body", "asked"),
    [(403, b"no", 1), (401, b"no", 1), (401, b"Invalid Credentials", 6)],
)
def test_a_refusal_stops_at_once(
    status: int, body: bytes, asked: int, server: PlayedServer, source: ArcoSource
) -> None:
    path = media("2m_temperature/46.0.0")
    server.fault(path, *[Fault(status=status, body=body)] * 12)
    with pytest.raises(InputError, match="read without a key"):
        source.fetch(EUROPE)
    assert len(server.asked(path)) == asked  # six are the client's own


def test_what_is_not_there_is_named(source: ArcoSource) -> None:
    with pytest.raises(InputError, match="Did you mean '2m_temperature'"):
        source.fetch(replace(EUROPE, names=("2m_temperatur",)))
    elsewhere = replace(
        source, options=ArcoOptions(provider="arco", store=f"gs://{BUCKET}/no.zarr")
    )
    with pytest.raises(InputError, match="Check its address"):
        elsewhere.fetch(EUROPE)


def test_a_damaged_piece_is_fetched_again(source: ArcoSource) -> None:
    source.fetch(EUROPE)
    whole = files(source.cache)
    piece = next(source.cache.rglob("2020-01.zarr.zip"))
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 255
    piece.write_bytes(bytes(content))
    source.fetch(EUROPE)
    assert files(source.cache) == whole


def test_killed_in_the_middle_and_called_again_gives_the_same_files(
    server: PlayedServer, source: ArcoSource, tmp_path: Path
) -> None:
    undisturbed = replace(source, cache=tmp_path / "undisturbed")
    undisturbed.fetch(EUROPE)
    killed = replace(source, retries=Retries())
    for chunk in ("46.0.0", "49.0.0"):
        path = media(f"2m_temperature/{chunk}")
        fetch_until_killed(server, lambda r, p=path: r.path == p, killed, EUROPE)
    assert len(list(source.cache.rglob("*.zarr.zip"))) == 1
    source.fetch(EUROPE)
    assert files(source.cache) == files(undisturbed.cache)
