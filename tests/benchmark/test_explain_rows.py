"""`explain` of several seeds and regions, of two rows, and of what is not there."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from benchmark.case_table import load_table
from benchmark.errors import InputError
from benchmark.explain import Explanation, Mean, Ratio, explain
from benchmark.explain_means import how_of
from benchmark.results import CASES, read_scores
from benchmark.strata import seasons
from benchmark.task import Task

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
ROWS = RESULTS / "2026.1" / "era5-sample@1"
NONE = ROWS / "srcnn" / "none-zero_shot"
Command = Callable[..., CompletedProcess[str]]


def rmse(folder: Path, regions: list[str], variable: str = "t2m") -> "np.ndarray[Any, Any]":
    """(region,) from committed sums."""
    cases = load_table(folder / CASES)[0].sel(variable=variable, region=regions, stratum="all")
    return np.sqrt((cases["squared_error"].sum("case") / cases["weight"].sum("case")).values)


def logs(row: Path, regions: list[str], seeds: tuple[int, ...] = (0, 1, 2)) -> Any:
    """(region,) mean over seeds of ln RMSE."""
    return np.mean([np.log(rmse(row / f"seed-{k}", regions)) for k in seeds], axis=0)


def names(task: Task, split: Any) -> list[str]:
    return [region.name for region in task.regions_of(split)]


def test_a_mean_over_regions_and_seeds(task: Task) -> None:
    """RMSE geometric, residual plain, ulps the largest; each seed and region inside."""
    regions = names(task, "test_ood")
    found = explain(NONE, "rmse", "test_ood")
    assert isinstance(found, Mean)
    assert found.value == pytest.approx(math.exp(logs(NONE, regions).mean()), rel=1e-12)
    assert (found.how, found.regions, list(found.seeds)) == ("geometric", tuple(regions), [0, 1, 2])
    for seed, of_seed in found.seeds.items():
        assert list(of_seed) == regions
        one = of_seed["andes-south"]
        assert one.scores.case_table_hash == read_scores(
            NONE / f"seed-{seed}" / "scores.json"
        ).case_table_hash  # fmt: skip
    each = {
        name: [
            one.value
            for of_seed in explained.seeds.values()
            for one in of_seed.values()
            if one.value is not None
        ]
        for name in ("residual", "residual_ulps")
        if isinstance(explained := explain(NONE, name, "test"), Mean)
    }
    assert [len(values) for values in each.values()] == [63, 63]
    assert explain(NONE, "residual", "test").value == pytest.approx(np.mean(each["residual"]))
    assert explain(NONE, "residual_ulps", "test").value == max(each["residual_ulps"])
    assert how_of("fss[>= P95, 5 cells]") == how_of("bias") == "arithmetic"
    assert how_of("effective_resolution") == how_of("variance_ratio") == "geometric"


def test_one_region_of_several_seeds_is_a_mean_of_one_seed_is_a_number() -> None:
    several = explain(NONE, "rmse", "andes-south")
    assert isinstance(several, Mean)
    assert several.value == pytest.approx(math.exp(logs(NONE, ["andes-south"])[0]), rel=1e-12)
    for where in (NONE / "seed-1", NONE / "seed-1" / "scores.json"):
        alone = explain(where, "rmse", "andes-south")
        assert isinstance(alone, Explanation)
        assert alone.value == pytest.approx(rmse(NONE / "seed-1", ["andes-south"])[0], rel=1e-12)


@pytest.mark.parametrize("split", ["test_id", "test_ood"])
def test_skill_is_against_the_reference_of_the_board(split: Any, task: Task) -> None:
    """Mean, median, worst, seeds and the interval that `scores.json` has for one seed."""
    regions = names(task, split)
    found = explain(NONE, "skill", split)
    assert isinstance(found, Ratio)
    bilinear = logs(ROWS / "bilinear" / "none-zero_shot", regions, (0,))
    ratios = logs(NONE, regions) - bilinear
    assert found.contrast.log_ratios == pytest.approx(tuple(ratios), rel=1e-9, abs=1e-12)
    assert found.value == pytest.approx(1 - math.exp(ratios.mean()), rel=1e-12)
    assert found.ratio == pytest.approx(math.exp(ratios.mean()), rel=1e-12)
    assert found.contrast.worst[0] == regions[int(ratios.argmax())]
    by_seed = [1 - math.exp((logs(NONE, regions, (k,)) - bilinear).mean()) for k in (0, 1, 2)]
    assert [found.shown_of(log) for log in found.seed_logs.values()] == pytest.approx(by_seed)
    assert found.seed_spread == pytest.approx(np.std(by_seed, ddof=1))
    one = explain(NONE / "seed-0", "skill", split, board="deterministic")
    assert isinstance(one, Ratio)
    scores = read_scores(NONE / "seed-0" / "scores.json")
    place = ("deterministic", "t2m", split)
    (headline,) = (h for h in scores.headline if (h.board, h.variable, h.split) == place)
    assert one.value == pytest.approx(headline.skill, rel=1e-9)
    claim = one.contrast.new_regions
    shown = None if claim is None else sorted(one.shown_of(log) for log in claim)
    assert (shown is None) == (headline.new_regions is None) == (split == "test_id")
    if shown is not None:
        assert shown == pytest.approx(headline.new_regions, rel=1e-9)


def test_the_probabilistic_board_has_its_own_reference() -> None:
    found = explain(NONE, "skill", "test_ood", variable="precipitation", board="probabilistic")
    assert isinstance(found, Ratio)
    assert found.mine.metric == found.other.metric == "crps_fair"
    assert found.other.row.endswith("bilinear-dressed/none-zero_shot/seed-0")


def test_gap_and_regret(task: Task, tmp_path: Path) -> None:
    """A gap takes the seeds that both have, a regret the best oracle with all of its own."""
    tree = tmp_path / "2026.1" / "era5-sample@1"
    for row, seeds in {"bilinear/none-zero_shot": (0,), "srcnn/none-zero_shot": (0, 1),
                       "srcnn/none-oracle": (1, 2),
                       "srcnn-skip/softmax-oracle": (0,)}.items():  # fmt: skip
        for seed in seeds:
            shutil.copytree(ROWS / row / f"seed-{seed}", tree / row / f"seed-{seed}")
    mine, regions = tree / "srcnn" / "none-zero_shot", names(task, "test_ood")
    gap = explain(mine, "gap", "test_ood")
    assert isinstance(gap, Ratio)
    assert list(gap.mine.seeds) == list(gap.other.seeds) == [1]
    own = tree / "srcnn" / "none-oracle"
    ratio = (logs(mine, regions, (1,)) - logs(own, regions, (1,))).mean()
    assert gap.value == pytest.approx(math.exp(ratio) - 1, rel=1e-9)
    assert gap.other.row == str(own / "seed-1")
    regret = explain(mine, "regret", "test_ood")
    assert isinstance(regret, Ratio)
    oracles = {
        (1, 2): logs(own, regions, (1, 2)),
        (0,): logs(tree / "srcnn-skip" / "softmax-oracle", regions, (0,)),
    }
    seeds = min(oracles, key=lambda seeds: oracles[seeds].mean())
    assert tuple(regret.other.seeds) == seeds == (0,)
    ratio = (logs(mine, regions, (0, 1)) - oracles[seeds]).mean()
    assert regret.value == pytest.approx(math.exp(ratio) - 1, rel=1e-9)


def test_any_metric_against_any_row(task: Task) -> None:
    """A row beside it, or a path; strata and places of a metric too."""
    found = explain(NONE, "rmse", "test_ood", against="srcnn-skip/softmax-zero_shot")
    again = explain(NONE, "rmse", "test_ood", against=str(ROWS / "srcnn-skip/softmax-zero_shot"))
    assert isinstance(found, Ratio)
    assert found.value == again.value
    regions = names(task, "test_ood")
    other = logs(ROWS / "srcnn-skip" / "softmax-zero_shot", regions)
    assert found.value == pytest.approx(1 - math.exp((logs(NONE, regions) - other).mean()))
    block = explain(NONE, "block_crps[4 cells]", "andes-south", against="bicubic")
    assert isinstance(block, Ratio)
    sums = [
        (one.totals["scale_abs_error"], one.totals["scale_weight"])
        for side in (block.mine, block.other)
        for one in (of_seed["andes-south"] for of_seed in side.seeds.values())
    ]
    *mine, null = (math.log(error / weight) for error, weight in sums)  # type: ignore[operator]
    assert block.contrast.log_ratios[0] == pytest.approx(np.mean(mine) - null)
    land = explain(NONE, "mae", "test_ood", against="nearest", stratum="land")
    assert isinstance(land, Ratio)
    assert land.contrast.these_regions is None


@pytest.mark.parametrize("stratum", ["land", "intensity-2", "autumn", "spring"])
def test_strata_and_seasons_are_the_numbers_of_scores_json(stratum: str) -> None:
    """Every value of a stratum or local season that `scores.json` has, from sums by case."""
    folder = NONE / "seed-0"
    scores = read_scores(folder / "scores.json")
    cases = load_table(folder / CASES)[0]
    for region in ("andes-south", "europe-west"):
        found = explain(folder, "rmse", region, stratum=stratum)
        assert isinstance(found, Explanation)
        assert found.value == scores.metrics["t2m"]["rmse"][region][stratum]
        if stratum in ("autumn", "spring"):
            own = seasons(
                cases["case"].values, latitude=float(cases["latitude"].sel(region=region))
            )
            assert len(found.by_case) == (own == stratum).sum()
            squared = sum(sums["squared_error"] for sums in found.by_case.values())  # type: ignore[misc]
            assert squared == pytest.approx(found.totals["squared_error"], rel=1e-12)


@pytest.mark.parametrize(
    ("row", "metric", "place", "options", "suggestion"),
    [
        ("srcn/none-zero_shot", "rmse", "test_ood", {}, "Did you mean 'srcnn'"),
        ("srcnn/none-zeroshot", "rmse", "test_ood", {}, "Did you mean 'none-zero_shot'"),
        ("srcnn", "rmse", "test_ood", {}, "Name a row below it"),
        ("", "rsme", "test_ood", {}, "Did you mean 'rmse'"),
        ("", "skil", "test_ood", {}, "Did you mean 'skill'"),
        ("", "rmse", "test_odd", {}, "Did you mean 'test_ood'"),
        ("", "rmse", "andes-sout", {}, "Did you mean 'andes-south'"),
        ("", "rmse", "test_ood", {"stratum": "autum"}, "Did you mean 'autumn'"),
        ("", "csi[>= P95]", "test_ood", {"stratum": "autumn"}, "Leave --stratum out"),
        ("", "csi[>= P96]", "test_ood", {}, r"Did you mean 'csi\[>= P9"),
        ("", "rmse", "test_ood", {"variable": "t2n"}, "Did you mean 't2m'"),
        ("", "rmse", "test_ood", {"against": "bilinaer"}, "Did you mean 'bilinear'"),
        ("", "rmse", "test_ood", {"against": "srcnn"}, "Known: srcnn/add-oracle"),
        ("", "rmse", "test_ood", {"board": "deterministic"}, "Leave it out"),
        ("", "skill", "test_ood", {"board": "detr"}, "deterministic or probabilistic"),
        ("", "skill", "test_ood", {"against": "nearest"}, "Leave --against out"),
        ("bilinear/none-zero_shot", "gap", "test_ood", {}, "Ask for skill"),
        ("srcnn/none-oracle", "regret", "test_ood", {}, "an oracle itself"),
    ],
)
def test_wrong_names_are_one_clear_problem(
    row: str, metric: str, place: str, options: dict[str, str], suggestion: str
) -> None:
    with pytest.raises(InputError, match=suggestion) as caught:
        explain(ROWS / row if row else NONE / "seed-0", metric, place, **options)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 1


def test_a_row_outside_a_tree_has_no_row_beside_it(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(NONE / "seed-0", tmp_path / "mine"))
    with pytest.raises(InputError, match="--against FOLDER"):
        explain(folder, "rmse", "test_ood", against="bilinear")
    found = explain(folder, "rmse", "test_ood", against=str(ROWS / "bilinear" / "none-zero_shot"))
    assert found.value == explain(NONE / "seed-0", "skill", "test_ood").value


def test_the_command_line_says_all_of_it(elsewhere: Command) -> None:
    """JSON with every seed, region, sum and hash; a short table for people."""
    printed = json.loads(elsewhere("explain", NONE, "skill", "test_ood", "--json").stdout)
    assert printed["value"] == printed["skill"] == explain(NONE, "skill", "test_ood").value
    assert printed["row"]["metric"] == printed["other"]["metric"] == "rmse"
    logs_by_hand = []
    for side in ("row", "other"):
        of_side = printed[side]["seeds"]
        assert len(of_side) == (3 if side == "row" else 1)
        for seed in of_side.values():
            assert len(seed["regions"]) == 12
            assert len(seed["case_table_hash"]) == len(seed["data_hash"]) == 64
            assert all(len(one["by_case"]) == 8 for one in seed["regions"].values())
        logs_by_hand.append(
            np.mean(
                [
                    0.5 * math.log(one["totals"]["squared_error"] / one["totals"]["weight"])
                    for seed in of_side.values()
                    for one in seed["regions"].values()
                ]
            )
        )
    assert printed["ratio"] == pytest.approx(math.exp(logs_by_hand[0] - logs_by_hand[1]))
    mean = json.loads(elsewhere("explain", NONE, "rmse", "test_id", "--json").stdout)
    assert (len(mean["seeds"]), mean["place"]) == (3, "test_id")
    for metric, word in (("skill", "skill = -"), ("gap", "gap = +"), ("rmse", "RMSE = ")):
        done = elsewhere("explain", NONE, metric, "test_ood")
        assert done.returncode == 0
        assert word in done.stdout.splitlines()[0]
        assert len(done.stdout.splitlines()) < 40
    wrong = elsewhere("explain", NONE, "rmse", "andes-sout")
    assert wrong.returncode == 2
    assert "Did you mean 'andes-south'?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
