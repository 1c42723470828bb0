"""Runs of statistical models: what they read, write, refuse, and predict."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from baselines.statistical import (
    STATISTICAL,
    load_statistical_config,
    statistical_family,
)
from baselines.statistical.runs import (
    ARRAYS,
    RECORD,
    Statistical,
    StatisticalRequest,
    fit_run,
    is_statistical,
    open_statistical,
)
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.predictor import Fields
from benchmark.task import Task
from data_recipes.build import build

EVERY = pytest.mark.parametrize("model", sorted(STATISTICAL))
SOURCES = ("europe-east", "europe-west")


def request(store: PairStore, model: str, **fields: Any) -> StatisticalRequest:
    settings = fields.pop("settings", ())
    values = {
        "task": store.task.id, "data_hash": store.data_hash, "model": model,
        "regime": "zero_shot", "config": load_statistical_config(model, settings=settings),
    }  # fmt: skip
    return StatisticalRequest.model_validate({**values, **fields})


@pytest.fixture(scope="module")
def runs(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A zero-shot run of every model. Read-only."""
    folders = {model: tmp_path_factory.mktemp("runs") / model for model in STATISTICAL}
    for model, folder in folders.items():
        fit_run(store, request(store, model), folder)
    return folders


def same(first: Fields, second: Fields) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def whole(region: RegionStore) -> slice:
    return slice(0, len(region.times))


@EVERY
def test_shape_type_and_physical_range(
    model: str, runs: dict[str, Path], store: PairStore, task: Task
) -> None:
    """(time, 1, ny, nx) float32 without gaps, at home and elsewhere; no negative wind or rain."""
    predictor = open_statistical(runs[model], store)
    assert predictor.member_count == 1
    for where in ("europe-west", "andes-south"):
        got = predictor.predict(store.region(where), slice(4, 9))
        assert tuple(got) == task.variable_names
        for variable in task.variables:
            field = got[variable.name]
            assert field.shape == (5, 1, 32, 32)
            assert field.dtype == np.float32
            assert np.isfinite(field).all()
            assert field.min() >= 0


@EVERY
def test_the_card_says_what_it_is(model: str, runs: dict[str, Path], store: PairStore) -> None:
    arrays = load_file(runs[model] / ARRAYS)
    count = sum(array.size for array in arrays.values())
    card = open_statistical(runs[model], store).card
    assert (card.model, card.regime, card.constraint) == (model, "zero_shot", "none")
    assert (card.seed, card.selection, card.null) == (0, "none", False)
    assert card.parameters == count > 0
    assert card.title == statistical_family(model).title
    assert card.reference == statistical_family(model).reference
    assert open_statistical(runs[model], store, post_hoc=True).card.constraint == "post_hoc"


@EVERY
def test_an_answer_does_not_depend_on_the_steps_asked_for(
    model: str, runs: dict[str, Path], store: PairStore
) -> None:
    """One step alone, a few, or all: the same bits, projected or not."""
    region = store.region("andes-south")
    for post_hoc in (False, True):
        predictor = open_statistical(runs[model], store, post_hoc=post_hoc)
        every = predictor.predict(region, whole(region))
        for steps in (slice(0, 1), slice(13, 14), slice(17, 22), slice(22, 40)):
            part = predictor.predict(region, steps)
            for variable, field in part.items():
                np.testing.assert_array_equal(field, every[variable][steps], strict=True)


@EVERY
def test_post_hoc_conserves_in_every_region(
    model: str, runs: dict[str, Path], store: PairStore, task: Task,
    residual_ulps: Callable[..., float],
) -> None:  # fmt: skip
    """max |A y - x| <= 4 eps32 max |x|; without the projection it is far off."""
    free = open_statistical(runs[model], store)
    projected = open_statistical(runs[model], store, post_hoc=True)
    for entry in task.regions[::3]:
        region = store.region(entry.name)
        loose, tight = (p.predict(region, slice(16, 20)) for p in (free, projected))
        for variable in task.variable_names:
            coarse = region.read("coarse", variable, slice(16, 20))
            assert residual_ulps(region, tight[variable][:, 0], coarse) <= 4
            assert residual_ulps(region, loose[variable][:, 0], coarse) > 100


