"""`elsewhere train`."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from benchmark.cli.output import (
    Advance,
    DataOption,
    JsonOption,
    one_of,
    pair_store,
    print_json,
    progress,
)
from benchmark.cli.tasks import TaskArgument
from benchmark.errors import InputError, Problem
from benchmark.model_card import Constraint, check_sources
from benchmark.pair_store import PairStore
from benchmark.task import Task
from benchmark.toml_model import nearest
from benchmark.writable import check_writable

if TYPE_CHECKING:
    from baselines.runs import Request

REGIMES = ("zero_shot", "few_shot", "oracle")
SELECTIONS = ("val_id", "val_ood")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("train")(train)


def train(
    name: TaskArgument,
    model: Annotated[str, typer.Argument(help="A model; see `elsewhere models`.")],
    out: Annotated[Path, typer.Option(help="The run folder; an unfinished one is resumed.")],
    constraint: Annotated[
        str, typer.Option(help="none, soft, add, scaled_add, mult, softmax, projection, post_hoc.")
    ] = "none",
    skip: Annotated[bool, typer.Option(help="Add the bilinear field to the output.")] = False,
    regime: Annotated[str, typer.Option(help="zero_shot, few_shot or oracle.")] = "zero_shot",
    sources: Annotated[
        str | None, typer.Option(help="Train on these training regions only: NAME,NAME.")
    ] = None,
    target_only: Annotated[
        bool, typer.Option("--target-only", help="The oracle without the training regions.")
    ] = False,
    selection: Annotated[
        str, typer.Option(help="Whose validation period picks the weights: val_id or val_ood.")
    ] = "val_id",
    start: Annotated[
        Path | None,
        # Not --start: torchrun would take it for an abbreviation of its own --start-method.
        typer.Option("--base", help="The zero-shot run that few_shot tunes."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="0 where none is given; few_shot: that of the run it starts from."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A config instead of the model's own.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value (repeatable).")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a model and write its run folder.

    Example: `elsewhere train era5-sample srcnn --constraint add --skip --seed 0 --out runs/add-0`

    A source set, for the transfer matrix: `elsewhere train era5-sample srcnn --sources
    europe-west,europe-central --out runs/europe-0`. A few labelled days of each target:
    `elsewhere train era5-sample srcnn --regime few_shot --base runs/none-0 --out runs/few-0`.
    Two processes: `torchrun --nproc-per-node 2 --no-python elsewhere train ...`
    """
    from baselines.statistical import STATISTICAL

    store = pair_store(name, data)
    one_of("--regime", regime, REGIMES)
    one_of("--selection", selection, SELECTIONS)
    one_of("--constraint", constraint, get_args(Constraint))
    chosen = _source_set(sources, regime, store.task)
    if target_only and regime != "oracle":
        fix = "Add --regime oracle."
        raise InputError(Problem("--target-only", "--regime oracle", f"--regime {regime}", fix))
    if selection == "val_ood" and regime != "zero_shot":
        fix = "Leave --selection out: other regimes know the target, or select nothing."
        raise InputError(
            Problem("--selection val_ood", "--regime zero_shot", f"--regime {regime}", fix)
        )
    if (start is not None) != (regime == "few_shot"):
        fix = "`--regime few_shot --base RUN`, with the zero-shot run of the same model."
        raise InputError(Problem("--base", "a run where the regime is few_shot", regime, fix))
    if not (out / "run.json").exists():
        check_writable(out, where="--out")
    words: dict[str, object] = {
        "task": store.task.id,
        "data_hash": store.data_hash,
        "model": model,
        "regime": regime,
        "sources": chosen,
    }
    if model in STATISTICAL:
        given = {
            "--constraint": constraint != "none", "--skip": skip, "--target-only": target_only,
            "--selection": selection != "val_id", "--regime few_shot": regime == "few_shot",
            "--seed": bool(seed),
        }  # fmt: skip
        _refuse(model, [option for option, said in given.items() if said])
        _fit_statistics(store, words, out, config, settings or (), as_json=as_json)
    elif start is not None:
        given = {"--constraint": constraint != "none", "--skip": skip, "--sources": bool(chosen)}
        _refuse("few_shot", [option for option, said in given.items() if said])
        _fine_tune(store, model, start, out, config, settings or (), seed, as_json=as_json)
    else:
        words |= {"constraint": constraint, "skip": skip, "seed": seed or 0}
        words |= {"target_only": target_only, "selection": selection}
        _fit_network(store, words, out, config, settings or (), as_json=as_json)


