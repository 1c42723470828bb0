"""What the verbs share: options, progress on stderr, tables and JSON on stdout."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_data_path
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.results import Headline, Scores
from benchmark.task import Task
from benchmark.task_files import find_task
from benchmark.toml_model import nearest

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="ELSEWHERE_DATA",
        help="Where pair stores live (default: the platform's user-data folder).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Threads that score.")]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of your own dask.distributed scheduler.")
]

Advance = Callable[[int, int, str], None]
"""advance(done, total, text)."""


def data_folder(data: Path | None) -> Path:
    """The data folder: the flag or $ELSEWHERE_DATA, else the platform's user-data folder."""
    return data or user_data_path("elsewhere", appauthor=False)


def pair_store(name: str, data: Path | None) -> PairStore:
    """The pair store of the task called `name`, shipped or built from the user's own files."""
    folder = data_folder(data)
    return open_pair_store(find_task(name, folder), folder)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def without_nan(value: Any) -> Any:
    """A nested value whose missing numbers are null: JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_problems(problems: Sequence[Problem], console: Console) -> None:
    """Every problem, one after another: where, expected, got, what to do."""
    noun = "problem" if len(problems) == 1 else "problems"
    console.print(f"[bold red]{len(problems)} {noun}[/]", soft_wrap=True)
    for problem in problems:
        console.print(f"[bold]{_plain(problem.where)}[/]", soft_wrap=True)
        console.print(f"  expected  {_plain(problem.expected)}", soft_wrap=True)
        console.print(f"  got       {_plain(problem.got)}", soft_wrap=True)
        console.print(f"  to do     {_plain(problem.fix)}", soft_wrap=True)


def end_of_check(problems: Sequence[Problem], well: str, *, as_json: bool) -> None:
    """The end of a verb that only checks: all problems and exit code 2, or that all is well."""
    if as_json:
        print_json([asdict(problem) for problem in problems])
    elif problems:
        print_problems(problems, Console(stderr=True, highlight=False))
    else:
        print(well)
    if problems:
        raise typer.Exit(2)


def _plain(text: str) -> str:
    """Text that rich must not read as markup."""
    return text.replace("[", "\\[")


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A progress bar on stderr; nothing but its end where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, note="")

        def advance(done: int, total: int, text: str = "") -> None:
            bar.update(task, completed=done, total=total, note=text)

        yield advance


def one_of(option: str, value: str, known: Sequence[str]) -> None:
    """InputError with the nearest known value where an option has none of them."""
    if value not in known:
        raise InputError(Problem(option, " or ".join(known), value, nearest(value, list(known))))


def counted(names: Iterable[str], total: int, advance: Advance) -> None:
    """Drain an iterator of finished names into a progress bar."""
    for done, name in enumerate(names, start=1):
        advance(done, total, name)


def headline_table(task: Task, scores: Scores) -> Table:
    """Skill by board and variable, in- and out-of-distribution."""
    table = Table(title=f"{task.id}: {scores.model.title}", title_justify="left")
    for name in ("board", "variable", "ID skill", "OOD skill", "new regions", "worst OOD region"):
        # Names are never cut, also where the terminal is narrow.
        table.add_column(name, overflow="fold", no_wrap=name in ("board", "variable"))
    by_place = {(h.board, h.variable, h.split): h for h in scores.headline}
    for board, variable in dict.fromkeys((h.board, h.variable) for h in scores.headline):
        home = by_place[board, variable, "test_id"]
        away = by_place[board, variable, "test_ood"]
        table.add_row(
            board,
            variable,
            percent(home.skill),
            percent(away.skill),
            _claim(away),
            f"{away.worst_region} {percent(away.worst)}",
        )
    return table


def percent(value: float | None) -> str:
    """A share as a percentage with its sign; a dash where it is missing."""
    return "-" if value is None else f"{100 * value:+.1f} %"


def _claim(headline: Headline) -> str:
    if headline.new_regions is None:
        return "too few clusters"
    low, high = headline.new_regions
    return f"{percent(low)} to {percent(high)}"
