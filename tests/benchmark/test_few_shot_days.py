"""The labelled days of a task: listed, in the training period, one draw a seed."""

import tomllib
from collections.abc import Callable
from datetime import date
from importlib import resources
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task
from benchmark.toml_model import validate

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def table() -> dict[str, Any]:
    """The shipped task's file as a table, to be changed."""
    file = resources.files("benchmark") / "tasks" / "era5-sample.toml"
    return tomllib.loads(file.read_text())


def test_the_sample_has_a_draw_for_each_whole_training_day(task: Task, store: PairStore) -> None:
    """The last training step, at midnight, would be a day of one step: it is in no draw."""
    assert task.few_shot is not None
    assert task.few_shot.days == 1
    times = (
        store.region("andes-south")
        .times[store.region("andes-south").steps(task.periods.train)]
        .astype("datetime64[D]")
    )
    days, counts = np.unique(times, return_counts=True)
    whole = [day for day, count in zip(days.tolist(), counts, strict=True) if count > 1]
    assert [draw[0] for draw in task.few_shot.draws] == whole
    assert len(whole) == 3


def test_a_seed_takes_its_draw(task: Task) -> None:
    """Draw N modulo their number, so that every seed has one."""
    assert task.few_shot is not None
    taken = [task.few_shot.draw(seed) for seed in range(5)]
    assert taken == [(date(2026, 3, day),) for day in (25, 26, 27, 25, 26)]


@pytest.mark.parametrize(
    ("draws", "said"),
    [
        ([], "at least 1"),
        ([["2026-03-25", "2026-03-26"]], "draws of 1 day"),
        ([[]], "draws of 1 day"),
        ([["2026-03-25"], ["2026-03-25"]], "draws that differ"),
        ([["2026-03-29"]], "begin in the training period, not 2026-03-29"),
        ([["2026-03-24"]], "begin in the training period, not 2026-03-24"),
        ([["2026-03-32"]], "few_shot.draws.0.0"),
    ],
)
def test_other_draws_are_refused(table: dict[str, Any], draws: list[list[str]], said: str) -> None:
    table["few_shot"]["draws"] = draws
    with pytest.raises(InputError, match=said) as caught:
        validate(table, Task, where="era5-sample.toml")
    assert all("few_shot" in str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize("draw", [["2026-03-26", "2026-03-25"], ["2026-03-26", "2026-03-26"]])
def test_days_ascend_within_a_draw(table: dict[str, Any], draw: list[str]) -> None:
    table["few_shot"] = {"days": 2, "draws": [draw]}
    with pytest.raises(InputError, match="ascending order"):
        validate(table, Task, where="era5-sample.toml")


def test_a_task_may_have_none(table: dict[str, Any]) -> None:
    del table["few_shot"]
    assert validate(table, Task, where="era5-sample.toml").few_shot is None


def test_the_contract_is_shown(elsewhere: Command) -> None:
    done = elsewhere("task", "era5-sample")
    assert "few_shot: 1 labelled day(s) of each test_ood region, 3 draws" in done.stdout
    assert "2026-03-25; 2026-03-26; 2026-03-27" in done.stdout
