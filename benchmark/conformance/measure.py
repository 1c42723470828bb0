"""What this installation makes of the pseudo-models, in the shape that answers are given in."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import TypeAdapter

from benchmark import evaluate
from benchmark.case_table import by_case, total
from benchmark.conformance.answers import HEADLINED, Numbers
from benchmark.conformance.pseudo_models import PSEUDO_MODELS
from benchmark.engine import VARIABLE, Engine
from benchmark.errors import InputError, Problem
from benchmark.metric_table import metric_table, value
from benchmark.metrics import METRICS, entries
from benchmark.pair_store import PairStore
from benchmark.results import Headline
from benchmark.scoring import score_cases
from benchmark.skill import as_gap, contrast
from benchmark.sources import StoredPredictions
from benchmark.task import TEST_SPLITS, Task

GAP = "gap[rmse over bilinear]"
SKILLS = {
    "deterministic": "skill[rmse over bilinear]", "probabilistic": "skill[crps_fair over drawn]",
}  # fmt: skip


def engines() -> tuple[Engine, ...]:
    """The engines that this installation has."""
    return ("numba", "numpy") if find_spec("numba") is not None else ("numpy",)


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """Score with this engine, whatever the environment says."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = engine
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@dataclass(frozen=True)
class Measured:
    """{pseudo-model: numbers}, and {pseudo-model: why} of those that the harness refused."""

    numbers: dict[str, Numbers]
    refused: dict[str, str]


def measure(
    task: Task,
    store: PairStore,
    predictions: Path,
    models: Sequence[str],
    *,
    work: Path,
    report: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Score the prediction stores `predictions/PSEUDO` as `elsewhere score` does, in memory."""
    tables, refused = {}, {}
    wanted = dict.fromkeys((*models, "drawn") if set(models) & set(HEADLINED) else models)
    for name in wanted:
        source = StoredPredictions(task, predictions / name)
        try:
            tables[name] = score_cases(store, source, work=work / name).table
        except InputError as error:
            refused[name] = f"refused: {error}"
        if name in models:
            report(name)
    numbers: dict[str, Numbers] = {}
    for members in (1, task.members):
        alike = {n: t for n, t in tables.items() if PSEUDO_MODELS[n].members == members}
        numbers |= _metrics(alike)
    headlined = [name for name in models if name in HEADLINED and name in tables]
    if headlined and "drawn" in tables:
        # The dressed reference is drawn by our generator, so another stands in for it here.
        over = {"bilinear": evaluate.reference_cases(store, "bilinear"),
                "bilinear-dressed": by_case(tables["drawn"])}  # fmt: skip
        for name in headlined:
            cases, card = by_case(tables[name]), PSEUDO_MODELS[name].card(task)
            _merge(numbers[name], _skills(evaluate.headlines(task, card, cases, over)))
            _merge(numbers[name], _gaps(task, cases, over["bilinear"]))
    return Measured({name: numbers[name] for name in models if name in numbers}, refused)


def _metrics(tables: dict[str, xr.Dataset]) -> dict[str, Numbers]:
    """Metrics of case tables of equal members, all at once: their regions side by side."""
    if not tables:
        return {}
    renamed = [
        table.assign_coords(region=[f"{model}/{region}" for region in table["region"].values])
        for model, table in tables.items()
    ]
    joined = xr.concat(
        renamed, "region", data_vars="minimal", coords="minimal", compat="override",
        combine_attrs="override", join="outer",
    )  # fmt: skip
    totals = total(joined)
    table = metric_table(by_case(joined), totals)
    for variable, metrics in table.items():
        ranks = METRICS["rank_histogram"](totals).sel(variable=variable, stratum="all")
        for entry, shares in entries(METRICS["rank_histogram"], ranks, []).items():
            names = [str(name) for name in shares["region"].values]
            by_region = zip(names, shares.values.tolist(), strict=True)
            metrics[entry] = {name: {"all": value(share)} for name, share in by_region}
    numbers: dict[str, Numbers] = {model: {} for model in tables}
    for variable, metrics in table.items():
        for entry, regions in metrics.items():
            for name, by_stratum in regions.items():
                model, _, region = name.partition("/")
                _put(numbers[model], variable, entry)[region] = by_stratum
    return numbers


def _put(numbers: Numbers, variable: str, entry: str) -> dict[str, dict[str, float | None]]:
    return numbers.setdefault(variable, {}).setdefault(entry, {})


def _merge(into: Numbers, other: Numbers) -> None:
    for variable, metrics in other.items():
        into.setdefault(variable, {}).update(metrics)


def _skills(headline: Sequence[Headline]) -> Numbers:
    """A skill by region, and by split its mean, median and worst."""
    numbers: Numbers = {}
    for h in headline:
        by_region = _put(numbers, h.variable, SKILLS[h.board])
        by_region |= {name: {"all": skill} for name, skill in h.regions.items()}
        by_region[h.split] = {"mean": h.skill, "median": h.median, "worst": h.worst}
    return numbers


def _gaps(task: Task, cases: xr.Dataset, other: xr.Dataset) -> Numbers:
    numbers: Numbers = {}
    for variable in task.variable_names:
        for split in TEST_SPLITS:
            pair = contrast(task, split, variable, (cases, "rmse"), (other, "rmse"))
            _put(numbers, variable, GAP)[split] = {"mean": value(as_gap(pair.mean))}
    return numbers


def write_numbers(numbers: Numbers, path: Path) -> None:
    """Write what was measured as a fork writes it: `metrics`, the skills among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metrics": numbers}, indent=1, allow_nan=False) + "\n")


def read_numbers(path: Path) -> Numbers:
    """The `metrics` of a scores.json.

    Errors: InputError where there is no such file or it has another shape.
    """
    expected = '{"metrics": {variable: {metric: {region: {stratum: number or null}}}}}'
    fix = "See `elsewhere selftest --help`."
    try:
        found: Any = json.loads(path.read_bytes())
        return TypeAdapter(Numbers).validate_python(found["metrics"], strict=True)
    except FileNotFoundError:
        raise InputError(Problem(str(path), "scores of a pseudo-model", "no file", fix)) from None
    except (ValueError, TypeError, KeyError) as error:
        got = f"{type(error).__name__}: {error}"[:200]
        raise InputError(Problem(str(path), expected, got, fix)) from None
