"""`elsewhere shift`."""

import math
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    data_folder,
    print_json,
    progress,
    without_nan,
)
from benchmark.cli.tasks import TaskArgument
from benchmark.pair_store import open_pair_store
from benchmark.task import load_task


def add_to(app: typer.Typer) -> None:
    """Register this verb."""
    app.command("shift")(shift)


def shift(
    name: TaskArgument,
    data: DataOption = None,
    variables: Annotated[
        list[str] | None, typer.Option("--variable", help="Only these variables (repeatable).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How far each test region is from the regions trained on, by number.

    Example: `elsewhere shift era5-sample --variable t2m`
    """
    from benchmark.shift import shifts

    store = open_pair_store(load_task(name), data_folder(data))
    with progress(f"shift {store.task.id}") as advance:
        found = shifts(store, variables=tuple(variables or ()), report=advance)
    if as_json:
        print_json(without_nan([asdict(one) for one in found]))
        return
    for variable in dict.fromkeys(one.variable for one in found):
        table = Table("region", "split", "km", "input", "truth", "detail",
                      title=variable, title_justify="left")  # fmt: skip
        rows_of = [one for one in found if one.variable == variable]
        for one in sorted(rows_of, key=lambda one: -one.input_distance):
            numbers = (one.input_distance, one.truth_distance, one.detail_ratio)
            shown = ("-" if math.isnan(value) else f"{value:.2f}" for value in numbers)
            table.add_row(one.region, one.split, f"{one.nearest_km:.0f}", *shown)
        Console().print(table)
    print("km: to the nearest box trained on, itself left out")
    print("input, truth: Wasserstein-1 distance of coarse and fine values from the pooled sources'")
    print("  in their standard deviations; detail: RMS of fine minus bilinear over the sources'")
    print("all of the training period")
