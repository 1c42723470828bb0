"""Fitting a network: seeded, resumable after a kill, selected on a validation period."""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

import torch

from baselines.batches import draw, mirrored
from baselines.data import Pairs, fit_scaling, load_pairs, projections_of, region_pairs
from baselines.downscaler import Scaling
from baselines.fit import Fit, load_checkpoint, save_checkpoint, start, update, validate
from baselines.launch import hardware, place
from baselines.loader import stream
from baselines.models import family
from baselines.runs import (
    CHECKPOINT,
    RECORD,
    WEIGHTS,
    Request,
    RunRecord,
    build,
    finished,
    read_record,
    save_tensors,
    write_record,
)
from baselines.sources import source_regions
from baselines.statics import check_statics
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Period, Task

Report = Callable[[int, int, str], None]
"""report(step, steps, text): called after each step."""

WHOLE_BLOCKS = ("add", "scaled_add", "mult", "softmax")
"""Layers that cannot be where coarse cells share fine ones."""
PART = 64
"""Steps of a streamed validation that are held at once."""


def train(
    store: PairStore, request: Request, folder: Path, *, report: Report = lambda *_: None
) -> RunRecord:
    """Fit the network of `request` and write its run folder; resumes, or returns a finished run.

    The losses are those of `losses`, in units of the training mean square of fine minus bilinear;
    `mse` is the mean over variables of the area-weighted squared error, so that bilinear costs
    about 1 in each variable. The weights with the lowest loss on the validation period are kept:
    that of the regions trained on or, where the request says so, that of the `val_ood` regions.
    With a source set, neither that nor the normalisation knows the other regions.
    Under a launcher every process calls this; one of them writes.
    Errors: InputError when the folder holds another run, the task lacks static fields that the
    network reads, pairs are to be mirrored whose boxes are shifted, or the loss stops being finite.
    """
    if (folder / RECORD).exists():
        return finished(folder, request)
    config = request.config.training
    check_statics(store.task, request.model, family(request.model).statics)
    if config.mirror and any(store.task.coarse_shift):
        raise _no_mirror(store.task)
    torch.set_num_threads(config.threads)
    with place(config.device, batch=config.batch) as at:
        regions = source_regions(
            store, request.regime, request.sources, target_only=request.target_only
        )
        judges = regions if request.selection == "val_id" else store.regions("val_ood")
        scaling = fit_scaling(store.task, regions)
        operators = tuple(operator.to(at.device) for operator in projections_of(regions))
        others = tuple(operator.to(at.device) for operator in projections_of(judges))
        if operators and request.constraint in WHOLE_BLOCKS:
            raise _no_whole_blocks(request.constraint, store.task)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            model = build(request, scaling, store.task)
        fit = start(model, config, at, seed=request.seed)
        if (folder / CHECKPOINT).exists():
            load_checkpoint(fit, request, folder)
        if config.overfit:
            batches, validation = _one_batch(fit, regions, store.task.periods.train, request)
        else:
            batches = _batches(fit, regions, store.task.periods.train, request)
            validation = _validation(judges, store.task.periods.val, config.data)
        began = time.perf_counter() - fit.seconds
        while fit.step < config.steps and not _stopped(fit, config.patience):
            update(fit, next(batches), scaling, config, operators)
            if fit.step % config.validate_every == 0 or fit.step == config.steps:
                validate(fit, validation(), scaling, config, others)
                fit.seconds = time.perf_counter() - began
                if at.first:
                    save_checkpoint(fit, request, folder)
            if at.first:
                latest = f"val {fit.curve[-1].val:.3f}" if fit.curve else ""
                report(fit.step, config.steps, latest)
        if at.first:
            _finish(fit, request, scaling, folder)
        at.wait()
    return read_record(folder)


def _stopped(fit: Fit, patience: int) -> bool:
    return patience > 0 and fit.stale >= patience


def _batches(
    fit: Fit, regions: Sequence[RegionStore], period: Period, request: Request
) -> Iterator[Pairs]:
    """Endless batches from the fit's step on."""
    config, at = request.config.training, fit.place
    if config.data == "memory":
        pairs = load_pairs(regions, period)
        while True:
            yield draw(pairs, config, fit.generator, at)
    for batch in stream(
        regions, period, batch=config.batch, seed=request.seed, balance=config.balance,
        workers=config.workers, first_step=fit.step, rank=at.rank, world=at.world,
    ):  # fmt: skip
        yield mirrored(batch, config, fit.generator)


def _one_batch(
    fit: Fit, regions: Sequence[RegionStore], period: Period, request: Request
) -> tuple[Iterator[Pairs], Callable[[], Iterator[Pairs]]]:
    """The batch that the seed draws first, without end, and as what is validated on."""
    first = torch.Generator().manual_seed(request.seed)
    batch = draw(load_pairs(regions, period), request.config.training, first, fit.place)
    return repeat(batch), lambda: iter([batch])


def _validation(
    regions: Sequence[RegionStore], period: Period, data: str
) -> Callable[[], Iterator[Pairs]]:
    """The validation pairs, whole and kept, or again part by part at every call."""
    if data == "memory":
        whole = load_pairs(regions, period)
        return lambda: iter([whole])

    def parts() -> Iterator[Pairs]:
        for number, region in enumerate(regions):
            first, stop, _ = region.steps(period).indices(len(region.times))
            for low in range(first, stop, PART):
                yield region_pairs(region, slice(low, min(low + PART, stop)), number=number)

    return parts


def _finish(fit: Fit, request: Request, scaling: Scaling, folder: Path) -> None:
    config = request.config.training
    record = RunRecord.model_validate(
        {
            "request": request,
            "mean": scaling.mean.tolist(),
            "sd": scaling.sd.tolist(),
            "increment": scaling.increment.tolist(),
            "parameters": sum(p.numel() for p in fit.model.network.parameters()),
            "precision": fit.precision,
            "curve": fit.curve,
            "best_step": fit.best_step,
            "seconds": fit.seconds,
            "hardware": hardware(fit.place, config.threads),
            "processes": fit.place.world,
            "packages": packages(),
        }
    )
    save_tensors(folder / WEIGHTS, fit.best, {"task": request.task})
    write_record(folder, record)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def packages() -> dict[str, str]:
    """The versions that decide a network's bits."""
    # torch's own name for itself says which build it is; the metadata may not.
    return {
        "elsewhere": version("elsewhere"),
        "numpy": version("numpy"),
        "torch": str(torch.__version__),
    }


def _no_mirror(task: Task) -> InputError:
    return InputError(
        Problem(
            "training.mirror",
            f"false: the coarse boxes of {task.id} are shifted, those of mirrored pairs the "
            "other way",
            "true",
            "Use --set training.mirror=false.",
        )
    )


def _no_whole_blocks(constraint: str, task: Task) -> InputError:
    shifted = " and a shifted coarse box" if any(task.coarse_shift) else ""
    return InputError(
        Problem(
            f"constraint {constraint}",
            "coarse cells that are whole blocks of fine ones",
            f"a factor of {task.factor:g}{shifted}",
            "Use projection, which moves a field least onto any coarse grid, or post_hoc.",
        )
    )
