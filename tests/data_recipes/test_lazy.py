"""Windows of a store and their pieces, without a network: order of dims, what is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from played.killed import files

from benchmark.errors import InputError
from data_recipes.retries import Retries
from data_recipes.source import Times, Window, no_report
from data_recipes.sources.lazy import Line, OpenStore, Shape, canonical, fetch_pieces
from data_recipes.sources.pieces import Piece, is_whole, pieces, read_times, read_window

HOURS = np.arange("2020-01-31T20", "2020-02-01T04", dtype="datetime64[h]").astype("datetime64[s]")
BOX = Window(-10.0, 10.0, -20.0, 20.0, ("rain",), HOURS)


def _store(times: Times = HOURS, dims: tuple[str, ...] = ("time", "lon", "lat")) -> OpenStore:
    lat, lon = np.arange(-85.0, 90, 10), np.arange(5.0, 360, 10)
    hours = (times - HOURS[0]) / np.timedelta64(1, "h")
    t, y, x = np.meshgrid(hours, lat, (lon + 180) % 360 - 180, indexing="ij")
    data = xr.Dataset(
        {"rain": (("time", "lat", "lon"), _value(t, y, x), {"units": "mm/h", "comment": "no"})},
        {"time": times.astype("datetime64[ns]"), "lat": lat, "lon": lon},
    ).transpose(*dims)
    return OpenStore(canonical(data), times[-1], {"version": "1"})


def _value(hour: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return (1000 * hour + 10 * lat + lon / 100).astype(np.float32)


def _line(attempts: int = 1) -> Line:
    retries = Retries(attempts=attempts, sleep=lambda _: None)
    return Line(lambda error: isinstance(error, ConnectionError), retries, lambda _: 100)


def _fetch(window: Window, folder: Path, store: OpenStore, *, whole: bool = False) -> list[Piece]:
    wanted = [piece for piece in pieces(window, folder) if not is_whole(piece, thorough=True)]
    fetch_pieces(wanted, store, Shape(steps=3, whole=whole), _line(), advance=no_report)
    return wanted


@pytest.mark.parametrize("whole", [True, False])
def test_both_ways_of_reading_give_the_same_files_and_the_right_values(
    whole: bool, tmp_path: Path
) -> None:
    _fetch(BOX, tmp_path / "one", _store(), whole=whole)
    _fetch(BOX, tmp_path / "other", _store(dims=("time", "lat", "lon")), whole=not whole)
    assert files(tmp_path / "one") == files(tmp_path / "other")
    data = read_window(BOX, HOURS[2:7], tmp_path / "one")  # across the months
    assert list(data["x"].values) == [-25, -15, -5, 5, 15, 25]
    assert list(data["y"].values) == [-15, -5, 5, 15]
    grid = np.meshgrid(np.arange(2.0, 7), data["y"].values, data["x"].values, indexing="ij")
    np.testing.assert_array_equal(data["rain"].values, _value(*grid))
    assert data["rain"].attrs == {"units": "mm/h"}


def test_only_wanted_times_are_taken_and_doubles_stay(tmp_path: Path) -> None:
    twice = np.sort(np.append(HOURS, HOURS[2]))
    window = replace(BOX, times=HOURS[::2])
    _fetch(window, tmp_path, _store(twice))
    assert list(read_times(window, tmp_path)) == [HOURS[0], HOURS[2], HOURS[2], *HOURS[4::2]]


def test_times_are_those_of_all_variables(tmp_path: Path) -> None:
    _fetch(BOX, tmp_path, _store())
    snow = _store(HOURS[3:])
    _fetch(
        replace(BOX, names=("snow",)), tmp_path, replace(snow, data=snow.data.rename(rain="snow"))
    )
    for names in (("rain", "snow"), ("snow", "rain")):
        assert list(read_times(replace(BOX, names=names), tmp_path)) == list(HOURS[3:])


def test_a_piece_that_ended_early_is_asked_again_and_grows(tmp_path: Path) -> None:
    _fetch(BOX, tmp_path, _store(HOURS[:6]))
    assert list(read_times(BOX, tmp_path)) == list(HOURS[:6])
    assert [piece.month for piece in _fetch(BOX, tmp_path, _store())] == ["2020-02"]
    assert list(read_times(BOX, tmp_path)) == list(HOURS)
    assert _fetch(BOX, tmp_path, _store()) == []


def test_a_window_of_fewer_times_is_in_the_pieces_of_one_of_more(tmp_path: Path) -> None:
    _fetch(BOX, tmp_path, _store())
    fewer = replace(BOX, times=np.delete(HOURS, [1, 5]))
    assert _fetch(fewer, tmp_path, _store()) == []
    assert list(read_times(fewer, tmp_path)) == list(fewer.times)
    data = read_window(fewer, fewer.times, tmp_path)
    whole = read_window(BOX, HOURS, tmp_path)
    xr.testing.assert_identical(data, whole.sel(time=fewer.times))


def test_a_piece_grows_by_what_is_asked_later(tmp_path: Path) -> None:
    _fetch(replace(BOX, times=HOURS[::2]), tmp_path / "grown", _store())
    odd = replace(BOX, times=HOURS[1::2])
    _fetch(odd, tmp_path / "grown", _store())
    _fetch(BOX, tmp_path / "whole", _store())
    assert files(tmp_path / "grown") == files(tmp_path / "whole")


def test_a_time_that_is_not_here_and_a_piece_that_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a piece as it was fetched"):
        read_times(BOX, tmp_path)
    _fetch(BOX, tmp_path, _store())
    with pytest.raises(InputError, match="1 of them"):
        read_window(BOX, np.array([HOURS[0], HOURS[0] + 60]), tmp_path)
    piece = pieces(BOX, tmp_path)[0].path
    piece.write_bytes(piece.read_bytes()[:-200])
    with pytest.raises(InputError, match="a piece as it was fetched"):
        read_window(BOX, HOURS[:1], tmp_path)


def test_failures_that_may_pass_are_tried_again_and_others_are_not() -> None:
    failures: list[Exception] = [ConnectionError("reset"), ConnectionError("reset")]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "there"

    assert _line(attempts=3).patiently(call) == "there"
    failures.extend([ConnectionError("last"), ConnectionError("reset")])
    with pytest.raises(ConnectionError, match="last"):
        _line(attempts=2).patiently(call)
    failures.extend([ConnectionError("never"), ValueError("wrong")])
    with pytest.raises(ValueError, match="wrong"):
        _line(attempts=9).patiently(call)
    assert len(failures) == 1
