"""`elsewhere constrain`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    counted,
    pair_store,
    print_json,
    progress,
)
from benchmark.cli.scoring import PredictionsArgument
from benchmark.cli.tasks import TaskArgument


def add_to(app: typer.Typer) -> None:
    """Register this verb."""
    app.command("constrain")(constrain)


def constrain(
    name: TaskArgument,
    predictions: PredictionsArgument,
    out: Annotated[Path, typer.Option(help="The new store; an unfinished one is resumed.")],
    method: Annotated[
        str,
        typer.Option("--with", help="add (whole blocks only), or projection (any factor)."),
    ] = "projection",
    clip: Annotated[
        bool, typer.Option("--clip", help="No negative values, and the means kept all the same.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move stored predictions onto the coarse field, by the least change, and write a new store.

    Every member's area means become the coarse values. Interrupted, a second call goes on.

    Example: `elsewhere constrain era5-sample my-predictions --with add --out my-constrained`
    """
    from benchmark.post_hoc import constrain as write
    from benchmark.prediction_store import expected_regions

    store = pair_store(name, data)
    if store.task.track == "real_pair":
        Console(stderr=True, highlight=False).print(
            f"{name} has real pairs: its coarse field is another product, and projecting passes "
            "that product's bias on."
        )
    regions = write(store, predictions, out, method=method, clip=clip)
    with progress("constrain") as advance:
        counted(regions, len(expected_regions(store)), advance)
    if as_json:
        print_json({"predictions": str(out)})
    else:
        print(f"{out}: next, `elsewhere score {name} {out} --out DIR`")
