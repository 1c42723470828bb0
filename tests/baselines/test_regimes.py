"""Every regime sees of each region what it states and no more: all other arrays raise.

A network predicts whole batches that count from a region's first step, so coarse fields before the
test period pass through it; here they are NaN, and predictions must be the same without them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.adaptation.few_shot import few_shot, few_shot_request, load_few_shot_config
from baselines.models import load_config
from baselines.network import open_network
from baselines.nulls import NULLS, null
from baselines.runs import Request
from baselines.statistical import STATISTICAL, load_statistical_config
from baselines.statistical.runs import StatisticalRequest, fit_run, open_statistical
from baselines.training import train
from benchmark.errors import InputError
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.predictor import Predictor
from benchmark.task import Period, Task

Make = Callable[..., Request]
BOTH, COARSE = ("coarse", "fine"), ("coarse",)
EUROPE = ("europe-east", "europe-west")
SRDRN = {"network.width": 3, "network.blocks": 1, "network.wide": 4}
LOAN = {"network.width": 4, "network.blocks": 1, "network.conditions": 4}


@dataclass(frozen=True)
class May:
    """What may be read: sides of regions within a period."""

    regions: tuple[str, ...]
    sides: tuple[str, ...]
    period: Period

    def covers(self, region: RegionStore, side: str, steps: range) -> bool:
        chosen = range(*region.steps(self.period).indices(len(region.times)))
        inside = not steps or (steps[0] in chosen and steps[-1] in chosen)
        return region.name in self.regions and side in self.sides and inside


@dataclass
class Guard:
    """Lets through what is allowed at the moment; every other read is an AssertionError.

    masked: the region of which coarse fields that are not allowed are NaN instead.
    """

    allowed: list[May] | None = None
    masked: str = ""
    refused: int = 0
    statics: set[str] = field(default_factory=set)

    def allow(self, *allowed: May, masked: str = "") -> None:
        """From here on."""
        self.allowed, self.masked = list(allowed), masked
        self.statics = {name for may in allowed for name in may.regions}

    def permits(self, region: RegionStore, side: str, steps: range) -> bool:
        return self.allowed is None or any(m.covers(region, side, steps) for m in self.allowed)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Allows everything until it is told otherwise."""
    state = Guard()
    original_read, original_static = RegionStore.read, RegionStore.static

    def read(
        self: RegionStore, side: str, variable: str, steps: slice, **words: Any
    ) -> NDArray[np.float32]:
        chosen = range(*steps.indices(len(self.times)))
        if state.permits(self, side, chosen):
            return original_read(self, side, variable, steps, **words)
        if (self.name, side) != (state.masked, "coarse"):
            state.refused += 1
            raise AssertionError(f"forbidden: {side} {variable} of {self.name}, {chosen}")
        values = original_read(self, side, variable, steps).copy()
        for at, step in enumerate(chosen):
            if not state.permits(self, side, range(step, step + 1)):
                values[at] = np.nan
        return values

    def static(self: RegionStore, name: str) -> NDArray[np.float32]:
        if state.allowed is not None and self.name not in state.statics:
            state.refused += 1
            raise AssertionError(f"forbidden: static {name} of {self.name}")
        return original_static(self, name)

    monkeypatch.setattr(RegionStore, "read", read)
    monkeypatch.setattr(RegionStore, "static", static)
    return state


def names(task: Task, *splits: Any) -> tuple[str, ...]:
    return tuple(region.name for region in task.regions_of(*splits))


def labelled(task: Task, seed: int) -> Period:
    assert task.few_shot is not None
    (day,) = task.few_shot.draw(seed)
    first = datetime(day.year, day.month, day.day)
    return Period(first=first, last=first + timedelta(hours=23, minutes=59))


@dataclass(frozen=True)
class Case:
    """One row: how it is requested and opened, and what it may read.

    fitting: (splits or names, periods) while it is trained, both sides. Besides the test period of
    a region it may be predicted from coarse fields of the training period: own, of the region
    itself; home, of the sources.
    """

    request: dict[str, Any]
    fitting: list[tuple[tuple[str, ...], tuple[str, ...]]]
    card: dict[str, Any]
    settings: dict[str, object] = field(default_factory=dict)
    adapt: str | None = None
    own: bool = False
    home: bool = False


