"""Names, units and hours of a product become the task's."""

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from benchmark.errors import InputError
from data_recipes.fields import FieldOf, make, make_static, needed
from data_recipes.units import TASK_UNITS, UNITS, conversion

SHAPE = (2, 3)


def times(*texts: str) -> np.ndarray:
    return np.array([f"2020-03-{text}" for text in texts], "datetime64[s]")


def hours(first: str, count: int, every: float = 1) -> np.ndarray:
    seconds = (np.arange(count) * every * 3600).astype("timedelta64[s]")
    return np.datetime64(f"2020-03-{first}", "s") + seconds


def product(at: np.ndarray, **fields: tuple[object, str | None]) -> xr.Dataset:
    """Fields with units; a value for each time stands for the whole field."""
    variables = {}
    for name, (values, units) in fields.items():
        by_time = np.broadcast_to(
            np.asarray(values, np.float32).reshape(-1, 1, 1), (len(at), *SHAPE)
        )
        attrs = {} if units is None else {"units": units}
        variables[name] = (("time", "y", "x"), by_time.copy(), attrs)
    return xr.Dataset(variables, coords={"time": at, "y": [1.0, 0.0], "x": [0.0, 1.0, 2.0]})


def field(names: object, **options: object) -> FieldOf:
    return FieldOf.model_validate({"from": names} | options)


def said(call: object, *args: object, **options: object) -> str:
    with pytest.raises(InputError) as error:
        call(*args, **options)  # type: ignore[operator]
    return str(error.value)


# Hours


def test_an_instant_needs_itself() -> None:
    assert needed(field("t2m"), times("01T06")[0]).tolist() == times("01T06").tolist()


def test_imerg_half_hours_are_stamped_at_their_start() -> None:
    imerg = field("precipitation", hours=0.5, stamp="start", over_hours=1)
    expected = times("01T05:00", "01T05:30")
    np.testing.assert_array_equal(needed(imerg, times("01T06")[0]), expected)


def test_days_of_gauges_are_named_by_the_date_at_whose_noon_they_end() -> None:
    prism = field("ppt", hours=24, stamp="middle", over_hours=24)
    expected = times("02T00")
    np.testing.assert_array_equal(needed(prism, times("02T12")[0]), expected)
    halves = field("p", hours=0.5, stamp="middle", over_hours=1)
    expected = times("01T05:15", "01T05:45")
    np.testing.assert_array_equal(needed(halves, times("01T06")[0]), expected)


def test_era5_hours_of_a_day_to_six() -> None:
    era5 = field("tp", hours=1, over_hours=24)
    stamps = needed(era5, times("02T06")[0])
    np.testing.assert_array_equal(stamps, hours("01T07", 24))


def test_cerra_land_days_are_their_own() -> None:
    land = field("tp", hours=24, over_hours=24)
    both = times("02T06", "03T06")
    np.testing.assert_array_equal(needed(land, both), both[:, None])


@pytest.mark.parametrize(
    "options",
    [
        {"hours": 1},
        {"over_hours": 24},
        {"hours": 3, "over_hours": 24.5},
        {"hours": 3, "over_hours": 1},
    ],
)
def test_intervals_that_do_not_tile_are_refused(options: dict[str, float]) -> None:
    assert "over_hours" in said(needed, field("tp", **options), times("01T06"))


def test_means_are_over_the_interval_that_ends_at_the_time() -> None:
    """Each hour's own number tells which hours went in."""
    era5 = product(hours("01T01", 48), tp=(np.arange(1, 49) / 1000, "m"))
    made = make(field("tp", hours=1, over_hours=24), era5, times("02T06", "02T07"), units="mm d-1")
    assert made.shape == (2, *SHAPE)
    np.testing.assert_allclose(made[:, 0, 0], [sum(range(7, 31)), sum(range(8, 32))], rtol=1e-6)
    imerg = product(hours("01T00", 8, 0.5), p=(np.arange(8.0), "mm/hr"))
    hourly = field("p", hours=0.5, stamp="start", over_hours=1)
    made = make(hourly, imerg, times("01T01", "01T03"), units="mm h-1")
    np.testing.assert_allclose(made[:, 1, 2], [0.5, 4.5])


