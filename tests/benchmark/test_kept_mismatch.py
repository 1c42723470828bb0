"""The mismatch that a pair store keeps: its numbers by hand, and never those of other values."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark import kept_mismatch as module
from benchmark.kept_mismatch import keep_mismatch, keep_mismatches, kept_mismatch, mismatches
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import Steps, write_region
from benchmark.results import SCORES, read_scores, write_scores

Make = Callable[..., PairStore]
RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
STATICS = ("land_fraction", "orography")


@pytest.fixture(scope="module")
def made(make_map_store: Make) -> PairStore:
    """A real pair; read-only."""
    return make_map_store("kept-pair", missing=(3,))


@pytest.fixture
def pair(made: PairStore, tmp_path: Path) -> PairStore:
    """A copy to be changed, nothing kept in it."""
    shutil.copytree(made.folder, tmp_path / "pair")
    return PairStore(made.task, tmp_path / "pair")


@pytest.fixture
def many(store: PairStore, tmp_path: Path) -> PairStore:
    """Regions of several variables, called a real pair; read-only but for what is kept."""
    for path in store.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return PairStore(store.task.model_copy(update={"track": "real_pair"}), tmp_path)


def fresh(store: PairStore, **changes: object) -> PairStore:
    """As another process would open it."""
    return PairStore(store.task.model_copy(update=changes), store.folder)


def kept_file(store: PairStore, region: str) -> Path:
    return store.folder / "mismatch" / f"{region}.json"


def warmer(region: RegionStore, *, kelvin: float) -> None:
    """Write a region again of a coarse product that is so much warmer."""
    steps = slice(0, len(region.times))
    fields = {side: region.read(side, "t2m", steps) for side in ("coarse", "fine")}
    write_region(
        region.task, region.name, region.path.parent, times=region.times, source_ids={}, recipe={},
        static={name: region.static(name) for name in STATICS},
        blocks=[(0, Steps({"t2m": fields["coarse"] + np.float32(kelvin)},
                          {"t2m": fields["fine"]}))],
    )  # fmt: skip


def by_hand(region: RegionStore) -> tuple[float, float]:
    """Bias and correlation, of block means without a loop; the map's cells are of unequal areas."""
    grid, steps = region.grid, region.steps(region.task.periods.train)
    x = region.read("coarse", "t2m", steps).astype(float)[:, 1:-1, 1:-1]
    area = np.asarray(grid.fine.area)
    fine = region.read("fine", "t2m", steps).astype(float) * area
    blocks = fine.reshape(len(fine), 8, 5, 8, 5).sum(axis=(2, 4))
    whole = area.reshape(8, 5, 8, 5).sum(axis=(1, 3))
    y = (blocks / whole)[:, 1:-1, 1:-1]
    known = np.isfinite(y)
    weights = np.broadcast_to(whole[1:-1, 1:-1], y.shape)[known]
    x, y = x[known], y[known]
    cov = np.cov(x, y, aweights=weights, ddof=0)
    bias = np.average(x, weights=weights) - np.average(y, weights=weights)
    return float(bias), float(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))


def test_the_file_s_numbers_by_hand(pair: PairStore) -> None:
    """As JSON that anyone can read, beside the hash of the values they are of."""
    for region in pair.regions("train", "val_ood", "test_ood"):
        keep_mismatch(region)
        found = json.loads(kept_file(pair, region.name).read_text())
        assert found["data_hash"] == region.data_hash
        (one,) = found["mismatch"]
        bias, correlation = by_hand(region)
        assert one["bias"] == pytest.approx(bias, rel=1e-6)
        assert one["correlation"] == pytest.approx(correlation, rel=1e-6)
        assert (one["variable"], one["region"], one["units"]) == ("t2m", region.name, "K")
        assert one["whole_steps"] == 16, "the missing cell is in the margin"


