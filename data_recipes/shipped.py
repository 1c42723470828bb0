"""Which recipe makes which task: those that ship, and the user's own files."""

from importlib import resources
from pathlib import Path
from typing import Any

from benchmark.errors import InputError, Problem
from benchmark.leaks import check_task
from benchmark.task import Task
from benchmark.toml_model import read_table, validate
from data_recipes.era5_sample.recipe import EmbeddedERA5
from data_recipes.own_task import own_task
from data_recipes.recipe import Recipe, no_times

DOWNLOADS = "downloads"
"""Below the data folder: what was fetched, shared by all tasks."""

FIRST_STEPS = 24
"""How many steps a check of a recipe makes."""


def shipped_recipe(task: Task, data: Path, *, files: Path | None = None) -> Recipe:
    """The recipe of a shipped task. files: the folder of the user's own files, where it takes some.

    Errors: InputError when it has none.
    """
    if task.name == "era5-sample":
        return EmbeddedERA5(task)
    name = f"{task.name}.toml"
    file = resources.files("data_recipes") / "recipes" / name
    if not file.is_file():
        raise InputError(
            Problem(
                task.id, "a task with a recipe", "one without",
                "Build another task, or give the path of a recipe of your own.",
            )
        )  # fmt: skip
    with resources.as_file(file) as path:
        return recipe_of(task, read_table(path), path, data, files=files)


def own_recipe(path: Path, data: Path, *, files: Path | None = None) -> tuple[Task, Recipe]:
    """The task and the recipe of a user's file.

    Errors: InputError with every problem of the file, and where task and recipe disagree.
    """
    table = read_table(path)
    if "task" not in table:
        raise InputError(
            Problem(str(path), "a [task] table", "none", "Describe the task: see the README.")
        )
    track = "real_pair" if "coarse" in table else "perfect_model"
    task = own_task(table.pop("task"), track=track, where=path.name)
    return task, recipe_of(task, table, path, data, files=files)


def recipe_of(
    task: Task, table: dict[str, Any], path: Path, data: Path, *, files: Path | None = None
) -> Recipe:
    """The recipe that a table describes, checked against its task."""
    # Only the embedded sample does without the packages of the extra `recipes`.
    from data_recipes.pair_recipe import PairRecipe, check_recipe
    from data_recipes.recipe_file import RecipeFile

    file = validate(table, RecipeFile, where=path.name)
    problems = check_recipe(task, file, where=path.name)
    if problems:
        raise InputError(problems)
    base = files or path.absolute().parent
    return PairRecipe(task, file, cache=data / DOWNLOADS, base=base)


def check_own(path: Path, data: Path, *, files: Path | None = None) -> list[Problem]:
    """Every problem of a user's recipe, its task and, where both are right, its files.

    The first block of each region is made, and thrown away.
    """
    try:
        task, recipe = own_recipe(path, data, files=files)
    except InputError as error:
        return list(error.problems)
    problems = check_task(task)
    for region in task.regions:
        try:
            recipe.fetch([region])
            plan = recipe.region(region)
            if len(plan.times):
                plan.steps(slice(0, min(FIRST_STEPS, len(plan.times))))
            else:
                problems.append(no_times(task, region))
        except InputError as error:
            problems += error.problems
    return problems