def test_a_missing_stamp_or_value_makes_the_mean_missing() -> None:
    at = np.delete(hours("01T00", 12, 0.5), 5)
    imerg = product(at, p=(np.ones(11), "mm/hr"))
    imerg.p[0, 1, 1] = np.nan
    hourly = field("p", hours=0.5, stamp="start", over_hours=1)
    made = make(hourly, imerg, hours("01T01", 7), units="mm h-1")
    assert np.isnan(made[2]).all()
    assert np.isnan(made[6]).all()  # beyond the last
    assert np.isnan(made[0]).sum() == 1
    assert np.isnan(made[0, 1, 1])
    assert (made[[1, 3, 4, 5]] == 1).all()


def test_times_in_any_order_but_each_once() -> None:
    shuffled = product(hours("01T00", 6)[[3, 0, 5, 1, 4, 2]], t=([3, 0, 5, 1, 4, 2], "K"))
    made = make(field("t"), shuffled, hours("01T00", 6), units="K")
    np.testing.assert_array_equal(made[:, 0, 0], range(6))
    twice = product(times("01T00", "01T01", "01T01"), t=([1, 2, 3], "K"))
    assert "2020-03-01T01:00:00 twice" in said(make, field("t"), twice, times("01T00"), units="K")


def test_no_times_at_all() -> None:
    empty = product(hours("01T00", 0), t=(np.zeros(0), "K"))
    assert np.isnan(make(field("t"), empty, hours("01T00", 2), units="K")).all()


# Rules


def test_speed_comes_before_any_mean() -> None:
    """Wind that turns round blows all the same; knots and m s-1 may be mixed."""
    wind = product(
        hours("01T01", 2), u=([3.0, -3.0], "m s**-1"), v=(np.array([4, -4]) * 3.6, "km/h")
    )
    instant = make(field(["u", "v"], rule="speed"), wind, hours("01T01", 1), units="m s-1")
    np.testing.assert_allclose(instant, 5, rtol=1e-6)
    mean = field(["u", "v"], rule="speed", hours=1, over_hours=2)
    np.testing.assert_allclose(make(mean, wind, times("01T02"), units="m s-1"), 5, rtol=1e-6)


def test_a_rule_has_its_number_of_names() -> None:
    wind = product(hours("01T01", 2), u=([3.0, -3.0], "m/s"), v=([4.0, -4.0], "m/s"))
    at = hours("01T01", 1)
    assert "2 name(s)" in said(make, field("u", rule="speed"), wind, at, units="m s-1")
    assert "1 name(s)" in said(make, field(["u", "v"]), wind, at, units="m s-1")
    with pytest.raises(ValidationError):
        field([])


def test_what_the_product_lacks_is_named() -> None:
    data = product(hours("01T00", 1), t2m=(280, "K"), bare=(1, None))
    at = hours("01T00", 1)
    assert "t2m" in said(make, field("2t"), data, at, units="K")
    assert "neither" in said(make, field("bare"), data, at, units="K")
    assert make(field("bare", units="K"), data, at, units="K")[0, 0, 0] == 1
    levels = data.expand_dims(member=2)
    assert "(member, time, y, x)" in said(make, field("t2m"), levels, at, units="K")


def test_units_of_the_recipe_win() -> None:
    """RainShift's total precipitation in m, whatever its attribute says."""
    data = product(hours("01T00", 1), tp=(0.002, "mm/hr"))
    rate = field("tp", units="m", hours=1, over_hours=1)
    np.testing.assert_allclose(make(rate, data, hours("01T00", 1), units="mm h-1"), 2, rtol=1e-6)