def test_what_is_current_is_not_computed_again(
    pair: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by another process either, and its numbers are those that are computed."""
    computed = mismatches(pair)
    assert not (pair.folder / "mismatch").exists(), "a verb that shows writes nothing"
    hash_before = pair.data_hash
    kept = keep_mismatches(pair)
    assert list(kept) == computed
    monkeypatch.setattr(module, "region_mismatch", lambda *_, **__: pytest.fail("computed"))
    again = fresh(pair)
    assert keep_mismatches(again) == kept
    assert mismatches(again) == computed
    assert again.data_hash == hash_before


def test_nothing_of_other_values_is_shown(pair: PairStore) -> None:
    """Where a region's values changed: computed again, kept again; the others stay."""
    before = {one.region: one for one in keep_mismatches(pair)}
    files = {name: kept_file(pair, name).read_bytes() for name in before}
    warmer(pair.region("north"), kelvin=2.0)
    changed = fresh(pair)
    assert kept_mismatch(changed.region("north")) is None
    shown = {one.region: one for one in mismatches(changed)}
    assert kept_file(pair, "north").read_bytes() == files["north"]
    after = {one.region: one for one in keep_mismatches(changed)}
    assert after == shown
    old, new = before["north"].bias, after.pop("north").bias
    assert new is not None
    assert old is not None
    assert new - old == pytest.approx(2.0, abs=1e-4)
    del before["north"]
    assert after == before
    assert {n for n, b in files.items() if kept_file(pair, n).read_bytes() != b} == {"north"}


@pytest.mark.parametrize("what", ["margin", "period", "units"])
def test_nothing_of_another_contract_is_shown(pair: PairStore, what: str) -> None:
    """The same values, of which others count, or count as something else."""
    keep_mismatches(pair)
    task = pair.task
    train = task.periods.train.model_copy(update={"last": task.periods.train.first})
    (variable,) = task.variables
    changes: dict[str, dict[str, object]] = {
        "margin": {"margin": 2},
        "period": {"periods": task.periods.model_copy(update={"train": train})},
        "units": {"variables": (variable.model_copy(update={"units": "m s-1"}),)},
    }
    other = fresh(pair, **changes[what])
    assert kept_mismatch(other.region("north")) is None
    kept = keep_mismatch(other.region("north"))
    assert kept == tuple(mismatches(fresh(other)))[2:3]
    assert kept_mismatch(fresh(pair).region("north")) is None


def test_what_changes_no_number_keeps_it(pair: PairStore) -> None:
    """Titles, and how models are scored."""
    kept = keep_mismatches(pair)
    regions = tuple(r.model_copy(update={"role": "train"}) for r in pair.task.regions)
    other = fresh(pair, title="Another", members=9, regions=regions)
    assert [kept_mismatch(other.region(one.region)) for one in kept] == [(one,) for one in kept]


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 2}'])
def test_a_damaged_file_is_made_again(pair: PairStore, content: str) -> None:
    region = pair.region("north")
    keep_mismatch(region)
    whole = kept_file(pair, "north").read_bytes()
    kept_file(pair, "north").write_text(content)
    assert kept_mismatch(region) is None
    keep_mismatch(region)
    assert kept_file(pair, "north").read_bytes() == whole


def test_one_product_has_none(store: PairStore) -> None:
    """The perfect-model track: nothing is computed, nothing written."""
    assert keep_mismatches(store) == ()
    assert not (store.folder / "mismatch").exists()


def test_several_variables(many: PairStore) -> None:
    """In the task's order within each region; one may be asked for; progress goes on over all."""
    told: list[tuple[int, int, str]] = []
    kept = keep_mismatches(many, report=lambda *entry: told.append(entry))
    names = sorted(region.name for region in many.task.regions)
    variables = many.task.variable_names
    assert len(variables) > 1
    assert [(one.region, one.variable) for one in kept] == [
        (name, variable) for name in names for variable in variables
    ]
    assert mismatches(fresh(many), [variables[1]]) == [
        one for one in kept if one.variable == variables[1]
    ]
    region = many.region(names[0])
    steps = region.steps(many.task.periods.train)
    count = steps.stop - steps.start
    assert told[: len(variables)] == [
        (k * count, len(variables) * count, f"mismatch of {names[0]}")
        for k in range(len(variables))
    ]


def test_a_row_of_one_product_is_as_it_was(tmp_path: Path) -> None:
    """A committed row that is read and written: the same bytes, without the key."""
    committed = next(RESULTS.rglob(SCORES))
    write_scores(tmp_path, read_scores(committed))
    assert (tmp_path / SCORES).read_bytes() == committed.read_bytes()
