"""RainShift from a played Hugging Face Hub: what is fetched, what is read, what is refused."""

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
import xarray as xr
from played.http import Fault
from played.huggingface import (
    PlayedHub,
    inputs,
    netcdf,
    statics,
    targets,
    zipped,
)

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes.download import arrived
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.rainshift import (
    REGIONS,
    RainShift,
    RainShiftOptions,
    open_source,
    region_of,
)

EUROPE = "europe_west"
HOURS = {"train": 230, "test": 30}
NAMES = ("tp", "u")
IN = {split: f"{EUROPE}/{split}_data_in.zarr.zip" for split in HOURS}
OUT = {split: f"{EUROPE}/{split}_data_out.zarr.zip" for split in HOURS}
STATIC = f"{EUROPE}/static_variables.nc"
NO_TIMES = np.empty(0, "datetime64[s]")


@pytest.fixture(scope="module")
def given() -> dict[str, xr.Dataset]:
    """What the data set holds, before it is packed, by file."""
    data = {IN[split]: inputs(EUROPE, split, hours, NAMES) for split, hours in HOURS.items()}
    data |= {OUT[split]: targets(EUROPE, split, hours) for split, hours in HOURS.items()}
    return data | {STATIC: statics(EUROPE)}


@pytest.fixture(scope="module")
def contents(given: dict[str, xr.Dataset]) -> dict[str, bytes]:
    """The files: packed inputs and targets of Zarr 2, one of version 3 in a folder."""
    files = {name: zipped(given[name], packed=True) for name in IN.values()}
    files[OUT["train"]] = zipped(given[OUT["train"]])
    files[OUT["test"]] = zipped(given[OUT["test"]], version=3, folder="test_data_out.zarr/")
    return files | {STATIC: netcdf(given[STATIC])}


