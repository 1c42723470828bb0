"""The short form of a task: what it stands for, and every way to get it wrong."""

import tomllib
from typing import Any

import pytest
from own_world import TASK

from benchmark.errors import InputError
from benchmark.leaks import check_task
from data_recipes.own_task import DEFAULTS, known_variables, own_task


def table(**changes: Any) -> dict[str, Any]:
    """The made-up world's task; a value of None leaves a key out."""
    words = tomllib.loads(TASK)["task"] | changes
    return {key: value for key, value in words.items() if value is not None}


def problems(**changes: Any) -> list[tuple[str, str]]:
    """(where, what to do) of each problem."""
    with pytest.raises(InputError) as caught:
        own_task(table(**changes), track="perfect_model", where="mine.toml")
    return [(problem.where, problem.fix) for problem in caught.value.problems]


def test_what_it_stands_for() -> None:
    """Defaults, the known variable, a single source, the first variable's RMSE."""
    task = own_task(table(), track="real_pair", where="mine.toml")
    for key in ("revision", "margin", "members", "case", "season_coverage", "buffer_km"):
        assert getattr(task, key) == DEFAULTS[key]
    assert task.track == "real_pair"
    assert (task.primary.variable, task.primary.metric) == ("t2m", "rmse")
    (source,) = task.sources
    assert (source.product, source.licence, source.attribution) == ("own files", "CC0", "me")
    assert task.variables[0].units == "K"
    assert check_task(task) == []


@pytest.mark.parametrize("name", known_variables())
def test_every_known_variable_is_one(name: str) -> None:
    """By its bare name, alone or in a list."""
    for given in (name, [name]):
        task = own_task(table(variables=given), track="perfect_model", where="x")
        assert task.variable_names == (name,)


def test_a_variable_like_another() -> None:
    """A table of what differs; whole ones need no other; the first is ranked."""
    known = known_variables()["t2m"]
    first = {"name": "skin", "like": "t2m", "long_name": "skin temperature", "thresholds": [300]}
    whole = {"name": "air", **known}
    task = own_task(table(variables=[first, whole, "tcw"]), track="perfect_model", where="x")
    assert task.variable_names == ("skin", "air", "tcw")
    assert task.variables[0].thresholds == (300,)
    assert task.variables[0].percentiles == task.variables[1].percentiles == (95, 99)
    assert task.primary.variable == "skin"


def test_what_is_given_wins_over_defaults() -> None:
    """Any key of a task."""
    task = own_task(
        table(margin=2, primary={"variable": "t2m", "metric": "crps_fair"}, product="ERA5"),
        track="perfect_model", where="x",
    )  # fmt: skip
    assert task.margin == 2
    assert task.primary.metric == "crps_fair"
    assert task.sources[0].product == "ERA5"


def test_wrong_keys() -> None:
    """The nearest key is named, also those of the short form; all at once."""
    found = problems(fctor=3, licens="CC0", spacing=None, regions=None, variables=["t2mm"])
    assert ("mine.toml: task.fctor", "Did you mean 'factor'?") in found
    assert ("mine.toml: task.licens", "Did you mean 'licence'?") in found
    assert ("mine.toml: task: regions", "Add this key.") in found
    assert ("mine.toml: task.variables", "Did you mean 't2m'?") in found
    assert len(found) == 4


def test_wrong_keys_within() -> None:
    """Of a region, of a variable."""
    region = {"name": "a", "rool": "train", "lat": [0, 8], "lon": [0, 8]}
    found = problems(regions=[region], variables=[{"name": "a", "like": "t2m", "treshold": [1]}])
    assert ("mine.toml: task: regions.0.rool", "Did you mean 'role'?") in found
    assert ("mine.toml: task: variables.0.treshold", "Did you mean 'thresholds'?") in found


@pytest.mark.parametrize("missing", ["licence", "attribution"])
def test_a_source_without_its_licence(missing: str) -> None:
    """By the key of the short form, not of the contract that it becomes."""
    assert [where for where, _ in problems(**{missing: None})] == [f"mine.toml: task.{missing}"]


def test_a_source_in_two_ways() -> None:
    """Either the words of one, or a list."""
    source = {"product": "p", "licence": "l", "attribution": "a"}
    assert [where for where, _ in problems(sources=[source])] == ["mine.toml: task.sources"]
    words = table(sources=[source], licence=None, attribution=None)
    assert own_task(words, track="perfect_model", where="x").sources[0].product == "p"


@pytest.mark.parametrize("given", [[], 5, [5], [["t2m"]], [{"like": "nothing"}], None])
def test_variables_that_are_none(given: object) -> None:
    """One problem about them, whatever they are."""
    found = problems(variables=given)
    assert {where for where, _ in found} == {"mine.toml: task.variables"}


@pytest.mark.parametrize("given", ["mine", 5, ["mine"]])
def test_a_task_that_is_no_table(given: Any) -> None:
    """Said as such."""
    with pytest.raises(InputError, match="a table"):
        own_task(given, track="perfect_model", where="mine.toml")
