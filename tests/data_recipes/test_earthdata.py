"""IMERG granules by the real earthaccess from a played NASA: values, keys, faults, kills."""

import hashlib
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from played.earthdata import (
    LATITUDE,
    LOGIN,
    LONGITUDE,
    SEARCH,
    TOKEN,
    USER,
    WORD,
    Earthdata,
    archive_path,
    earthdata,
    granule,
)  # fmt: skip
from played.http import Fault, PlayedServer
from played.killed import fetch_until_killed, files

from benchmark.errors import InputError
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.earthdata import EarthdataOptions, EarthdataSource, open_source

TIMES = np.arange("2020-01-31T22:00", "2020-02-01T02:00", 30, dtype="datetime64[m]").astype(
    "datetime64[s]"
)
ABSENT = TIMES[5]
THERE = TIMES[TIMES != ABSENT]
ATLANTIC = Window(10.0, 25.0, -15.0, 10.0, ("precipitation",), TIMES)
PACIFIC = Window(-30.0, -5.0, 160.0, 195.0, ("precipitation",), TIMES)


def _rain(time: np.datetime64, lat: NDArray[Any], lon: NDArray[Any]) -> NDArray[np.float32]:
    """Made-up rain (lat, lon) [mm/h]; none known between 25 S and 15 S west of 170 W."""
    hours = float((time - TIMES[0]) / np.timedelta64(1, "h"))
    y, x = np.meshgrid(np.asarray(lat, float), np.asarray(lon, float), indexing="ij")
    values = (np.abs(y) / 10 + 2 + np.cos(np.radians(x)) + hours).astype(np.float32)
    west = (x + 180) % 360 < 10
    return np.where((np.abs(y + 20) < 5) & west, np.float32(np.nan), values)


@pytest.fixture(scope="module")
def granules() -> dict[str, bytes]:
    around = [*THERE, TIMES[-1] + np.timedelta64(1800, "s")]
    return {archive_path(t): granule(t, _rain(t, LATITUDE, LONGITUDE)) for t in around}


