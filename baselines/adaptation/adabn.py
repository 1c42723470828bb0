"""AdaBN: the statistics of batch normalisation, taken from the target's inputs.

Li et al. (2016, arXiv 1603.04779): every normalising layer gets the mean and the variance of its
own inputs over all of the target domain's samples; weights stay as they are. No label is used.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.context import Context, region_context
from baselines.downscaler import Downscaler
from baselines.models import MODELS, build_network, load_config
from benchmark.errors import InputError, Problem
from benchmark.pair_store import RegionStore

STEPS = 32
"""Steps in one forward pass. Part of the result: a batch decides the last bits."""

Batches = Callable[[], Iterator[tuple[Tensor, Context | None]]]
"""The same batches at every call: (n, V, Ny, Nx) physical coarse fields and their context."""


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers that normalise by statistics of what they were trained on."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


def renormalised(model: Downscaler, batches: Batches) -> Downscaler:
    """A copy of the model whose normalising layers have the statistics of these inputs.

    They are what one training-mode pass over all inputs as a single batch would use: layer by
    layer in the order of the network, each after those before it, mean and (biased) variance over
    samples and cells, summed in float64. One pass over the inputs for each layer.
    Errors: InputError where a statistic is not finite.
    """
    adapted = copy.deepcopy(model).eval()
    with torch.inference_mode():
        for layer in _in_order(adapted, batches):
            mean, variance = _moments(adapted, layer, batches)
            if not bool(torch.isfinite(mean + variance).all()):
                raise InputError(
                    Problem(
                        "AdaBN", "finite statistics of the target's coarse fields",
                        "some that are not", "Look for missing values in them.",
                    )
                )  # fmt: skip
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
    return adapted


def coarse_batches(region: RegionStore, *, context: bool) -> Batches:
    """The coarse fields of the region's training period, in order."""

    def batches() -> Iterator[tuple[Tensor, Context | None]]:
        span = region.steps(region.task.periods.train)
        for low in range(span.start, span.stop, STEPS):
            steps = slice(low, min(low + STEPS, span.stop))
            fields = [
                torch.from_numpy(region.read("coarse", name, steps))
                for name in region.task.variable_names
            ]
            known = region_context(region, steps) if context else None
            yield torch.stack(fields, dim=1), known

    return batches


def without_batch_norm(model: str, channels: int, factor: float) -> InputError:
    """What to say of a network that has no such layer, with the names of those that have."""
    names = [name for name in MODELS if _has_batch_norm(name, channels, factor)]
    fix = f"Of the networks here, {' and '.join(names) or 'none'} can be adapted at this factor."
    return InputError(
        Problem("--adapt adabn", "a network with batch normalisation", f"{model} has none", fix)
    )


def _has_batch_norm(name: str, channels: int, factor: float) -> bool:
    try:
        with torch.device("meta"):
            network = build_network(name, load_config(name), channels=channels, factor=factor)
    except InputError:  # not at this factor
        return False
    return bool(batch_norms(network))


def _in_order(model: Downscaler, batches: Batches) -> list[_BatchNorm]:
    """The layers in the order in which they are first called."""
    called: list[_BatchNorm] = []

    def note(layer: nn.Module, _: tuple[Tensor, ...]) -> None:
        if layer not in called:
            called.append(layer)  # type: ignore[arg-type]

    handles = [layer.register_forward_pre_hook(note) for layer in batch_norms(model.network)]
    coarse, context = next(batches())
    model.raw(coarse, context)
    for handle in handles:
        handle.remove()
    return called


def _moments(model: Downscaler, layer: _BatchNorm, batches: Batches) -> tuple[Tensor, Tensor]:
    """Mean and variance of a layer's inputs over all batches, (channels,) float64."""
    sums = torch.zeros(2, layer.num_features, dtype=torch.float64)
    count = 0

    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal count
        values = inputs[0].double().transpose(0, 1).flatten(1)
        # About the old mean, so that no digits cancel.
        assert layer.running_mean is not None
        values = values - layer.running_mean.double()[:, None]
        sums.add_(torch.stack([values.sum(dim=1), values.square().sum(dim=1)]))
        count += values.shape[1]

    handle = layer.register_forward_pre_hook(add)
    for coarse, context in batches():
        model.raw(coarse, context)
    handle.remove()
    shift, square = sums / count
    assert layer.running_mean is not None
    return layer.running_mean.double() + shift, square - shift**2