TRAINED = [(("train",), ("train", "val"))]
CASES = {
    "zero_shot": Case({}, TRAINED, {"model": "srcnn", "regime": "zero_shot"}),
    "zero_shot, streamed": Case(
        {}, TRAINED, {"model": "srcnn", "regime": "zero_shot"}, {"training.data": "stream"}
    ),
    "zero_shot with statics": Case(
        {"model": "loan"}, TRAINED, {"model": "loan", "regime": "zero_shot"}, LOAN
    ),
    "zero_shot from sources": Case(
        {"sources": EUROPE}, [(EUROPE, ("train", "val"))],
        {"sources": EUROPE, "regime": "zero_shot"},
    ),
    "zero_shot selected on val_ood": Case(
        {"selection": "val_ood"}, [(("train",), ("train",)), (("val_ood",), ("val",))],
        {"model": "srcnn-val-ood", "regime": "zero_shot", "selection": "val_ood"},
    ),
    "quantile mapping": Case(
        {}, TRAINED, {"model": "srcnn-qm", "regime": "target_inputs"},
        adapt="quantile-mapping", own=True, home=True,
    ),
    "quantile mapping from sources": Case(
        {"sources": EUROPE, "constraint": "softmax"}, [(EUROPE, ("train", "val"))],
        {"model": "srcnn-qm", "regime": "target_inputs", "sources": EUROPE},
        adapt="quantile-mapping", own=True, home=True,
    ),
    "AdaBN": Case(
        {"model": "srdrn"}, TRAINED, {"model": "srdrn-adabn", "regime": "target_inputs"}, SRDRN,
        adapt="adabn", own=True,
    ),
    "oracle": Case(
        {"regime": "oracle"}, [(("train", "test_ood"), ("train", "val"))],
        {"model": "srcnn", "regime": "oracle"},
    ),
    "oracle, target only": Case(
        {"regime": "oracle", "target_only": True}, [(("test_ood",), ("train", "val"))],
        {"model": "srcnn", "regime": "oracle", "target_only": True},
    ),
}  # fmt: skip


def request_of(case: Case, tiny: Make) -> Request:
    request = tiny("training.steps=2", "training.validate_every=1", **case.request)
    settings = [f"{key}={value}" for key, value in case.settings.items()]
    network = [text for text in settings if text.startswith("network")]
    if request.model != "srcnn":
        chosen = load_config(request.model, settings=network).network
        config = request.config.model_copy(update={"network": chosen})
        return request.model_copy(update={"config": config})
    rest = [text for text in settings if not text.startswith("network")]
    return tiny("training.steps=2", "training.validate_every=1", *rest, **case.request)


def permitted(task: Task, case: Case) -> list[May]:
    """What fitting may read, both sides alike."""
    found = []
    for who, periods in case.fitting:
        regions = who if who[0] in names(task, "train") else names(task, *who)
        found += [May(regions, BOTH, getattr(task.periods, period)) for period in periods]
    return found


def fit(store: PairStore, task: Task, case: Case, tiny: Make, guard: Guard, folder: Path) -> None:
    guard.allow(*permitted(task, case))
    train(store, request_of(case, tiny), folder)


def predict_guarded(
    store: PairStore, predictor: Predictor, guard: Guard, *extra: Callable[[str], Iterable[May]],
    every: int = 5,
) -> None:  # fmt: skip
    """Some of the test regions, both roles: with what is forbidden gone, the same predictions."""
    task = store.task
    regions = expected_regions(store)
    chosen = [store.region(name) for name in ("europe-west", "japan-okhotsk")]
    chosen += [region for region in regions[::every] if region not in chosen]
    for region in chosen:
        steps = region.steps(task.periods.test)
        guard.allowed = None
        expected = predictor.predict(region, steps)
        more = [may for found in extra for may in found(region.name)]
        guard.allow(May((region.name,), COARSE, task.periods.test), *more, masked=region.name)
        for variable, values in predictor.predict(region, steps).items():
            np.testing.assert_array_equal(values, expected[variable])
            assert np.isfinite(values).all()


def fresh(predictor: Callable[[], Predictor]) -> Predictor:
    """A predictor that opens its run anew each time, so that nothing is remembered."""

    @dataclass(frozen=True)
    class Anew:
        card: ModelCard
        member_count: int

        def predict(self, region: RegionStore, steps: slice) -> Any:
            return predictor().predict(region, steps)

    first = predictor()
    return Anew(first.card, first.member_count)


def in_training(task: Task, *, own: bool, home: tuple[str, ...]) -> Callable[[str], list[May]]:
    """Coarse fields of the training period: of the region itself, of the sources."""

    def more(region: str) -> list[May]:
        regions = (*home, region) if own else home
        return [May(regions, COARSE, task.periods.train)] if regions else []

    return more


@pytest.mark.parametrize("name", CASES)
def test_a_network_reads_what_its_regime_allows(
    store: PairStore, task: Task, tiny: Make, guard: Guard, tmp_path: Path, name: str
) -> None:
    """While it is fitted, and while it predicts: the test period of the region asked for."""
    case, folder = CASES[name], tmp_path / "run"
    fit(store, task, case, tiny, guard, folder)
    home = case.request.get("sources", names(task, "train")) if case.home else ()
    guard.allow()
    predictor = fresh(partial(open_network, folder, store, adapt=case.adapt))
    card = predictor.card
    assert card.exposure == "none"
    assert card.model_dump(include=set(case.card)) == case.card
    predict_guarded(store, predictor, guard, in_training(task, own=case.own, home=home))
    assert guard.refused == 0