@EVERY
@pytest.mark.parametrize("chosen", ["zero_shot", "sources", "oracle"])
def test_a_fit_reads_the_training_days_of_its_regions_alone(
    model: str, chosen: str, store: PairStore, task: Task, reads: list[Any], tmp_path: Path
) -> None:
    """No validation day, no other region; and predicting reads truth from there or nowhere."""
    fields: dict[str, Any] = {
        "zero_shot": {}, "sources": {"sources": SOURCES}, "oracle": {"regime": "oracle"}
    }[chosen]  # fmt: skip
    roles = {"zero_shot": ("train",), "oracle": ("train", "test_ood"), "sources": ()}[chosen]
    allowed = {r.name for r in task.regions if r.role in roles} or set(SOURCES)
    fit_run(store, request(store, model, **fields), tmp_path)
    training = store.region("europe-west").steps(task.periods.train)
    days = set(range(training.start, training.stop))
    assert {read.region for read in reads} == allowed
    assert all(set(read.steps) <= days for read in reads)
    assert set().union(*(read.steps for read in reads)) == days

    predictor = open_statistical(tmp_path, store)
    reads.clear()
    target = store.region("andes-south")
    predictor.predict(target, target.steps(task.periods.test))
    truth = [read for read in reads if read.side == "fine"]
    assert all(read.region in allowed and set(read.steps) <= days for read in truth)
    assert bool(truth) == (model == "analogue")
    assert predictor.card.regime == fields.get("regime", "zero_shot")
    assert predictor.card.sources == fields.get("sources", ())


def test_other_sources_and_regimes_are_other_fits(store: PairStore, tmp_path: Path) -> None:
    region = store.region("andes-south")
    found = []
    for name, fields in {
        "all": {}, "some": {"sources": SOURCES}, "oracle": {"regime": "oracle"}
    }.items():  # fmt: skip
        fit_run(store, request(store, "linear", **fields), tmp_path / name)
        found.append(open_statistical(tmp_path / name, store).predict(region, slice(0, 1)))
    assert not same(found[0], found[1])
    assert not same(found[0], found[2])


def test_the_oracle_knows_the_climatology_of_its_targets(
    store: PairStore, task: Task, tmp_path: Path, runs: dict[str, Path]
) -> None:
    """Zero-shot it is one number there."""
    region = store.region("andes-south")
    fit_run(store, request(store, "climatology", regime="oracle"), tmp_path)
    own = open_statistical(tmp_path, store).predict(region, slice(20, 21))["t2m"][0, 0]
    truth = region.read("fine", "t2m", region.steps(task.periods.train)).mean(axis=0)
    np.testing.assert_allclose(own, truth, rtol=1e-6)
    blind = open_statistical(runs["climatology"], store).predict(region, slice(20, 21))["t2m"]
    assert np.ptp(blind) == 0


@EVERY
def test_a_finished_run_comes_back_as_it_is(
    model: str, runs: dict[str, Path], store: PairStore, reads: list[Any]
) -> None:
    """Nothing is read or written; another request in its folder is refused."""
    folder = runs[model]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(before) == sorted((ARRAYS, RECORD))
    record = fit_run(store, request(store, model), folder)
    assert record.request == request(store, model)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not reads
    with pytest.raises(InputError, match="a run with other settings"):
        fit_run(store, request(store, model, sources=SOURCES), folder)


@EVERY
def test_fitting_twice_gives_the_same_bytes(
    model: str, runs: dict[str, Path], store: PairStore, tmp_path: Path
) -> None:
    """Also over what a killed fit has left."""
    (tmp_path / ARRAYS).write_bytes(b"half of a file")
    (tmp_path / f".{RECORD}.abc").write_bytes(b"")
    with pytest.raises(InputError, match="got an unfinished run"):
        open_statistical(tmp_path, store)
    fit_run(store, request(store, model), tmp_path)
    assert (tmp_path / ARRAYS).read_bytes() == (runs[model] / ARRAYS).read_bytes()


