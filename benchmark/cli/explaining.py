"""`elsewhere explain`: what an explanation looks like, as a table and as JSON."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from benchmark.cli.output import JsonOption, percent, print_json, without_nan

if TYPE_CHECKING:
    from benchmark.explain import Explanation, Mean, Ratio
    from benchmark.results import Scores

MOST_SEEDS = 4
"""Columns of seeds in a comparison."""
MOST_SHOWN = 20
"""Numbers of one statistic that are listed; spectra and bins have more."""


def explain(
    row: Annotated[Path, typer.Argument(help="A score folder, or a folder of seed-N folders.")],
    metric: Annotated[
        str, typer.Argument(help="A metric, such as rmse or 'csi[>= P95]'; skill, gap or regret.")
    ],
    place: Annotated[
        str, typer.Argument(help="A region, such as andes-south; or test_id, test_ood, test.")
    ],
    variable: Annotated[
        str | None, typer.Option(help="The task's primary variable by default.")
    ] = None,
    stratum: Annotated[
        str, typer.Option(help="all, land, sea, mountain, intensity-2, autumn, ...")
    ] = "all",
    against: Annotated[
        str | None,
        typer.Option(help="The ratio to another row: its folder, or its name beside this one."),
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Of skill, gap and regret: the one that ranks by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Which sums, weights, cases and hashes made a number.

    Example: `elsewhere explain scores/mine rmse andes-south --variable t2m`

    In the folder with the results: `elsewhere explain 2026.1/era5-sample@1/srcnn/add-zero_shot
    skill test_ood`, or `... rmse test_ood --against bicubic`
    """
    from benchmark.explain import Explanation, Mean
    from benchmark.explain import explain as explanation_of

    found = explanation_of(
        row, metric, place, variable=variable, stratum=stratum, against=against, board=board
    )
    console = Console(soft_wrap=True)
    if isinstance(found, Explanation):
        print_json(without_nan(one_json(found))) if as_json else _show_one(found, console)
    elif isinstance(found, Mean):
        print_json(without_nan(mean_json(found))) if as_json else _show_mean(found, console)
    else:
        print_json(without_nan(ratio_json(found))) if as_json else _show_ratio(found, console)


def one_json(found: "Explanation") -> dict[str, Any]:
    """One number with its sums and hashes."""
    return {
        "metric": found.entry,
        "formula": found.metric.formula,
        "reference": found.metric.reference,
        "variable": found.variable,
        "region": found.region,
        "stratum": found.stratum,
        "unit": found.unit,
        **_sums(found),
        "folder": str(found.folder),
        **_provenance(found.scores),
    }


def _sums(found: "Explanation") -> dict[str, Any]:
    return {
        "value": found.value,
        "totals": found.totals,
        "meaning": found.meaning,
        "constants": found.constants,
        "by_case": found.by_case,
        "lacks": list(found.lacks),
    }


def _seeds(seeds: "dict[int, dict[str, Explanation]]") -> dict[str, Any]:
    """Every seed with its hashes, and every region of it with its sums."""
    return {
        str(number): {
            "folder": str(first.folder),
            **_provenance(first.scores),
            "regions": {name: _sums(one) for name, one in regions.items()},
        }
        for number, regions in seeds.items()
        for first in (next(iter(regions.values())),)
    }


def _metric_of(seeds: "dict[int, dict[str, Explanation]]") -> dict[str, str]:
    first = next(iter(next(iter(seeds.values())).values()))
    return {
        "metric": first.entry,
        "formula": first.metric.formula,
        "reference": first.metric.reference,
        "unit": first.unit,
    }


def mean_json(found: "Mean") -> dict[str, Any]:
    """A mean with all that it is of."""
    return {
        **_metric_of(found.seeds),
        "variable": found.variable,
        "place": found.place,
        "stratum": found.stratum,
        "mean": found.formula,
        "value": found.value,
        "seeds": _seeds(found.seeds),
    }


