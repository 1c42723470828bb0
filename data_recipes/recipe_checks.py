"""What is wrong with a recipe before anything of it is read."""

import re
from pathlib import Path

from benchmark.errors import Problem
from benchmark.task import Task
from data_recipes.problems import gathered
from data_recipes.recipe_file import RecipeFile, Side
from data_recipes.side import window_names
from data_recipes.sources.files import FilesOptions, FilesSource
from data_recipes.sources.product_table import PRODUCTS
from data_recipes.sources.products import ProductOptions

_INTERVAL = re.compile(r"interval: (\d+) (hour|day)")


def check_recipe(task: Task, file: RecipeFile, *, where: str) -> list[Problem]:
    """Every way in which a recipe does not make its task."""
    problems = []
    wanted = {"fine": task.variable_names, "coarse": task.variable_names, "static": task.static}
    for name, names in wanted.items():
        side: Side | None = getattr(file, name)
        if name == "coarse" and (side is None) != (task.track == "perfect_model"):
            expected = "a side of its own" if side is None else "none: it is the fine one's mean"
            got = "none" if side is None else "one"
            fix = "Change the recipe, or the task's track."
            problems.append(Problem(f"{where}: coarse", f"{expected} ({task.track})", got, fix))
        have = set(side.variables) if side else set()
        if side is None and name == "coarse":
            continue
        for variable in sorted(set(names) - have):
            fix = f"Say in `{name}.variables` what it is made from."
            problems.append(Problem(f"{where}: {name}", f"{variable} of {task.id}", "none", fix))
        for variable in sorted(have - set(names)):
            fix = "Leave it out."
            problems.append(Problem(f"{where}: {name}", f"a variable of {task.id}", variable, fix))
        if side is not None:
            problems += _stamps(side, where=f"{where}: {name}")
            problems += _intervals(task, side, where=f"{where}: {name}")
    return problems


def _intervals(task: Task, side: Side, *, where: str) -> list[Problem]:
    """Fields that are means over other hours than their variable's `cell_methods` say."""
    problems = []
    for variable in task.variables:
        field = side.variables.get(variable.name)
        said = _INTERVAL.search(variable.cell_methods)
        if field is None or not (said or variable.cell_methods == "time: point"):
            continue
        hours = int(said[1]) * (24 if said[2] == "day" else 1) if said else 0
        if field.over_hours != hours:
            problems.append(
                Problem(
                    f"{where}.variables.{variable.name}",
                    f"over_hours = {hours}: the task says {variable.cell_methods!r}",
                    f"over_hours = {field.over_hours:g}",
                    "Say in `hours` and `stamp` what the product's values are of, and in "
                    "`over_hours` what the task's are.",
                )
            )
    return problems


def _stamps(side: Side, *, where: str) -> list[Problem]:
    """Fields of a product of the table that are said to cover other hours than they do."""
    if not isinstance(side.source, ProductOptions):
        return []
    begin, end = PRODUCTS[side.source.product].covers_h
    stamp = "end" if end == 0 else "start" if begin == 0 else "middle"
    return [
        Problem(
            f"{where}.variables.{name}",
            f'hours = {end - begin} and stamp = "{stamp}", as {side.source.product} has them',
            f'hours = {field.hours:g} and stamp = "{field.stamp}"',
            "Correct them: the values would be shifted in time.",
        )
        for name, field in side.variables.items()
        if (field.hours, field.stamp) != (end - begin, stamp)
    ]


def check_files(file: RecipeFile, *, cache: Path, base: Path) -> list[Problem]:
    """What is wrong with the user's own files, where there is no task to read them for."""
    problems: list[Problem] = []
    for side in (file.coarse, file.fine, file.static):
        if side is None or not isinstance(side.source, FilesOptions):
            continue
        source = FilesSource(side.source, cache / "files", base)
        for region in side.source.regions or [""]:
            with gathered(problems):
                source.look(region, window_names(side))
    return problems
