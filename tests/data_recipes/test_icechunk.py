"""IMERG of a public Icechunk store: the real client against moto; values, gaps, faults, kills."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import icechunk
import numpy as np
import pytest
import zarr
from played.http import Fault, PlayedServer
from played.killed import fetch_until_killed, files
from played.s3 import FIRST, REGION, make_imerg, public_bucket, rain

from benchmark.errors import InputError
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.icechunk_store import IcechunkOptions, IcechunkSource, open_source

BUCKET, PREFIX = "dynamical-nasa-imerg", "nasa-imerg-analysis-late/v0.1.0.icechunk"
NAME = "precipitation_surface"
TIMES = np.arange("2020-01-31T22:00", "2020-02-01T02:00", 30, dtype="datetime64[m]").astype(
    "datetime64[s]"
)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
ATLANTIC = Window(10.0, 25.0, -15.0, 10.0, (NAME,), TIMES)
PACIFIC = Window(-30.0, -5.0, 160.0, 195.0, (NAME,), TIMES)


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[PlayedServer, str, str]]:
    with public_bucket(BUCKET, "archive") as (server, moto):
        yield server, moto, make_imerg(moto, BUCKET, PREFIX)


@pytest.fixture
def server(played: tuple[PlayedServer, str, str], monkeypatch: pytest.MonkeyPatch) -> PlayedServer:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "not for a public store")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for a public store")
    played[0].requests.clear()
    return played[0]


@pytest.fixture
def source(server: PlayedServer, tmp_path: Path) -> IcechunkSource:
    options = IcechunkOptions(provider="icechunk", endpoint=server.url)
    assert (options.bucket, options.prefix, options.region) == (BUCKET, PREFIX, REGION)
    opened = open_source(options, cache=tmp_path / "cache")
    assert isinstance(opened, IcechunkSource)
    return replace(opened, retries=Retries(attempts=3, base_s=0.001))


def test_a_window_has_the_values_of_its_cells(server: PlayedServer, source: IcechunkSource) -> None:
    source.fetch(ATLANTIC)
    data = source.read(ATLANTIC, source.times(ATLANTIC))
    assert list(data["y"].values) == [27.5, 22.5, 17.5, 12.5, 7.5]
    assert list(data["x"].values) == [-17.5, -12.5, -7.5, -2.5, 2.5, 7.5, 12.5]
    expected = rain(TIMES, data["y"].values, data["x"].values)
    np.testing.assert_array_equal(data[NAME].values, expected)
    assert data[NAME].attrs["units"] == "kg m-2 s-1"
    assert np.isfinite(expected).all()
    assert not any("authorization" in request.headers for request in server.requests)


def test_across_the_date_line_gaps_stay_gaps(source: IcechunkSource) -> None:
    source.fetch(PACIFIC)
    data = source.read(PACIFIC, TIMES[2:5])
    assert list(data["x"].values) == [157.5, 162.5, 167.5, 172.5, 177.5, 182.5, 187.5, 192.5, 197.5]
    expected = rain(TIMES[2:5], data["y"].values, data["x"].values)
    np.testing.assert_array_equal(data[NAME].values, expected)
    assert 0 < np.isnan(expected).mean() < 1


def test_a_half_hour_that_was_never_written_is_absent(source: IcechunkSource) -> None:
    early = replace(ATLANTIC, times=FIRST + np.arange(6) * np.timedelta64(1800, "s"))
    source.fetch(early)
    assert list(source.times(early)) == [*early.times[:3], *early.times[4:]]


def test_a_second_fetch_asks_nothing_and_the_snapshot_is_kept(
    source: IcechunkSource, played: tuple[PlayedServer, str, str]
) -> None:
    assert weigh(source.to_fetch(ATLANTIC)).fetched > 1_000_000
    source.fetch(ATLANTIC)
    server, _, snapshot = played
    server.requests.clear()
    source.fetch(ATLANTIC)
    assert (server.requests, weigh(source.to_fetch(ATLANTIC)).fetched) == (
        [],
        0,
    )
    record = json.loads(next(source.cache.rglob("2020-02.*.json")).read_text())
    assert record["store"] == {"snapshot": snapshot}


def test_a_snapshot_that_is_named_is_read_for_ever(
    source: IcechunkSource, played: tuple[PlayedServer, str, str]
) -> None:
    _, moto, snapshot = played
    storage = icechunk.s3_storage(
        bucket=BUCKET, prefix=PREFIX, region=REGION, endpoint_url=moto, allow_http=True,
        force_path_style=True, access_key_id="writer", secret_access_key="writer",
    )  # fmt: skip
    repository = icechunk.Repository.open(storage)
    session = repository.writable_session("main")
    array = zarr.open_group(session.store)[NAME]
    assert isinstance(array, zarr.Array)
    array[:] = np.zeros(array.shape, np.float32)
    session.commit("all zero")
    try:
        source.fetch(ATLANTIC)
        assert (source.read(ATLANTIC, TIMES)[NAME].values == 0).all()
        options = source.options.model_copy(update={"snapshot": snapshot})
        pinned = replace(source, options=options)
        pinned.fetch(ATLANTIC)
        data = pinned.read(ATLANTIC, TIMES)
        expected = rain(TIMES, data["y"].values, data["x"].values)
        np.testing.assert_array_equal(data[NAME].values, expected)
        assert set(pinned.ids("").values()) == {snapshot} != set(source.ids("").values())
    finally:
        repository.reset_branch("main", snapshot)


def test_virtual_chunks_come_from_a_public_archive(
    source: IcechunkSource, played: tuple[PlayedServer, str, str]
) -> None:
    server, moto, _ = played
    lat, lon = np.arange(-87.5, 90, 5.0), np.arange(-177.5, 180, 5.0)
    values = rain(TIMES, lat, lon).transpose(0, 2, 1)  # (time, lon, lat), as in the granules
    client = boto3.client(
        "s3", endpoint_url=moto, region_name=REGION,
        aws_access_key_id="writer", aws_secret_access_key="writer",
    )  # fmt: skip
    client.put_object(Bucket="archive", Key="all.bin", Body=values.tobytes())
    writer = {"region": REGION, "endpoint_url": moto, "allow_http": True, "force_path_style": True}
    config = icechunk.RepositoryConfig.default()
    place = icechunk.s3_store(anonymous=True, **writer)
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer("s3://archive/", place))
    storage = icechunk.s3_storage(
        bucket=BUCKET, prefix="virtual", access_key_id="w", secret_access_key="w", **writer
    )
    session = icechunk.Repository.create(storage, config=config).writable_session("main")
    group = zarr.create_group(session.store)
    array = group.create_array(
        "precipitation", shape=values.shape, chunks=(1, *values.shape[1:]), dtype="float32",
        compressors=None, fill_value=np.nan, dimension_names=["time", "lon", "lat"],
        attributes={"units": "mm/hr"},
    )  # fmt: skip
    assert array.nchunks == len(TIMES)
    seconds = (TIMES - np.datetime64(0, "s")).astype("int64")
    for name, axis in (("time", seconds), ("lat", lat), ("lon", lon)):
        group.create_array(name, data=axis, dimension_names=[name])
    group["time"].attrs["units"] = "seconds since 1970-01-01"
    size = values[0].nbytes
    for step in range(len(TIMES)):
        session.store.set_virtual_ref(
            f"precipitation/c/{step}/0/0", "s3://archive/all.bin", offset=step * size, length=size
        )
    session.commit("virtual")
    options = {"prefix": "virtual", "virtual": ("s3://archive/",)}
    virtual = replace(source, options=source.options.model_copy(update=options))
    window = replace(PACIFIC, names=("precipitation",))
    virtual.fetch(window)
    data = virtual.read(window, TIMES)
    assert list(data["y"].values) == [-32.5, -27.5, -22.5, -17.5, -12.5, -7.5, -2.5]
    expected = rain(TIMES, data["y"].values, data["x"].values)
    np.testing.assert_array_equal(data["precipitation"].values, expected)
    assert server.asked("/archive/all.bin")
    assert not any("authorization" in request.headers for request in server.requests)


def _chunks(server: PlayedServer) -> list[str]:
    return [r.path for r in server.requests if "/chunks/" in r.path]


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=429), Fault(reset_after=0), Fault(truncate_after=200)],
    ids=["503", "429", "reset", "truncated"],
)
def test_faults_that_pass_leave_no_trace(
    fault: Fault, server: PlayedServer, source: IcechunkSource, tmp_path: Path
) -> None:
    replace(source, cache=tmp_path / "first").fetch(ATLANTIC)
    for path in set(_chunks(server)):
        server.fault(path, fault)
    source.fetch(ATLANTIC)
    assert files(source.cache) == files(tmp_path / "first")


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault(status=403, body=DENIED), "should be public"), (Fault(status=501), "Try again later")],
)
def test_a_store_that_says_no_is_said_in_words(
    fault: Fault, words: str, server: PlayedServer, source: IcechunkSource, tmp_path: Path
) -> None:
    replace(source, cache=tmp_path / "first").fetch(ATLANTIC)
    chunks = set(_chunks(server))
    for path in chunks:
        server.fault(path, *[fault] * 12)
    try:
        with pytest.raises(InputError, match=words):
            source.fetch(ATLANTIC)
    finally:
        while any(server.take_fault(path) != Fault() for path in chunks):
            pass


def test_what_is_not_there_is_named(source: IcechunkSource) -> None:
    with pytest.raises(InputError, match="Did you mean 'precipitation_surface'"):
        source.fetch(replace(ATLANTIC, names=("precipitation",)))
    absent = source.options.model_copy(update={"prefix": "nothing/here"})
    with pytest.raises(InputError, match="Check bucket, prefix"):
        replace(source, options=absent).fetch(ATLANTIC)


def test_a_store_of_format_2_says_what_it_takes(
    source: IcechunkSource, played: tuple[PlayedServer, str, str]
) -> None:
    client = boto3.client(
        "s3", endpoint_url=played[1], region_name=REGION,
        aws_access_key_id="writer", aws_secret_access_key="writer",
    )  # fmt: skip
    client.put_object(Bucket=BUCKET, Key="newer/repo", Body=b"ICE")
    newer = source.options.model_copy(update={"prefix": "newer"})
    with pytest.raises(InputError, match="icechunk>=2"):
        replace(source, options=newer).fetch(ATLANTIC)


def test_killed_in_the_middle_and_called_again_gives_the_same_files(
    server: PlayedServer, source: IcechunkSource, tmp_path: Path
) -> None:
    undisturbed = replace(source, cache=tmp_path / "undisturbed")
    undisturbed.fetch(ATLANTIC)
    last = _chunks(server)[-1]
    fetch_until_killed(server, lambda r: r.path == last, source, ATLANTIC)
    assert len(list(source.cache.rglob("*.zarr.zip"))) < 2
    source.fetch(ATLANTIC)
    assert files(source.cache) == files(undisturbed.cache)
