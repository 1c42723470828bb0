"""Few-shot: a finished zero-shot run, fine-tuned for each target on the task's labelled days.

The run folder holds the weights of the run that it starts from, for regions that it was trained
on, and `REGION.safetensors` for each OOD test region.
"""

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from datetime import time as clock
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from blake3 import blake3
from pydantic import Field
from torch import Tensor

from baselines import fit
from baselines.adaptation.adapted import Adapt, Adapted
from baselines.batches import draw
from baselines.data import Pairs, joined, load_pairs, projections_of
from baselines.downscaler import Downscaler, Scaling
from baselines.launch import Place, hardware, place, resolve_precision
from baselines.runs import (
    CHECKPOINT,
    RECORD,
    WEIGHTS,
    Request,
    RunRecord,
    finished,
    load_run,
    load_tensors,
    load_weights,
    other_run,
    read_record,
    save_tensors,
    write_record,
)
from baselines.settings import apply_setting
from baselines.sources import TARGETS
from baselines.training import packages
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Period, Task
from benchmark.toml_model import Frozen, read_table, validate

CONFIG = "few-shot.toml"
Report = Callable[[int, int, str], None]
"""report(step, steps, text): called after each step."""


class FineTuning(Frozen):
    """What differs from the training of the run that it starts from. A fixed number of steps."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    schedule: Literal["constant", "cosine"]


class FewShotConfig(Frozen):
    """A whole `few-shot.toml`."""

    training: FineTuning


def load_few_shot_config(
    *, file: Path | None = None, settings: Sequence[str] = ()
) -> FewShotConfig:
    """`few-shot.toml` (or `file`) with `key=value` settings such as `training.steps=50`.

    Errors: InputError for every unknown key, malformed setting and value out of range.
    """
    with resources.as_file(resources.files("baselines") / "configs" / CONFIG) as packaged:
        path = file or packaged
        table = read_table(path)
    for setting in settings:
        apply_setting(table, setting, example="training.steps=50")
    return validate(table, FewShotConfig, where=path.name)


def few_shot_request(
    store: PairStore, start: Path, config: FewShotConfig, *, seed: int | None = None
) -> Request:
    """The request of a fine-tuning: the network, layer, skip and sources of the run `start`.

    seed: which of the task's draws, and which batches; that of `start` where none is given.
    Errors: InputError where the task lists no labelled days, or `start` is no zero-shot run that
    was selected on `val_id`, or one of other data.
    """
    labelled_days(store.task, 0)
    record, _ = load_run(start, store.task)
    base = record.request
    expected = "a zero-shot run, selected on val_id"
    fix = "Choose another run to start from."
    if (base.regime, base.selection) != ("zero_shot", "val_id"):
        got = f"one of {base.regime}, {base.selection}"
        raise InputError(Problem(f"--base {start}", expected, got, fix))
    if base.data_hash != store.data_hash:
        raise InputError(
            Problem(
                f"--base {start}", f"a run on the data {store.data_hash}", base.data_hash,
                "Train it again on this pair store.",
            )
        )  # fmt: skip
    training = base.config.training.model_copy(
        update={
            **config.training.model_dump(),
            "validate_every": config.training.steps,
            "ema": 0.0,
            "patience": 0,
            "balance": "samples",
            "data": "memory",
            "workers": 0,
        }
    )
    return Request.model_validate(
        base.model_dump()
        | {
            "regime": "few_shot",
            "start": weights_digest(start),
            "seed": base.seed if seed is None else seed,
            "config": base.config.model_copy(update={"training": training}),
        }
    )


def few_shot(
    store: PairStore,
    request: Request,
    folder: Path,
    *,
    start: Path,
    report: Report = lambda *_: None,
) -> RunRecord:
    """Fine-tune the run `start` for each OOD test region by itself; see `few_shot_request`.

    A fixed number of optimiser steps on the labelled days of the seed's draw, with the scaling
    constants of `start`; of a region nothing else is read. Regions that are done are kept when it
    is called again; one that was stopped begins anew, with the same batches.
    Errors: InputError when the folder holds another run, `start` has other weights than the
    request says, a region has no labelled step, or the loss stops being finite.
    """
    if (folder / RECORD).exists():
        return finished(folder, request)
    if (folder / CHECKPOINT).exists():
        raise other_run(folder)
    if weights_digest(start) != request.start:
        raise InputError(
            Problem(
                f"--base {start}", f"weights with the digest {request.start}",
                weights_digest(start), "Start from the run that this one began with.",
            )
        )  # fmt: skip
    base, model = load_run(start, store.task)
    config = request.config.training
    torch.set_num_threads(config.threads)
    targets = store.regions(*TARGETS)
    seconds = 0.0
    with place(config.device, batch=config.batch) as at:
        for done, region in enumerate(targets):
            path = weights_path(folder, region)
            if not path.exists():
                before, steps = done * config.steps, len(targets) * config.steps
                tell = partial(_tell, report, before=before, steps=steps, name=region.name)
                _fine_tune(model, base.scaling, region, request, path, at, report=tell)
            at.wait()
            seconds += float(_read(path, request)[1]["seconds"])
        if at.first:
            shutil.copyfile(start / WEIGHTS, folder / WEIGHTS)
            record = base.model_copy(
                update={
                    "request": request,
                    "precision": resolve_precision(config.precision, at.device),
                    "curve": (),
                    "best_step": config.steps,
                    "seconds": seconds,
                    "hardware": hardware(at, config.threads),
                    "processes": at.world,
                    "packages": packages(),
                }
            )
            write_record(folder, record)
        at.wait()
    return read_record(folder)


def fine_tuned(folder: Path, record: RunRecord, model: Downscaler, store: PairStore) -> Adapt:
    """What a few-shot run predicts a region with: its own weights, or those of `start`.

    Errors, when a region is asked for: InputError where its weights are absent or of another run.
    """
    targets = {region.name for region in store.regions(*TARGETS)}

    def adapt(region: RegionStore) -> Adapted:
        if region.name not in targets:
            return Adapted(model)
        path = weights_path(folder, region)
        own = copy.deepcopy(model)
        load_weights(own.network, _read(path, record.request)[0], path)
        return Adapted(own.eval())

    return adapt


def weights_path(folder: Path, region: RegionStore) -> Path:
    """Where a target's own weights are."""
    return folder / f"{region.name}.safetensors"


