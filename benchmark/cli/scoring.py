"""`elsewhere template`, `validate` and `score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    SchedulerOption,
    WorkersOption,
    end_of_check,
    headline_table,
    pair_store,
    print_json,
    progress,
)
from benchmark.cli.tasks import TaskArgument
from benchmark.pair_store import PairStore
from benchmark.writable import check_writable

if TYPE_CHECKING:
    from benchmark.scoring import Source

PredictionsArgument = Annotated[Path, typer.Argument(help="A prediction store.")]


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("template")(template)
    app.command("validate")(validate)
    app.command("score")(score)


def template(
    name: TaskArgument,
    out: Annotated[Path, typer.Option(help="The new prediction store.")],
    members: Annotated[
        int, typer.Option(min=1, help="1, or the task's members for an ensemble.")
    ] = 1,
    data: DataOption = None,
) -> None:
    """Write an empty prediction store (all NaN) to fill.

    Example: `elsewhere template era5-sample --out my-predictions`
    """
    from benchmark.template import write_template

    store = pair_store(name, data)
    write_template(store, out, members=members)
    print(f"{out}: fill every REGION.zarr, edit model.toml, then `elsewhere validate {name} {out}`")


def validate(
    name: TaskArgument,
    predictions: PredictionsArgument,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name every problem of a prediction store; exit 2 when there is one.

    Example: `elsewhere validate era5-sample my-predictions`
    """
    from benchmark.validate import validate_predictions

    store = pair_store(name, data)
    problems = validate_predictions(store, predictions)
    end_of_check(problems, f"{predictions}: no problem, ready to be scored", as_json=as_json)


def score(
    name: TaskArgument,
    predictions: PredictionsArgument,
    out: Annotated[Path, typer.Option(help="Folder for scores.json and the case table.")],
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a prediction store; interrupted, a second call goes on where it stopped.

    Example: `elsewhere score era5-sample my-predictions --out my-scores --workers 2`
    """
    from benchmark.evaluate import score as evaluate
    from benchmark.sources import StoredPredictions

    check_writable(out, where="--out")
    store = pair_store(name, data)
    source = StoredPredictions(store.task, predictions)
    announce_scoring(store, source, workers=workers)
    with progress("score") as advance:
        scores = evaluate(store, source, out, workers=workers, scheduler=scheduler, report=advance)
    if as_json:
        print_json({"scores": str(out / "scores.json")})
    else:
        Console().print(headline_table(store.task, scores))
        print(f"{out / 'scores.json'}")


def announce_scoring(store: PairStore, source: "Source", *, workers: int) -> None:
    """Say on stderr, before it begins, how the fields are reduced and what memory that takes."""
    from benchmark.engine import compiled, engine
    from benchmark.scoring import memory_bound
    from benchmark.sources import StoredPredictions

    streamed = not isinstance(source, StoredPredictions)
    bound = memory_bound(store, source.member_count, workers=workers, streamed=streamed)
    words = f"at most {bound / 2**20:.0f} MB beyond the libraries"
    slow = "" if compiled() else "; faster with pip install 'elsewhere\\[fast]'"
    Console(stderr=True, highlight=False).print(f"scoring with {engine()}, {words}{slow}")
