"""The networks by name, and their hyper-parameters. A new one is one file, a config and a line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from baselines import dfno, edsr, espcn, reslim, resnet, srcnn, unet
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen, nearest, read_table, validate


@dataclass(frozen=True)
class Family:
    """One network: how its hyper-parameters look and how it is built from them."""

    title: str
    reference: str
    config: type[Frozen]
    build: Callable[..., nn.Module]
    """build(channels, factor, config): normalised coarse fields to raw fine output."""


MODELS: dict[str, Family] = {
    "srcnn": Family("SR-CNN", srcnn.REFERENCE, srcnn.SRCNNConfig, srcnn.SRCNN),
    "espcn": Family("ESPCN", espcn.REFERENCE, espcn.ESPCNConfig, espcn.ESPCN),
    "edsr": Family("EDSR", edsr.REFERENCE, edsr.EDSRConfig, edsr.EDSR),
    "unet": Family("residual U-Net", unet.REFERENCE, unet.UNetConfig, unet.UNet),
    "resnet": Family("ResNet", resnet.REFERENCE, resnet.ResNetConfig, resnet.ResNet),
    "dfno": Family("DFNO", dfno.REFERENCE, dfno.DFNOConfig, dfno.DFNO),
    "reslim": Family("Reslim", reslim.REFERENCE, reslim.ReslimConfig, reslim.Reslim),
}


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
    return MODELS[name]


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
        _apply(table, setting)
    config = validate(table, ModelConfig, where=path.name)
    network = validate(config.network, chosen.config, where=f"{path.name}: network")
    return config.model_copy(update={"network": network.model_dump()})


def build_network(model: str, config: ModelConfig, *, channels: int, factor: float) -> nn.Module:
    """The network with fresh weights from torch's global generator."""
    chosen = family(model)
    return chosen.build(channels, factor, chosen.config.model_validate(config.network))


def _apply(table: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and isinstance(table.get(section), dict)):
        raise InputError(
            Problem(
                f"--set {setting}", "section.key=value", "this",
                "For example `--set training.steps=100`.",
            )
        )  # fmt: skip
    table[section][name] = _parse(value.strip())


def _parse(value: str) -> int | float | str | bool:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
