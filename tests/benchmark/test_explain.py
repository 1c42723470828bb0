"""`explain`: what it returns makes the displayed number again by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.explain import explain
from benchmark.explain_one import explain_one
from benchmark.explain_rows import find_row
from benchmark.metrics import METRICS
from benchmark.pair_store import PairStore
from benchmark.results import CASES, read_row
from benchmark.statistics import STATISTICS
from benchmark.task import Task


def summed(value: float | list[float]) -> float:
    """One number of a total."""
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("variable", ["t2m", "precipitation"])
def test_ten_random_numbers_by_hand(bilinear_scores: Path, task: Task, variable: str) -> None:
    """RMSE, MAE and bias of ten random places are the returned sums over the returned weight."""
    generator = np.random.default_rng(5)
    regions = [region.name for region in task.regions_of("test_id", "test_ood")]
    by_hand = {"bias": ("error", 1.0), "mae": ("abs_error", 1.0), "rmse": ("squared_error", 0.5)}
    for _ in range(10):
        name = str(generator.choice(list(by_hand)))
        region = str(generator.choice(regions))
        stratum = str(generator.choice(["all", "land", "sea"]))
        found = explain(bilinear_scores, name, region, variable=variable, stratum=stratum)
        statistic, power = by_hand[name]
        total, weight = (summed(found.totals[key]) for key in (statistic, "weight"))
        displayed = found.scores.metrics[variable][name][region][stratum]
        assert found.value == displayed
        if weight == 0:
            assert displayed is None
        else:
            assert displayed == pytest.approx((total / weight) ** power, rel=1e-12)


def test_the_cases_add_up_to_the_totals(bilinear_scores: Path) -> None:
    """Every statistic of every metric: sums add over cases, maxima do not."""
    labels = {"threshold": ">= P95", "window": "3 cells", "scale": "4 cells", "axis": "x",
              "lag": "2 cells", "rank": "rank 0"}  # fmt: skip
    (seed,) = find_row(bilinear_scores).seeds
    for name, metric in METRICS.items():
        places = ", ".join(labels[dim] for dim in metric.over)
        entry = f"{name}[{places}]" if places else name
        found = explain_one(seed, entry, "andes-south", variable="t2m")
        assert found.totals.keys() == {*metric.needs, *metric.weights}
        kept = next(iter(found.by_case.values()), {})
        assert kept.keys() == {key for key in found.totals if STATISTICS[key].keep == "case"}
        for key in kept:
            parts = np.array([sums[key] for sums in found.by_case.values()])
            folded = parts.max(axis=0) if key.endswith("_max") else parts.sum(axis=0)
            np.testing.assert_allclose(found.totals[key], folded, rtol=1e-12)


def test_an_entry_must_be_named(bilinear_scores: Path) -> None:
    """`csi` is one number for each threshold: the error lists them."""
    with pytest.raises(InputError, match=r"csi\[>= P95\]"):
        explain(bilinear_scores, "csi", "andes-south")
    with pytest.raises(InputError, match="stratum all"):
        explain(bilinear_scores, "csi[>= P95]", "andes-south", stratum="land")


def test_a_metric_needs_no_more_than_it_says(bilinear_scores: Path) -> None:
    """Each metric is the same from its own statistics and weights alone."""
    _, _, totals = read_row(bilinear_scores)
    for metric in METRICS.values():
        alone = metric(totals[[*metric.needs, *metric.weights]])
        np.testing.assert_array_equal(alone.values, metric(totals).values)


@pytest.mark.parametrize(
    ("metric", "region", "options", "suggestion"),
    [
        ("rsme", "andes-south", {}, "rmse"),
        ("rmse", "andes-sout", {}, "andes-south"),
        ("rmse", "andes-south", {"variable": "t2n"}, "t2m"),
        ("rmse", "andes-south", {"stratum": "lands"}, "land"),
    ],
)
def test_wrong_names_suggest_the_nearest(
    bilinear_scores: Path, metric: str, region: str, options: dict[str, str], suggestion: str
) -> None:
    """One clear error, with the name that was probably meant."""
    with pytest.raises(InputError, match=f"Did you mean '{suggestion}'"):
        explain(bilinear_scores, metric, region, **options)


def test_another_case_table_is_refused(
    bilinear_scores: Path, store: PairStore, tmp_path: Path
) -> None:
    """Numbers are not explained by sums that did not make them."""
    folder = shutil.copytree(bilinear_scores, tmp_path / "row")
    other = next(store.folder.glob(f"references/*/bilinear-dressed.{CASES}"))
    shutil.copy(other, folder / CASES)
    with pytest.raises(InputError, match="another one"):
        explain(folder, "rmse", "andes-south")


def test_the_command_line_prints_what_the_function_returns(
    elsewhere: Callable[..., CompletedProcess[str]], bilinear_scores: Path
) -> None:
    """As a table with the hashes, and as JSON."""
    done = elsewhere("explain", bilinear_scores, "rmse", "andes-south", "--json")
    printed = json.loads(done.stdout)
    found = explain(bilinear_scores, "rmse", "andes-south")
    assert printed["value"] == found.value
    assert printed["totals"] == found.totals
    assert printed["data_hash"] == found.scores.data_hash
    table = elsewhere("explain", bilinear_scores, "rmse", "andes-south").stdout
    assert f"{found.value:.10g} K" in table
    assert found.scores.prediction_hash in table
