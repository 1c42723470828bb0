"""`elsewhere selftest`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import JsonOption, print_json, progress
from benchmark.errors import InputError, Problem

if TYPE_CHECKING:
    from benchmark.conformance import Outcome

MOST_SHOWN = 20
"""Misses that are listed; `--json` has all."""


def add_to(app: typer.Typer) -> None:
    """Register this verb."""
    app.command("selftest")(selftest)


def selftest(
    engine: Annotated[
        list[str] | None,
        typer.Option(help="numba or numpy (repeatable; default: all that are installed)."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this pseudo-model (repeatable).")
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Only metrics of this family, such as moments (repeatable)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the kit and what was scored here.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="Only write the kit here, for another harness to score.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Only check DIR/scores/PSEUDO/scores.json of such a kit.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score pseudo-models with known answers; exit 1 where an answer does not come out.

    The truth itself, the coarse field repeated, a climatology, a constant, the truth shifted by
    one cell or permuted in time, draws from the truth's own law, and others: each has scores that
    follow from how it was made, or from plain formulas on whole arrays.

    A rewritten harness, in any language: `--write DIR` writes DIR/task.json, DIR/data (the pair
    store), DIR/predictions/PSEUDO and DIR/answers.json and .csv. Score each, write
    DIR/scores/PSEUDO/scores.json with `{"metrics": {variable: {metric: {region: {stratum: number,
    or null where missing}}}}}` and names as in the answers, then `--check DIR`. Skills and gaps
    are over the pseudo-models in their names, not over the boards' references.

    Example: `elsewhere selftest`
    """
    from benchmark import conformance

    chosen = {"--out": out, "--write": write, "--check": check}
    given = [name for name, path in chosen.items() if path is not None]
    if engine and out is None:
        given += ["--engine"]  # nothing is scored where a kit is only written or checked
    if len(given) > 1:
        fix = "Write a kit, or check one, or score one and keep it."
        raise InputError(Problem(" and ".join(given), "one of them", "several", fix))
    families = family or []
    if write is not None:
        with progress("selftest") as advance:
            kit = conformance.write_kit(write, models=model, families=families, report=advance)
        if as_json:
            print_json({"folder": str(write), "answers": len(kit.answers)})
        else:
            print(f"{write}: {len(kit.answers)} answers; score it, then --check {write}")
        return
    if check is not None:
        outcomes = conformance.check(check, models=model, families=families)
    else:
        processes = min(2, os.cpu_count() or 1)
        with progress("selftest") as advance:
            outcomes = conformance.run(
                out, engines=engine, models=model, families=families, processes=processes,
                report=advance,
            )  # fmt: skip
    _show(outcomes, as_json=as_json)
    if not all(outcome.met for outcome in outcomes):
        raise typer.Exit(1)


def _show(outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    missed = [outcome for outcome in outcomes if not outcome.met]
    if as_json:
        print_json(
            {
                "answers": len(outcomes),
                "met": len(outcomes) - len(missed),
                "missed": [_as_row(outcome) for outcome in missed],
            }
        )
        return
    console = Console(highlight=False)
    console.print(_counts(outcomes))
    for outcome in missed[:MOST_SHOWN]:
        answer = outcome.answer
        where = f"{answer.pseudo_model}: {answer.metric} of {answer.variable}"
        place = f"{answer.region}, {answer.stratum}, {outcome.harness}"
        got = outcome.problem or _number(outcome.got)
        console.print(f"{where} ({place})", style="bold", markup=False, soft_wrap=True)
        expected = f"{_number(answer.expected)} within {answer.tolerance:.3g}"
        for name, text in (("expected", expected), ("got", got), ("why", answer.why)):
            console.print(f"  {name:9} {text}", markup=False, soft_wrap=True)
    if len(missed) > MOST_SHOWN:
        console.print(f"and {len(missed) - MOST_SHOWN} more: --json lists all")
    verdict = "every answer came out" if not missed else f"{len(missed)} answers did not come out"
    console.print(f"{len(outcomes)} answers: {verdict}")


def _counts(outcomes: "Sequence[Outcome]") -> Table:
    """Answers met by pseudo-model and harness, and the families of those that were not."""
    harnesses = list(dict.fromkeys(outcome.harness for outcome in outcomes))
    table = Table("pseudo-model", *harnesses, "families that miss")
    for name in dict.fromkeys(outcome.answer.pseudo_model for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.answer.pseudo_model == name]
        row = []
        for harness in harnesses:
            met = [outcome.met for outcome in mine if outcome.harness == harness]
            row.append(f"{sum(met)} of {len(met)}")
        families = dict.fromkeys(outcome.answer.family for outcome in mine if not outcome.met)
        table.add_row(name, *row, ", ".join(families))
    return table


def _as_row(outcome: "Outcome") -> dict[str, object]:
    answer = outcome.answer
    return {
        "harness": outcome.harness, "family": answer.family, **vars(answer), "got": outcome.got,
        "problem": outcome.problem,
    }  # fmt: skip


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.12g}"
