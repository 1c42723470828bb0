"""`elsewhere build` and `recipe`."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    SchedulerOption,
    data_folder,
    end_of_check,
    print_json,
)
from benchmark.errors import InputError, Problem
from benchmark.task import Task
from benchmark.task_files import find_task

if TYPE_CHECKING:
    from data_recipes.recipe import Recipe

TaskOrFile = Annotated[
    str, typer.Argument(help="Name of a task (`elsewhere tasks`), or the path of your own recipe.")
]
RegionsOption = Annotated[
    list[str] | None, typer.Option("--regions", help="Only these regions (repeatable, or A,B).")
]

FilesOption = Annotated[
    Path | None,
    typer.Option(help="Folder of your own files, for relative paths (default: the recipe's)."),
]

_Written = Callable[[str, int, int], None]

recipe_app = typer.Typer(no_args_is_help=True, help="Recipes of your own files.")


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("build")(build)
    recipe_app.command("check")(check)
    app.add_typer(recipe_app, name="recipe")


@recipe_app.callback()
def recipes() -> None:
    """Recipes of your own files."""


def build(
    name: TaskOrFile,
    data: DataOption = None,
    regions: RegionsOption = None,
    files: FilesOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Another way to the same task: see `task NAME`, or a recipe's path."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make blocks.")] = 1,
    scheduler: SchedulerOption = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would take, and stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a task's pair store with its recipe; a second call goes on where one stopped.

    Example: `elsewhere build cerra-wind --regions italy --data ./data`
    """
    from data_recipes.build import build as build_store

    folder = data_folder(data)
    contract, source = _task_and_recipe(name, folder, recipe, files)
    chosen = _region_names(contract, regions)
    if estimate:
        _show_estimate(contract, source, chosen, as_json=as_json)
        return
    done: Counter[str] = Counter()
    with _bars(contract) as (arrived, written):

        def report(region: str, steps: int, total: int) -> None:
            if steps == total:
                done["built" if total else "kept"] += 1
            written(region, steps, total)

        store = build_store(
            contract, folder, recipe=source, regions=chosen, workers=workers,
            scheduler=scheduler, report=report, advance=arrived,
        )  # fmt: skip
    if as_json:
        print_json({"folder": str(store.folder), "built": done["built"], "kept": done["kept"]})
    else:
        print(f"{done['built']} regions built, {done['kept']} kept, in {store.folder}")


def check(
    path: Annotated[Path, typer.Argument(help="Your recipe, a TOML file.")],
    data: DataOption = None,
    files: FilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is missing in your own recipe and its files; exit 2 when something is.

    Example: `elsewhere recipe check my-radar.toml`
    """
    from data_recipes.shipped import check_own

    problems = check_own(path, data_folder(data), files=files)
    end_of_check(
        problems, f"{path}: no problem, ready for `elsewhere build {path}`", as_json=as_json
    )


def _task_and_recipe(
    name: str, folder: Path, choice: str | None, files: Path | None
) -> "tuple[Task, Recipe]":
    from data_recipes.shipped import is_path, own_recipe, shipped_recipe

    if is_path(name):
        if choice is not None:
            got, fix = f"{name} and --recipe {choice}", "Leave one of the two out."
            raise InputError(Problem("elsewhere build", "one recipe", got, fix))
        return own_recipe(Path(name), folder, files=files)
    contract = find_task(name, folder)
    return contract, shipped_recipe(contract, folder, choice=choice, files=files)


def _region_names(contract: Task, given: list[str] | None) -> tuple[str, ...]:
    """The names of `--regions`; empty without it. Errors: InputError with every unknown one."""
    from data_recipes.problems import gathered, raise_all

    if given is None:
        return ()
    names = [part.strip() for words in given for part in words.split(",") if part.strip()]
    if not names:
        fix = "NAME,NAME or no option."
        raise InputError(Problem("--regions", "names of regions", repr(",".join(given)), fix))
    problems: list[Problem] = []
    for name in names:
        with gathered(problems):
            contract.region(name)
    raise_all(problems)
    return tuple(names)


def _show_estimate(
    contract: Task, recipe: "Recipe", names: tuple[str, ...], *, as_json: bool
) -> None:
    from data_recipes.build import chosen_regions, gigabytes, size_of

    chosen = chosen_regions(contract, names)
    rows = [
        {"region": region.name, **asdict(size_of(contract, [region], recipe))} for region in chosen
    ]
    if len(chosen) > 1:
        rows.append({"region": "all of these", **asdict(size_of(contract, chosen, recipe))})
    if as_json:
        print_json(rows)
        return
    table = Table(
        "region",
        "to fetch",
        "to keep",
        "pairs, at most",
        title=contract.id,
        title_justify="left",
    )
    for row in rows:
        table.add_row(
            row["region"], *(gigabytes(row[key]) for key in ("fetched", "kept", "written"))
        )
    Console().print(table)
    print("What regions share is fetched once. Pairs as float32, before compression.")


@contextmanager
def _bars(contract: Task) -> Iterator[tuple[Callable[[int, str], None], _Written]]:
    """Two bars on stderr: bytes that arrive, and cases that are written."""
    shown = TextColumn("{task.fields[shown]}")
    columns = (TextColumn("{task.description}"), BarColumn(), shown, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        fetching = bar.add_task(f"fetch {contract.id}", total=None, shown="", visible=False)
        writing = bar.add_task(f"build {contract.id}", total=None, shown="")
        counted = 0

        def arrived(count: int, what: str) -> None:
            nonlocal counted
            counted += count
            shown = f"{decimal(counted)} {what}"
            bar.update(fetching, completed=counted, shown=shown, visible=True)

        def written(region: str, steps: int, total: int) -> None:
            shown = f"{steps}/{total} cases, {region}" if total else f"kept {region}"
            bar.update(writing, completed=steps, total=total or None, shown=shown)

        yield arrived, written
