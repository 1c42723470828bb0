"""The task's contract: what the file may say, and how splits are read from it."""

import tomllib
from datetime import datetime
from importlib import resources
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.region import Region
from benchmark.task import SPLITS, Task
from benchmark.task_files import load_task, task_names
from benchmark.toml_model import validate


@pytest.fixture
def table() -> dict[str, Any]:
    """The shipped task's file as a table, to be changed."""
    file = resources.files("benchmark") / "tasks" / "era5-sample.toml"
    return tomllib.loads(file.read_text())


def problems(table: dict[str, Any]) -> list[str]:
    """The problems of a changed table, as texts."""
    with pytest.raises(InputError) as caught:
        validate(table, Task, where="era5-sample.toml")
    return [str(problem) for problem in caught.value.problems]


def test_what_the_issue_asks_of_the_task(task: Task) -> None:
    """24 boxes of 32 x 32 cells, factor 4, margin 1; roles, members and variables as asked."""
    assert len(task.regions) >= 24
    assert {(r.lat[1] - r.lat[0], r.lon[1] - r.lon[0]) for r in task.regions} == {(32.0, 32.0)}
    assert all(r.lat[0] >= -56 and r.lat[1] <= 60 for r in task.regions)
    assert (task.factor, task.spacing, task.margin, task.members) == (4, 1, 1, 8)
    counts = {role: sum(r.role == role for r in task.regions) for role in ("train", "val_ood")}
    assert 8 <= counts["train"] <= 10
    assert counts["val_ood"] >= 3
    assert len(task.regions_of("test_ood")) >= 12
    assert task.variable_names == ("t2m", "wind_speed", "precipitation")
    assert "smoke test, not science" in " ".join(task.banner.split())
    assert task.season_coverage == "partial"
    assert task.case == "snapshot"


def test_every_box_has_land_and_sea(store: Any) -> None:
    """The strata land and sea both exist in each box: at least a tenth land, some sea."""
    for region in store.regions(*SPLITS):
        land = region.static("land_fraction").astype(float)
        share = np.average(land, weights=region.grid.fine.area)
        assert 0.1 < share < 0.97, (region.name, share)


def test_splits_share_regions_and_periods_as_designed(task: Task) -> None:
    """ID splits are the training regions; periods are common; every list is sorted by name."""
    train = task.regions_of("train")
    assert task.regions_of("val_id") == task.regions_of("test_id") == train
    assert not set(train) & set(task.regions_of("test_ood"))
    assert task.period_of("test_id") == task.period_of("test_ood") == task.periods.test
    assert task.period_of("val_id") == task.period_of("val_ood") == task.periods.val
    both = task.regions_of("test_id", "test_ood")
    assert [r.name for r in both] == sorted(r.name for r in both)
    assert len(both) == len(train) + len(task.regions_of("test_ood"))


def test_a_task_cannot_be_changed(task: Task) -> None:
    """The contract is frozen: name, regions and everything else."""
    with pytest.raises(ValueError, match="frozen"):
        task.margin = 0  # type: ignore[misc]
    assert task.id == "era5-sample@1"
    assert load_task("era5-sample") is task
    assert "era5-sample" in task_names()


def test_unknown_names_suggest_the_nearest(task: Task) -> None:
    """A slip of the pen in a task, region or variable names what was probably meant."""
    with pytest.raises(InputError, match="Did you mean 'era5-sample'"):
        load_task("era5-smaple")
    with pytest.raises(InputError, match="Did you mean 'andes-south'"):
        task.region("andes-soth")
    with pytest.raises(InputError, match="Did you mean 'precipitation'"):
        task.variable("precipitaton")
    with pytest.raises(InputError, match="Known: precipitation, t2m, wind_speed"):
        task.variable("zzz")


def test_an_unknown_key_suggests_the_nearest(table: dict[str, Any]) -> None:
    """At the top, in a list of tables and in a nested table; all of them at once."""
    table["buffer_kms"] = 500
    table["regions"][3]["rôle"] = "train"
    table["regions"][5]["latt"] = [0, 1]
    table["periods"]["embargo_hour"] = 12
    found = "\n".join(problems(table))
    assert "buffer_kms" in found
    assert "Did you mean 'buffer_km'?" in found
    assert "regions.3.rôle" in found
    assert "Did you mean 'role'?" in found
    assert "regions.5.latt" in found
    assert "Did you mean 'lat'?" in found
    assert "Did you mean 'embargo_hours'?" in found
    assert len(found.splitlines()) == 4


def test_missing_and_mistyped_keys_are_named(table: dict[str, Any]) -> None:
    """Every problem is in one list, each with its place and what came."""
    del table["factor"]
    table["margin"] = -1
    table["variables"][0]["units"] = "degC"
    table["name"] = "ERA5 sample"
    found = "\n".join(problems(table))
    for place in (": factor", ": margin", ": variables.0.units", ": name"):
        assert f"era5-sample.toml{place}" in found
    assert "'degC'" in found
    assert "Add this key." in found


@pytest.mark.parametrize(
    ("key", "value"), [("lat", [10.0, 10.0]), ("lat", [20.0, 10.0]), ("lon", [5.0, -5.0])]
)
def test_bounds_must_ascend(table: dict[str, Any], key: str, value: list[float]) -> None:
    """A box turned inside out is refused."""
    table["regions"][0][key] = value
    (problem,) = problems(table)
    assert f"regions.0.{key}" in problem
    assert "ascending" in problem


@pytest.mark.parametrize(
    ("key", "value"), [("lat", [70.0, 102.0]), ("lat", [-95.0, -63.0]), ("lon", [170.0, 202.0])]
)
def test_bounds_lie_on_the_globe(key: str, value: list[float]) -> None:
    """Latitudes beyond the poles and longitudes outside [-180, 180] are refused.

    A box at 170 to 202 would not be seen to overlap one at -180 to -160.
    """
    content = {"name": "a", "role": "train", "lat": [0.0, 32.0], "lon": [0.0, 32.0], key: value}
    with pytest.raises(ValueError, match=key):
        Region.model_validate(content)


def test_periods_include_both_ends(task: Task, store: Any) -> None:
    """Steps at the first and at the last time of a period belong to it; neighbours do not."""
    region = store.region("andes-south")
    period = task.periods.test
    times = region.times
    inside = times[region.steps(period)]
    assert inside[0] == np.datetime64(period.first)
    assert inside[-1] == np.datetime64(period.last)
    both = (times >= np.datetime64(period.first)) & (times <= np.datetime64(period.last))
    np.testing.assert_array_equal(inside, times[both])
    later = period.model_copy(update={"first": datetime(2026, 3, 29, 20, 0, 1)})
    assert len(times[region.steps(later)]) == len(inside) - 1
