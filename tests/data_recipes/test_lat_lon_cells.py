"""Rows and columns of windows: turns of longitude, seams, float32, order; what is read."""

import numpy as np
import pytest
import xarray as xr

from benchmark.errors import InputError
from data_recipes.source import Window
from data_recipes.sources.lat_lon_cells import (
    as_slice,
    check_spacing,
    columns,
    crop,
    rows,
    runs,
    to_degrees,
    window_part,
)

QUARTER = np.arange(0, 360, 0.25, dtype=np.float32)
TENTH = np.round(np.arange(-179.95, 180, 0.1), 2).astype(np.float32)
ACROSS = np.concatenate([np.arange(350, 360, 0.25), np.arange(0, 20, 0.25)])
NOTHING = np.empty(0, "datetime64[s]")


@pytest.mark.parametrize(
    ("centres", "west", "east"),
    [
        (QUARTER, -10.0, 10.0), (QUARTER, -180.0, -170.0), (QUARTER, 170.0, 190.0),
        (QUARTER, -0.1, 0.1), (QUARTER, 179.0, 181.0), (TENTH, -10.0, 10.0),
        (TENTH, 160.0, 190.0), (TENTH, -180.0, -170.0), (TENTH, 179.97, 180.02),
        (QUARTER[::-1], -10.0, 10.0), (np.roll(QUARTER, 300), 170.0, 190.0),
        (QUARTER + np.float32(720), -10.0, 10.0), (ACROSS, -5.0, 5.0), (ACROSS, 5.0, 15.0),
        (np.array([359.75, 0.0]), -0.2, -0.05),
    ],
)  # fmt: skip
def test_columns_cover_the_box_and_half_a_cell_once(
    centres: np.ndarray, west: float, east: float
) -> None:
    step = 0.1 if centres is TENTH else 0.25
    index, x = columns(to_degrees(centres), west, east, where="a store")
    np.testing.assert_allclose(np.diff(x), step, atol=1e-9)
    assert x[0] - step / 2 <= west - step / 2 + 1e-9 < x[0] + step / 2 + 1e-9
    assert x[-1] - step / 2 - 1e-9 < east + step / 2 - 1e-9 <= x[-1] + step / 2
    turns = (x - to_degrees(centres)[index]) / 360
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)


def test_a_globe_is_closed_on_both_sides() -> None:
    index, x = columns(to_degrees(QUARTER), -180.0, 180.0, where="a store")
    assert (x[0], x[-1], len(x)) == (-180.0, 180.0, 1441)
    assert index[0] == index[-1] == 720


def test_a_float32_centre_is_the_decimal_that_was_meant() -> None:
    assert to_degrees(TENTH)[-1] == 179.95
    assert to_degrees(TENTH.astype(np.float64))[-1] != 179.95
    counted_up = np.nextafter(TENTH, np.float32(999), dtype=np.float32)  # a last bit too much
    np.testing.assert_array_equal(to_degrees(counted_up), np.round(TENTH.astype(float), 2))
    thirds = (-125 + np.arange(99) / 24).astype(np.float32)
    np.testing.assert_allclose(to_degrees(thirds), -125 + np.arange(99) / 24, rtol=0, atol=8e-6)


@pytest.mark.parametrize("order", [1, -1])
def test_rows_keep_the_order_of_the_store(order: int) -> None:
    latitude = np.arange(-90.0, 90.25, 0.25)[::order]
    chosen = latitude[rows(latitude, 10.1, 11.0, where="a store")]
    assert list(chosen[::order]) == [10.0, 10.25, 10.5, 10.75, 11.0]
    assert latitude[rows(latitude, 80.0, 90.0, where="a store")].max() == 90
    with pytest.raises(InputError, match="a store: latitudes: expected some between 95 and 99"):
        rows(latitude, 95.0, 99.0, where="a store")


def test_a_centre_just_a_cell_away_is_never_taken_whatever_rounding_says() -> None:
    """Those of a tenth of a degree from a box whose edges lie on centres."""
    for first in np.arange(-60, 60, 0.1):
        latitude = first + 0.1 * np.arange(30)
        taken = rows(latitude, latitude[5], latitude[9], where="a store")
        assert (taken.start, taken.stop) == (5, 10)
        index, _ = columns(latitude, latitude[5], latitude[9], where="a store")
        assert list(index) == [5, 6, 7, 8, 9]


def test_columns_that_are_not_there_and_lone_cells_are_refused() -> None:
    with pytest.raises(InputError, match="a store: longitudes: expected some between 30 and 40"):
        columns(ACROSS, 30.0, 40.0, where="a store")
    with pytest.raises(InputError, match="two cells or more"):
        rows(np.array([10.0]), 9.0, 11.0, where="a store")


def test_a_window_across_a_seam_is_read_in_two_runs() -> None:
    lat, lon = np.arange(50, 40, -1.0), np.arange(0.5, 360)
    values = 1000 * lat[:, None] + lon
    part = window_part(lat, lon, Window(44, 46, -2, 1, ("a",), NOTHING), where="a store")
    assert list(runs(part.columns)) == [slice(357, 360), slice(0, 2)]
    np.testing.assert_array_equal(part.x, [-2.5, -1.5, -0.5, 0.5, 1.5])
    np.testing.assert_array_equal(part.y, [46, 45, 44])
    expected = 1000 * part.y[:, None] + part.x % 360
    np.testing.assert_array_equal(crop(xr.DataArray(values, dims=("v", "u")), part), expected)
    thrice = xr.DataArray(np.stack([values, 2 * values]), dims=("t", "v", "u"))
    np.testing.assert_array_equal(crop(thrice, part)[1], 2 * expected)


def test_another_spacing_is_refused() -> None:
    half, tenth = np.arange(0, 5, 0.5), np.arange(0, 1, 0.1)
    check_spacing(half[::-1], half, 0.5, where="a file")
    for y, x, axis in ((tenth, half, "latitudes"), (half, tenth, "longitudes")):
        with pytest.raises(InputError, match=f"a file: expected {axis} 0.5 degrees apart"):
            check_spacing(y, x, 0.5, where="a file")
    with pytest.raises(InputError, match=r"longitudes 0\.5 degrees apart; got one"):
        check_spacing(half, half[:1], 0.5, where="a file")


def test_runs_split_without_loss() -> None:
    index = np.array([7, 8, 9, 0, 1, 5])
    assert list(runs(index)) == [slice(7, 10), slice(0, 2), slice(5, 6)]
    assert as_slice(index[:3]) == slice(7, 10)
    assert as_slice(index) is index
