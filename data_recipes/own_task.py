"""A task of the user's own, from the short form that stands in a recipe's `[task]` table."""

import tomllib
from importlib import resources
from typing import Any

from benchmark.errors import InputError, Problem
from benchmark.task import Task
from benchmark.toml_model import nearest, validate

DEFAULTS: dict[str, Any] = {
    "revision": 1,
    "summary": "A task of one's own; see its recipe.",
    "banner": "A task of one's own: not part of the benchmark.",
    "margin": 1,
    "members": 8,
    "case": "snapshot",
    "season_coverage": "partial",
    "static": [],
}
"""What a short task has where it does not say."""


def own_task(table: dict[str, Any], *, track: str, where: str) -> Task:
    """The contract that a `[task]` table stands for.

    Any key of a task may be given. variables: names of known ones (`variables.toml`), or tables;
    licence, attribution and product stand for a single source; the primary score is the RMSE of
    the first variable; other defaults are `DEFAULTS`.
    Errors: InputError with every wrong, unknown or missing key.
    """
    table = DEFAULTS | {"track": track} | table
    if "variables" in table:
        table["variables"] = [_variable(given, where) for given in table["variables"]]
        first = table["variables"][0].get("name") if table["variables"] else None
        table.setdefault("primary", {"variable": first, "metric": "rmse"})
    words = {key: table.pop(key) for key in ("product", "licence", "attribution") if key in table}
    if words:
        words.setdefault("product", str(table.get("title", "own files")))
        table.setdefault("sources", [words])
    return validate(table, Task, where=f"{where}: task")


def known_variables() -> dict[str, dict[str, Any]]:
    """{name: what a task says of the variable}."""
    return tomllib.loads(resources.files("data_recipes").joinpath("variables.toml").read_text())


def _variable(given: Any, where: str) -> Any:
    if not isinstance(given, str):
        return given
    known = known_variables()
    if given not in known:
        raise InputError(
            Problem(
                f"{where}: task.variables",
                "a known variable, or a table that describes one",
                repr(given),
                nearest(given, list(known)),
            )
        )
    return {"name": given, **known[given]}
