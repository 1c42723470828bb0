"""`elsewhere shift` and `mismatch`: how regions differ, and how a task's two products do."""

import math
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    pair_store,
    print_json,
    progress,
    without_nan,
)
from benchmark.cli.tasks import TaskArgument
from benchmark.errors import InputError, Problem

VariablesOption = Annotated[
    list[str] | None, typer.Option("--variable", help="Only these variables (repeatable).")
]


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("shift")(shift)
    app.command("mismatch")(mismatch)


def shift(
    name: TaskArgument,
    data: DataOption = None,
    variables: VariablesOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far each test region is from the regions trained on, by number.

    Example: `elsewhere shift era5-sample --variable t2m`
    """
    from benchmark.shift import shifts

    store = pair_store(name, data)
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
            km = "-" if math.isnan(one.nearest_km) else f"{one.nearest_km:.0f}"
            table.add_row(one.region, one.split, km, *shown)
        Console().print(table)
    print("km: to the nearest box trained on, itself left out")
    print("input, truth: Wasserstein-1 distance of coarse and fine values from the pooled sources'")
    print("  in their standard deviations; detail: RMS of fine minus bilinear over the sources'")
    print("all of the training period")


def mismatch(
    name: TaskArgument,
    data: DataOption = None,
    variables: VariablesOption = None,
    as_json: JsonOption = False,
) -> None:
    """How a real pair's two products differ at coarse scale, region by region.

    Example: `elsewhere mismatch cerra-wind`
    """
    from benchmark.kept_mismatch import mismatches

    store = pair_store(name, data)
    if store.task.track != "real_pair":
        fix = "Choose a task of the track real_pair: `elsewhere tasks`."
        got = "one whose coarse fields are the fine ones' means"
        raise InputError(Problem(store.task.id, "a pair of two products", got, fix))
    with progress(f"mismatch {store.task.id}") as advance:
        found = mismatches(store, tuple(variables or ()), report=advance)
    if as_json:
        print_json([one.model_dump() for one in found])
        return
    for variable in dict.fromkeys(one.variable for one in found):
        some = [one for one in found if one.variable == variable]
        waves = max((one.coherence for one in some), key=len)
        heads = [
            "region",
            escape(f"bias [{some[0].units}]"),
            "corre-\nlation",
            "vari-\nance\nratio",
        ]
        heads += [f"from {octave.shortest_km:.0f} km" for octave in waves]
        # A number cut short is a wrong one.
        columns = (Column(head, overflow="fold", min_width=4) for head in heads)
        table = Table(*columns, title=variable, title_justify="left")
        for one in some:
            numbers = [one.correlation, one.variance_ratio]
            numbers += [octave.coherence for octave in one.coherence]
            shown = ["-" if value is None else f"{value:.2f}" for value in numbers]
            bias = "-" if one.bias is None else f"{one.bias:+.2g}"
            table.add_row(one.region, bias, *shown)
        Console().print(table)
    print("coarse product against the coarsened fine one, scored coarse cells, training period")
    print("from ... km: coherence of waves from this length to twice it, 1 where all are in place")
