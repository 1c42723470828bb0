"""Training on a source set: some of the training regions, and nothing of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from baselines.data import fit_scaling, load_pairs
from baselines.runs import CHECKPOINT, RECORD, Request, card, read_record
from baselines.sources import source_regions
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task

Make = Callable[..., Request]
EUROPE = ("europe-east", "europe-west")


def test_it_reads_nothing_of_the_other_regions(
    store: PairStore, task: Task, tiny: Make, reads: list[Any], tmp_path: Path
) -> None:
    """Constants, training and early stopping: every read lies in the two regions and periods."""
    record = train(store, tiny("training.steps=3", sources=EUROPE), tmp_path / "run")
    assert {read.region for read in reads} == set(EUROPE)
    assert {read.steps for read in reads} == {
        range(*store.region("europe-west").steps(period).indices(1000))
        for period in (task.periods.train, task.periods.val)
    }
    regions = [store.region(name) for name in EUROPE]
    assert record.scaling.mean.tolist() == fit_scaling(task, regions).mean.tolist()
    assert record.mean != train(store, tiny("training.steps=1"), tmp_path / "all").mean


def test_its_days_are_those_regions_alone(store: PairStore, task: Task) -> None:
    found = source_regions(store, "zero_shot", EUROPE)
    assert [region.name for region in found] == list(EUROPE)
    assert len(load_pairs(found, task.periods.train)) == 2 * 11


def test_the_same_request_is_the_same_run(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """A finished run comes back as it is; another source set in its folder is refused."""
    request = tiny("training.steps=2", "training.validate_every=1", sources=EUROPE)
    first = train(store, request, tmp_path)
    assert train(store, request, tmp_path) == first
    assert card(first, constraint="none").sources == EUROPE
    for other in (EUROPE[:1], ()):
        with pytest.raises(InputError, match="a run with other settings"):
            train(store, request.model_copy(update={"sources": other}), tmp_path)


def test_it_resumes_and_knows_its_sources(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    request = tiny(sources=EUROPE)

    def stop(step: int, *_: object) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, request, tmp_path, report=stop)
    assert (tmp_path / CHECKPOINT).exists()
    with pytest.raises(InputError, match="a run with other settings"):
        train(store, tiny(), tmp_path)
    assert train(store, request, tmp_path).request.sources == EUROPE


def test_a_run_older_than_source_sets_is_still_the_same_run(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """Its record has no such key, and a new one without sources has none either."""
    request = tiny("training.steps=1")
    record = train(store, request, tmp_path)
    assert "sources" not in json.loads((tmp_path / RECORD).read_text())["request"]
    assert read_record(tmp_path).request == request
    assert train(store, request, tmp_path) == record


@pytest.mark.parametrize("sources", [("andes-south",), ("europe-wset",)])
def test_only_training_regions_are_sources(
    sources: tuple[str, ...], store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"sources: {sources[0]}"):
        train(store, tiny(sources=sources), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_request_refuses_what_cannot_be(tiny: Make) -> None:
    for fields in ({"regime": "oracle", "sources": EUROPE}, {"sources": EUROPE[::-1]}):
        with pytest.raises(ValidationError):
            tiny(**fields)
