"""`elsewhere compare`, `explain` and `site`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from benchmark.cli.explaining import explain
from benchmark.cli.output import JsonOption, percent, print_json, progress
from benchmark.errors import InputError, Problem

if TYPE_CHECKING:
    from benchmark.compare import Difference


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("compare")(compare)
    app.command("explain")(explain)
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
                    "these_regions": d.these_regions, "new_regions": d.new_regions,
                    "resolvable": d.resolvable, "worse": d in worse,
                }
                for d in differences
            ]
        )  # fmt: skip
    else:
        for board in dict.fromkeys(d.board for d in differences):
            Console().print(_differences([d for d in differences if d.board == board], worse))
        print("change: of the score, mean over regions of the log-ratio; lower scores are better")
        print("95 % intervals: these regions, when days are resampled; regions like these")
        print("resolvable: the smallest change that they find in four worlds of five")
    if fail_on and worse:
        raise typer.Exit(1)


def _differences(rows: list["Difference"], worse: list["Difference"]) -> Table:
    """One board; narrow enough for a terminal of 80 columns."""
    table = Table(
        Column("variable", no_wrap=True), "split", "change", "these regions", "new regions",
        "resolv-\nable", "", title=f"{rows[0].board} board: {rows[0].metric}", title_justify="left",
    )  # fmt: skip
    for d in rows:
        spans = (
            "-" if claim is None else " to ".join(percent(v) for v in claim)
            for claim in (d.these_regions, d.new_regions)
        )
        least = "-" if d.resolvable is None else percent(d.resolvable)
        mark = "worse" if d in worse else ""
        table.add_row(d.variable, d.split, percent(d.change), *spans, least, mark)
    return table


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