def test_the_record_is_written_last(
    store: PairStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that is stopped in its middle leaves no record, so the run counts as unfinished."""
    original, left = RegionStore.read, [40]

    def read(self: RegionStore, *words: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return original(self, *words)

    monkeypatch.setattr(RegionStore, "read", read)
    with pytest.raises(KeyboardInterrupt):
        fit_run(store, request(store, "linear"), tmp_path)
    assert not list(tmp_path.iterdir())
    seen: list[tuple[int, int, str]] = []
    fit_run(store, request(store, "linear"), tmp_path, lambda *words: seen.append(words))
    assert seen[-1] == (9, 9, "northamerica-west")


def test_runs_are_told_from_those_of_networks(runs: dict[str, Path], tmp_path: Path) -> None:
    """By the kind in `run.json`; a network's has none."""
    assert all(is_statistical(folder) for folder in runs.values())
    record = json.loads((runs["linear"] / RECORD).read_text())
    assert record["kind"] == "statistical"
    assert "sources" not in record["request"]
    assert set(record["packages"]) == {"elsewhere", "numpy", "scipy", "safetensors"}
    assert record["seconds"] > 0
    del record["kind"]
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert not is_statistical(tmp_path)
    (tmp_path / RECORD).write_text("{")
    assert not is_statistical(tmp_path)
    assert not is_statistical(tmp_path / "nowhere")


def test_folders_with_other_things_are_refused(store: PairStore, tmp_path: Path) -> None:
    """An unfinished network, or a network's record."""
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"a folder with checkpoint\.safetensors in it"):
        fit_run(store, request(store, "linear"), tmp_path)
    (tmp_path / "checkpoint.safetensors").unlink()
    (tmp_path / RECORD).write_text('{"request": {}}')
    with pytest.raises(InputError, match="a run with other settings"):
        fit_run(store, request(store, "linear"), tmp_path)
    with pytest.raises(InputError, match="problems in it"):
        open_statistical(tmp_path, store)


def test_damaged_and_missing_runs_are_refused(
    store: PairStore, runs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="got no such file"):
        open_statistical(tmp_path, store)
    record = (runs["linear"] / RECORD).read_bytes()
    (tmp_path / RECORD).write_bytes(record)
    with pytest.raises(InputError, match="the arrays of this run's model; got FileNotFoundError"):
        open_statistical(tmp_path, store)
    whole = (runs["linear"] / ARRAYS).read_bytes()
    (tmp_path / ARRAYS).write_bytes(whole[:-8])
    with pytest.raises(InputError, match="got SafetensorError"):
        open_statistical(tmp_path, store)
    (tmp_path / ARRAYS).write_bytes((runs["climatology"] / ARRAYS).read_bytes())
    with pytest.raises(InputError, match=r"'own', 'pooled'.* instead of .*'coefficients'"):
        open_statistical(tmp_path, store)
    save_file({"mean": np.zeros(3)}, tmp_path / ARRAYS)
    with pytest.raises(InputError, match="got ValueError"):
        open_statistical(tmp_path, store)


def test_other_data_and_other_tasks_are_refused(
    store: PairStore, task: Task, runs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="a run on the data"):
        fit_run(store, request(store, "linear", data_hash="0" * 64), tmp_path)
    with pytest.raises(InputError, match="a run of era5-sample@"):
        fit_run(store, request(store, "linear", task="cerra@1"), tmp_path)
    record = json.loads((runs["linear"] / RECORD).read_text())
    record["request"]["data_hash"] = "0" * 64
    (tmp_path / RECORD).write_text(json.dumps(record))
    (tmp_path / ARRAYS).write_bytes((runs["linear"] / ARRAYS).read_bytes())
    with pytest.raises(InputError, match="Train again on these data"):
        open_statistical(tmp_path, store)
    assert task.id == record["request"]["task"]


