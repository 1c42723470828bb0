"""`elsewhere tasks` and `task`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import DataOption, JsonOption, data_folder, print_json
from benchmark.distance import cluster_labels
from benchmark.task import SPLITS, Task
from benchmark.task_files import find_task, load_task, task_names

TaskArgument = Annotated[str, typer.Argument(help="Name of a task; see `elsewhere tasks`.")]


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("tasks")(tasks)
    app.command("task")(task)


def tasks(as_json: JsonOption = False) -> None:
    """List the tasks.

    Example: `elsewhere tasks`
    """
    known = [load_task(name) for name in task_names()]
    if as_json:
        print_json([{"name": t.name, "revision": t.revision, "title": t.title} for t in known])
        return
    table = Table("task", "track", "factor", "regions", "title")
    for t in known:
        table.add_row(t.id, t.track, f"{t.factor:g}", str(len(t.regions)), t.title)
    Console().print(table)


def task(name: TaskArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show one task's contract.

    Example: `elsewhere task era5-sample`
    """
    contract = find_task(name, data_folder(data))
    if as_json:
        print_json(contract.model_dump(mode="json"))
        return
    _show(contract, Console())


def _show(contract: Task, console: Console) -> None:
    from data_recipes.shipped import recipe_choices

    console.print(f"[bold]{contract.id}[/]  {contract.title}")
    console.print(_flowing(contract.summary))
    if contract.banner:
        console.print(f"[yellow]{_flowing(contract.banner)}[/]")
    degrees = [f"{contract.spacing:g} degrees"] if contract.spacing else []
    spacings = ", ".join(
        degrees + [f"{grid.spacing:g} m (map {grid.name})" for grid in contract.grids]
    )
    console.print(
        f"track {contract.track}, factor {contract.factor:g}, fine spacing {spacings}, "
        f"margin {contract.margin} coarse cell(s), {contract.members} members, "
        f"one case a {contract.case}"
    )
    primary = contract.primary
    console.print(f"ranked by {primary.metric} of {primary.variable}")
    variables = Table("variable", "units", "cell methods", "long name")
    for variable in contract.variables:
        variables.add_row(variable.name, variable.units, variable.cell_methods, variable.long_name)
    console.print(variables)
    _show_scoring(contract, console)
    splits = Table("split", "period", "regions")
    for split in SPLITS:
        period = contract.period_of(split)
        names = ", ".join(region.name for region in contract.regions_of(split))
        splits.add_row(split, f"{period.first} to\n{period.last}", names)
    console.print(splits)
    ood = contract.regions_of("test_ood")
    clusters = len(set(cluster_labels(ood, within_km=contract.cluster_km)))
    console.print(
        f"test_ood: {_count(len(ood), 'region')} in {_count(clusters, 'cluster')} "
        f"(boxes closer than {contract.cluster_km:g} km count as one)"
    )
    if contract.few_shot:
        draws = "; ".join(
            ", ".join(day.isoformat() for day in draw) for draw in contract.few_shot.draws
        )
        console.print(
            f"few_shot: {contract.few_shot.days} labelled day(s) of each test_ood region, "
            f"{len(contract.few_shot.draws)} draws, seed after seed: {draws}"
        )
    choices = recipe_choices(contract)
    if choices:
        console.print(f"recipes: {', '.join(choices)}")
    for source in contract.sources:
        console.print(f"{source.product} ({source.licence}): {_flowing(source.attribution)}")


def _flowing(text: str) -> str:
    """A text whose lines the console breaks where its own end; empty lines stay."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show_scoring(contract: Task, console: Console) -> None:
    """What scores of events, strata, distributions and pictures are given for."""
    scoring = Table("variable", "events at or above", "bounds of intensity", "bins", "data range")
    for variable in contract.variables:
        bins = variable.bins
        size = f"{bins.per_octave} an octave" if bins.kind == "log2" else f"width {bins.width:g}"
        scoring.add_row(
            variable.name,
            ", ".join(name.removeprefix(">= ") for name in variable.threshold_names) or "none",
            ", ".join(f"{bound:g}" for bound in variable.intensity) or "none",
            f"{bins.low:g} to {bins.high:g}, {size}",
            "{:g} to {:g}".format(*variable.data_range),
        )
    console.print(scoring)
    sides, lags = (", ".join(map(str, cells)) for cells in (contract.windows, contract.lags))
    console.print(
        f"FSS windows {sides}, structure functions at {lags} fine cells; spectra, SSIM and FSS "
        f"of one step in {contract.image_every}; scores of papers: "
        f"{', '.join(contract.papers) or 'none'}"
    )
