"""Bilinear dressed with training residuals: honest draws from the training split and no other."""

from collections import Counter
from datetime import datetime
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from benchmark.dressing import ResidualBank
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear
from benchmark.references import DressedReference

Array = NDArray[np.float64]
ENTRIES, MEMBERS, TIMES = 8, 4, 1500
START = np.datetime64("2001-01-01T00:00:00", "s")


@pytest.fixture(scope="module")
def bank(small: PairStore) -> ResidualBank:
    """The bank of the small task."""
    return ResidualBank.from_training(small)


def labelled_bank(**content: Any) -> ResidualBank:
    """A bank whose entry k is the constant field k, so that a draw can be read off."""
    entries = np.arange(float(ENTRIES))[:, None, None] * np.ones((1, 2, 3))
    fields: dict[str, Any] = {"residuals": {"a": entries, "b": entries}, "task_id": "t@1"}
    return ResidualBank(**(fields | {"nonnegative": frozenset()} | content))


def draws(region: str = "r", *, bank: ResidualBank | None = None, variable: str = "a") -> Array:
    """(TIMES, MEMBERS) entries drawn at consecutive hours."""
    used = bank or labelled_bank()
    return np.array(
        [
            used.dress(
                np.zeros((2, 3)), variable, region, START + np.timedelta64(k, "h"), members=MEMBERS
            )[:, 0, 0]
            for k in range(TIMES)
        ]
    )


@pytest.fixture(scope="module")
def drawn() -> Array:
    """The draws of one region, made once."""
    return draws()


def independent(first: Array, second: Array) -> float:
    """p of a chi-square test that two rows of entries have nothing to do with each other."""
    table = np.zeros((ENTRIES, ENTRIES))
    np.add.at(table, (first.astype(int), second.astype(int)), 1)
    return float(stats.chi2_contingency(table).pvalue)


def test_every_member_draws_uniformly(drawn: Array) -> None:
    """Each member, the first like the last, draws every entry equally often: exchangeable."""
    for member in range(MEMBERS):
        counts = np.bincount(drawn[:, member].astype(int), minlength=ENTRIES)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_draws_are_independent(drawn: Array) -> None:
    """Members of one time, consecutive times and regions do not tell of each other."""
    elsewhere = draws("elsewhere")
    assert independent(drawn[:, 0], drawn[:, 1]) > 1e-3
    assert independent(drawn[:, 2], drawn[:, 3]) > 1e-3
    assert independent(drawn[1:, 0], drawn[:-1, 0]) > 1e-3
    assert independent(drawn[1:, 0], drawn[:-1, 1]) > 1e-3
    assert independent(drawn[:, 0], elsewhere[:, 0]) > 1e-3
    assert not np.array_equal(drawn, draws(bank=labelled_bank(task_id="t@2")))


def test_draws_are_the_same_for_everyone(drawn: Array) -> None:
    """No state, no order, no clock: the same words give the same draws, for all variables."""
    np.testing.assert_array_equal(drawn, draws())
    np.testing.assert_array_equal(drawn, draws(variable="b"))


def test_more_members_extend_a_draw() -> None:
    """The first members stay what they were when more are asked for."""
    bank, field = labelled_bank(), np.zeros((2, 3))
    few, many = (bank.dress(field, "a", "r", START, members=count) for count in (2, 30))
    np.testing.assert_array_equal(many[:2], few)
    assert len(set(many[:, 0, 0])) > 3


def test_members_are_bilinear_plus_residual_cut_at_zero() -> None:
    """A non-negative variable is cut at 0, another is not; the result is float32."""
    residuals = {"a": np.full((1, 2, 2), -2.0), "b": np.full((1, 2, 2), -2.0)}
    bank = labelled_bank(residuals=residuals, nonnegative=frozenset("a"))
    field = np.array([[0.0, 1.0], [2.5, 4.0]])
    cut, free = (bank.dress(field, name, "r", START, members=2) for name in ("a", "b"))
    np.testing.assert_array_equal(cut[1], np.array([[0.0, 0.0], [0.5, 2.0]], np.float32))
    np.testing.assert_array_equal(free[0], (field - 2).astype(np.float32))
    assert cut.dtype == free.dtype == np.float32