def describe(request: "Request") -> str:
    """A network's variant in a few words."""
    skip = " + skip" if request.skip else ""
    origin = f" from {'+'.join(request.sources)}" if request.sources else ""
    target = " on the targets only" if request.target_only else ""
    regime = f"{request.regime}{origin}{target}"
    return f"{request.variant}{skip}, {request.constraint}, {regime}, seed {request.seed}"


def _fit_network(
    store: PairStore,
    words: dict[str, object],
    out: Path,
    config: Path | None,
    settings: Sequence[str],
    *,
    as_json: bool,
) -> None:
    from baselines.models import MODELS, load_config
    from baselines.runs import Request
    from baselines.statistical import STATISTICAL
    from baselines.training import train as fit

    model = str(words["model"])
    if model not in MODELS:
        fix = nearest(model, [*MODELS, *STATISTICAL])
        raise InputError(Problem(f"model {model!r}", "one of `elsewhere models`", "this", fix))
    resolved = load_config(model, file=config, settings=settings)
    request = Request.model_validate(words | {"config": resolved})
    with _progress(describe(request)) as advance:
        record = fit(store, request, out, report=advance)
    best = min(point.val for point in record.curve)
    told = {"run": str(out), "best_step": record.best_step, "val_loss": best}
    text = f"{out}: best at step {record.best_step}, validation loss {best:.4f}"
    _say(told, text, as_json=as_json)


def _fine_tune(
    store: PairStore,
    model: str,
    start: Path,
    out: Path,
    config: Path | None,
    settings: Sequence[str],
    seed: int | None,
    *,
    as_json: bool,
) -> None:
    from baselines.adaptation.few_shot import few_shot, few_shot_request, load_few_shot_config

    resolved = load_few_shot_config(file=config, settings=settings)
    request = few_shot_request(store, start, resolved, seed=seed)
    if request.model != model:
        fix = "Name the model of the run that you start from."
        raise InputError(Problem(f"--base {start}", f"a run of {model}", request.model, fix))
    with _progress(describe(request)) as advance:
        record = few_shot(store, request, out, start=start, report=advance)
    text = f"{out}: {record.best_step} steps for each target region"
    _say({"run": str(out), "steps": record.best_step}, text, as_json=as_json)


def _fit_statistics(
    store: PairStore,
    words: dict[str, object],
    out: Path,
    config: Path | None,
    settings: Sequence[str],
    *,
    as_json: bool,
) -> None:
    from baselines.statistical import load_statistical_config
    from baselines.statistical.runs import StatisticalRequest, fit_run

    resolved = load_statistical_config(str(words["model"]), file=config, settings=settings)
    request = StatisticalRequest.model_validate(words | {"config": resolved})
    with _progress(f"{request.model}, {request.regime}") as advance:
        record = fit_run(store, request, out, advance)
    text = f"{out}: {record.parameters:,} numbers fitted in {record.seconds:.1f} s"
    _say({"run": str(out), "parameters": record.parameters}, text, as_json=as_json)


def _progress(title: str) -> AbstractContextManager[Advance]:
    """A bar in the process that reports; a launcher's other ones are silent."""
    return progress(title) if _is_first() else nullcontext(lambda *_: None)


def _is_first() -> bool:
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def _say(told: dict[str, object], text: str, *, as_json: bool) -> None:
    if not _is_first():
        return
    if as_json:
        print_json(told)
    else:
        print(text)


def _refuse(model: str, options: list[str]) -> None:
    """Options that mean nothing to what is fitted."""
    if options:
        raise InputError(
            Problem(model, "no options that it cannot heed", ", ".join(options), "Leave them out.")
        )


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
