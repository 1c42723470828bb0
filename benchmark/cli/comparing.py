"""`elsewhere compare`, `explain` and `site`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import JsonOption, percent, print_json, progress
from benchmark.errors import InputError, Problem

if TYPE_CHECKING:
    from benchmark.explain import Explanation
    from benchmark.results import Scores


MOST_SHOWN = 20
"""Numbers of one statistic that are listed; spectra and bins have more."""


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


def explain(
    scores: Annotated[Path, typer.Argument(help="A score folder, or a row of the leaderboard.")],
    metric: Annotated[str, typer.Argument(help="A metric, such as rmse.")],
    region: Annotated[str, typer.Argument(help="A region, such as andes-south.")],
    variable: Annotated[
        str | None, typer.Option(help="The task's primary variable by default.")
    ] = None,
    stratum: Annotated[
        str, typer.Option(help="all, land, sea, mountain, intensity-2, ...")
    ] = "all",
    as_json: JsonOption = False,
) -> None:
    """Which sums, weights, cases and hashes made a number.

    Example: `elsewhere explain scores/mine rmse andes-south --variable t2m`
    """
    from benchmark.explain import explain as explanation_of

    found = explanation_of(scores, metric, region, variable=variable, stratum=stratum)
    if as_json:
        print_json(
            {
                "metric": found.metric.name,
                "formula": found.metric.formula,
                "reference": found.metric.reference,
                "variable": found.variable,
                "region": found.region,
                "stratum": found.stratum,
                "value": found.value,
                "unit": found.unit,
                "totals": found.totals,
                "meaning": found.meaning,
                "by_case": found.by_case,
                **_provenance(found.scores),
            }
        )
        return
    _print_explanation(found, Console())


def _provenance(scores: "Scores") -> dict[str, str]:
    return {
        "release": scores.release,
        "task": scores.task,
        "data_hash": scores.data_hash,
        "prediction_hash": scores.prediction_hash,
        "case_table_hash": scores.case_table_hash,
        "commit": scores.commit,
    }


def _print_explanation(found: "Explanation", console: Console) -> None:
    value = "missing" if found.value is None else f"{found.value:.10g} {found.unit}"
    place = f"{found.variable}, {found.region}, stratum {found.stratum}"
    console.print(f"[bold]{found.metric.title} = {value}[/]  ({place})")
    console.print(f"{found.metric.formula}   {found.metric.reference}", highlight=False)
    console.print("<f>: sum over cells and cases of weight times f, over the summed weight")
    table = Table("", *found.totals)
    table.add_row("meaning", *(found.meaning.get(name, "weight, m2") for name in found.totals))
    for case, sums in found.by_case.items():
        table.add_row(case, *(_digits(sums[name]) for name in found.totals))
    table.add_row("all cases", *(_digits(total) for total in found.totals.values()), style="bold")
    console.print(table)
    for name, entry in _provenance(found.scores).items():
        console.print(f"{name:16} {entry}", highlight=False, soft_wrap=True)


def _digits(value: float | list[float]) -> str:
    values = value if isinstance(value, list) else [value]
    if len(values) > MOST_SHOWN:
        return f"{len(values)} numbers, sum {sum(values):.10g} (all of them: --json)"
    return "\n".join(f"{number:.10g}" for number in values)
