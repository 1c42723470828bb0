"""Which recipe makes which task: those that ship, and the user's own files."""

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import InputError, Problem
from benchmark.leaks import check_task
from benchmark.task import Task
from benchmark.toml_model import nearest, read_table, validate
from data_recipes.era5_sample.recipe import EmbeddedERA5
from data_recipes.own_task import own_task
from data_recipes.problems import gathered, raise_all
from data_recipes.recipe import Recipe

if TYPE_CHECKING:
    from data_recipes.recipe_file import RecipeFile

DOWNLOADS = "downloads"
"""Below the data folder: what was fetched, shared by all tasks."""

DEFAULT = "default"

FIRST_STEPS = 24
"""How many steps a check of a recipe makes."""


def shipped_recipe(
    task: Task, data: Path, *, choice: str | None = None, files: Path | None = None
) -> Recipe:
    """The recipe of a shipped task.

    choice: one of `recipe_choices`, or the path of a recipe of one's own, without a task; default
    the first. files: the folder of the user's own files, where the recipe takes some.
    Errors: InputError when there is no such recipe.
    """
    if choice is not None and is_path(choice):
        return recipe_of(task, _read(Path(choice)), Path(choice), data, files=files)
    if task.name == "era5-sample" and choice is None:
        if files is not None:
            raise _takes_none(task)
        return EmbeddedERA5(task)
    known = recipe_choices(task)
    name = choice or DEFAULT
    if choice is None and not known:
        raise InputError(
            Problem(
                f"{task.id}: recipe",
                "the path of the recipe that describes this task",
                "only its name, and no recipe of it ships",
                f"Give the path: `elsewhere build {task.name}.toml`.",
            )
        )
    if name not in known:
        raise InputError(
            Problem(
                f"{task.id}: recipe {name}",
                f"{' or '.join([*known, 'the path of a recipe'])}",
                "another",
                nearest(name, known) if known else "Give the path of a recipe of your own.",
            )
        )
    file = _folder() / (f"{task.name}.toml" if name == DEFAULT else f"{task.name}.{name}.toml")
    with resources.as_file(file) as path:
        table = read_table(path)
        if files is not None and not _takes_files(table):
            raise _takes_none(task)
        if files is None and _takes_files(table):
            fix = f"Give it: `elsewhere build {task.name} --files DIR`."
            raise InputError(Problem(task.id, "the folder of your own files", "none", fix))
        return recipe_of(task, table, path, data, files=files)


def is_path(word: str) -> bool:
    """Whether a user's word is a recipe's path, and not the name of a task or a recipe."""
    return word.endswith(".toml") or os.sep in word or word in (os.curdir, os.pardir)


def _takes_none(task: Task) -> InputError:
    got, fix = "--files", "Leave it out, or choose another --recipe."
    return InputError(Problem(task.id, "a recipe that takes files of your own", got, fix))


def _takes_files(table: dict[str, Any]) -> bool:
    """Whether a recipe that ships is of files that do not."""
    sides = [table[name] for name in ("coarse", "fine", "static") if name in table]
    return any(side["source"]["provider"] == "files" for side in sides)


def recipe_choices(task: Task) -> list[str]:
    """The recipes that ship for a task, `default` first."""
    names = [entry.name.removesuffix(".toml").split(".") for entry in _folder().iterdir()]
    mine = [parts[1] if len(parts) > 1 else DEFAULT for parts in names if parts[0] == task.name]
    return sorted(mine, key=lambda name: (name != DEFAULT, name))


def _folder() -> Traversable:
    return resources.files("data_recipes") / "recipes"


def own_recipe(path: Path, data: Path, *, files: Path | None = None) -> tuple[Task, Recipe]:
    """The task and the recipe of a user's file.

    Errors: InputError with every problem of the file, and where task and recipe disagree. Where
    only the task is wrong, also what is wrong with the files; where there is none, only that.
    """
    from data_recipes.recipe_checks import check_files

    table = _read(path)
    if "task" not in table:
        raise _no_task(path, table)
    problems: list[Problem] = []
    tasks: list[Task] = []
    recipes: list[RecipeFile] = []
    with gathered(problems):
        tasks.append(_own_task(table, path))
    with gathered(problems):
        words = {key: value for key, value in table.items() if key != "task"}
        recipes.append(_recipe_file(words, path))
    base = _base(path, files)
    if problems and recipes:
        problems += check_files(recipes[0], cache=data / DOWNLOADS, base=base)
    raise_all(problems)
    return tasks[0], _made(tasks[0], recipes[0], path, data, base)


def recipe_of(
    task: Task, table: dict[str, Any], path: Path, data: Path, *, files: Path | None = None
) -> Recipe:
    """The recipe that a table describes, checked against its task."""
    return _made(task, _recipe_file(table, path), path, data, _base(path, files))


def check_own(path: Path, data: Path, *, files: Path | None = None) -> list[Problem]:
    """Every problem of a user's recipe, its task and, where both are right, its files.

    Of each region some times are made, and thrown away.
    """
    problems: list[Problem] = []
    with gathered(problems):
        task, recipe = own_recipe(path, data, files=files)
        problems += check_task(task)
        for region in task.regions:
            with gathered(problems):
                recipe.fetch([region])
                plan = recipe.region(region)
                plan.steps(slice(0, min(FIRST_STEPS, len(plan.times))))
    return list(dict.fromkeys(problems))


def _read(path: Path) -> dict[str, Any]:
    """The table of a user's recipe. Errors: InputError where there is no TOML file."""
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.toml")))
        fix = f"Give the path of the recipe itself; in this folder: {inside or 'none'}."
        raise InputError(Problem(str(path), "a recipe, one TOML file", "a folder", fix))
    return read_table(path)


def _no_task(path: Path, table: dict[str, Any]) -> InputError:
    got = f"only {', '.join(sorted(table))}" if table else "nothing in the file"
    fix = "Write one, as the README does under 'Your own files'."
    if "fine" in table:
        fix += f" Or, where a task that ships is meant: `elsewhere build TASK --recipe {path}`."
    return InputError(Problem(str(path), "a [task] table", got, fix))


def _own_task(table: dict[str, Any], path: Path) -> Task:
    track = "real_pair" if "coarse" in table else "perfect_model"
    return own_task(table["task"], track=track, where=path.name)


def _recipe_file(table: dict[str, Any], path: Path) -> "RecipeFile":
    # Only the embedded sample does without the packages of the extra `recipes`.
    from data_recipes.recipe_file import RecipeFile

    return validate(table, RecipeFile, where=path.name)


def _made(task: Task, file: "RecipeFile", path: Path, data: Path, base: Path) -> Recipe:
    from data_recipes.pair_recipe import PairRecipe
    from data_recipes.recipe_checks import check_recipe

    raise_all(check_recipe(task, file, where=path.name))
    return PairRecipe(task, file, cache=data / DOWNLOADS, base=base)


def _base(path: Path, files: Path | None) -> Path:
    """The folder of relative paths: absolute, since workers may be elsewhere.

    Errors: InputError where `files` is no folder.
    """
    if files is not None and not files.expanduser().is_dir():
        got = "a file" if files.expanduser().exists() else "none"
        raise InputError(Problem(f"--files {files}", "a folder", got, "Check the path."))
    return (files or path.parent).expanduser().absolute()