def ratio_json(found: "Ratio") -> dict[str, Any]:
    """A comparison with both rows, every seed and every region."""
    contrast = found.contrast
    return {
        "name": found.name,
        "formula": found.formula,
        "variable": found.variable,
        "place": found.place,
        "stratum": found.stratum,
        "shown": found.shown,
        "value": found.value,
        "ratio": found.ratio,
        "skill": 1 - found.ratio,
        "gap": found.ratio - 1,
        "log_ratios": dict(zip(contrast.regions, contrast.log_ratios, strict=True)),
        "median": found.shown_of(contrast.median),
        "worst": {contrast.worst[0]: found.shown_of(contrast.worst[1])},
        "seeds": {str(seed): found.shown_of(log) for seed, log in found.seed_logs.items()},
        "seed_spread": found.seed_spread,
        "log_ratio_intervals": {
            "these_regions": contrast.these_regions,
            "new_regions": contrast.new_regions,
        },
        "resolvable": found.resolvable,
        "clusters": found.clusters,
        "row": {"row": found.mine.row, **_metric_of(found.mine.seeds),
                "seeds": _seeds(found.mine.seeds)},
        "other": {"row": found.other.row, **_metric_of(found.other.seeds),
                  "seeds": _seeds(found.other.seeds)},
    }  # fmt: skip


def _provenance(scores: "Scores") -> dict[str, str]:
    return {
        "release": scores.release,
        "task": scores.task,
        "data_hash": scores.data_hash,
        "prediction_hash": scores.prediction_hash,
        "case_table_hash": scores.case_table_hash,
        "commit": scores.commit,
    }


def _show_one(found: "Explanation", console: Console) -> None:
    value = _with_unit(found.value, found.unit)
    place = f"{found.variable}, {found.region}, stratum {found.stratum}"
    _title(console, f"{found.metric.title}{_own_place(found.entry)} = {value}", place)
    console.print(
        f"{found.metric.formula}   {found.metric.reference}", highlight=False, markup=False
    )
    console.print("<f>: sum over cells and cases of weight times f, over the summed weight")
    if found.lacks:
        console.print(f"not in this row's case table: it lacks {' and '.join(found.lacks)}")
    table = Table("", *found.totals)
    table.add_row("meaning", *(found.meaning[name] for name in found.totals))
    for case, sums in found.by_case.items():
        cells = (_digits(sums[name]) if name in sums else "-" for name in found.totals)
        table.add_row(case, *cells)
    table.add_row("all cases", *(_digits(total) for total in found.totals.values()), style="bold")
    console.print(table)
    constants = {k: v for k, v in found.constants.items() if not isinstance(v, list)}
    console.print(", ".join(f"{key} {value}" for key, value in constants.items()), markup=False)
    for name, entry in _provenance(found.scores).items():
        console.print(f"{name:16} {entry}", highlight=False)


def _show_mean(found: "Mean", console: Console) -> None:
    value = _with_unit(found.value, found.unit)
    place = f"{found.variable}, {found.place}, stratum {found.stratum}"
    _title(console, f"{found.title}{_own_place(found.entry)} = {value}", place)
    console.print(found.formula, highlight=False)
    table = _by_region(*(f"seed {number}" for number in found.seeds))
    for region in found.regions:
        table.add_row(region, *(_number(one[region].value) for one in found.seeds.values()))
    console.print(table)
    _show_hashes(found.seeds, console)
    _show_next(found.seeds, console)


