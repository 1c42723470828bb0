"""Fitting a network: seeded, resumable after a kill, selected on the validation period."""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from baselines.constraints import soft_loss, violation
from baselines.data import Pairs, fit_scaling, load_pairs, source_regions
from baselines.downscaler import Downscaler, Scaling
from baselines.models import TrainingConfig
from baselines.runs import (
    CHECKPOINT,
    RECORD,
    WEIGHTS,
    Point,
    Request,
    RunRecord,
    build,
    load_tensors,
    load_weights,
    read_record,
    save_tensors,
    write_record,
)
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore

Report = Callable[[int, int, str], None]
"""report(step, steps, text): called after each step."""


@dataclass
class Fit:
    """The state of a fit: everything that a checkpoint must hold to go on bit for bit."""

    model: Downscaler
    optimiser: torch.optim.Adam
    generator: torch.Generator
    step: int = 0
    curve: list[Point] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    running: float = 0.0
    seconds: float = 0.0


def train(
    store: PairStore, request: Request, folder: Path, *, report: Report = lambda *_: None
) -> RunRecord:
    """Fit the network of `request` and write its run folder; resumes, or returns a finished run.

    The loss is the mean over variables of the area-weighted squared error in units of the
    training mean square of fine minus bilinear, so that bilinear costs about 1 in each variable.
    The weights with the lowest loss on the validation period of the regions trained on are kept:
    with a source set, neither that nor the normalisation knows the other regions.
    Errors: InputError when the folder holds another run, or the loss stops being finite.
    """
    if (folder / RECORD).exists():
        return _finished(folder, request)
    config = request.config.training
    torch.set_num_threads(config.threads)
    precision = resolve_precision(config.precision)
    regions = source_regions(store, request.regime, request.sources)
    scaling = fit_scaling(store.task, regions)
    fitting = load_pairs(regions, store.task.periods.train)
    validation = load_pairs(regions, store.task.periods.val)

    fit = _start(request, scaling, store, folder)
    began = time.perf_counter() - fit.seconds
    while fit.step < config.steps:
        fit.running += _update(fit, _draw(fitting, fit, config), scaling, config, precision)
        fit.step += 1
        if fit.step % config.validate_every == 0 or fit.step == config.steps:
            _validate(fit, validation, scaling)
            fit.seconds = time.perf_counter() - began
            _save_checkpoint(fit, request, folder)
        latest = f"val {fit.curve[-1].val:.3f}" if fit.curve else ""
        report(fit.step, config.steps, latest)
    return _finish(fit, request, scaling, precision, folder)


