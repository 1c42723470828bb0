"""`elsewhere models`, `train` and `predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    counted,
    data_folder,
    headline_table,
    print_json,
    progress,
)
from benchmark.cli.scoring import announce_scoring
from benchmark.cli.tasks import TaskArgument
from benchmark.errors import InputError, Problem
from benchmark.model_card import check_sources
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.predictor import Predictor
from benchmark.task import Task, load_task
from benchmark.toml_model import nearest

if TYPE_CHECKING:
    from baselines.runs import Request

REGIMES = ("zero_shot", "oracle")


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("models")(models)
    app.command("train")(train)
    app.command("predict")(predict)


def models(as_json: JsonOption = False) -> None:
    """List the nulls, which need no training, and the networks.

    Example: `elsewhere models`
    """
    from baselines.models import MODELS
    from baselines.nulls import NULLS

    if as_json:
        print_json({"nulls": list(NULLS), "networks": list(MODELS)})
        return
    table = Table("model", "kind", "reference")
    for name in NULLS:
        table.add_row(name, "null, needs no training", "Elsewhere")
    for name, family in MODELS.items():
        table.add_row(name, "network", family.reference)
    Console().print(table)


def train(
    name: TaskArgument,
    model: Annotated[str, typer.Argument(help="A network; see `elsewhere models`.")],
    out: Annotated[Path, typer.Option(help="The run folder; an unfinished one is resumed.")],
    constraint: Annotated[
        str, typer.Option(help="none, soft, add, scaled_add, mult, softmax, projection, post_hoc.")
    ] = "none",
    skip: Annotated[bool, typer.Option(help="Add the bilinear field to the output.")] = False,
    regime: Annotated[str, typer.Option(help="zero_shot or oracle.")] = "zero_shot",
    sources: Annotated[
        str | None, typer.Option(help="Train on these training regions only: NAME,NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    config: Annotated[
        Path | None, typer.Option(help="A config instead of the model's own.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value (repeatable).")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a network and write its run folder.

    Example: `elsewhere train era5-sample srcnn --constraint add --skip --seed 0 --out runs/add-0`

    A source set, for the transfer matrix: `elsewhere train era5-sample srcnn --sources
    europe-west,europe-central --out runs/europe-0`
    """
    from baselines.models import load_config
    from baselines.runs import Request
    from baselines.training import train as fit

    resolved = load_config(model, file=config, settings=settings or ())
    store = open_pair_store(load_task(name), data_folder(data))
    _one_of("--regime", regime, REGIMES)
    chosen = _source_set(sources, regime, store.task)
    _one_of("--constraint", constraint, _layers())
    request = Request.model_validate(
        {
            "task": store.task.id,
            "data_hash": store.data_hash,
            "model": model,
            "regime": regime,
            "sources": chosen,
            "constraint": constraint,
            "skip": skip,
            "seed": seed,
            "config": resolved,
        }
    )
    with progress(describe(request)) as advance:
        record = fit(store, request, out, report=advance)
    best = min(point.val for point in record.curve)
    if as_json:
        print_json({"run": str(out), "best_step": record.best_step, "val_loss": best})
    else:
        print(f"{out}: best at step {record.best_step}, validation loss {best:.4f}")


def predict(
    name: TaskArgument,
    run: Annotated[str, typer.Argument(help="A run folder, or the name of a null.")],
    out: Annotated[Path, typer.Option(help="The prediction store, or the scores' folder.")],
    post_hoc: Annotated[
        bool, typer.Option("--post-hoc", help="Project an unconstrained run's predictions.")
    ] = False,
    score_only: Annotated[
        bool, typer.Option("--score-only", help="Score as it predicts and store no fields.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the test period of every test region.

    Example: `elsewhere predict era5-sample runs/add-0 --out predictions/add-0`
    """
    store = open_pair_store(load_task(name), data_folder(data))
    predictor = open_predictor(store, run, post_hoc=post_hoc)
    if score_only:
        _score_only(store, predictor, run, out, as_json=as_json)
        return
    from benchmark.prediction_store import expected_regions, write_predictions

    with progress(f"predict {predictor.card.title}") as advance:
        counted(write_predictions(predictor, store, out), len(expected_regions(store)), advance)
    if as_json:
        print_json({"predictions": str(out)})
    else:
        print(f"{out}: next, `elsewhere score {name} {out} --out DIR`")


def open_predictor(store: PairStore, run: str, *, post_hoc: bool = False) -> Predictor:
    """A null by its name, or the network of a run folder.

    Errors: InputError when `run` is neither.
    """
    from baselines.nulls import NULLS, null

    if run in NULLS:
        if post_hoc:
            raise InputError(
                Problem("--post-hoc", "a run folder", f"the null {run}", "Use bilinear-projected.")
            )
        return null(run, store)
    if not Path(run).is_dir():
        fix = nearest(run, list(NULLS))
        raise InputError(Problem(run, "a run folder or the name of a null", "neither", fix))
    from baselines.network import open_network

    return open_network(Path(run), store.task, post_hoc=post_hoc)


def describe(request: "Request") -> str:
    """A network's variant in a few words."""
    skip = " + skip" if request.skip else ""
    origin = f" from {'+'.join(request.sources)}" if request.sources else ""
    regime = f"{request.regime}{origin}"
    return f"{request.model}{skip}, {request.constraint}, {regime}, seed {request.seed}"


def _score_only(
    store: PairStore, predictor: Predictor, run: str, out: Path, *, as_json: bool
) -> None:
    from benchmark.evaluate import score
    from benchmark.sources import StreamedPredictions

    record = Path(run) / "run.json"
    identity = record.read_text(encoding="utf-8") if record.is_file() else run
    source = StreamedPredictions(predictor, identity)
    announce_scoring(store, source, workers=1)
    with progress("predict and score") as advance:
        scores = score(store, source, out, report=advance)
    if as_json:
        print_json({"scores": str(out / "scores.json")})
    else:
        Console().print(headline_table(store.task, scores))


def _layers() -> tuple[str, ...]:
    from baselines.constraints import LAYERS

    return tuple(LAYERS)


def _source_set(text: str | None, regime: str, task: Task) -> tuple[str, ...]:
    """The regions of `--sources`, sorted; empty without it.

    Errors: InputError on an empty list, a name that is no training region, all of them, or a
    regime whose regions are fixed.
    """
    if text is None:
        return ()
    names = sorted({word.strip() for word in text.split(",") if word.strip()})
    if not names:
        raise InputError(
            Problem("--sources", "names of training regions", repr(text), "NAME,NAME or no option.")
        )
    if regime == "oracle":
        fix = "Leave one of the two out: the oracle also learns from the OOD test regions."
        raise InputError(Problem("--sources", "--regime zero_shot", "--regime oracle", fix))
    problems = check_sources(task, names, where="--sources")
    if problems:
        raise InputError(problems)
    return tuple(names)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(Problem(option, " or ".join(known), value, nearest(value, list(known))))
