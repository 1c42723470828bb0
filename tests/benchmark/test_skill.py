"""Skill, median and worst region, and both claims, on worlds whose answer is dialled in."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from benchmark import RELEASE
from benchmark.distance import cluster_labels
from benchmark.inference import day_draws
from benchmark.skill import Contrast, as_gap, as_skill, contrast, region_scores
from benchmark.task import Task

Array = NDArray[np.float64]
MakeCases = Callable[..., xr.Dataset]
RMSE = "rmse"


def names(task: Task) -> list[str]:
    """The out-of-distribution test regions, sorted."""
    return [region.name for region in task.regions_of("test_ood")]


def snapshots(count: int) -> NDArray[np.datetime64]:
    """Hourly cases."""
    start = np.datetime64("2026-03-29T20:00:00", "s")
    return np.asarray(start + np.arange(count) * np.timedelta64(1, "h"))


def dial(task: Task, ratios: Array, make_cases: MakeCases, *, count: int = 8) -> Contrast:
    """The contrast of a world in which region k has S / S_ref = ratios[k] in every case."""
    generator, cases = np.random.default_rng(0), snapshots(count)
    scale = {name: generator.uniform(0.1, 30.0) for name in names(task)}
    base = {name: scale[name] * generator.uniform(0.5, 2, count) for name in names(task)}
    mine = {name: base[name] * ratio for name, ratio in zip(names(task), ratios, strict=True)}
    return contrast(
        task, "test_ood", "t2m",
        (make_cases(task, cases, mine), RMSE), (make_cases(task, cases, base), RMSE),
    )  # fmt: skip


def test_the_dialled_skill_comes_back(task: Task, make_cases: MakeCases) -> None:
    """Mean, median and worst of the log-ratios are the dialled ones, whatever the scales.

    Regions with RMSE of 30 and of 0.1 count alike: weights are equal.
    """
    ratios = np.random.default_rng(1).uniform(0.5, 1.3, 12)
    found = dial(task, ratios, make_cases)
    np.testing.assert_allclose(found.log_ratios, np.log(ratios), rtol=1e-9)
    geometric = float(stats.gmean(ratios))
    assert as_skill(found.mean) == pytest.approx(1 - geometric, rel=1e-9)
    assert as_gap(found.mean) == pytest.approx(geometric - 1, rel=1e-9)
    assert as_skill(found.median) == pytest.approx(1 - np.exp(np.median(np.log(ratios))), rel=1e-9)
    assert found.worst[0] == names(task)[int(np.argmax(ratios))]
    assert as_skill(found.worst[1]) == pytest.approx(1 - ratios.max(), rel=1e-9)


def test_scores_are_pooled_over_cases(task: Task, make_cases: MakeCases) -> None:
    """A region's S is the root of the mean square over cases, not a mean of roots."""
    each = np.array([1.0, 2.0, 7.0])
    cases = make_cases(task, snapshots(3), dict.fromkeys(names(task), each))
    found = region_scores(cases, RMSE, "t2m", names(task))
    np.testing.assert_allclose(found, np.sqrt((each**2).mean()), rtol=1e-14)


def test_a_diverged_region_stays_its_own(task: Task, make_cases: MakeCases) -> None:
    """One region at 1e9 changes no other value, hardly the median, and not the sign of ranks.

    The arithmetic mean of ratios would be 1e8; the geometric one says 20.7 / 12 nats.
    """
    ratios = np.random.default_rng(2).uniform(0.6, 0.9, 12)
    healthy = dial(task, ratios, make_cases)
    ratios[4] = 1e9
    found = dial(task, ratios, make_cases)
    assert found.worst[0] == names(task)[4]
    assert found.worst[1] == pytest.approx(np.log(1e9))
    others = [k for k in range(12) if k != 4]
    for k in others:
        assert found.log_ratios[k] == healthy.log_ratios[k]
    assert 0.1 < as_skill(found.median) < 0.4
    assert found.mean == pytest.approx(np.mean(np.log(ratios)), rel=1e-9)
    assert found.mean < 1.6


def test_perfect_and_absent_scores(task: Task, make_cases: MakeCases) -> None:
    """A score of 0 is skill 1; a region without truth makes the mean missing, never 0."""
    ratios = np.ones(12)
    ratios[:] = 0.0
    found = dial(task, ratios, make_cases)
    assert as_skill(found.mean) == 1.0
    assert found.new_regions is None, "no interval of infinities"
    cases = snapshots(4)
    base = make_cases(task, cases, {name: np.ones(4) for name in names(task)})
    empty = base.copy(deep=True)
    for name in ("weight", "squared_error"):
        empty[name].loc[{"region": "andes-south"}] = 0.0
    found = contrast(task, "test_ood", "t2m", (empty, RMSE), (empty, RMSE))
    assert np.isnan(found.mean)
    assert np.isnan(found.log_ratios[names(task).index("andes-south")])
    assert found.new_regions is None


