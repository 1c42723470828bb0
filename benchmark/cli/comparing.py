"""`elsewhere compare` and `site`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import JsonOption, percent, print_json, progress
from benchmark.errors import InputError, Problem


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("compare")(compare)
    app.command("site")(site)


def compare(
    old: Annotated[Path, typer.Argument(help="A score folder: the one to compare with.")],
    new: Annotated[Path, typer.Argument(help="A score folder.")],
    fail_on: Annotated[
        str | None, typer.Option(help="`worse`: exit 1 when a score got worse.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Share by which a score may grow, such as 0.01.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Paired differences of two scored models, for a regression check in CI.

    Example: `elsewhere compare scores/main scores/branch --fail-on worse --tolerance 0.005`
    """
    from benchmark.compare import compare as differences_of

    if fail_on not in (None, "worse"):
        raise InputError(Problem("--fail-on", "worse", str(fail_on), "Leave it out, or say worse."))
    differences = differences_of(old, new)
    worse = [d for d in differences if d.is_worse(tolerance)]
    if as_json:
        print_json(
            [
                {
                    "board": d.board, "variable": d.variable, "split": d.split,
                    "metric": d.metric, "change": d.change, "interval": d.interval,
                    "worse": d in worse,
                }
                for d in differences
            ]
        )  # fmt: skip
    else:
        table = Table("board", "variable", "split", "metric", "change", "95 % interval", "")
        for d in differences:
            span = "-" if d.interval is None else " to ".join(percent(v) for v in d.interval)
            mark = "worse" if d in worse else ""
            table.add_row(d.board, d.variable, d.split, d.metric, percent(d.change), span, mark)
        Console().print(table)
        print("change: of the score, mean over regions of the log-ratio; lower scores are better")
    if fail_on and worse:
        raise typer.Exit(1)


def site(
    results: Annotated[list[Path], typer.Option(help="A folder with results (repeatable).")],
    out: Annotated[Path, typer.Option(help="The site's folder; a site there is replaced.")],
) -> None:
    """Write the leaderboard as a static site.

    Example: `elsewhere site --results leaderboard/results --out site`
    """
    from leaderboard.site import build_site

    with progress("site") as advance:
        index = build_site(results, out, report=advance)
    print(index)
