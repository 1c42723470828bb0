"""Answers: which number must come out where, how near, and why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmark.conformance import plain, plain_events, plain_fields
from benchmark.conformance.facts import Fact, facts
from benchmark.conformance.plain import Scene, Values
from benchmark.conformance.pseudo_models import PSEUDO_MODELS, PseudoModel, fields
from benchmark.conformance.tolerances import KINDS, tolerance_of
from benchmark.conformance.world import BOXES, World

Numbers = dict[str, dict[str, dict[str, dict[str, float | None]]]]
"""{variable: {metric: {region: {stratum: value}}}}, as `metrics` of a scores.json."""

HEADLINED = ("perfect", "bilinear", "scaled-bilinear")
"""The pseudo-models whose skill has answers."""
BOARDS: dict[str, tuple[Callable[[Scene], float], str]] = {
    "skill[rmse over bilinear]": (plain.rmse, "bilinear"),
    "skill[crps_fair over drawn]": (plain.crps_fair, "drawn"),
}
"""{name of a skill: (plain score, pseudo-model that it is over)}."""


@dataclass(frozen=True)
class Answer:
    """One number that every harness must find; expected: None where it must be missing."""

    pseudo_model: str
    variable: str
    metric: str
    region: str
    stratum: str
    expected: float | None
    tolerance: float
    source: Literal["on paper", "computed"]
    why: str

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """What tells answers apart."""
        return self.pseudo_model, self.variable, self.metric, self.region, self.stratum

    @property
    def family(self) -> str:
        """The family of the metric."""
        return KINDS[self.metric.partition("[")[0]].family

    def met_by(self, got: float | None) -> bool:
        """Whether a number, or None for a missing one, is the answer."""
        if self.expected is None or got is None:
            return self.expected is None and got is None
        return bool(abs(got - self.expected) <= self.tolerance)


def answers(world: World, model: PseudoModel) -> list[Answer]:
    """The answers of one pseudo-model: the facts, and what the plain formulas say.

    Where a fact is as sharp as the formula, it stands alone; where it is statistical, both stand.
    """
    known = [_of_fact(model.name, fact) for fact in facts(world, model.name)]
    sharp = {answer.place: answer.tolerance for answer in known}
    # Relative tolerances of 5 and of 4.999999999999999 differ: what counts is by how much.
    more = [a for a in computed(world, model) if 1.1 * a.tolerance < sharp.get(a.place, np.inf)]
    return known + more


def _of_fact(model: str, fact: Fact) -> Answer:
    near = fact.tolerance
    if near is None:
        near = tolerance_of(fact.metric, fact.variable, fact.expected)
    return Answer(
        model, fact.variable, fact.metric, fact.region, fact.stratum, fact.expected, near,
        "on paper", fact.why,
    )  # fmt: skip


def computed(world: World, model: PseudoModel) -> Iterator[Answer]:
    """Every metric by its plain formula, from the predicted fields and the world."""
    for variable in world.task.variables:
        for name, place in world.places.items():
            values = plain_values(Scene(place, variable, fields(model, place, variable.name)))
            for metric, by_stratum in values.items():
                if model.name == "bilinear" and metric == "increment_correlation":
                    continue  # of rounding errors: nothing that a harness could agree on
                yield from _answers(model, variable.name, metric, name, by_stratum)
        if model.name in HEADLINED:
            for metric in BOARDS:
                for region, by_stratum in _skill(world, model, variable.name, metric).items():
                    yield from _answers(model, variable.name, metric, region, by_stratum)


def _answers(
    model: PseudoModel, variable: str, metric: str, region: str, values: dict[str, float]
) -> Iterator[Answer]:
    for stratum, value in values.items():
        expected = float(value) if np.isfinite(value) else None
        near = tolerance_of(metric, variable, expected)
        why = KINDS[metric.partition("[")[0]].why
        yield Answer(model.name, variable, metric, region, stratum, expected, near, "computed", why)


def plain_values(scene: Scene) -> Values:
    """Every metric of a region and variable; those without strata for `all`."""
    found = plain.in_strata(scene)
    for of in (
        plain.of_cells, plain.of_blocks, plain.of_coarse, plain_events.of_events,
        plain_events.of_distribution, plain_fields.of_neighbourhoods, plain_fields.of_spectra,
        plain_fields.of_structure, plain_fields.of_images,
    ):  # fmt: skip
        found |= {entry: {"all": value} for entry, value in of(scene).items()}
    return found


def _skill(world: World, model: PseudoModel, variable: str, metric: str) -> Values:
    """1 - S / S_ref, by region; of a split 1 - exp(mean of the logarithms)."""
    contract, (score, reference) = world.task.variable(variable), BOARDS[metric]
    logs = {}
    for name, place in world.places.items():
        mine, theirs = (
            score(Scene(place, contract, fields(one, place, variable)))
            for one in (model, PSEUDO_MODELS[reference])
        )
        logs[name] = np.log(mine / theirs) if mine > 0 else -np.inf
    found = {name: {"all": float(1 - np.exp(value))} for name, value in logs.items()}
    for split, role in (("test_id", "train"), ("test_ood", "test_ood")):
        chosen = [logs[name] for name, box in BOXES.items() if box[0] == role]
        totals = {"mean": np.mean(chosen), "median": np.median(chosen), "worst": np.max(chosen)}
        found[split] = {name: float(1 - np.exp(value)) for name, value in totals.items()}
    return found