def test_skill_against_another_reference_keeps_ranks(task: Task, make_cases: MakeCases) -> None:
    """The difference of two models' log-ratios does not depend on the reference."""
    generator, cases = np.random.default_rng(3), snapshots(4)
    worlds = [
        make_cases(task, cases, {name: generator.uniform(0.5, 5, 4) for name in names(task)})
        for _ in range(4)
    ]
    first, second = (
        contrast(task, "test_ood", "t2m", (worlds[0], RMSE), (reference, RMSE)).mean
        - contrast(task, "test_ood", "t2m", (worlds[1], RMSE), (reference, RMSE)).mean
        for reference in worlds[2:]
    )
    assert first == pytest.approx(second, rel=1e-12)


def test_the_shipped_task_has_enough_clusters(task: Task, make_cases: MakeCases) -> None:
    """The interval for new regions on era5-sample's own boxes is a clustered t interval.

    The oracle computes it from cluster sums in plain python, with scipy's quantile.
    """
    ratios = np.random.default_rng(4).uniform(0.6, 1.1, 12)
    found = dial(task, ratios, make_cases)
    labels = cluster_labels(task.regions_of("test_ood"), within_km=1000)
    groups = len(set(labels))
    assert found.clusters == groups
    assert 6 <= groups <= 12
    x = np.log(ratios)
    variance = 0.0
    for group in set(labels):
        total = sum(float(x[k] - x.mean()) for k in range(12) if labels[k] == group)
        variance += total * total
    error = np.sqrt(variance * groups / (groups - 1)) / 12
    half = stats.t.ppf(0.975, groups - 1) * error
    assert found.new_regions == pytest.approx((x.mean() - half, x.mean() + half), rel=1e-8)


def test_a_week_of_snapshots_has_no_interval_over_time(task: Task, make_cases: MakeCases) -> None:
    """Below ten blocks of days nothing is said about these regions; blocks are not shortened."""
    assert dial(task, np.full(12, 0.8), make_cases, count=80).these_regions is None


def daily_world(task: Task, make_cases: MakeCases, days: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Two models' daily cases in every region, with weather that lasts for days."""
    generator = np.random.default_rng(5)
    cases = np.datetime64("2001-01-01", "s") + np.arange(days) * np.timedelta64(86400, "s")
    weather = np.convolve(generator.normal(size=days + 6), np.ones(7) / 7, mode="valid")
    mine, other = {}, {}
    for name in names(task):
        other[name] = np.exp(0.3 * generator.normal(size=days) + weather)
        mine[name] = other[name] * np.exp(0.5 * weather + 0.1 * generator.normal(size=days) - 0.2)
    return make_cases(task, cases, mine), make_cases(task, cases, other)


def test_these_regions_interval_from_drawn_days(task: Task, make_cases: MakeCases) -> None:
    """The interval equals one made by drawing each day, pooling each region, one draw at a time.

    The same draws are used for both models and all regions, so the pairing is kept.
    """
    days = 160
    daily = task.model_copy(update={"case": "day"})
    mine, other = daily_world(daily, make_cases, days)
    found = contrast(daily, "test_ood", "t2m", (mine, RMSE), (other, RMSE))
    draws = day_draws(days, block_days=15, seed=f"{task.id} {RELEASE}")
    assert draws is not None
    squares = [
        table["squared_error"].sel(variable="t2m", stratum="all", region=names(task)).values
        for table in (mine, other)
    ]
    means = []
    for row in draws.counts:
        drawn = np.repeat(np.arange(days), row.astype(int))
        first, second = (np.sqrt(values[:, drawn].mean(axis=1)) for values in squares)
        means.append(np.log(first / second).mean())
    blocks = days / 15
    error = np.std(means, ddof=1) * np.sqrt(blocks / (blocks - 1))
    half = stats.t.ppf(0.975, blocks - 1) * error
    low, high = found.mean - half, found.mean + half
    assert found.these_regions == pytest.approx((low, high), rel=1e-9)
    assert low < found.mean < high
    assert high - low > 0.02


def test_snapshots_of_one_day_are_drawn_together(task: Task, make_cases: MakeCases) -> None:
    """Resampling is of days: four snapshots a day give the interval of their daily sums."""
    days = 160
    daily = task.model_copy(update={"case": "day"})
    mine, other = daily_world(daily, make_cases, days)
    expected = contrast(daily, "test_ood", "t2m", (mine, RMSE), (other, RMSE)).these_regions

    def split(table: xr.Dataset) -> xr.Dataset:
        parts = []
        for k, share in enumerate((0.1, 0.2, 0.3, 0.4)):
            part = table.assign_coords(case=table["case"] + np.timedelta64(6 * 3600 * k, "s"))
            for name in ("weight", "squared_error"):
                part[name] = part[name] * share
            parts.append(part)
        return xr.concat(parts, dim="case").sortby("case")

    found = contrast(task, "test_ood", "t2m", (split(mine), RMSE), (split(other), RMSE))
    assert found.these_regions == pytest.approx(expected, rel=1e-9)


def test_a_constant_ratio_has_no_width(task: Task, make_cases: MakeCases) -> None:
    """Where one model is 20 % better on every day, drawing days cannot change that."""
    daily = task.model_copy(update={"case": "day"})
    _, other = daily_world(daily, make_cases, 160)
    mine = other.copy(deep=True)
    mine["squared_error"] = mine["squared_error"] * 0.64
    found = contrast(daily, "test_ood", "t2m", (mine, RMSE), (other, RMSE))
    assert found.these_regions == pytest.approx((np.log(0.8), np.log(0.8)), rel=1e-9)
