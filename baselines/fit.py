"""The state of a fit, one step of it, its validation, and the checkpoint that holds all of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from baselines.constraints import Projection, soft_loss, violation
from baselines.data import Pairs
from baselines.downscaler import Downscaler, Scaling
from baselines.launch import Place, resolve_precision
from baselines.losses import loss_of, total_variation
from baselines.models import TrainingConfig
from baselines.runs import (
    CHECKPOINT,
    Point,
    Request,
    load_tensors,
    load_weights,
    other_run,
    save_tensors,
)
from benchmark.errors import InputError, Problem


@dataclass
class Fit:
    """A network that is being fitted: what a checkpoint must hold to go on bit for bit.

    caller: what a step calls, the network itself or its copy that shares gradients; average: the
    moving average of the weights, where there is one.
    """

    model: Downscaler
    caller: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    place: Place
    precision: str
    average: AveragedModel | None = None
    step: int = 0
    curve: list[Point] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    running: float = 0.0
    seconds: float = 0.0

    @property
    def stale(self) -> int:
        """Validations since the best one."""
        return sum(point.step > self.best_step for point in self.curve)


def start(model: Downscaler, config: TrainingConfig, at: Place, *, seed: int) -> Fit:
    """A fit of a fresh or loaded network at its first step."""
    precision = resolve_precision(config.precision, at.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = model.to(at.device)
    optimiser = torch.optim.Adam(
        model.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    average = None
    if config.ema:
        average = AveragedModel(model.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    if config.compile:
        model.network.compile()
    caller = model.network if at.world == 1 else DistributedDataParallel(model.network)
    generator = torch.Generator().manual_seed(seed)
    return Fit(model, caller, optimiser, generator, at, precision, average)


def update(
    fit: Fit,
    batch: Pairs,
    scaling: Scaling,
    config: TrainingConfig,
    projections: Sequence[Projection] = (),
) -> float:
    """One step of the optimiser on a batch; the loss before it, over all processes.

    The network runs in the fit's precision; the skip, the layer and the loss stay in float32,
    because bfloat16 would break the conservation.
    Errors: InputError where the loss is not finite, before anything is kept of it, or where the
    network is to be compiled and cannot be.
    """
    batch = batch.map(lambda tensor: tensor.to(fit.place.device, non_blocking=True))
    for group in fit.optimiser.param_groups:
        group["lr"] = learning_rate(fit.step, config)
    half = fit.precision == "bf16"
    try:
        with torch.autocast(fit.place.device.type, dtype=torch.bfloat16, enabled=half):
            z = fit.model.raw(
                batch.coarse, batch.context, caller=fit.caller, memory_format=torch.channels_last
            )
    except RuntimeError as error:
        if config.compile and type(error).__module__.startswith(("torch._dynamo", "torch._ind")):
            raise _not_compiled(error) from None
        raise
    weights = batch.weights(projections)
    predicted = fit.model.finish(z.float(), batch.coarse, weights)
    value = loss_of(config)(predicted, batch, scaling)
    if config.tv:
        value = value + config.tv * total_variation(predicted, batch, scaling)
    if fit.model.constraint == "soft":
        violated = violation(predicted, batch.coarse, weights, batch.area)
        units = torch.from_numpy(scaling.increment**2).to(value)
        value = soft_loss(value, violated, units, alpha=config.alpha)
    number = finite(fit.place.mean(value.item()), f"training step {fit.step + 1}")
    fit.optimiser.zero_grad()
    value.backward()
    if config.clip:
        nn.utils.clip_grad_norm_(fit.model.network.parameters(), config.clip)
    fit.optimiser.step()
    if fit.average is not None:
        fit.average.update_parameters(fit.model.network)
    fit.step += 1
    fit.running += number
    return number


def _not_compiled(error: RuntimeError) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    fix = "Install a C++ compiler (g++), or leave training.compile at false."
    return InputError(
        Problem("training.compile", "a network that torch can compile here", lines[0], fix)
    )


def finite(number: float, where: str) -> float:
    """The loss itself; InputError when it diverged."""
    if not math.isfinite(number):
        fix = "The last checkpoint is kept; lower training.learning_rate, or set training.clip=1."
        raise InputError(Problem(where, "a finite loss", str(number), fix))
    return number


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of a step, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def validate(
    fit: Fit,
    validation: Iterable[Pairs],
    scaling: Scaling,
    config: TrainingConfig,
    projections: Sequence[Projection] = (),
) -> None:
    """Put the validation loss on the curve, and keep the weights where it is the lowest so far.

    The loss is that of the training without prior and soft constraint, in float32, of the averaged
    weights where there is an average. With several parts, as of a stream, it is the mean over their
    samples, which for `amse` and for parts with missing cells is not quite the loss of the whole.
    """
    network = fit.model.network if fit.average is None else fit.average.module
    value = 0.0
    if fit.place.first:
        value = _mean_loss(fit, network, validation, scaling, config, projections)
    value = finite(fit.place.told(value), f"validation at step {fit.step}")
    since = fit.step - (fit.curve[-1].step if fit.curve else 0)
    if not fit.curve or value < min(point.val for point in fit.curve):
        fit.best = {k: v.clone() for k, v in network.state_dict().items()}
        fit.best_step = fit.step
    fit.curve.append(Point(step=fit.step, train=fit.running / since, val=value))
    fit.running = 0.0


@torch.no_grad()
def _mean_loss(
    fit: Fit,
    network: nn.Module,
    validation: Iterable[Pairs],
    scaling: Scaling,
    config: TrainingConfig,
    projections: Sequence[Projection],
) -> float:
    network.eval()
    found = []
    for part in validation:
        part = part.map(lambda tensor: tensor.to(fit.place.device))
        z = fit.model.raw(part.coarse, part.context, caller=network)
        predicted = fit.model.finish(z, part.coarse, part.weights(projections))
        found.append((len(part), loss_of(config)(predicted, part, scaling).item()))
    network.train()
    if len(found) == 1:
        return found[0][1]
    return sum(count * value for count, value in found) / sum(count for count, _ in found)


def save_checkpoint(fit: Fit, request: Request, folder: Path) -> None:
    """Write the state of a fit as one atomic file."""
    tensors = {f"model.{k}": v for k, v in fit.model.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in fit.best.items()}
    if fit.average is not None:
        tensors |= {f"average.{k}": v for k, v in fit.average.state_dict().items()}
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


def load_checkpoint(fit: Fit, request: Request, folder: Path) -> None:
    """Go on from a checkpoint; InputError where it is of another run."""
    path = folder / CHECKPOINT
    tensors, metadata = load_tensors(path)
    if metadata["request"] != request.model_dump(mode="json"):
        raise other_run(folder)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "adam": {}, "average": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind in parts:
            parts[kind][rest] = tensor
    load_weights(fit.model.network, parts["model"], path)
    fit.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if fit.average is not None:
        load_weights(fit.average, parts["average"], path)
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
