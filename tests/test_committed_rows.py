"""The committed rows of `era5-sample`: what the README and the site may claim of them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmark import RELEASE
from benchmark.case_table import load_table, table_hash
from benchmark.evaluate import headlines
from benchmark.invariants import ULPS, check_invariants
from benchmark.model_card import HARD_CONSTRAINTS
from benchmark.results import (
    CASES,
    Scores,
    check_board_sums,
    find_scores,
    read_scores,
    row_folder,
)
from benchmark.skill import region_scores
from benchmark.task import Split, Task

RESULTS = Path(__file__).parents[1] / "leaderboard" / "results"
SEEDS = (0, 1, 2)
SKIPS = (False, True)
SPLITS: tuple[Split, Split] = ("test_id", "test_ood")

tables = cache(load_table)
"""Each committed table is read once: 4 MB in memory."""


def row(model: str, *, constraint: str, skip: bool, regime: str, seed: int) -> Path:
    """The folder of one committed row."""
    name = f"{model}-skip" if skip else model
    variant = f"{constraint}-{regime}"
    return RESULTS / RELEASE / "era5-sample@1" / name / variant / f"seed-{seed}"


def null(model: str, constraint: str = "none") -> Path:
    """The folder of a committed null."""
    return row(model, constraint=constraint, skip=False, regime="zero_shot", seed=0)


def mean_rmse(folder: Path, task: Task, split: str) -> float:
    """exp of the mean over regions of ln(RMSE) of t2m, by hand from sums and weights."""
    cases, _ = tables(folder / CASES)
    names = [region.name for region in task.regions_of(split)]  # type: ignore[arg-type]
    t2m = cases.sel(variable="t2m", stratum="all", region=names)
    rmse = np.sqrt(t2m["squared_error"].sum("case") / t2m["weight"].sum("case"))
    return float(np.exp(np.log(rmse).mean()))


def assert_same(mine: object, written: object) -> None:
    """Equal, and numbers to 1e-9 relative, through nested tables."""
    if isinstance(mine, dict) and isinstance(written, dict):
        assert mine.keys() == written.keys()
        for key in mine:
            assert_same(mine[key], written[key])
    elif (isinstance(mine, tuple) and isinstance(written, tuple)) or isinstance(mine, float):
        assert mine == pytest.approx(written, rel=1e-9, abs=1e-12)
    else:
        assert mine == written


@pytest.fixture(scope="module")
def rows() -> list[tuple[Path, Scores]]:
    found = [(path.parent, read_scores(path)) for path in find_scores([RESULTS])]
    assert found
    return found


def test_every_variant_is_there_in_three_seeds() -> None:
    """Skip x constraint x regime x seed of the SR-CNN, and the nulls."""
    missing = [
        str(folder)
        for skip in SKIPS
        for constraint in ("none", "add", "softmax", "post_hoc")
        for regime in ("zero_shot", "oracle")
        for seed in SEEDS
        if not (
            folder := row("srcnn", constraint=constraint, skip=skip, regime=regime, seed=seed)
        ).is_dir()
    ]
    nulls = ("nearest", "bilinear", "bicubic", "bilinear-dressed", "zero-rain")
    missing += [str(null(name)) for name in nulls if not null(name).is_dir()]
    projected = null("bilinear-projected", "post_hoc")
    assert missing == []
    assert projected.is_dir()


@pytest.mark.parametrize("model", ["edsr", "reslim", "unet", "espcn", "resnet", "dfno", "loan"])
def test_every_backbone_has_every_constraint_in_three_seeds(model: str) -> None:
    """With a skip, zero-shot: the same contrast for each."""
    for constraint in ("none", "add", "softmax", "post_hoc"):
        for seed in SEEDS:
            folder = row(model, constraint=constraint, skip=True, regime="zero_shot", seed=seed)
            assert (folder / CASES).is_file(), folder


def test_every_source_set_is_there_in_three_seeds(rows: list[tuple[Path, Scores]]) -> None:
    """Three sets of three training regions, with and without a layer: the transfer matrix."""
    found = [
        (s.model.sources, s.model.constraint, s.model.seed) for _, s in rows if s.model.sources
    ]
    sets = {sources for sources, _, _ in found}
    assert len(sets) == 3
    assert len(set().union(*sets)) == sum(len(sources) for sources in sets) == 9
    expected = [(s, c, seed) for s in sets for c in ("none", "softmax") for seed in SEEDS]
    assert sorted(found) == sorted(expected)


def test_rows_lie_where_they_say_and_keep_the_invariants(
    rows: list[tuple[Path, Scores]], task: Task
) -> None:
    """Folder, hash and every invariant, recomputed from the case table."""
    for folder, scores in rows:
        cases, totals = tables(folder / CASES)
        assert folder == row_folder(RESULTS, scores)
        assert table_hash(cases, totals) == scores.case_table_hash
        assert check_invariants(task, scores.model, cases, totals) == []
        assert check_board_sums(folder, cases, totals) == []
        assert (folder / CASES).stat().st_size < 3e6
        assert scores.scored_cases == scores.expected_cases == cases.sizes["case"]


def test_rows_share_data_and_code(rows: list[tuple[Path, Scores]]) -> None:
    """One data hash, one release, clean commits: rows come as they come, and are not run again."""
    assert len({scores.data_hash for _, scores in rows}) == 1
    assert {scores.release for _, scores in rows} == {RELEASE}
    assert not any("dirty" in scores.commit or scores.commit == "unknown" for _, scores in rows)


def test_headlines_follow_from_the_case_tables(rows: list[tuple[Path, Scores]], task: Task) -> None:
    """Skill, median, worst region and intervals are recomputed, not believed."""
    references = {name: tables(null(name) / CASES)[0] for name in ("bilinear", "bilinear-dressed")}
    for folder, scores in rows:
        cases, _ = tables(folder / CASES)
        again = headlines(task, scores.model, cases, references)
        assert len(again) == len(scores.headline)
        for mine, written in zip(again, scores.headline, strict=True):
            # Another machine may differ in the last bits of a logarithm, and no more.
            assert_same(mine.model_dump(), written.model_dump())


def test_hard_layers_hold_in_every_block(rows: list[tuple[Path, Scores]]) -> None:
    """max |A y - x| <= 4 eps32 max |x| in every variable and region; others do not hold it."""
    held, loose = [], []
    for _, scores in rows:
        largest = max(
            region["all"] or 0.0
            for metrics in scores.metrics.values()
            for region in metrics["residual_ulps"].values()
        )
        hard = scores.model.constraint in HARD_CONSTRAINTS
        # These two conserve by construction, without claiming to.
        if hard or scores.model.model in ("nearest", "conservative"):
            held.append(largest)
        else:
            loose.append(largest)
    assert max(held) <= ULPS
    assert min(loose) > 1000 * ULPS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("constraint", ["add", "softmax"])
@pytest.mark.parametrize("skip", SKIPS)
def test_trained_layers_beat_bilinear_at_home(
    task: Task, constraint: str, skip: bool, seed: int
) -> None:
    """On test_id t2m RMSE; with a skip they also beat bilinear + projection."""
    layer = mean_rmse(
        row("srcnn", constraint=constraint, skip=skip, regime="zero_shot", seed=seed),
        task,
        "test_id",
    )
    assert layer < mean_rmse(null("bilinear"), task, "test_id")
    if skip:
        assert layer < mean_rmse(null("bilinear-projected", "post_hoc"), task, "test_id")


def test_the_oracle_beats_zero_shot_out_of_distribution(task: Task) -> None:
    """Seeing the OOD regions' own training days helps every variant, on average over seeds."""
    for skip in SKIPS:
        for constraint in ("none", "add", "softmax"):
            gaps = [
                np.log(
                    mean_rmse(
                        row("srcnn", constraint=constraint, skip=skip, regime=r, seed=seed),
                        task,
                        "test_ood",
                    )
                )
                for r in ("zero_shot", "oracle")
                for seed in SEEDS
            ]
            assert np.mean(gaps[:3]) > np.mean(gaps[3:])


