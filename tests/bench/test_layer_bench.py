"""What a constraint layer costs beside the training step that it is part of.

A step: bf16 convolutions under autocast, channels_last, the loss in float32, all derivatives and
Adam, on 16 fields of 32 x 32 to 128 x 128 cells. A layer: forwards and backwards on the fields
of such a step. One thread; both are timed here, in turns, in CPU time, and the median of the
rounds' ratios is taken. `extra_info` has every ratio in per cent.

Below 2 % where ELSEWHERE_BENCH_STRICT=1, on an idle machine; below three times that otherwise.
"""

import os
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from baselines.constraints import (
    Layer,
    Projection,
    add,
    mult,
    nonnegative,
    on_blocks,
    on_windows,
    proportional,
    rules,
    scaled_add,
    softmax,
)
from baselines.srcnn import SRCNN, SRCNNConfig
from benchmark.coarsen import AreaOverlap

BATCH, SIDE, FACTOR = 16, 32, 4
STRICT = os.environ.get("ELSEWHERE_BENCH_STRICT") == "1"
BOUND = 2.0 if STRICT else 6.0
ROUNDS, REPEATS = (7, 10) if STRICT else (3, 4)
Step = Callable[[], object]


class EDSR(nn.Module):
    """A network of 1.5 M parameters: 16 residual blocks of width 64 on the coarse grid, then two
    sub-pixel convolutions (the shape of EDSR-baseline)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 64, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=1) for _ in range(16))
        self.second = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=1) for _ in range(16))
        self.up = nn.ModuleList(nn.Conv2d(64, 256, 3, padding=1) for _ in range(2))
        self.tail = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, Ny, Nx) to (batch, 1, 4 Ny, 4 Nx)."""
        x = self.head(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(first(x).relu())
        for up in self.up:
            x = nn.functional.pixel_shuffle(up(x), 2)
        return self.tail(x)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "SR-CNN": lambda: SRCNN(1, FACTOR, SRCNNConfig()),
    "EDSR": EDSR,
}
bounded, soft_plus = (
    on_blocks(rule) for rule in (scaled_add(0.0, 256.0), proportional(nn.functional.softplus))
)
LAYERS: dict[str, Layer] = {
    "add": add,
    "softmax": softmax,
    "mult": mult,
    "scaled_add": bounded,
    "softplus": soft_plus,
    "windowed add": on_windows(rules.add, 2),
    "global add": on_windows(rules.add, None),
}
OFFLINE: dict[str, Layer] = {"nonnegative": nonnegative}
"""Meant for inference: its cost is recorded and not bounded."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fields() -> tuple[Tensor, Tensor, Tensor]:
    """A network's output, coarse rain of which a third is dry, and weights."""
    draw = torch.Generator().manual_seed(0)
    fine = torch.randn(BATCH, 1, FACTOR * SIDE, FACTOR * SIDE, generator=draw)
    coarse = (torch.rand(BATCH, 1, SIDE, SIDE, generator=draw) - 1 / 3).relu()
    weights = torch.full((BATCH, 1, FACTOR * SIDE, FACTOR * SIDE), 1 / FACTOR**2)
    return fine, coarse, weights


def training_step(network: nn.Module) -> Step:
    """One optimiser step without a layer."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters())
    fine, coarse, _ = fields()
    given = coarse.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = network(given)
        optimiser.zero_grad()
        (z.float() - fine).square().mean().backward()
        optimiser.step()

    return step


def layer_step(layer: Callable[[Tensor], Tensor]) -> Step:
    """Forwards and backwards through a layer of the field alone."""
    fine = fields()[0].requires_grad_()
    gradient = torch.ones_like(fine)

    def step() -> None:
        fine.grad = None
        for _ in range(REPEATS):
            layer(fine).backward(gradient)

    return step


def percent(steps: dict[str, Step], whole: Step) -> dict[str, float]:
    """Each layer's time in per cent of a training step's: medians of the rounds' ratios."""
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for step in (whole, *steps.values()):
        step()
    for _ in range(ROUNDS):
        began = time.process_time()
        whole()
        taken = time.process_time() - began
        for name, step in steps.items():
            began = time.process_time()
            step()
            ratios[name].append(100 * (time.process_time() - began) / REPEATS / taken)
    return {name: median(found) for name, found in ratios.items()}


def projection(factor: float) -> Layer:
    """The layer of a lat-lon grid with coarse cells `factor` fine ones wide."""
    cells = FACTOR * SIDE
    count = int(cells / factor)
    fine, coarse = np.arange(cells + 1) / 4, factor * np.arange(count + 1) / 4
    overlap = AreaOverlap.from_edges(fine=(60 - fine, fine), coarse=(60 - coarse, coarse))
    operator = Projection(overlap).float()
    rain = torch.rand(BATCH, 1, count, count, generator=torch.Generator().manual_seed(0))
    return lambda field, *_: operator(field, rain)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_costs_little_of_a_training_step(benchmark: BenchmarkFixture, name: str) -> None:
    """Every layer that can be trained in, beside one and the same step."""
    network = NETWORKS[name]()
    if name == "EDSR":
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.5e6, rel=0.03)
    _, coarse, weights = fields()
    layers = {
        **LAYERS, **OFFLINE, "projection, factor 4": projection(4.0),
        "projection, factor 2.5": projection(2.5),
    }  # fmt: skip
    steps = {
        key: layer_step(lambda field, layer=layer: layer(field, coarse, weights))
        for key, layer in layers.items()
    }
    step = training_step(network)
    found = percent(steps, step)
    benchmark.pedantic(step, rounds=2, warmup_rounds=0)
    benchmark.extra_info |= {f"{key}, % of a step": round(v, 3) for key, v in found.items()}
    too_slow = {k: v for k, v in found.items() if k not in OFFLINE and not v < BOUND}
    assert not too_slow