def test_a_few_shot_run_reads_its_labelled_days(
    store: PairStore, task: Task, tiny: Make, guard: Guard, tmp_path: Path
) -> None:
    """Of the targets these and nothing else, of the sources nothing any more."""
    start, folder = tmp_path / "start", tmp_path / "run"
    fit(store, task, CASES["zero_shot"], tiny, guard, start)
    guard.allow(May(names(task, "test_ood"), BOTH, labelled(task, 0)))
    config = load_few_shot_config(settings=["training.steps=1"])
    few_shot(store, few_shot_request(store, start, config), folder, start=start)
    predictor = fresh(partial(open_network, folder, store))
    card = predictor.card
    assert (card.regime, card.exposure, card.selection) == ("few_shot", "none", "none")
    predict_guarded(store, predictor, guard)


@pytest.mark.parametrize("regime", ["zero_shot", "oracle"])
@pytest.mark.parametrize("name", STATISTICAL)
def test_a_statistical_model_reads_what_its_regime_allows(
    store: PairStore, task: Task, guard: Guard, tmp_path: Path, name: str, regime: str
) -> None:
    """The sources' training days (analogues also later, as they are needed)."""
    sources = names(task, "train") if regime == "zero_shot" else names(task, "train", "test_ood")
    days = May(sources, BOTH, task.periods.train)
    request = StatisticalRequest(
        task=task.id, data_hash=store.data_hash, model=name, regime=regime,  # type: ignore[arg-type]
        config=load_statistical_config(name),
    )  # fmt: skip
    guard.allow(days)
    fit_run(store, request, tmp_path / "run")
    predictor = fresh(partial(open_statistical, tmp_path / "run", store))
    assert (predictor.card.regime, predictor.card.exposure) == (regime, "none")
    later = [days] if name == "analogue" else []
    predict_guarded(store, predictor, guard, lambda _: later, every=12)


@pytest.mark.parametrize("name", NULLS)
def test_a_null_reads_the_field_that_it_interpolates(
    store: PairStore, task: Task, guard: Guard, name: str
) -> None:
    """And the sources' training days, for the residuals or quantiles that some are made with."""
    days = May(names(task, "train"), BOTH, task.periods.train)
    predictor = fresh(partial(null, name, store))
    assert (predictor.card.regime, predictor.card.exposure) == ("zero_shot", "none")
    made = [days] if name == "bilinear-dressed" else []
    predict_guarded(store, predictor, guard, lambda _: made, every=12)


@pytest.mark.parametrize(
    ("regime", "rules"),
    [
        ("oracle", "zero_shot"),
        ("oracle, target only", "zero_shot"),
        ("zero_shot", "zero_shot from sources"),
        ("zero_shot", "zero_shot selected on val_ood"),
        ("zero_shot selected on val_ood", "zero_shot"),
        ("oracle", "oracle, target only"),
    ],
)
def test_whoever_takes_more_is_caught(
    store: PairStore, task: Task, tiny: Make, guard: Guard, tmp_path: Path, regime: str, rules: str
) -> None:
    """The guard itself: one regime's training under another one's rules."""
    guard.allow(*permitted(task, CASES[rules]))
    with pytest.raises(AssertionError, match="forbidden"):
        train(store, request_of(CASES[regime], tiny), tmp_path)


@pytest.mark.parametrize("name", ["quantile mapping", "AdaBN"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_target_inputs_are_not_zero_shot(
    store: PairStore, task: Task, tiny: Make, guard: Guard, tmp_path: Path, name: str, split: str
) -> None:
    """Without the target's training inputs its predictions are lost; its validation days are not
    missed."""
    case, folder = CASES[name], tmp_path / "run"
    fit(store, task, case, tiny, guard, folder)
    region = store.region("andes-south")
    everything = Period(first=task.periods.train.first, last=task.periods.test.last)
    lost = getattr(task.periods, split)
    parts = [
        Period(first=everything.first, last=lost.first - timedelta(minutes=1)),
        Period(first=lost.last + timedelta(minutes=1), last=everything.last),
    ]
    home = May(names(task, "train"), COARSE, task.periods.train)
    guard.allow(home, *(May((region.name,), COARSE, part) for part in parts), masked=region.name)
    predictor = open_network(folder, store, adapt=case.adapt)
    if split == "val":
        predictor.predict(region, region.steps(task.periods.test))
        return
    with pytest.raises(InputError, match=r"wet value|finite statistics"):
        predictor.predict(region, region.steps(task.periods.test))