@pytest.fixture
def server(
    granules: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PlayedServer]:
    checksums = {
        path: {"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}
        for path, content in granules.items()
        if path != archive_path(TIMES[1])  # not every granule has one
    }
    with earthdata(Earthdata(granules, checksums=checksums), tmp_path, monkeypatch) as played:
        monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
        yield played


@pytest.fixture
def source(tmp_path: Path) -> EarthdataSource:
    opened = open_source(EarthdataOptions(provider="earthdata"), cache=tmp_path / "cache")
    assert isinstance(opened, EarthdataSource)
    return replace(opened, retries=Retries(attempts=3, base_s=0.001, longest_s=0.002))


def test_a_window_has_the_values_of_its_cells(
    server: PlayedServer, source: EarthdataSource
) -> None:
    source.fetch(ATLANTIC)
    data = source.read(ATLANTIC, source.times(ATLANTIC))
    assert list(data["y"].values) == [7.5, 12.5, 17.5, 22.5, 27.5]
    assert list(data["x"].values) == [-17.5, -12.5, -7.5, -2.5, 2.5, 7.5, 12.5]
    assert (data["time"].values == THERE).all()
    expected = np.stack([_rain(t, data["y"].values, data["x"].values) for t in THERE])
    np.testing.assert_array_equal(data["precipitation"].values, expected)
    assert data["precipitation"].attrs["units"] == "mm/hr"
    asked = {r.path for r in server.requests if r.path.startswith("/data/")}
    assert asked == {archive_path(t) for t in THERE}


def test_across_the_date_line_gaps_stay_gaps(server: PlayedServer, source: EarthdataSource) -> None:
    source.fetch(PACIFIC)
    data = source.read(PACIFIC, THERE[:2])
    assert list(data["x"].values) == [157.5, 162.5, 167.5, 172.5, 177.5, 182.5, 187.5, 192.5, 197.5]
    gap = np.isnan(data["precipitation"].sel(time=THERE[0]).values)
    where = [(data["y"].values[j], data["x"].values[i]) for j, i in np.argwhere(gap)]
    assert where == [(-22.5, 182.5), (-22.5, 187.5), (-17.5, 182.5), (-17.5, 187.5)]
    assert server.asked(SEARCH)


def test_a_granule_that_the_catalogue_lacks_is_left_out(
    server: PlayedServer, source: EarthdataSource
) -> None:
    source.fetch(ATLANTIC)
    assert list(source.times(ATLANTIC)) == list(THERE)
    with pytest.raises(InputError, match="2020-02-01T00:30:00"):
        source.read(ATLANTIC, TIMES)
    server.requests.clear()
    source.fetch(ATLANTIC)  # a gap inside is known: nothing is asked
    assert server.requests == []


def test_a_second_fetch_asks_nothing_even_without_a_key(
    server: PlayedServer, source: EarthdataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weigh(source.to_fetch(ATLANTIC)).fetched == 8 * 8_000_000
    source.fetch(ATLANTIC)
    server.requests.clear()
    monkeypatch.delenv("EARTHDATA_TOKEN")
    pickle.loads(pickle.dumps(source)).fetch(PACIFIC)  # granules hold the whole globe
    assert (server.requests, weigh(source.to_fetch(PACIFIC)).fetched) == (
        [],
        0,
    )


def test_a_month_that_the_catalogue_had_not_all_of_is_asked_again(
    server: PlayedServer, source: EarthdataSource
) -> None:
    later = np.append(TIMES, TIMES[-1] + 2 * np.timedelta64(1800, "s"))
    window = replace(ATLANTIC, times=later)
    source.fetch(window)
    server.requests.clear()
    source.fetch(window)
    assert {r.path for r in server.requests} == {SEARCH}


@pytest.mark.usefixtures("server")
def test_without_a_key_it_says_where_the_key_goes(
    source: EarthdataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN")
    with pytest.raises(InputError, match=r"~/\.netrc, or set EARTHDATA_TOKEN"):
        source.fetch(ATLANTIC)


@pytest.mark.parametrize("way", ["netrc", "environment"])
def test_name_and_password_are_enough(
    way: str, server: PlayedServer, source: EarthdataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN")
    if way == "netrc":
        line = f"machine urs.earthdata.nasa.gov login {USER} password {WORD}\n"
        Path(os.environ["NETRC"]).write_text(line)
        Path(os.environ["NETRC"]).chmod(0o600)
    else:
        monkeypatch.setenv("EARTHDATA_USERNAME", USER)
        monkeypatch.setenv("EARTHDATA_PASSWORD", WORD)
    source.fetch(ATLANTIC)
    assert list(source.times(ATLANTIC)) == list(THERE)
    assert server.asked(LOGIN, "POST")


def test_a_wrong_password_and_a_stale_token_are_told_apart_from_faults(
    server: PlayedServer, source: EarthdataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "stale")
    with pytest.raises(InputError, match=r"HTTP 401.*GESDISC DATA ARCHIVE"):
        source.fetch(ATLANTIC)
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", USER)
    monkeypatch.setenv("EARTHDATA_PASSWORD", "wrong")
    with pytest.raises(InputError, match="an accepted key"):
        source.fetch(ATLANTIC)
    assert len(server.asked(LOGIN, "POST")) <= 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429), Fault(status=503), Fault(reset_after=100), Fault(truncate_after=100),
        Fault(body=b"not what was promised"),
    ],
    ids=["429", "503", "reset", "truncated", "wrong checksum"],
)  # fmt: skip
def test_faults_that_pass_leave_no_trace(
    fault: Fault, server: PlayedServer, source: EarthdataSource
) -> None:
    server.fault(archive_path(TIMES[0]), fault)
    if fault.body is None:
        server.fault(SEARCH, fault)
    source.fetch(ATLANTIC)
    values = source.read(ATLANTIC, TIMES[:1])["precipitation"]
    expected = _rain(TIMES[0], values["y"].values, values["x"].values)
    np.testing.assert_array_equal(values.values[0], expected)


def test_a_login_page_instead_of_a_granule_is_refused(
    server: PlayedServer, source: EarthdataSource, granules: dict[str, bytes]
) -> None:
    path = archive_path(TIMES[1])
    page = b"<html>Please log in</html>".ljust(len(granules[path]))
    server.fault(path, Fault(body=page))
    with pytest.raises(InputError, match="perhaps a login page"):
        source.fetch(ATLANTIC)
    source.fetch(ATLANTIC)
    assert len(source.times(ATLANTIC)) == len(THERE)


def test_a_catalogue_that_keeps_failing_is_said_in_words(
    server: PlayedServer, source: EarthdataSource
) -> None:
    server.fault(SEARCH, *[Fault(status=503)] * 3)
    with pytest.raises(InputError, match="NASA's catalogue, 2020-01"):
        source.fetch(ATLANTIC)


@pytest.mark.usefixtures("server")
def test_unknown_names_static_fields_and_damaged_files_are_named(source: EarthdataSource) -> None:
    with pytest.raises(InputError, match="fields that do not change"):
        source.fetch(replace(ATLANTIC, times=TIMES[:0]))
    source.fetch(ATLANTIC)
    with pytest.raises(InputError, match="Did you mean 'precipitation'"):
        source.read(replace(ATLANTIC, names=("precipitationCal",)), TIMES[:1])
    path = next(source.cache.rglob("*S220000*.HDF5"))
    other = next(source.cache.rglob("*S223000*.HDF5"))
    whole = path.read_bytes()
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(InputError, match="Remove this file"):
        source.read(ATLANTIC, TIMES[:1])
    path.write_bytes(other.read_bytes()[: len(whole)].ljust(len(whole), b"\0"))
    with pytest.raises(InputError, match=r"Remove this file|disagree"):
        source.read(ATLANTIC, TIMES[:1])


def test_killed_in_the_middle_and_called_again_gives_the_same_files(
    server: PlayedServer, source: EarthdataSource, tmp_path: Path
) -> None:
    undisturbed = replace(source, cache=tmp_path / "undisturbed")
    undisturbed.fetch(ATLANTIC)
    for step in (2, 6):
        path = archive_path(TIMES[step])
        fetch_until_killed(server, lambda r, p=path: r.path == p, source, ATLANTIC)
    source.fetch(ATLANTIC)
    assert files(source.cache) == files(undisturbed.cache)
