"""Every kind of leak between splits is caught in a task, and the shipped tasks have none."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from benchmark.leaks import check_task
from benchmark.task import Period, Task
from benchmark.task_files import load_task, task_names


def moved(task: Task, which: str, **change: Any) -> Task:
    """The task with one region changed."""
    regions = tuple(
        region.model_copy(update=change) if region.name == which else region
        for region in task.regions
    )
    assert regions != task.regions
    return task.model_copy(update={"regions": regions})


def timed(task: Task, **periods: tuple[str, str] | float) -> Task:
    """The task with some periods changed."""
    change = {
        name: value if isinstance(value, float | int) else Period(
            first=datetime.fromisoformat(value[0]), last=datetime.fromisoformat(value[1])
        )
        for name, value in periods.items()
    }  # fmt: skip
    return task.model_copy(update={"periods": task.periods.model_copy(update=change)})


def texts(task: Task) -> list[str]:
    """The problems as texts."""
    return [str(problem) for problem in check_task(task)]


@pytest.mark.parametrize("name", task_names())
def test_shipped_tasks_do_not_leak(name: str) -> None:
    """Every task in the wheel passes every check."""
    assert check_task(load_task(name)) == []


def test_an_ood_box_over_a_training_box(task: Task) -> None:
    """One shared cell between a test and a training region is caught, with both names."""
    europe = task.region("europe-west")
    lat = (europe.lat[0] - 31, europe.lat[0] + 1)
    found = texts(moved(task, "andes-south", lat=lat, lon=europe.lon))
    assert any("andes-south" in text and "europe-west" in text and "0 km" in text for text in found)


def test_a_box_inside_another(task: Task) -> None:
    """Borders 1,000 km apart do not make distance where one box contains the other."""
    found = texts(moved(task, "europe-west", lat=(-39.5, -31.5), lon=(-77.5, -69.5)))
    assert any("europe-west" in text and "andes-south" in text for text in found)


def test_boxes_that_only_touch(task: Task) -> None:
    """No shared cell, no buffer either."""
    europe = task.region("europe-west")
    bare = task.model_copy(update={"buffer_km": 0.0})
    lat = (europe.lat[0] - 32, europe.lat[0])
    found = texts(moved(bare, "andes-south", lat=lat, lon=europe.lon))
    assert any("andes-south" in text and "europe-west" in text for text in found)


@pytest.mark.parametrize(("degrees", "leaks"), [(4, True), (5, False)])
def test_the_buffer_between_roles(task: Task, degrees: int, leaks: bool) -> None:
    """4 degrees of latitude (445 km) are too near for 500 km, 5 degrees (556 km) are not."""
    west = task.region("northamerica-west")
    south = west.lat[0] - degrees
    found = texts(moved(task, "andes-south", lat=(south - 32, south), lon=west.lon))
    near = [text for text in found if "northamerica-west" in text and "andes-south" in text]
    assert bool(near) == leaks
    if leaks:
        assert "500 km" in near[0]
        assert f"{degrees * 111.199:.0f} km" in near[0]


def test_validation_and_test_regions_are_kept_apart(task: Task) -> None:
    """A validation region on a test region leaks as well."""
    andes = task.region("andes-south")
    found = texts(moved(task, "west-africa", lat=andes.lat, lon=andes.lon))
    assert any("val_ood" in text and "test_ood" in text for text in found)


def test_regions_of_one_role_may_overlap(task: Task) -> None:
    """Training boxes overlap each other in the shipped task: that is no leak."""
    first, second = task.region("europe-west"), task.region("europe-central")
    assert first.lon[1] > second.lon[0]
    assert check_task(task) == []


@pytest.mark.parametrize(
    "periods",
    [
        {"test": ("2026-03-29T16:00", "2026-03-31T23:00")},  # 11 h after validation
        {"test": ("2026-03-27T00:00", "2026-03-31T23:00")},  # overlaps both others
        {"val": ("2026-03-28T11:00", "2026-03-29T05:00")},  # 11 h after training
        {"embargo_hours": 16.0},
        {"embargo_hours": 0.0, "val": ("2026-03-28T00:00", "2026-03-29T05:00")},  # shares a step
    ],
)
def test_the_embargo_between_periods(task: Task, periods: dict[str, Any]) -> None:
    """Periods that overlap, touch or come too near are caught."""
    found = texts(timed(task, **periods))
    assert found
    assert all("embargo" in text for text in found)


def test_exactly_the_embargo_is_enough(task: Task) -> None:
    """Twelve hours are twelve hours."""
    assert texts(timed(task, test=("2026-03-29T17:00", "2026-03-31T23:00"))) == []


def test_a_period_that_ends_before_it_begins(task: Task) -> None:
    """Ends swapped by mistake."""
    found = texts(timed(task, test=("2026-03-31T23:00", "2026-03-29T20:00")))
    assert any("period test" in text and "first before last" in text for text in found)


def test_annual_tasks_use_whole_years(task: Task) -> None:
    """Full season coverage is a claim: a week is refused in each period, whole years pass."""
    annual = task.model_copy(update={"season_coverage": "full"})
    assert sum("whole years" in text for text in texts(annual)) == 3
    years = timed(
        annual,
        train=("2001-01-01T00:00", "2010-12-31T23:00"),
        val=("2012-01-01T00:00", "2012-12-31T23:00"),
        test=("2014-01-01T00:00", "2016-12-31T23:00"),
    )
    assert texts(years) == []
    cut = timed(years, test=("2014-01-01T00:00", "2016-11-30T23:00"))
    assert sum("whole years" in text for text in texts(cut)) == 1


@pytest.mark.parametrize(("day", "hours", "whole"), [(21, 240, True), (20, 240, False),
                                                     (12, 900, False)])  # fmt: skip
def test_years_give_their_end_to_the_embargo(task: Task, day: int, hours: int, whole: bool) -> None:
    """Whole years that follow one another can keep an embargo; a fortnight at most is forgiven."""
    years = timed(
        task.model_copy(update={"season_coverage": "full"}),
        train=("2001-01-01T00:00", f"2010-12-{day}T23:00"),
        val=("2011-01-01T00:00", f"2011-12-{day}T23:00"),
        test=("2012-01-01T00:00", "2012-12-31T23:00"),
        embargo_hours=hours,
    )
    found = [text for text in texts(years) if "whole years" in text]
    assert len(found) == (0 if whole else 2)


@pytest.mark.parametrize(("bounds", "kind"), [((-51.5, -19.0), "fine"), ((-51.5, -21.5), "coarse")])
def test_boxes_are_whole_cells(task: Task, bounds: tuple[float, float], kind: str) -> None:
    """Half a fine cell, or two fine cells that are half a coarse one."""
    found = texts(moved(task, "andes-south", lat=bounds))
    assert any(f"whole number of {kind} cells" in text and "lat" in text for text in found)


def test_boxes_are_of_one_size(task: Task) -> None:
    """One coarse row less in one region: the sizes are named."""
    (south, north) = task.region("andes-south").lat
    (found,) = texts(moved(task, "andes-south", lat=(south, north - 4)))
    assert "one number of fine cells" in found
    assert "andes-south 28 x 32" in found


def test_names_are_unique_and_roles_present(task: Task) -> None:
    """Two regions of one name, and a task without validation regions."""
    found = texts(moved(task, "andes-south", name="tibetan-plateau"))
    assert any("two of it" in text for text in found)
    regions = tuple(region for region in task.regions if region.role != "val_ood")
    found = texts(task.model_copy(update={"regions": regions}))
    assert any("at least one val_ood" in text for text in found)


def test_the_primary_variable_exists(task: Task) -> None:
    """A headline of a variable that nobody predicts."""
    primary = task.primary.model_copy(update={"variable": "snow"})
    (found,) = texts(task.model_copy(update={"primary": primary}))
    assert "primary.variable" in found
    assert "snow" in found


def test_every_leak_is_named_at_once(task: Task) -> None:
    """Several faults, one list."""
    broken = timed(moved(task, "andes-south", lat=(-51.5, -19.0)), embargo_hours=400.0)
    found = "\n".join(texts(broken))
    assert "fine cells" in found
    assert "embargo" in found


def test_problems_say_what_to_change(task: Task) -> None:
    """Boxes that touch are said to, an overlap of periods has hours, a margin its rule."""
    first, second = task.region("andes-south"), task.region("europe-west")
    lat = (first.lat[1], first.lat[1] + second.lat[1] - second.lat[0])
    touching = moved(task, "europe-west", lat=lat, lon=first.lon)
    assert any("boxes that touch or overlap" in text for text in texts(touching))
    late = task.periods.train.last
    period = Period(first=late - timedelta(hours=3), last=task.periods.val.last)
    overlap = task.periods.model_copy(update={"val": period})
    assert any("-3 h" in text for text in texts(task.model_copy(update={"periods": overlap})))
    wrong = texts(task.model_copy(update={"factor": 2.5}))
    assert any("a `margin` that times 2.5 is whole" in text for text in wrong)