def _show_ratio(found: "Ratio", console: Console) -> None:
    from benchmark.explain_ratio import COMPARED

    contrast = found.contrast
    shown = "missing" if found.value is None else percent(found.value)
    title = found.name if found.name in COMPARED else f"{found.name}: {found.shown}"
    place = f"{found.variable}, {found.place}, stratum {found.stratum}"
    _title(console, f"{title} = {shown}", place)
    console.print(found.formula, highlight=False)
    console.print(
        f"ratio r = {found.ratio:.10g}   skill 1 - r = {1 - found.ratio:.10g}   "
        f"gap r - 1 = {found.ratio - 1:.10g}",
        highlight=False,
    )
    for label, side in (("S", found.mine), ("S_other", found.other)):
        console.print(f"{label:8} {side.metric} of {side.row}", highlight=False, markup=False)
    # More columns than four would be cut on a narrow terminal: then each side's mean over seeds.
    many = len(found.mine.seeds) + len(found.other.seeds) > MOST_SEEDS
    heads = (
        ["S", "other"]
        if many
        else [f"S, seed {n}" for n in found.mine.seeds]
        + [f"other, seed {n}" for n in found.other.seeds]
    )
    table = _by_region(*heads, "ln ratio", f"{found.shown}, %")
    for k, (region, log) in enumerate(zip(contrast.regions, contrast.log_ratios, strict=True)):
        scores = [
            _number(value)
            for side in (found.mine, found.other)
            for value in (
                [float(side.mean_scores[k])]
                if many
                else [one[region].value for one in side.seeds.values()]
            )
        ]
        shown = percent(found.shown_of(log)).removesuffix(" %")
        table.add_row(region, *scores, _number(log), shown)
    console.print(table)
    worst, log = contrast.worst
    lines = {
        "median region": percent(found.shown_of(contrast.median)),
        "worst region": f"{percent(found.shown_of(log))}, {worst}",
        "by seed": ", ".join(
            f"{seed}: {percent(found.shown_of(log))}" for seed, log in found.seed_logs.items()
        ),
        "seed spread": "-" if found.seed_spread is None else f"{found.seed_spread:.6g}",
        "these regions": _interval(found, contrast.these_regions),
        "new regions": _interval(found, contrast.new_regions),
        "resolvable": ", ".join(
            f"{percent(share)} in {claim.replace('_', ' ')}"
            for claim, share in found.resolvable.items()
            if share is not None
        )
        or "-",
    }
    for name, text in lines.items():
        console.print(f"{name:16} {text}", highlight=False)
    for side in (found.mine, found.other):
        _show_hashes(side.seeds, console)
    _show_next(found.mine.seeds, console)


def _by_region(*heads: str) -> Table:
    """A line a region; no number is cut on a terminal of 80 columns with three seeds."""
    columns = [Column("region", no_wrap=True), *(Column(head, justify="right") for head in heads)]
    return Table(*columns, box=box.SIMPLE_HEAD)


def _interval(found: "Ratio", bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return "cannot be claimed"
    return " to ".join(percent(value) for value in sorted(found.shown_of(log) for log in bounds))


def _show_hashes(seeds: "dict[int, dict[str, Explanation]]", console: Console) -> None:
    """Where the seeds are and what they came from."""
    for number, regions in seeds.items():
        first = next(iter(regions.values()))
        scores = first.scores
        console.print(
            f"seed {number}: {first.folder}, case table {scores.case_table_hash}, "
            f"predictions {scores.prediction_hash}",
            highlight=False, markup=False,
        )  # fmt: skip


def _show_next(seeds: "dict[int, dict[str, Explanation]]", console: Console) -> None:
    """How to go on to the sums."""
    region, one = next(iter(next(iter(seeds.values())).items()))
    console.print(
        f"the sums of one: elsewhere explain {one.folder} '{one.entry}' {region} --variable "
        f"{one.variable}; of all: --json",
        highlight=False, markup=False,
    )  # fmt: skip


def _title(console: Console, title: str, place: str) -> None:
    console.print(f"{title}  ({place})", style="bold", markup=False, highlight=False)


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "missing"
    return f"{value:.10g}" if unit == "1" else f"{value:.10g} {unit}"


def _own_place(entry: str) -> str:
    """`[>= P95]` of an entry; empty for a metric that is one number."""
    _, bracket, rest = entry.partition("[")
    return f"{bracket}{rest}"


def _number(value: float | None) -> str:
    """Short enough for several seeds side by side; `--json` has every digit."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def _digits(value: float | list[float]) -> str:
    values = value if isinstance(value, list) else [value]
    if len(values) > MOST_SHOWN:
        return f"{len(values)} numbers, sum {sum(values):.10g} (all of them: --json)"
    return "\n".join(f"{number:.10g}" for number in values)
