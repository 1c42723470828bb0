"""What a network file offers to the list of networks."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmark.task import Static
from benchmark.toml_model import Frozen


@dataclass(frozen=True)
class Family:
    """One network: how its hyper-parameters look and how it is built from them."""

    title: str
    reference: str
    config: type[Frozen]
    build: Callable[..., nn.Module]
    """build(channels, factor, config): normalised coarse fields to raw fine output."""
    statics: tuple[Static, ...] = ()
    """The static fields that it reads; tasks without them are refused."""
