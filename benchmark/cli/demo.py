"""`elsewhere demo`: the whole job on the embedded ERA5 sample."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.modelling import open_predictor
from benchmark.cli.output import progress
from benchmark.cli.training import describe
from benchmark.evaluate import score
from benchmark.pair_store import PairStore
from benchmark.prediction_store import expected_regions, write_predictions
from benchmark.results import SCORES
from benchmark.sources import StoredPredictions
from benchmark.task_files import load_task

TASK = "era5-sample"
NETWORKS = (
    ("none", "zero_shot"),
    ("none", "oracle"),
    ("add", "zero_shot"),
    ("add", "oracle"),
)
"""(constraint, regime) of the SR-CNNs that are trained; unconstrained ones are also projected."""
STATISTICAL = ("linear", "bcsd")
"""Fitted in seconds, and projected too."""


def add_to(app: typer.Typer) -> None:
    """Register this verb."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Everything goes here.")] = Path("out/demo"),
) -> None:
    """Build, train, predict, score and show the embedded ERA5 task, in a few minutes.

    Interrupted, a second call goes on where it stopped. Example: `elsewhere demo --out out/demo`
    """
    from data_recipes.build import build
    from leaderboard.site import build_site

    began = time.perf_counter()
    with _timed("build the pair store"):
        store = build(load_task(TASK), out / "data")
    with _timed("fit the statistical models"):
        runs = [_fit(store, out, name) for name in STATISTICAL]
    runs += [_train(store, out, constraint, regime) for constraint, regime in NETWORKS]
    with _timed("predict and score"), progress("predict and score") as advance:
        models = _models(runs)
        for done, (name, run, post_hoc) in enumerate(models, start=1):
            _predict_and_score(store, out, name, run, post_hoc=post_hoc)
            advance(done, len(models), name)
    with _timed("write the site"), progress("site") as advance:
        index = build_site([out / "results"], out / "site", report=advance)
    print(f"all: {time.perf_counter() - began:.0f} s")
    print(f"Open {index.resolve()}")


def _fit(store: PairStore, out: Path, name: str) -> Path:
    from baselines.statistical import load_statistical_config
    from baselines.statistical.runs import StatisticalRequest, fit_run

    request = StatisticalRequest(
        task=store.task.id,
        data_hash=store.data_hash,
        model=name,
        regime="zero_shot",
        config=load_statistical_config(name),
    )
    folder = out / "runs" / f"{name}-none-zero_shot"
    fit_run(store, request, folder)
    return folder


def _train(store: PairStore, out: Path, constraint: str, regime: str) -> Path:
    from baselines.models import load_config
    from baselines.runs import Request
    from baselines.training import train

    with resources.as_file(resources.files("baselines") / "configs" / "demo.toml") as config:
        request = Request.model_validate(
            {
                "task": store.task.id,
                "data_hash": store.data_hash,
                "model": "srcnn",
                "regime": regime,
                "constraint": constraint,
                "skip": False,
                "seed": 0,
                "config": load_config("srcnn", file=config),
            }
        )
    folder = out / "runs" / f"srcnn-{constraint}-{regime}"
    title = f"train {describe(request)}"
    with _timed(title), progress(title) as advance:
        train(store, request, folder, report=advance)
    return folder


def _models(runs: list[Path]) -> list[tuple[str, str, bool]]:
    """(name, null or run folder, projected post hoc) of every row."""
    from baselines.nulls import NULLS

    rows = [(name, name, False) for name in NULLS]
    for run in runs:
        rows.append((run.name, str(run), False))
        if "-none-" in run.name:
            rows.append((run.name.replace("none", "post_hoc"), str(run), True))
    return rows


def _predict_and_score(store: PairStore, out: Path, name: str, run: str, *, post_hoc: bool) -> None:
    results = out / "results" / name
    if (results / SCORES).exists():
        return
    predictions = out / "predictions" / name
    written = list(
        write_predictions(open_predictor(store, run, post_hoc=post_hoc), store, predictions)
    )
    if len(written) != len(expected_regions(store)):
        raise RuntimeError(f"{name}: {len(written)} regions written")
    score(store, StoredPredictions(store.task, predictions), results)


@contextmanager
def _timed(title: str) -> Iterator[None]:
    """Say on stdout what took how long."""
    began = time.perf_counter()
    yield
    print(f"{title}: {time.perf_counter() - began:.0f} s", flush=True)