@pytest.fixture
def hub(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with PlayedHub(contents) as played:
        monkeypatch.setenv("HF_ENDPOINT", played.url)
        yield played


def hours(start: str, count: int) -> Any:
    return np.datetime64(start, "s") + 3600 * np.arange(count).astype("timedelta64[s]")


def window(times: Any, names: tuple[str, ...] = NAMES, region: str = EUROPE) -> Window:
    south, north, west, east = REGIONS[region]
    return Window(south, north, west, east, names, times)


def source(side: str, cache: Path, *, attempts: int = 3) -> RainShift:
    options = validate({"provider": "rainshift", "side": side}, RainShiftOptions, where="test")
    quick = Retries(attempts=attempts, timeout_s=5, sleep=lambda _: None)
    return replace(open_source(options, cache=cache), retries=quick)


def test_inputs_are_decoded_at_their_hours_and_points(
    hub: PlayedHub, given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    asked = window(hours("2001-01-09T00", 20))  # across the first chunk's end, hour 200
    era5 = source("in", tmp_path)
    assert weigh(era5.to_fetch(asked)).fetched == len(hub.contents[IN["train"]])
    era5.fetch(asked)
    assert weigh(era5.to_fetch(asked)).fetched == 0
    np.testing.assert_array_equal(era5.times(asked), asked.times)
    read = era5.read(asked, asked.times)
    assert read["tp"].dims == ("time", "y", "x")
    assert read.attrs["crs"] == ""
    assert read["tp"].attrs["units"] == "unit of tp"
    np.testing.assert_array_equal(read["time"], asked.times)
    np.testing.assert_array_equal(read["y"], 60 - 0.25 * np.arange(80))
    np.testing.assert_array_equal(read["x"], -5 + 0.25 * np.arange(80))
    for number, name in enumerate(NAMES):
        put = given[IN["train"]][name].values[192:212]
        # Half a step of the packing.
        assert np.abs(read[name].values - put).max() <= 0.51 * 10.0**number / 65000
    assert not hub.asked(hub.resolve_path(OUT["train"]))


@pytest.mark.usefixtures("hub")
def test_targets_take_the_hours_of_the_inputs_and_keep_their_gaps(
    given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    asked = window(hours("2001-01-01T00", 230), ("precipitation",))
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    np.testing.assert_array_equal(imerg.times(asked), asked.times)
    some = asked.times[[3, 7, 205, 229]]
    read = imerg.read(asked, some)
    put = given[OUT["train"]]["precipitation"].values[[3, 7, 205, 229]]
    np.testing.assert_array_equal(read["precipitation"].values, put)
    assert np.isnan(read["precipitation"].values[1, 20:23, 30:35]).all()
    assert np.isnan(read["precipitation"].values).sum() == 15
    assert read["precipitation"].attrs["units"] == "mm h-1"
    np.testing.assert_allclose(read["y"], np.linspace(59.95, 40.05, 200), atol=1e-9)
    np.testing.assert_allclose(read["x"], np.linspace(-4.95, 14.95, 200), atol=1e-9)
    np.testing.assert_array_equal(read["time"], some)


@pytest.mark.usefixtures("hub")
def test_hours_of_both_splits_are_read_in_order(
    given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    asked = window(
        np.concatenate([hours("2001-01-10T00", 14), hours("2021-01-01T00", 2)]), ("precipitation",)
    )
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    np.testing.assert_array_equal(imerg.times(asked), asked.times)
    read = imerg.read(asked, asked.times)["precipitation"]
    np.testing.assert_array_equal(read.values[-2:], given[OUT["test"]]["precipitation"].values[:2])
    np.testing.assert_array_equal(
        read.values[:-2], given[OUT["train"]]["precipitation"].values[216:230]
    )
    np.testing.assert_array_equal(read["time"], asked.times)


def test_static_fields_have_no_time(
    hub: PlayedHub, given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    asked = window(NO_TIMES, ("z", "lsm"))
    static = source("static", tmp_path)
    static.fetch(asked)
    assert static.times(asked).size == 0
    read = static.read(asked, NO_TIMES)
    assert read["z"].dims == ("y", "x")
    assert read["z"].attrs["units"] == "m2 s-2"
    np.testing.assert_array_equal(read["z"].values, given[STATIC]["z"].values)
    assert [r.path for r in hub.requests if "data_in" in r.path] == []
    with pytest.raises(InputError, match="no times"):
        static.fetch(window(hours("2001-01-01T00", 1), ("z",)))
    with pytest.raises(InputError, match="at least one time"):
        source("in", tmp_path).read(window(NO_TIMES), NO_TIMES)


@pytest.mark.usefixtures("hub")
def test_a_smaller_box_is_cut_out(given: dict[str, xr.Dataset], tmp_path: Path) -> None:
    times = hours("2021-01-01T05", 1)
    asked = Window(45.0, 46.0, -1.0, 1.0, ("precipitation",), times)
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    read = imerg.read(asked, times)["precipitation"]
    whole = given[OUT["test"]]["precipitation"].values[5]
    np.testing.assert_allclose(read["y"], np.arange(46.05, 44.9, -0.1))
    np.testing.assert_allclose(read["x"], np.arange(-1.05, 1.1, 0.1), atol=1e-9)
    # Row 139 is 46.05, column 39 is -1.05.
    np.testing.assert_array_equal(read.values[0], whole[139:151, 39:61])


def test_a_store_sorted_by_its_longitudes_is_put_in_order(
    hub: PlayedHub, given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    hub.contents[OUT["test"]] = zipped(given[OUT["test"]].sortby("longitude"))
    asked = window(hours("2021-01-01T05", 1), ("precipitation",))
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    read = imerg.read(asked, asked.times)["precipitation"]
    np.testing.assert_allclose(read["x"], np.linspace(-4.95, 14.95, 200), atol=1e-9)
    np.testing.assert_array_equal(read.values, given[OUT["test"]]["precipitation"].values[5:6])


def test_a_second_fetch_asks_for_nothing(hub: PlayedHub, tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 3), ("precipitation",))
    came: list[int] = []
    source("out", tmp_path).fetch(asked, advance=lambda size, _: came.append(size))
    assert sum(came) == len(hub.contents[IN["test"]]) + len(hub.contents[OUT["test"]])
    before = len(hub.requests)
    source("out", tmp_path).fetch(asked)
    source("in", tmp_path).fetch(window(asked.times))
    assert weigh(source("in", tmp_path).to_fetch(window(asked.times))).fetched == 0
    assert len(hub.requests) == before


def test_faults_on_the_way_pass(hub: PlayedHub, tmp_path: Path) -> None:
    name = IN["test"]
    hub.fault(hub.listing_path, Fault(status=500), Fault(status=429), Fault(truncate_after=40))
    hub.fault(hub.resolve_path(name), Fault(status=503), Fault(status=429))
    spoilt = bytes(len(hub.contents[name]))
    hub.fault(
        hub.blob_path(name), Fault(body=spoilt), Fault(reset_after=200_000),
        Fault(truncate_after=100_000), Fault(status=500),
    )  # fmt: skip
    asked = window(hours("2021-01-01T00", 3))
    source("in", tmp_path, attempts=5).fetch(asked)
    path = tmp_path / "rainshift" / "main" / name
    assert path.read_bytes() == hub.contents[name]
    ranges = [r.headers["range"] for r in hub.asked(hub.blob_path(name)) if "range" in r.headers]
    assert ranges


@pytest.mark.parametrize("status", [500, 429])
def test_a_hub_that_keeps_failing_is_given_up(hub: PlayedHub, tmp_path: Path, status: int) -> None:
    hub.fault(hub.listing_path, *[Fault(status=status)] * 3)
    with pytest.raises(InputError, match="3 times in a row"):
        source("in", tmp_path).fetch(window(hours("2021-01-01T00", 3)))
    assert len(hub.requests) == 3


def test_a_hub_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PlayedHub({}) as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(InputError, match="Try again later"):
        source("in", tmp_path).fetch(window(hours("2021-01-01T00", 3)))


def test_a_token_is_sent_where_it_is_set_and_asked_for_where_not(
    hub: PlayedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    asked = window(hours("2021-01-01T00", 3))
    with pytest.raises(InputError, match="HF_TOKEN"):
        source("in", tmp_path).fetch(asked)
    assert len(hub.requests) == 1
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source("in", tmp_path).fetch(asked)
    assert weigh(source("in", tmp_path).to_fetch(asked)).fetched == 0
    for path in (tmp_path / "rainshift").rglob("*.json"):
        assert "secret" not in path.read_text()


def test_a_revision_or_file_that_does_not_exist(hub: PlayedHub, tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 3))
    wrong = RainShiftOptions(side="in", revision="nowhere")
    with pytest.raises(InputError, match="Check the revision"):
        open_source(wrong, cache=tmp_path).fetch(asked)
    assert len(hub.requests) == 1
    del hub.contents[IN["test"]]
    with pytest.raises(InputError, match="none of that name"):
        source("in", tmp_path).fetch(asked)


def test_files_of_a_branch_come_from_one_commit(hub: PlayedHub, tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 3))
    source("in", tmp_path).fetch(asked)
    hub.fault(hub.listing_path, Fault(status=500))  # would be met if the branch were looked up
    source("in", tmp_path).fetch(window(hours("2001-01-01T00", 3)))
    assert len(hub.asked(hub.listing_path)) == 1
    assert source("in", tmp_path).ids("") == {"RainShift/rainshift": "main"}


def test_a_truncated_archive_is_fetched_again(hub: PlayedHub, tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 3))
    era5 = source("in", tmp_path)
    era5.fetch(asked)
    path = tmp_path / "rainshift" / "main" / IN["test"]
    path.write_bytes(path.read_bytes()[:-1000])
    assert weigh(era5.to_fetch(asked)).fetched == len(hub.contents[IN["test"]])
    with pytest.raises(InputError, match=r"test_data_in\.zarr\.zip.*BadZipFile.*Build|build"):
        era5.times(asked)
    era5.fetch(asked)
    assert path.read_bytes() == hub.contents[IN["test"]]
    assert era5.read(asked, asked.times).sizes["time"] == 3


@pytest.mark.usefixtures("hub")
def test_a_spoilt_chunk_is_found_in_reading_and_fetched_again(tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 3), ("precipitation",))
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    path = tmp_path / "rainshift" / "main" / OUT["test"]
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    assert arrived(path)
    with pytest.raises(InputError, match="fetched again"):
        imerg.read(asked, asked.times)
    imerg.fetch(asked)
    assert np.isfinite(imerg.read(asked, asked.times)["precipitation"].values).all()


def test_targets_and_inputs_of_different_lengths_are_refused(
    hub: PlayedHub, given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    hub.contents[OUT["test"]] = zipped(given[OUT["test"]].isel(time=slice(29)))
    asked = window(hours("2021-01-01T00", 3), ("precipitation",))
    imerg = source("out", tmp_path)
    imerg.fetch(asked)
    with pytest.raises(InputError, match="30 hours, as in test_data_in"):
        imerg.read(asked, asked.times)


def test_a_time_axis_of_other_years_is_refused(
    hub: PlayedHub, given: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    early = given[IN["test"]].assign_coords(time=given[IN["test"]]["time"] - np.timedelta64(1, "h"))
    hub.contents[IN["test"]] = zipped(early, packed=True)
    asked = window(hours("2021-01-01T00", 3))
    era5 = source("in", tmp_path)
    era5.fetch(asked)
    with pytest.raises(InputError, match="2020-12-31T23"):
        era5.times(asked)


@pytest.mark.usefixtures("hub")
def test_hours_and_variables_that_are_not_there(tmp_path: Path) -> None:
    asked = window(hours("2021-01-02T00", 12))
    era5 = source("in", tmp_path)
    era5.fetch(asked)
    np.testing.assert_array_equal(era5.times(asked), hours("2021-01-02T00", 6))
    with pytest.raises(InputError, match=r"2021-01-02T06:00:00, .* and 3 more"):
        era5.read(asked, asked.times)
    with pytest.raises(InputError, match="2023-01-01"):
        era5.read(asked, hours("2022-12-31T23", 2)[1:])
    with pytest.raises(InputError, match=r"\['t2m'\].*tp, u"):
        era5.read(window(asked.times, ("t2m",)), asked.times[:1])


@pytest.mark.parametrize("region", REGIONS)
def test_every_box_is_its_region(region: str) -> None:
    south, north, west, east = REGIONS[region]
    half = 0.125
    for box in (
        (south, north, west, east),
        (south - half, north + half, west - half, east + half),
        (south + 2, north - 2, west + 2, east - 2),
    ):
        assert region_of(Window(*box, ("tp",), NO_TIMES)) == region


def test_a_box_elsewhere_is_refused_with_the_known_ones() -> None:
    for box in [(0.0, 20.0, 0.0, 20.0), (40.0, 60.2, -5.0, 15.0), (40.0, 60.0, 10.0, 30.0)]:
        with pytest.raises(InputError, match=r"northamerica-west \(40, 60, -130, -110\)"):
            region_of(Window(*box, ("tp",), NO_TIMES))


@pytest.mark.usefixtures("hub")
def test_a_source_travels_to_a_worker(tmp_path: Path) -> None:
    asked = window(hours("2021-01-01T00", 2))
    era5 = open_source(RainShiftOptions(side="in"), cache=tmp_path)
    era5.fetch(asked)
    code = "import pickle, sys; s, w = pickle.load(sys.stdin.buffer); " \
        "sys.stdout.buffer.write(s.read(w, w.times)['tp'].values.tobytes())"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((era5, asked)), capture_output=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == era5.read(asked, asked.times)["tp"].values.tobytes()


def test_a_kill_in_the_middle_is_resumed(hub: PlayedHub, tmp_path: Path) -> None:
    name = OUT["test"]
    size = len(hub.contents[name])
    # The first answer stops after a third and stays silent, so that the kill finds a part.
    hub.fault(hub.blob_path(name), Fault(truncate_after=size // 3), Fault(pause_s=30.0))
    asked = window(hours("2021-01-01T00", 3), ("precipitation",))
    code = "import pickle, sys; s, w = pickle.load(sys.stdin.buffer); s.fetch(w)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(pickle.dumps((open_source(RainShiftOptions(side="out"), cache=tmp_path),
                                    asked)))  # fmt: skip
    child.stdin.close()
    deadline = time.monotonic() + 30
    while len(hub.asked(hub.blob_path(name))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    imerg = source("out", tmp_path)
    assert weigh(imerg.to_fetch(asked)).fetched == size
    before = len(hub.requests)
    imerg.fetch(asked)
    after = hub.requests[before:]
    resumed = [r.headers.get("range", "") for r in after if r.path == hub.blob_path(name)]
    assert len(resumed) == 1
    # What had been written in whole blocks is not asked for again.
    assert size // 3 - 2**18 < int(resumed[0].removeprefix("bytes=").removesuffix("-")) <= size // 3
    assert not [r for r in after if IN["test"] in r.path]
    path = tmp_path / "rainshift" / "main" / name
    assert path.read_bytes() == hub.contents[name]
