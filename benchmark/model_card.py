"""`model.toml`: what a model declares about itself beside its predictions."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmark.files import write_atomically
from benchmark.task import Slug
from benchmark.toml_model import Frozen, read_toml

Regime = Literal["zero_shot", "target_inputs", "few_shot", "oracle"]
Exposure = Literal["none", "target_inputs", "target_labels"]
Constraint = Literal[
    "none", "soft", "add", "scaled_add", "mult", "softmax", "projection", "post_hoc"
]
HARD_CONSTRAINTS = ("add", "scaled_add", "mult", "softmax", "projection", "post_hoc")


class ModelCard(Frozen):
    """Everything that the harness must know of a model and cannot measure.

    regime: what it was allowed to see of the target region; exposure: what any pretraining has
    seen; members: `exchangeable` draws are ranked by the fair CRPS, `stratified` ones (quantiles)
    by the ecdf form; selection: which split picked the checkpoint, where one was picked.
    """

    task: str
    """`name@revision`."""
    model: Slug
    revision: Annotated[int, Field(ge=1)] = 1
    title: str
    reference: str
    null: bool = False
    """True for rows that need no training; they are pinned in every table."""
    regime: Regime = "zero_shot"
    exposure: Exposure = "none"
    constraint: Constraint = "none"
    skip: bool = False
    """True where the bilinear field is added to the network's output."""
    selection: Literal["val_id", "val_ood", "none"] = "none"
    seed: Annotated[int, Field(ge=0)] = 0
    members: Literal["single", "exchangeable", "stratified"] = "single"
    parameters: Annotated[int, Field(ge=0)] = 0
    code: str = ""
    """Where the model's code is, for a reader."""


def read_card(path: Path) -> ModelCard:
    """Read `model.toml`; InputError with every missing, unknown or mistyped key."""
    return read_toml(path, ModelCard)


def write_card(path: Path, card: ModelCard) -> None:
    """Write `model.toml` atomically."""
    lines = [f"{key} = {_toml(value)}" for key, value in card.model_dump().items()]
    write_atomically(path, "\n".join(lines) + "\n")


def _toml(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
