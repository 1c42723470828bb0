"""The kit itself: its world, its two kinds of answers, and what counts as met."""

import ast
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmark.conformance as package
from benchmark.conformance import PSEUDO_MODELS, Answer, Outcome, run
from benchmark.conformance.answers import answers, computed
from benchmark.conformance.facts import facts
from benchmark.conformance.pseudo_models import fields
from benchmark.conformance.tolerances import FAMILIES, KINDS, tolerance_of
from benchmark.conformance.world import RAIN, TEMPERATURE, World, build_world
from benchmark.errors import InputError
from benchmark.metrics import METRICS

FOLDER = Path(package.__file__).parent
Place = tuple[str, str, str, str, str]


@pytest.fixture(scope="module")
def world() -> World:
    """The kit's world."""
    return build_world()


@pytest.fixture(scope="module")
def by_formula(world: World) -> dict[Place, Answer]:
    """What the plain formulas say of every pseudo-model."""
    return {a.place: a for model in PSEUDO_MODELS.values() for a in computed(world, model)}


def test_what_is_known_on_paper_agrees_with_the_plain_formulas(
    world: World, by_formula: dict[Place, Answer]
) -> None:
    """No harness is involved: two ways to the same answer, for every fact that has two."""
    compared, disagree = 0, []
    for name in PSEUDO_MODELS:
        for fact in facts(world, name):
            place = (name, fact.variable, fact.metric, fact.region, fact.stratum)
            other = by_formula.get(place)
            if other is None:
                assert fact.metric.startswith(("gap", "increment_correlation"))
                continue
            near = fact.tolerance
            if near is None:
                near = tolerance_of(fact.metric, fact.variable, fact.expected)
            compared += 1
            if not replace(other, expected=fact.expected, tolerance=near).met_by(other.expected):
                disagree.append((place, fact.expected, other.expected))
    assert disagree == []
    assert compared > 1500


def test_every_metric_has_an_answer_and_every_family_a_number(
    by_formula: dict[Place, Answer],
) -> None:
    """A metric that is added needs an entry in `tolerances.KINDS` and a plain formula."""
    answered = {answer.metric.partition("[")[0] for answer in by_formula.values()}
    assert set(METRICS) - answered == set()
    assert answered <= set(KINDS)
    numbers = {answer.family for answer in by_formula.values() if answer.expected is not None}
    assert numbers == set(FAMILIES)


ALWAYS_MISSING = {
    "p99_9_error", "p99_99_error", "ganvsdiffusion_lhd", "ganvsdiffusion_ralsd", "wassdiff_hrre",
    "wassdiff_mppe",
}  # fmt: skip
"""The world has too few cells for the first two; the others are of mm d-1 only."""


