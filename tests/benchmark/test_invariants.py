"""Invariants of a case table: a healthy one passes, each broken one is named with its place."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from baselines.nulls import null
from benchmark.case_table import by_case, total
from benchmark.invariants import check_invariants
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard
from benchmark.pair_store import PairStore
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StreamedPredictions
from benchmark.task import Task


@dataclass(frozen=True)
class Result:
    """A table and the card of what made it."""

    card: ModelCard
    table: xr.Dataset


@pytest.fixture(scope="module")
def single(small: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Bilinear: one member."""
    return scored(small, "bilinear", tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def many(streamed_dressed: StreamedPredictions, dressed: Scored) -> Result:
    """The dressed reference: eight members."""
    return Result(streamed_dressed.card, dressed.table)


@pytest.fixture(scope="module")
def projected(small: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Bilinear with post-hoc projection: a hard constraint that holds."""
    return scored(small, "bilinear-projected", tmp_path_factory.mktemp("projected"))


def scored(store: PairStore, name: str, work: Path) -> Result:
    """A null's table."""
    source = StreamedPredictions(null(name, store), name)
    return Result(source.card, score_cases(store, source, work=work).table)


def problems(task: Task, card: ModelCard, table: xr.Dataset) -> list[str]:
    """What is broken in a table, as texts."""
    found = check_invariants(task, card, by_case(table), total(table))
    return [str(problem) for problem in found]


def broken(store: PairStore, result: Result, change: Callable[[xr.Dataset], None]) -> list[str]:
    """The problems of a table after `change`, as texts."""
    table = result.table.copy(deep=True)
    change(table)
    return problems(store.task, result.card, table)


def at(table: xr.Dataset, name: str) -> xr.DataArray:
    """One statistic of the second variable, third region, for stratum `all`."""
    found = table[name].isel(variable=1, region=2)
    return found.sel(stratum="all") if "stratum" in found.dims else found


@pytest.mark.parametrize("kind", ["single", "many", "projected"])
def test_a_healthy_table_passes(
    small: PairStore, kind: str, request: pytest.FixtureRequest
) -> None:
    """One member, eight, and a constraint that holds: nothing is broken."""
    result: Result = request.getfixturevalue(kind)
    assert broken(small, result, lambda _: None) == []


def test_mae_above_rmse(small: PairStore, many: Result) -> None:
    """An MAE above the RMSE by a part in 1e9 is found, with the place."""

    def change(table: xr.Dataset) -> None:
        weight, squared = (float(at(table, name).sum()) for name in ("weight", "squared_error"))
        absolute = at(table, "abs_error").values
        absolute *= (1 + 1e-9) * np.sqrt(squared * weight) / absolute.sum()

    (problem,) = broken(small, many, change)
    assert "MAE <= RMSE" in problem
    assert f"variable wind_speed, region {many.table['region'].values[2]}, stratum all" in problem
    assert "in 1 places" in problem


def test_bias_above_mse(small: PairStore, many: Result) -> None:
    """A bias, of either sign, whose square is above the MSE by a part in 1e9."""

    def change(table: xr.Dataset) -> None:
        weight, squared = (float(at(table, name).sum()) for name in ("weight", "squared_error"))
        at(table, "error").values[:] = -(1 + 1e-9) * np.sqrt(squared * weight) / 8

    (problem,) = broken(small, many, change)
    assert "bias^2 <= MSE" in problem


def test_ranks_that_lose_weight(small: PairStore, many: Result) -> None:
    """One rank count off by a part in 1e9, in one case."""

    def change(table: xr.Dataset) -> None:
        ranks = at(table, "rank_weight").values
        ranks[4, 3] += 1e-9 * float(at(table, "weight")[4])

    (problem,) = broken(small, many, change)
    assert "sum of ranks = weight" in problem


def test_reliability_that_loses_weight(small: PairStore, many: Result) -> None:
    """One place of one threshold's table, off by a part in 1e9 of the weight."""

    def change(table: xr.Dataset) -> None:
        at(table, "reliability").values[1, 3] += 1e-9 * float(at(table, "weight").sum())

    (problem,) = broken(small, many, change)
    assert "sum of reliability = weight" in problem
    assert "in 1 places" in problem


def test_bins_of_unequal_weight(small: PairStore, many: Result) -> None:
    """One unit more among the predictions than among the truth: whole numbers must be equal."""

    def change(table: xr.Dataset) -> None:
        at(table, "bin_p").values[5] += 1

    (problem,) = broken(small, many, change)
    assert "bins of predictions and truth have one weight" in problem


def test_fractions_further_apart_than_they_can_be(small: PairStore, many: Result) -> None:
    """(P_f - P_o)^2 <= P_f^2 + P_o^2 for fractions: FSS is never below 0."""

    def change(table: xr.Dataset) -> None:
        most = float((at(table, "fss_p") + at(table, "fss_t"))[0, 0])
        at(table, "fss_numerator").values[0, 0] = most * (1 + 1e-9)

    (problem,) = broken(small, many, change)
    assert "FSS >= 0" in problem


def test_a_case_without_truth_is_no_fault(small: PairStore, many: Result) -> None:
    """The largest truth of a case that has none is -inf, and healthy."""

    def change(table: xr.Dataset) -> None:
        at(table, "t_max").values[2] = -np.inf

    assert broken(small, many, change) == []


def test_crps_of_one_member_is_the_mae(small: PairStore, single: Result, many: Result) -> None:
    """Asked of one member, where it must hold; of eight it would be wrong to ask."""

    def change(table: xr.Dataset) -> None:
        at(table, "member_abs_error").values *= 1 + 1e-9

    (problem,) = broken(small, single, change)
    assert "ecdf CRPS of one member = MAE" in problem
    assert broken(small, many, change) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["weight", "squared_error", "pair_spread", "residual_max", "power_p", "bin_t"]
)
def test_a_sum_that_is_not_finite(small: PairStore, many: Result, name: str, value: float) -> None:
    """Every sum must be finite; the broken one is named."""

    def change(table: xr.Dataset) -> None:
        at(table, name).values[1] = value

    assert any(f"{name} is finite" in text for text in broken(small, many, change))


@pytest.mark.parametrize("constraint", HARD_CONSTRAINTS)
def test_a_hard_constraint_that_is_only_claimed(
    small: PairStore, single: Result, constraint: str
) -> None:
    """Bilinear under a card that claims a hard layer is caught in every variable."""
    card = single.card.model_copy(update={"constraint": constraint})
    (problem,) = problems(small.task, card, single.table)
    assert "max |A y - x| <= 4 eps32 max |x|" in problem
    assert "in 12 places" in problem, "3 variables in 4 regions"


def test_soft_constraints_and_real_pairs_claim_nothing(small: PairStore, single: Result) -> None:
    """A soft constraint promises nothing, and on real pairs residuals only describe."""
    soft = single.card.model_copy(update={"constraint": "soft"})
    assert problems(small.task, soft, single.table) == []
    real = small.task.model_copy(update={"track": "real_pair"})
    hard = single.card.model_copy(update={"constraint": "add"})
    assert problems(real, hard, single.table) == []


def test_one_block_beyond_four_ulps(small: PairStore, projected: Result) -> None:
    """One block, in one case, one part in 1e6 away from its input."""

    def change(table: xr.Dataset) -> None:
        at(table, "residual_max").values[6] = 1e-6 * float(at(table, "coarse_max").max())

    (problem,) = broken(small, projected, change)
    assert "eps32" in problem
    assert "in 1 places" in problem


def test_a_dry_region_keeps_a_hard_constraint(small: PairStore, projected: Result) -> None:
    """No rain in any case of a region: |A y - x| = 0 <= 4 eps32 * 0 holds and is no violation."""

    def change(table: xr.Dataset) -> None:
        for name in ("residual_abs", "residual_squared", "residual_max", "coarse_max"):
            at(table, name).values[:] = 0.0

    assert broken(small, projected, change) == []


def test_rain_in_a_dry_region_breaks_a_hard_constraint(small: PairStore, projected: Result) -> None:
    """No rain in the input and some in the prediction is a violation, however little."""

    def change(table: xr.Dataset) -> None:
        at(table, "coarse_max").values[:] = 0.0
        at(table, "residual_max").values[3] = 1e-6

    (problem,) = broken(small, projected, change)
    assert "eps32" in problem


def test_every_broken_rule_is_named_at_once(small: PairStore, many: Result) -> None:
    """Several faults give several problems in one call."""

    def change(table: xr.Dataset) -> None:
        at(table, "abs_error").values *= 50.0
        at(table, "rank_weight").values *= 1.01

    texts = "\n".join(broken(small, many, change))
    assert "MAE <= RMSE" in texts
    assert "sum of ranks = weight" in texts
