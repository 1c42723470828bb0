"""The times of a task and those that a product lacks; axes that are refused."""

from datetime import datetime

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.task import Period, Periods
from data_recipes.time_axis import by_month, check_times, expected_times, missing


def at(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[s]")


def periods(*days: tuple[str, str]) -> Periods:
    train, val, test = (
        Period(first=datetime.fromisoformat(a), last=datetime.fromisoformat(b)) for a, b in days
    )
    return Periods(train=train, val=val, test=test, embargo_hours=24)


YEARS = periods(
    ("2020-02-28T00:00", "2020-02-29T23:00"),
    ("2020-03-03T00:00", "2020-03-03T23:00"),
    ("2020-03-06T00:00", "2020-03-06T23:00"),
)


def hourly() -> np.ndarray:
    days = [at(day)[0] + np.arange(24) * np.timedelta64(1, "h") for day in
            ("2020-02-28", "2020-02-29", "2020-03-03", "2020-03-06")]  # fmt: skip
    return np.concatenate(days).astype("datetime64[s]")


def test_every_hour_of_the_periods_and_none_between() -> None:
    found = expected_times(YEARS, every_hours=1)
    assert found.dtype == np.dtype("datetime64[s]")
    np.testing.assert_array_equal(found, hourly())


def test_six_utc_of_every_day() -> None:
    expected = at("2020-02-28T06", "2020-02-29T06", "2020-03-03T06", "2020-03-06T06")
    found = expected_times(YEARS, every_hours=24, offset_hours=6)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(expected_times(YEARS, every_hours=24, offset_hours=-18), expected)


def test_half_hours_and_periods_that_begin_off_the_hour() -> None:
    odd = periods(
        ("2020-01-01T00:10", "2020-01-01T01:40"),
        ("2020-01-03T00:00", "2020-01-03T00:00"),
        ("1969-12-31T23:40", "1970-01-01T00:10"),
    )
    found = expected_times(odd, every_hours=0.5)
    expected = ["1970-01-01T00:00", "2020-01-01T00:30", "2020-01-01T01:00", "2020-01-01T01:30",
                "2020-01-03T00:00"]  # fmt: skip
    np.testing.assert_array_equal(found, at(*expected))


@pytest.mark.parametrize(("every", "said"), [(0, "more than 0"), (24 * 365, "period train")])
def test_no_times_are_refused(every: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        expected_times(YEARS, every_hours=every)


def test_missing_times_are_runs() -> None:
    expected = hourly()
    # The last hour of train, two of validation, the first of the test period.
    found = np.delete(expected, [47, 48, 60, 61, 72])
    runs = [(str(run.first), str(run.last)) for run in missing(expected, found)]
    assert runs == [
        ("2020-02-29 23:00:00", "2020-02-29 23:00:00"),
        ("2020-03-03 00:00:00", "2020-03-03 00:00:00"),
        ("2020-03-03 12:00:00", "2020-03-03 13:00:00"),
        ("2020-03-06 00:00:00", "2020-03-06 00:00:00"),
    ]


def test_nothing_or_everything_is_missing() -> None:
    expected = hourly()
    assert missing(expected, expected) == ()
    assert missing(expected, np.concatenate([expected, at("1999-01-01")])) == ()
    assert len(missing(expected, expected[:0])) == 3
    (one,) = missing(expected[:1], expected[:0])
    assert one.first == one.last == datetime(2020, 2, 28)


def test_good_axes_pass() -> None:
    for times in (hourly()[:48], hourly()[:1], hourly()[:0], hourly()[::24][:2]):
        assert check_times("x", times) == []


def named(times: np.ndarray, **options: bool) -> list[str]:
    return [f"{problem.expected}: {problem.got}" for problem in check_times("x", times, **options)]


def test_a_duplicated_hour_is_named() -> None:
    times = np.insert(hourly()[:24], 5, hourly()[5])
    assert named(times) == ["every time once: 2020-02-28T05:00:00 twice"]


def test_a_missing_hour_is_named_unless_gaps_are_recorded() -> None:
    times = np.delete(hourly()[:24], [7, 8])
    (problem,) = named(times)
    assert problem.endswith("none at 2020-02-28T07:00:00, none at 2020-02-28T08:00:00")
    assert named(times, gaps=True) == []
    many = np.delete(hourly()[:24], slice(3, 13))
    assert named(many)[0].endswith("none at 2020-02-28T06:00:00 and 6 more")


def test_times_that_go_back_are_named() -> None:
    times = hourly()[:24].copy()
    times[[10, 11]] = times[[11, 10]]
    assert any("2020-02-28T10:00:00 after a later one" in text for text in named(times, gaps=True))
    assert any("ascending" in text for text in named(hourly()[:24][::-1]))


def test_a_time_off_the_cadence_is_named_though_gaps_are_recorded() -> None:
    times = np.insert(hourly()[:24], 9, at("2020-02-28T08:30"))
    (problem,) = named(times, gaps=True)
    assert problem.startswith("times 1 h apart: ")
    assert "2020-02-28T08:30:00, 0.5 h later" in problem


def test_months_split_without_loss() -> None:
    hours = np.arange("2020-01-31T20", "2020-02-01T03", dtype="datetime64[h]")
    found = by_month(hours.astype("datetime64[s]"))
    assert [(month, len(times)) for month, times in found] == [("2020-01", 4), ("2020-02", 3)]
    np.testing.assert_array_equal(np.concatenate([times for _, times in found]), hours)
    assert by_month(hours[:0]) == []
