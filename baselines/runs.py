"""A run folder: what was trained, how, and the weights; safetensors and JSON, never pickle."""

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from baselines.downscaler import Downscaler, Scaling, physical_bounds
from baselines.models import ModelConfig, build_network, family
from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.grid import region_grid
from benchmark.model_card import Constraint, ModelCard, SourceSet, without_later
from benchmark.task import Task
from benchmark.toml_model import Frozen

RECORD, WEIGHTS, CHECKPOINT = "run.json", "weights.safetensors", "checkpoint.safetensors"


class Request(Frozen):
    """Everything that decides a trained network; a run with the same request is the same run."""

    task: str
    data_hash: str
    model: str
    regime: Literal["zero_shot", "few_shot", "oracle"]
    sources: SourceSet = ()
    """The training regions to fit on; empty for those of the regime."""
    target_only: bool = False
    """The oracle that learns from the OOD test regions alone."""
    selection: Literal["val_id", "val_ood"] = "val_id"
    """The regions whose validation period picks the weights."""
    start: str = ""
    """Of a few-shot run: the digest of the run's weights that it starts from."""
    constraint: Constraint
    skip: bool
    seed: int
    config: ModelConfig

    @model_validator(mode="after")
    def _sources_are_a_choice(self) -> Self:
        if self.sources and self.regime == "oracle":
            raise ValueError("no sources with the oracle, whose regions are fixed")
        if self.target_only and self.regime != "oracle":
            raise ValueError("only the oracle may know nothing but its targets")
        if self.selection == "val_ood" and self.regime != "zero_shot":
            raise ValueError("val_ood selects zero-shot runs only")
        if bool(self.start) != (self.regime == "few_shot"):
            raise ValueError("a few-shot run starts from another run, and no other does")
        return self

    @property
    def variant(self) -> str:
        """The model's name in tables and paths: what has no place of its own is a suffix."""
        return self.model + ("-val-ood" if self.selection == "val_ood" else "")

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(dump(self))


class Point(Frozen):
    """One validation: training loss since the last one, validation loss."""

    step: int
    train: float
    val: float


class RunRecord(Frozen):
    """`run.json`: a finished run. Losses are in units of bilinear's mean squared increment."""

    schema_version: Literal[1] = 1
    request: Request
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    increment: tuple[float, ...]
    parameters: int
    precision: Literal["float32", "bf16"]
    curve: tuple[Point, ...]
    best_step: int
    seconds: float
    hardware: str
    processes: int = 1
    packages: dict[str, str]

    @property
    def scaling(self) -> Scaling:
        """The normalisation constants as arrays."""
        return Scaling(np.array(self.mean), np.array(self.sd), np.array(self.increment))


def build(request: Request, scaling: Scaling, task: Task) -> Downscaler:
    """The downscaler of a request, with weights from torch's global generator."""
    network = build_network(
        request.model, request.config, channels=len(task.variables), factor=task.factor
    )
    grid = region_grid(task, task.regions[0])
    return Downscaler(
        network, scaling, grid, skip=request.skip, constraint=request.constraint,
        bounds=physical_bounds(task),
    )  # fmt: skip


def card(record: RunRecord, *, constraint: Constraint) -> ModelCard:
    """The declaration of a run's predictions."""
    request, chosen = record.request, family(record.request.model)
    judged = request.selection == "val_ood"
    return ModelCard(
        task=request.task,
        model=request.variant,
        title=f"{chosen.title}, selected on val_ood" if judged else chosen.title,
        reference=chosen.reference,
        regime=request.regime,
        sources=request.sources,
        target_only=request.target_only,
        constraint=constraint,
        skip=request.skip,
        selection="none" if request.regime == "few_shot" else request.selection,
        seed=request.seed,
        parameters=record.parameters,
    )


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and their JSON metadata as one atomic file."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(whole, metadata={"json": json.dumps(metadata)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote; InputError when the file is absent or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            Problem(
                str(path), "tensors in safetensors form", f"{type(error).__name__}: {error}",
                "Train again into a new folder.",
            )
        ) from None  # fmt: skip


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json`, last: its presence means a finished run."""
    write_atomically(folder / RECORD, record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> RunRecord:
    """Read a finished run's record; InputError when there is none."""
    path = folder / RECORD
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        begun = (folder / CHECKPOINT).exists()
        got = "an unfinished run" if begun else "no such file"
        fix = "Repeat its `elsewhere train` to finish it." if begun else "Check the path."
    except ValidationError as error:
        got, fix = f"{error.error_count()} problems in it", "Train again into a new folder."
    raise InputError(Problem(str(path), "the record of a finished run", got, fix))


def load_run(folder: Path, task: Task) -> tuple[RunRecord, Downscaler]:
    """A finished run's record and its network, in evaluation mode."""
    record = read_record(folder)
    if record.request.task != task.id:
        raise InputError(
            Problem(str(folder), f"a run of {task.id}", record.request.task, "Choose another run.")
        )
    with torch.random.fork_rng(devices=[]):
        model = build(record.request, record.scaling, task)
    tensors, _ = load_tensors(folder / WEIGHTS)
    load_weights(model.network, tensors, folder / WEIGHTS)
    return record, model.eval()


def finished(folder: Path, request: Request) -> RunRecord:
    """The record of a finished run; InputError where the folder holds another one."""
    record = read_record(folder)
    if record.request != request:
        raise other_run(folder)
    return record


def other_run(folder: Path) -> InputError:
    """The error of a folder that holds a run with other settings."""
    return InputError(
        Problem(
            str(folder), "an empty folder or this very run", "a run with other settings",
            "Choose another --out, or delete the folder.",
        )
    )  # fmt: skip


def load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network; InputError when they are those of another one."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            Problem(
                str(path),
                "the weights of this run's network",
                str(error).splitlines()[-1].strip(),
                "Train again into a new folder.",
            )
        ) from None