def weights_digest(run: Path) -> str:
    """The BLAKE3 digest of a run's weights, by which a few-shot run names what it starts from."""
    try:
        return blake3((run / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        fix = "Choose a finished run."
        raise InputError(Problem(f"--base {run}", "a run's weights", str(error), fix)) from None


def labelled_days(task: Task, seed: int) -> tuple[date, ...]:
    """The days of each target whose fine fields a seed may see; InputError where there are none."""
    if task.few_shot is None:
        raise InputError(
            Problem(
                f"{task.id}: few_shot", "labelled days", "none in this task",
                "Choose another regime.",
            )
        )  # fmt: skip
    return task.few_shot.draw(seed)


def labelled_pairs(region: RegionStore, days: Sequence[date]) -> Pairs:
    """The pairs of some UTC days of the training period; InputError where a day has none."""
    last = region.task.periods.train.last
    periods = [
        Period(first=midnight, last=min(midnight + timedelta(days=1, seconds=-1), last))
        for midnight in (datetime.combine(day, clock()) for day in days)
    ]
    return joined([load_pairs([region], period) for period in periods])


def _fine_tune(
    model: Downscaler,
    scaling: Scaling,
    region: RegionStore,
    request: Request,
    path: Path,
    at: Place,
    *,
    report: Callable[[int], None],
) -> None:
    config = request.config.training
    began = time.perf_counter()
    pairs = labelled_pairs(region, labelled_days(region.task, request.seed))
    operators = tuple(operator.to(at.device) for operator in projections_of([region]))
    own = copy.deepcopy(model).train()
    state = fit.start(own, config, at, seed=request.seed)
    curve = []
    while state.step < config.steps:
        batch = draw(pairs, config, state.generator, at)
        curve.append(fit.update(state, batch, scaling, config, operators))
        report(state.step)
    if at.first:
        metadata = {
            "request": request.model_dump(mode="json"),
            "seconds": time.perf_counter() - began,
            "curve": curve,
        }
        save_tensors(path, own.network.state_dict(), metadata)


def _tell(report: Report, step: int, *, before: int, steps: int, name: str) -> None:
    report(before + step, steps, name)


def _read(path: Path, request: Request) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = load_tensors(path)
    if metadata.get("request") != request.model_dump(mode="json"):
        raise other_run(path.parent)
    return tensors, metadata