def test_the_location_memoriser_fails_elsewhere(task: Task) -> None:
    """The control of the split: each seed far ahead of bilinear at home and far behind it in the
    OOD regions, by more than any honest network with a skip and no constraint."""
    base = {split: np.log(mean_rmse(null("bilinear"), task, split)) for split in SPLITS}

    def shift(model: str, seed: int) -> float:
        folder = row(model, constraint="none", skip=True, regime="zero_shot", seed=seed)
        home, away = (np.log(mean_rmse(folder, task, split)) - base[split] for split in SPLITS)
        if model == "memoriser":
            assert 1 - np.exp(home) > 0.2
            assert 1 - np.exp(away) < -0.3
        return float(away - home)

    for seed in SEEDS:
        honest = [shift(model, seed) for model in ("srcnn", "unet", "espcn", "resnet", "dfno")]
        assert shift("memoriser", seed) > 1.25 * max(honest)


def test_statics_of_another_region_do_harm(task: Task) -> None:
    """The shuffled-static probe: LOAN reads its statics, at home and elsewhere."""
    for seed in SEEDS:
        own, other = (
            row(model, constraint="none", skip=True, regime="zero_shot", seed=seed)
            for model in ("loan", "loan-shuffled-statics")
        )
        for split in SPLITS:
            assert mean_rmse(other, task, split) > 1.1 * mean_rmse(own, task, split)


def test_every_regime_has_rows(rows: list[tuple[Path, Scores]]) -> None:
    """Three seeds of each regime and variant of the SR-CNN and the SRDRN."""
    found = [(s.model.model, s.model.regime, s.model.target_only, s.model.seed) for _, s in rows]
    for model, regime, target_only in (
        ("srcnn-qm", "target_inputs", False), ("srdrn-adabn", "target_inputs", False),
        ("srcnn", "few_shot", False), ("srcnn", "oracle", True),
        ("srcnn-val-ood", "zero_shot", False),
    ):  # fmt: skip
        assert {(model, regime, target_only, seed) for seed in SEEDS} <= set(found)


