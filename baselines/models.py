"""The networks by name, and their hyper-parameters. A new one is one file, a config and a line."""

from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from baselines.family import Family
from baselines.settings import apply_setting
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen, nearest, read_table, validate

MODELS: dict[str, str] = {
    "srcnn": "baselines.srcnn",
    "espcn": "baselines.espcn",
    "edsr": "baselines.edsr",
    "unet": "baselines.unet",
    "resnet": "baselines.resnet",
    "dfno": "baselines.dfno",
    "reslim": "baselines.reslim",
    "srdrn": "baselines.srdrn",
    "vit": "baselines.vit",
    "loan": "baselines.loan",
    "memoriser": "baselines.memoriser",
}
"""The file of each network, which holds its `FAMILY`. Opened when it is asked for."""


class TrainingConfig(Frozen):
    """How a network is fitted; `threads` is part of it since it decides the last bits."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    schedule: Literal["constant", "cosine"]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    mirror: bool
    """Mirror batches north-south and east-west at random."""
    validate_every: Annotated[int, Field(ge=1)]
    precision: Literal["float32", "bf16", "auto"]
    """`auto` is bf16 where the processor has units for it, float32 elsewhere."""
    threads: Annotated[int, Field(ge=1)]
    loss: Literal["mse", "mae", "log_mse", "amse", "quantile"] = "mse"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The level of the quantile loss."""
    tv: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight of the total-variation prior, added to the loss."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Weight of the violation in the soft constraint."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the moving average of the weights, which is validated and kept; 0 is none."""
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Largest norm of the gradient; longer ones are scaled down. 0 is none."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many validations without a new best; 0 is never."""
    balance: Literal["samples", "regions"] = "samples"
    """Draw all samples alike, or all regions alike and then a sample of the region."""
    data: Literal["memory", "stream"] = "memory"
    """Hold the training pairs in memory, or read them as they are needed."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read a stream ahead; 0 reads in the training process."""
    overfit: bool = False
    """Fit on the first batch alone, again and again, and validate on it: what cannot learn that can
    learn nothing."""
    compile: bool = False
    """Compile the network with torch.compile; needs a C++ compiler on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where there is one."""


class ModelConfig(Frozen):
    """A whole `baselines/configs/MODEL.toml`, with the network's own table checked too."""

    network: dict[str, Any]
    training: TrainingConfig


def family(name: str) -> Family:
    """The network called `name`; InputError with the nearest known name otherwise."""
    if name not in MODELS:
        raise InputError(
            Problem(f"model {name!r}", "a known network", "this", nearest(name, list(MODELS)))
        )
    found: Family = import_module(MODELS[name]).FAMILY
    return found


def load_config(
    model: str, *, file: Path | None = None, settings: Sequence[str] = ()
) -> ModelConfig:
    """The model's own config (or `file`) with `key=value` settings such as `training.steps=100`.

    Errors: InputError for every unknown key, malformed setting and value out of range.
    """
    chosen = family(model)
    with resources.as_file(resources.files("baselines") / "configs" / f"{model}.toml") as packaged:
        path = file or packaged
        table = read_table(path)
    for setting in settings:
        apply_setting(table, setting, example="training.steps=100")
    config = validate(table, ModelConfig, where=path.name)
    network = validate(config.network, chosen.config, where=f"{path.name}: network")
    return config.model_copy(update={"network": network.model_dump()})


def build_network(model: str, config: ModelConfig, *, channels: int, factor: float) -> nn.Module:
    """The network with fresh weights from torch's global generator."""
    chosen = family(model)
    return chosen.build(channels, factor, chosen.config.model_validate(config.network))
