"""`model.toml`: what a model declares about itself beside its predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from benchmark.errors import Problem
from benchmark.files import write_atomically
from benchmark.hashing import text_digest
from benchmark.region import Slug
from benchmark.task import Task
from benchmark.toml_model import Frozen, nearest, read_toml

Regime = Literal["zero_shot", "target_inputs", "few_shot", "oracle"]
Exposure = Literal["none", "target_inputs", "target_labels"]
Constraint = Literal[
    "none", "soft", "add", "scaled_add", "mult", "softmax", "projection", "post_hoc"
]
HARD_CONSTRAINTS = ("add", "scaled_add", "mult", "softmax", "projection", "post_hoc")
LONGEST_SUFFIX = 120
"""Characters of a source set in a folder's name; a longer one is named by its digest."""


def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    if list(names) != sorted(set(names)):
        raise ValueError("names in ascending order, each once")
    return names


SourceSet = Annotated[tuple[Slug, ...], AfterValidator(_in_order)]
"""Names of training regions; empty means all that the regime allows."""


def variant_suffix(card: "ModelCard") -> str:
    """`-target-only` or `-from-REGION+REGION` for names of files; empty for most rows."""
    return "-target-only" if card.target_only else source_suffix(card.sources)


def source_suffix(sources: Sequence[str]) -> str:
    """`-from-REGION+REGION` for names of files; empty for the regime's own regions."""
    if not sources:
        return ""
    joined = "+".join(sources)
    if len(joined) <= LONGEST_SUFFIX:
        return f"-from-{joined}"
    return f"-from-{len(sources)}-regions-{text_digest(joined)[:8]}"


LATER = ("sources", "target_only")
"""Keys that are younger than committed rows."""


def without_later(dumped: dict[str, Any]) -> dict[str, Any]:
    """Files and digests of what is older than a key that says nothing keep their bytes."""
    return {key: value for key, value in dumped.items() if key not in LATER or value}


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
    sources: SourceSet = ()
    """The regions whose labelled training days it has seen, where they are a choice of the
    task's training regions; empty for those of the regime (zero_shot: all of them; oracle: the
    OOD ones too)."""
    target_only: bool = False
    """True for the oracle that has seen the OOD test regions and no training region."""
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

    @model_validator(mode="after")
    def _sources_are_a_choice(self) -> Self:
        if self.sources and (self.null or self.regime == "oracle"):
            raise ValueError("no sources with a null or the oracle, whose regions are fixed")
        if self.target_only and self.regime != "oracle":
            raise ValueError("target_only with the oracle alone")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(dump(self))


def read_card(path: Path) -> ModelCard:
    """Read `model.toml`; InputError with every missing, unknown or mistyped key."""
    return read_toml(path, ModelCard)


def write_card(path: Path, card: ModelCard) -> None:
    """Write `model.toml` atomically."""
    lines = [f"{key} = {_toml(value)}" for key, value in card.model_dump().items()]
    write_atomically(path, "\n".join(lines) + "\n")


def check_sources(task: Task, sources: Sequence[str], *, where: str) -> list[Problem]:
    """Every name that is no training region of the task, and a set that leaves none of them out."""
    known = [region.name for region in task.regions_of("train")]
    roles = {region.name: f"a {region.role} region" for region in task.regions}
    problems = [
        Problem(
            f"{where}: {name}", f"a training region of {task.id}",
            roles.get(name, "an unknown one"), nearest(name, known),
        )
        for name in sources
        if name not in known
    ]  # fmt: skip
    if set(sources) == set(known):
        fix = "Leave it out: all of them is what zero_shot means."
        problems.append(Problem(where, "some of the training regions", "all of them", fix))
    return problems


def _toml(value: bool | int | str | Sequence[str]) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