def loss(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Mean over variables of sum w (p - t)^2 / (sum w increment^2), w = cell area where valid."""
    units = torch.from_numpy(scaling.increment**2).to(predicted.dtype)
    weights = pairs.area * pairs.valid
    squares = (weights * (predicted - pairs.fine) ** 2).sum(dim=(0, 2, 3))
    return (squares / (weights.sum(dim=(0, 2, 3)) * units)).mean()


def resolve_precision(asked: str) -> str:
    """`auto` is bf16 where the processor multiplies it natively, float32 elsewhere."""
    if asked != "auto":
        return asked
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return "bf16" if native else "float32"


def _start(request: Request, scaling: Scaling, store: PairStore, folder: Path) -> Fit:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        model = build(request, scaling, store.task)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = request.config.training
    optimiser = torch.optim.Adam(
        model.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    fit = Fit(model, optimiser, torch.Generator().manual_seed(request.seed))
    if (folder / CHECKPOINT).exists():
        _load_checkpoint(fit, request, folder)
    return fit


def _draw(fitting: Pairs, fit: Fit, config: TrainingConfig) -> Pairs:
    """A batch drawn with replacement, all of it mirrored at random where the config says so."""
    batch = fitting.take(torch.randint(len(fitting), (config.batch,), generator=fit.generator))
    if not config.mirror:
        return batch
    coins = torch.randint(2, (2,), generator=fit.generator).tolist()
    return batch.mirrored([axis for axis, coin in zip((-2, -1), coins, strict=True) if coin])


def _update(
    fit: Fit, batch: Pairs, scaling: Scaling, config: TrainingConfig, precision: str
) -> float:
    for group in fit.optimiser.param_groups:
        group["lr"] = _learning_rate(fit.step, config)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        normalised = (batch.coarse - fit.model.mean) / fit.model.sd
        z = fit.model.network(normalised.contiguous(memory_format=torch.channels_last))
    # The skip and the layer stay in float32: bfloat16 would break the conservation.
    predicted = fit.model.finish(z.float(), batch.coarse, batch.block_weights)
    value = loss(predicted, batch, scaling)
    if fit.model.constraint == "soft":
        violated = violation(predicted, batch.coarse, batch.block_weights, batch.area)
        value = soft_loss(value, violated, torch.from_numpy(scaling.increment**2).to(value.dtype))
    number = _finite(value, f"training step {fit.step + 1}")
    fit.optimiser.zero_grad()
    value.backward()
    fit.optimiser.step()
    return number


def _finite(value: Tensor, where: str) -> float:
    """The loss as a number; InputError when it diverged, before anything is kept of it."""
    number = value.item()
    if not math.isfinite(number):
        raise InputError(
            Problem(
                where,
                "a finite loss",
                str(number),
                "The last checkpoint is kept; lower training.learning_rate.",
            )
        )
    return number


def _learning_rate(step: int, config: TrainingConfig) -> float:
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def _validate(fit: Fit, validation: Pairs, scaling: Scaling) -> None:
    fit.model.eval()
    with torch.no_grad():
        predicted = fit.model(validation.coarse, validation.block_weights)
        value = _finite(loss(predicted, validation, scaling), f"validation at step {fit.step}")
    fit.model.train()
    since = fit.step - (fit.curve[-1].step if fit.curve else 0)
    if not fit.curve or value < min(point.val for point in fit.curve):
        fit.best = {k: v.clone() for k, v in fit.model.network.state_dict().items()}
        fit.best_step = fit.step
    fit.curve.append(Point(step=fit.step, train=fit.running / since, val=value))
    fit.running = 0.0


def _save_checkpoint(fit: Fit, request: Request, folder: Path) -> None:
    tensors = {f"model.{k}": v for k, v in fit.model.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in fit.best.items()}
    for index, state in fit.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{key}": value for key, value in state.items()}
    tensors["generator"] = fit.generator.get_state()
    metadata = {
        "request": request.model_dump(mode="json"),
        "step": fit.step,
        "best_step": fit.best_step,
        "seconds": fit.seconds,
        "curve": [point.model_dump() for point in fit.curve],
    }
    save_tensors(folder / CHECKPOINT, tensors, metadata)


def _load_checkpoint(fit: Fit, request: Request, folder: Path) -> None:
    tensors, metadata = load_tensors(folder / CHECKPOINT)
    if metadata["request"] != request.model_dump(mode="json"):
        raise _other_run(folder)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "adam": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind in parts:
            parts[kind][rest] = tensor
    load_weights(fit.model, parts["model"], folder / CHECKPOINT)
    fit.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["adam"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = fit.optimiser.state_dict()["param_groups"]
    fit.optimiser.load_state_dict({"state": state, "param_groups": groups})
    fit.generator.set_state(tensors["generator"])
    fit.best = parts["best"]
    fit.step, fit.best_step = metadata["step"], metadata["best_step"]
    fit.seconds = metadata["seconds"]
    fit.curve = [Point(**point) for point in metadata["curve"]]


def _finish(
    fit: Fit, request: Request, scaling: Scaling, precision: str, folder: Path
) -> RunRecord:
    record = RunRecord.model_validate(
        {
            "request": request,
            "mean": scaling.mean.tolist(),
            "sd": scaling.sd.tolist(),
            "increment": scaling.increment.tolist(),
            "parameters": sum(p.numel() for p in fit.model.network.parameters()),
            "precision": precision,
            "curve": fit.curve,
            "best_step": fit.best_step,
            "seconds": fit.seconds,
            "hardware": f"{platform.machine()} CPU, {request.config.training.threads} thread(s)",
            # torch's own name for itself says which build it is; the metadata may not.
            "packages": {
                "elsewhere": version("elsewhere"),
                "numpy": version("numpy"),
                "torch": str(torch.__version__),
            },
        }
    )
    save_tensors(folder / WEIGHTS, fit.best, {"task": request.task})
    write_record(folder, record)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


def _finished(folder: Path, request: Request) -> RunRecord:
    record = read_record(folder)
    if record.request != request:
        raise _other_run(folder)
    return record


def _other_run(folder: Path) -> InputError:
    return InputError(
        Problem(
            str(folder), "an empty folder or this very run", "a run with other settings",
            "Choose another --out, or delete the folder.",
        )
    )  # fmt: skip
