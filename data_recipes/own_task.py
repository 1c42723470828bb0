"""A task of the user's own, from the short form that stands in a recipe's `[task]` table."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from benchmark.errors import InputError, Problem
from benchmark.task import Task
from benchmark.toml_model import nearest, validate
from data_recipes.problems import gathered, raise_all

DEFAULTS: dict[str, Any] = {
    "revision": 1,
    "summary": "A task of one's own; see its recipe.",
    "banner": "A task of one's own: not part of the benchmark.",
    "margin": 1,
    "members": 8,
    "case": "snapshot",
    "season_coverage": "partial",
    "buffer_km": 0,
    "static": [],
}
"""What a short task has where it does not say."""

SOURCE = ("product", "licence", "attribution")
"""What a short task says of its only source; the product is "own files" where it does not say."""


def own_task(table: Mapping[str, Any], *, track: str, where: str) -> Task:
    """The contract that a `[task]` table stands for.

    Any key of a task may be given. It needs name, title, factor, spacing (or grids), variables,
    periods, regions, and licence and attribution of its source (or sources). variables: each the
    name of a known one (`variables.toml`), or a table, which with `like = NAME` takes from a known
    one what it does not say. The primary score is the RMSE of the first variable, unless `primary`
    says another; for the rest see `DEFAULTS`.
    Errors: InputError with every wrong, unknown or missing key.
    """
    problems: list[Problem] = []
    if not isinstance(table, Mapping):
        raise _refused(f"{where}: task", "a table", repr(table)[:80], "Write [task].")
    words: dict[str, Any] = DEFAULTS | {"track": track} | dict(table)
    known = [*Task.model_fields, *SOURCE]
    for key in sorted(set(words) - set(known)):
        place = f"{where}: task.{key}"
        problems.append(Problem(place, "a known key", "an unknown one", nearest(key, known)))
        del words[key]
    with gathered(problems):
        words["variables"] = _variables(words.get("variables"), where)
        first = words["variables"][0].get("name")
        words.setdefault("primary", {"variable": first, "metric": "rmse"})
    source = {key: words.pop(key) for key in SOURCE if key in words}
    if "sources" not in words:
        for key in {*SOURCE[1:]} - set(source):
            place, fix = f"{where}: task.{key}", "Say what the provider asks to be said."
            problems.append(Problem(place, "a text", "none", fix))
        words["sources"] = [dict.fromkeys(SOURCE, "") | {"product": "own files"} | source]
    elif source:
        got, fix = ", ".join(source), "Leave one of the two out."
        problems.append(Problem(f"{where}: task.sources", "no keys of a single one", got, fix))
    made: list[Task] = []
    with gathered(problems):
        made.append(validate(words, Task, where=f"{where}: task"))
    raise_all(_without_echoes(problems, where))
    return made[0]


def known_variables() -> dict[str, dict[str, Any]]:
    """{name: what a task says of the variable}."""
    return tomllib.loads(resources.files("data_recipes").joinpath("variables.toml").read_text())


def _variables(given: Any, where: str) -> list[dict[str, Any]]:
    """Tables of all variables."""
    given = [given] if isinstance(given, str | dict) else given
    place = f"{where}: task.variables"
    if not isinstance(given, list) or not given:
        got = "none" if given is None else repr(given)[:80]
        expected = f"a list of names ({', '.join(known_variables())}) or tables"
        raise _refused(place, expected, got, "Say which variables the task has.")
    problems: list[Problem] = []
    found: list[dict[str, Any]] = []
    for one in given:
        with gathered(problems):
            found.append(_variable(one, place))
    raise_all(problems)
    return found


def _variable(given: Any, place: str) -> dict[str, Any]:
    if isinstance(given, str):
        return {"name": given, **_known(given, place)}
    if not isinstance(given, dict):
        raise _refused(place, "a name or a table", repr(given)[:80], "Correct it.")
    words = dict(given)
    like = words.pop("like", None)
    return (_known(str(like), place) if like is not None else {}) | words


def _known(name: str, place: str) -> dict[str, Any]:
    known = known_variables()
    if name not in known:
        expected = "a known variable, or a table that describes one"
        raise _refused(place, expected, repr(name), nearest(name, list(known)))
    return known[name]


def _without_echoes(problems: list[Problem], where: str) -> list[Problem]:
    """Without what the contract says again of variables that were refused, or follows from it."""
    if not any(p.where == f"{where}: task.variables" for p in problems):
        return problems
    echo = (f"{where}: task: variables", f"{where}: task: primary")
    return [problem for problem in problems if not problem.where.startswith(echo)]


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