def test_the_bank_is_fine_minus_bilinear_of_training(small: PairStore, bank: ResidualBank) -> None:
    """Every entry is one training residual of all variables at one place and time, none twice.

    The truth is read with xarray, without the harness' reader.
    """
    task = small.task
    found: Counter[bytes] = Counter()
    expected: Counter[bytes] = Counter()
    last = np.datetime64(task.periods.train.last)
    for region in task.regions_of("train"):
        path = small.folder / f"{region.name}.zarr"
        fine, coarse = (
            xr.open_zarr(path, group=side, consolidated=False).load() for side in ("fine", "coarse")
        )
        grid = small.region(region.name).grid
        for k in np.flatnonzero(fine["time"].values <= last):
            entry = [
                fine[name].values[k] - Bilinear.on(grid)(coarse[name].values[k])
                for name in task.variable_names
            ]
            expected[np.stack(entry).tobytes()] += 1
    entries = np.stack([bank.residuals[name] for name in task.variable_names], axis=1)
    for one in entries:
        found[one.tobytes()] += 1
    assert len(expected) == len(entries) == 2 * 11
    assert found == expected


def test_a_large_bank_is_a_random_part_without_repeats(
    small: PairStore, bank: ResidualBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more training steps than the bank holds, it takes some of them, from every region."""
    monkeypatch.setattr("benchmark.dressing.BANK_SIZE", 12)
    part = ResidualBank.from_training(small).residuals["t2m"]
    places = [
        [k for k, field in enumerate(bank.residuals["t2m"]) if np.array_equal(field, one)]
        for one in part
    ]
    assert all(len(place) == 1 for place in places)
    chosen = [place[0] for place in places]
    assert len(set(chosen)) == 12
    assert chosen != list(range(12))
    assert min(chosen) < 11 <= max(chosen), "both regions"


def test_no_truth_is_read_outside_training(
    small: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banks and predictions touch no fine field but the training regions' training days.

    Coarse fields are read only there and where a prediction was asked for.
    """
    task, asked = small.task, slice(17, 19)
    original = RegionStore.read
    seen: list[tuple[str, str]] = []

    def guarded(self: RegionStore, side: str, variable: str, steps: slice) -> Any:
        times = self.times[steps]
        training = task.region(self.name).role == "train" and bool(
            np.all(times <= np.datetime64(task.periods.train.last))
        )
        wanted = side == "coarse" and self.name == "andes-south" and steps == asked
        if not (training or wanted):
            raise AssertionError(f"read {side} {variable} of {self.name} at {times}")
        seen.append((side, self.name))
        return original(self, side, variable, steps)

    monkeypatch.setattr(RegionStore, "read", guarded)
    with pytest.raises(AssertionError, match="read fine"):  # the guard bites
        small.region("andes-south").read("fine", "t2m", slice(0, 1))
    region = small.region("andes-south")
    fields = DressedReference(small).predict(region, asked)
    assert fields["t2m"].shape == (2, task.members, 32, 32)
    assert ("fine", "japan-okhotsk") in seen
    assert ("fine", "andes-south") not in seen


def test_predictions_do_not_depend_on_blocks(small: PairStore, bank: ResidualBank) -> None:
    """Steps predicted one by one, together, backwards or by a new bank have the same bits."""
    region = small.region("tibetan-plateau")
    steps = region.steps(small.task.periods.test)
    whole = bank.predict(region, steps)
    single = {
        k: bank.predict(region, slice(k, k + 1)) for k in reversed(range(steps.start, steps.stop))
    }
    again = ResidualBank.from_training(small).predict(region, steps)
    for name in small.task.variable_names:
        joined = np.concatenate([single[k][name] for k in sorted(single)])
        np.testing.assert_array_equal(joined, whole[name])
        np.testing.assert_array_equal(again[name], whole[name])
        assert np.isfinite(whole[name]).all()
        assert whole[name].min() >= 0, "all three variables are non-negative"


def test_the_test_period_is_later_than_training(small: PairStore) -> None:
    """What the guard above calls training is over days before the scored steps begin."""
    periods = small.task.periods
    assert isinstance(periods.train.last, datetime)
    assert periods.train.last < periods.val.first < periods.test.first
