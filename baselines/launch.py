"""Where a fit runs: its device, its precision, and its share of the work among processes.

Several processes come from an existing launcher, `torchrun`, which tells each its rank in the
environment; there is none of our own.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from benchmark.errors import InputError, Problem


@dataclass(frozen=True)
class Place:
    """One process of a fit: its device, and its number among all of them."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process reports, validates and writes."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; every one must ask."""
        if self.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total.item()) / self.world

    def told(self, value: float) -> float:
        """The first process's number, in every process."""
        if self.world == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(said, src=0)
        return float(said.item())

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def share(self, index: Tensor) -> Tensor:
        """This process's part of a batch that all of them drew alike."""
        return index[self.rank :: self.world]


@contextmanager
def place(device: str, *, batch: int) -> Iterator[Place]:
    """This process's place; joins the others where a launcher has set WORLD_SIZE.

    device: `auto` (a GPU where there is one), `cpu` or `cuda`. Errors: InputError where a GPU is
    asked for and there is none, or a batch does not divide among the processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if batch % world:
        fix = "Choose a batch that they share evenly: --set training.batch=N."
        raise InputError(
            Problem("training.batch", f"a multiple of {world} processes", str(batch), fix)
        )
    chosen = _device(device)
    if world == 1:
        yield Place(chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Place(chosen, rank, world)
    finally:
        distributed.destroy_process_group()


def _device(asked: str) -> torch.device:
    here = torch.cuda.is_available()
    if asked == "cuda" and not here:
        fix = "Leave training.device at auto."
        raise InputError(Problem("training.device", "a GPU that torch sees", "none", fix))
    if asked == "cpu" or not here:
        return torch.device("cpu")
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(chosen)
    return chosen


def resolve_precision(asked: str, device: torch.device | None = None) -> str:
    """`auto` is bf16 where the processor multiplies it natively, float32 elsewhere."""
    if asked != "auto":
        return asked
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return "bf16" if native else "float32"


def hardware(at: Place, threads: int) -> str:
    """What a run was fitted on, in words."""
    if at.device.type == "cuda":
        own = torch.cuda.get_device_name(at.device)
    else:
        own = f"{platform.machine()} CPU, {threads} thread(s)"
    return own if at.world == 1 else f"{at.world} processes, each {own}"