def test_wrong_requests_are_refused(store: PairStore, tmp_path: Path) -> None:
    """An unknown model or source; sources with the oracle; a seed, which nothing would read."""
    with pytest.raises(InputError, match="Did you mean 'linear'"):
        statistical_family("linaer")
    with pytest.raises(InputError, match="got a test_ood region"):
        fit_run(store, request(store, "linear", sources=("andes-south",)), tmp_path)
    with pytest.raises(ValidationError, match="no sources with the oracle"):
        request(store, "linear", sources=SOURCES, regime="oracle")
    with pytest.raises(ValidationError, match="regime"):
        request(store, "linear", regime="few_shot")
    with pytest.raises(ValidationError, match="seed"):
        request(store, "linear", seed=1)
    with pytest.raises(InputError, match="settings of linear: ridge"):
        fit_run(store, request(store, "linear", config={"ridge": -1, "every": 1}), tmp_path)


def test_settings_are_checked(tmp_path: Path) -> None:
    """Of the packaged file, of one's own, and of `--set`."""
    assert load_statistical_config("lapse-rate") == {"rate": "fitted"}
    assert load_statistical_config("lapse-rate", settings=["model.rate=6.5"]) == {"rate": 6.5}
    assert load_statistical_config("climatology") == {}
    own = tmp_path / "own.toml"
    own.write_text("[model]\nneighbours = 7\ncentred = true\nevery = 2\n")
    expected = {"neighbours": 7, "centred": True, "every": 2}
    assert load_statistical_config("analogue", file=own) == expected
    for settings, message in {
        ("model.rigde=1",): "Did you mean 'ridge'",
        ("model.ridge=0",): "model: ridge",
        ("ridge=1",): "section.key=value",
        ("network.width=3",): "section.key=value",
    }.items():
        with pytest.raises(InputError, match=message):
            load_statistical_config("linear", settings=settings)
    own.write_text("[model]\nridge = 1.0\nevery = 1\n[training]\nsteps = 3\n")
    with pytest.raises(InputError, match=r"own\.toml: training"):
        load_statistical_config("linear", file=own)
    with pytest.raises(InputError, match="no such file"):
        load_statistical_config("linear", file=tmp_path / "none.toml")


def test_a_predictor_goes_to_another_process(runs: dict[str, Path], store: PairStore) -> None:
    """What it has cached stays behind."""
    region = store.region("andes-south")
    for model in ("linear", "analogue"):
        predictor = open_statistical(runs[model], store, post_hoc=True)
        before = predictor.predict(region, slice(0, 2))
        copy: Statistical = pickle.loads(pickle.dumps(predictor))
        assert same(copy.predict(region, slice(0, 2)), before)


def test_no_torch() -> None:
    """Fitting and predicting need numpy, scipy and safetensors."""
    code = (
        "import sys, baselines.statistical.runs, baselines.nulls;sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def uneven(task: Task, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Four regions of era5-sample, two degrees smaller, at factor 2.5."""
    regions = [
        region.model_copy(
            update={
                "lat": (region.lat[0], region.lat[1] - 2),
                "lon": (region.lon[0], region.lon[1] - 2),
            }
        )
        for region in task.regions
        if region.name in ("andes-south", "europe-west", "japan-okhotsk", "west-africa")
    ]
    smaller = task.model_copy(update={"factor": 2.5, "margin": 2, "regions": tuple(regions)})
    return build(smaller, tmp_path_factory.mktemp("uneven"))


@EVERY
def test_factor_two_and_a_half(model: str, uneven: PairStore, tmp_path: Path) -> None:
    """Coarse cells that share fine ones: every model fits, predicts and is projected."""
    fit_run(uneven, request(uneven, model), tmp_path)
    predictor = open_statistical(tmp_path, uneven, post_hoc=True)
    for region in expected_regions(uneven):
        fields = predictor.predict(region, slice(16, 18))
        for variable, field in fields.items():
            coarse = region.read("coarse", variable, slice(16, 18))
            assert field.shape == (2, 1, 30, 30)
            missed = abs(region.grid.overlap(field[:, 0]) - coarse).max()
            # The overlap itself rounds sums of shared cells.
            assert missed <= 6 * np.finfo(np.float32).eps * abs(coarse).max()