def test_no_tolerance_is_wide_enough_to_hide_a_mistake(by_formula: dict[Place, Answer]) -> None:
    """Every metric has an answer that an error of 2 % would miss, most by far."""
    sharpest: dict[str, float] = defaultdict(float)
    for answer in by_formula.values():
        if answer.expected:
            name = answer.metric.partition("[")[0]
            share = answer.tolerance / abs(answer.expected)
            sharpest[name] = max(sharpest[name], 1 / share)
    wanted = set(METRICS) - ALWAYS_MISSING - {"mismatch"}  # which is of rounding only
    assert {name for name in wanted if sharpest[name] < 50} == set()
    assert sorted(sharpest.values())[len(sharpest) // 2] > 1e5
    assert not ALWAYS_MISSING & set(sharpest)


def test_a_sharp_fact_stands_alone_and_a_statistical_one_beside_the_formula(
    world: World,
) -> None:
    """The RMSE of `offset` is 5 because it was made so; draws have an expectation and a value."""
    found = {answer.place: answer for answer in answers(world, PSEUDO_MODELS["offset"])}
    answer = found["offset", TEMPERATURE, "rmse", "home", "all"]
    assert (answer.expected, answer.source) == (5.0, "on paper")
    assert answer.tolerance < 1e-8
    polar = found["offset", TEMPERATURE, "rmse", "polar", "all"]
    assert polar.source == "computed"
    assert polar.expected != pytest.approx(5.0, abs=1e-3)  # a day is lost there
    place = ("drawn", TEMPERATURE, "crps_fair", "home", "all")
    both = [a for a in answers(world, PSEUDO_MODELS["drawn"]) if a.place == place]
    assert [a.source for a in both] == ["on paper", "computed"]
    assert both[0].expected == pytest.approx(2 / np.pi**0.5)  # sigma is 1 and 3 by turns
    assert both[0].tolerance < 0.05
    assert both[1].tolerance < 1e-8


def test_the_world_is_the_same_every_time_and_has_what_it_promises(world: World) -> None:
    """Values on their grid, areas that matter, dry and lost cells, no truth below 0."""
    again = build_world()
    for name, place in world.places.items():
        for variable, step in ((TEMPERATURE, 2.0**-6), (RAIN, 2.0**-7)):
            values = place.whole[variable]
            assert np.array_equal(values, again.places[name].whole[variable])
            assert np.array_equal(values, np.rint(values / step) * step)
            assert values.min() >= 0
    polar, test = world.places["polar"], world.places["polar"].steps("test")
    assert polar.area.max() / polar.area.min() > 1.8
    lost = np.isnan(polar.truth[RAIN])
    assert lost[test].all(axis=(1, 2)).sum() == 2
    assert lost[test].any(axis=(1, 2)).sum() > 6
    assert not lost[polar.steps("train")].any()
    home = world.places["home"].whole[RAIN]
    assert 0.3 < (home == 0).mean() < 0.9


def test_offsets_halves_and_ladders_are_exact_in_float32(world: World) -> None:
    """Or their answers could not be stated on paper."""
    place = world.places["home"]
    for variable in (TEMPERATURE, RAIN):
        truth = place.whole[variable][place.steps("test")].astype(np.float64)
        errors = defaultdict(set)
        for name in ("offset", "ladder", "stripes", "by-surface"):
            predicted = fields(PSEUDO_MODELS[name], place, variable).astype(np.float64)
            errors[name] = set(np.unique(predicted - truth[:, None]))
        assert errors == {
            "offset": {1, 7}, "ladder": {-1, 0, 1, 2, 3}, "stripes": {-2, 2},
            "by-surface": {1, 2, 3, 4},
        }  # fmt: skip
        damped = fields(PSEUDO_MODELS["damped"], place, variable)[:, 0].astype(np.float64)
        assert np.array_equal(2 * damped - truth, np.full_like(truth, (2 * damped - truth).flat[0]))


def test_the_second_opinion_shares_no_code_with_the_harness() -> None:
    """Plain formulas and facts import numpy, each other and the task's contract, no more."""
    allowed = {"benchmark.task"}
    for path in (*FOLDER.glob("plain*.py"), FOLDER / "facts.py", FOLDER / "tolerances.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        ours = {name for name in modules if name and name.startswith("benchmark")}
        others = {name for name in ours if not name.startswith("benchmark.conformance")}
        assert others <= allowed, path.name


def test_missing_is_never_a_number_and_a_number_never_missing() -> None:
    """None meets None only; NaN and infinity meet nothing; what is not given meets nothing."""
    number = Answer("perfect", RAIN, "rmse", "home", "all", 0.0, 1e-9, "on paper", "")
    missing = replace(number, expected=None, tolerance=0.0)
    assert number.met_by(1e-10)
    assert missing.met_by(None)
    for answer, got in ((number, None), (number, float("nan")), (number, 1e-8), (missing, 0.0)):
        assert not answer.met_by(got)
    assert Outcome(missing, "numpy", None).met
    assert not Outcome(missing, "numpy", None, "not given").met
    unbounded = replace(number, expected=1.0, tolerance=0.1)
    assert not unbounded.met_by(float("inf"))


def test_a_prediction_that_the_harness_refuses_meets_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal is what is shown for every answer; nothing is scored in its place."""
    broken = PSEUDO_MODELS["constant"]
    lost = replace(broken, predict=lambda place, v: broken.predict(place, v) * np.float32(np.nan))
    monkeypatch.setitem(PSEUDO_MODELS, "constant", lost)
    outcomes = run(models=["constant"], engines=["numpy"], families=["headline", "moments"])
    assert outcomes
    assert {outcome.met for outcome in outcomes} == {False}
    assert all("finite values" in outcome.problem for outcome in outcomes)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"models": ["perfct"]}, "perfect"),
        ({"families": ["moment"]}, "moments"),
        ({"engines": ["fortran"]}, "numpy"),
        ({"models": ["climatology"], "families": ["headline"], "engines": ["numpy"]}, "more"),
    ],
)
def test_a_word_that_is_unknown_or_asks_for_nothing_is_refused(
    asked: dict[str, list[str]], word: str
) -> None:
    """Before a world is built, with the nearest known word; a test of nothing is none."""
    with pytest.raises(InputError, match=word):
        run(**asked)  # type: ignore[arg-type]