def test_noise_of_packing_becomes_zero_and_no_more() -> None:
    data = product(hours("01T00", 4), p=([-1e-9, -0.9e-3, -1.1e-3, 2], "mm/hr"))
    made = make(field("p"), data, hours("01T00", 4), units="mm h-1")[:, 0, 0]
    np.testing.assert_allclose(made, [0, 0, -1.1e-3, 2], rtol=1e-6)
    cold = product(hours("01T00", 1), u=(-5e-4, "m/s"))
    assert make(field("u"), cold, hours("01T00", 1), units="m s-1")[0, 0, 0] < 0


def test_statics() -> None:
    data = xr.Dataset(
        {
            "z": (("y", "x"), np.full(SHAPE, 980.665), {"units": "m**2 s**-2"}),
            "lsm": (("y", "x"), np.full(SHAPE, 40.0), {"units": "%"}),
            "t2m": (("time", "y", "x"), np.ones((1, *SHAPE)), {"units": "m"}),
        }
    )
    np.testing.assert_allclose(make_static(field("z"), data, units="m"), 100)
    np.testing.assert_allclose(make_static(field("lsm"), data, units="1"), 0.4)
    assert "(time, y, x)" in said(make_static, field("t2m"), data, units="m")


# Units


@pytest.mark.parametrize(
    ("value", "given", "hours", "wanted", "expected"),
    [
        (15, "degC", 0, "K", 288.15),
        (15, " celsius ", 0, "K", 288.15),
        (59, "degF", 0, "K", 288.15),
        (10, "knots", 0, "m s-1", 5.144444),
        (36, "km/h", 0, "m s-1", 10),
        (0.012, "m", 1, "mm h-1", 12),
        (0.012, "m of water equivalent", 24, "mm d-1", 12),
        (12, "kg m**-2", 24, "mm h-1", 0.5),
        (1, "inches", 24, "mm d-1", 25.4),
        (1, "mm/hr", 0.5, "mm d-1", 24),
        (24, "mm day-1", 24, "mm h-1", 1),
        (1e-3, "kg m-2 s-1", 0, "mm h-1", 3.6),
        (1e-3, "kg m-2 s-1", 1, "mm d-1", 86.4),
        (25, "kg m**-2", 0, "kg m-2", 25),
        (25, "mm", 1, "kg m-2", 25),
        (0.3, "(0 - 1)", 0, "1", 0.3),
        (30, "%", 0, "1", 0.3),
        (1.2, "km", 0, "m", 1200),
        (9.80665, "m2 s-2", 0, "m", 1),
    ],
)
def test_conversions(value: float, given: str, hours: float, wanted: str, expected: float) -> None:
    made = conversion("x", given, wanted, hours=hours)
    assert value * made.factor + made.offset == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "hours", "wanted", "words"),
    [
        ("m", 0, "mm h-1", "hours above 0"),
        ("kg m-2", 0, "mm d-1", "hours above 0"),
        ("furlong", 0, "m", "known: K, degC"),
        ("m s-1", 0, "mm h-1", "a speed"),
        ("m", 0, "m s-1", "a length"),
        ("K", 0, "1", "a temperature"),
        ("mm h-1", 1, "kg m-2", "a rate"),
        ("m2 s-2", 0, "K", "a geopotential"),
    ],
)
def test_units_that_cannot_be_meant(given: str, hours: float, wanted: str, words: str) -> None:
    text = said(conversion, "tp", given, wanted, hours=hours)
    assert words in text
    assert repr(given) in text or words == "hours above 0"


def test_no_spelling_means_two_units() -> None:
    spelled = [" ".join(name.split()).casefold() for names in UNITS.values() for name in names]
    assert len(set(spelled)) == len(spelled)
    for wanted in TASK_UNITS:
        made = conversion("x", wanted, wanted)
        assert (made.factor, made.offset) == (1, 0)