def test_region_scores_match_the_arithmetic(task: Task) -> None:
    """The metric used for ranking equals sums and weights divided by hand."""
    cases, _ = tables(null("bilinear") / CASES)
    names = [region.name for region in task.regions_of("test_ood")]
    t2m = cases.sel(variable="t2m", stratum="all", region=names)
    by_hand = np.sqrt(t2m["squared_error"].sum("case") / t2m["weight"].sum("case"))
    np.testing.assert_allclose(region_scores(cases, "rmse", "t2m", names), by_hand, rtol=1e-14)


def test_the_table_of_the_readme(task: Task) -> None:
    """Every skill and gap that the README prints follows from the committed case tables."""
    text = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.split("## What the committed rows say")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == 47
    splits = SPLITS
    reference = [np.log(mean_rmse(null("bilinear"), task, split)) for split in splits]
    nulls = {
        "bicubic": "bicubic", "bilinear + projection": "bilinear-projected",
        "linear with statics": "linear", "lapse rate": "lapse-rate", "BCSD": "bcsd",
        "analogues": "analogue", "quantile mapping": "quantile-mapping",
    }  # fmt: skip
    networks = {
        "SR-CNN": "srcnn", "EDSR": "edsr", "Reslim": "reslim", "U-Net": "unet", "ESPCN": "espcn",
        "ResNet": "resnet", "DFNO": "dfno", "LOAN": "loan", "location memoriser": "memoriser",
    }  # fmt: skip
    for line in lines:
        model, skip, constraint, *printed = (cell.strip() for cell in line.strip("|").split("|"))

        def log_rmse(
            regime: str, split: str, model: str = model, skip: str = skip, layer: str = constraint
        ) -> float:
            if model in nulls:
                return float(np.log(mean_rmse(null(nulls[model], layer), task, split)))
            folders = [
                row(networks[model], constraint=layer, skip=skip == "yes", regime=regime, seed=seed)
                for seed in SEEDS
            ]
            return float(np.mean([np.log(mean_rmse(folder, task, split)) for folder in folders]))

        for cell, split, base in zip(printed, splits, reference, strict=False):
            assert cell == f"{100 * (1 - np.exp(log_rmse('zero_shot', split) - base)):+.1f} %"
        if model == "SR-CNN":
            ratio = log_rmse("zero_shot", "test_ood") - log_rmse("oracle", "test_ood")
            assert printed[2] == f"{100 * (np.exp(ratio) - 1):+.1f} %"
        else:
            assert printed[2] == "", "no oracle"


def test_the_regimes_of_the_readme(task: Task) -> None:
    """Skills of t2m of the SR-CNN, the SRDRN and LOAN by what they saw."""
    text = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.split("## What it saw")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    base = {split: np.log(mean_rmse(null("bilinear"), task, split)) for split in SPLITS}
    places = {
        "SR-CNN, zero-shot": "srcnn-skip/none-zero_shot",
        "selected on val_ood": "srcnn-val-ood-skip/none-zero_shot",
        "quantile-mapped inputs": "srcnn-qm-skip/none-target_inputs",
        "few-shot, one labelled day": "srcnn-skip/none-few_shot",
        "oracle": "srcnn-skip/none-oracle",
        "oracle, targets only": "srcnn-skip/none-oracle-target-only",
        "SRDRN, zero-shot": "srdrn-skip/none-zero_shot",
        "AdaBN": "srdrn-adabn-skip/none-target_inputs",
        "LOAN, zero-shot": "loan-skip/none-zero_shot",
        "statics of another region": "loan-shuffled-statics-skip/none-zero_shot",
    }
    names = [line.strip("|").split("|")[0].strip() for line in lines]
    assert names == list(places)
    for line, place in zip(lines, places.values(), strict=True):
        _, *printed = (cell.strip() for cell in line.strip("|").split("|"))
        folders = [RESULTS / RELEASE / "era5-sample@1" / place / f"seed-{seed}" for seed in SEEDS]
        for cell, split in zip(printed, SPLITS, strict=True):
            logs = [np.log(mean_rmse(folder, task, split)) for folder in folders]
            assert cell == f"{100 * (1 - np.exp(np.mean(logs) - base[split])):+.1f} %"


def test_the_source_sets_of_the_readme(rows: list[tuple[Path, Scores]], task: Task) -> None:
    """OOD skills of t2m by source set, and of all nine regions, from the case tables."""
    text = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.split("## Where it learned")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == 4
    reference = np.log(mean_rmse(null("bilinear"), task, "test_ood"))
    for line in lines:
        name, *printed = (cell.strip() for cell in line.strip("|").split("|"))
        for cell, constraint in zip(printed, ("none", "softmax"), strict=True):
            folders = [
                folder
                for folder, scores in rows
                if (scores.model.model, scores.model.skip) == ("srcnn", True)
                and (scores.model.constraint, scores.model.regime) == (constraint, "zero_shot")
                and ", ".join(scores.model.sources or ("all nine",)) == name
            ]
            assert len(folders) == len(SEEDS)
            logs = [np.log(mean_rmse(folder, task, "test_ood")) for folder in folders]
            assert cell == f"{100 * (1 - np.exp(np.mean(logs) - reference)):+.1f} %"
