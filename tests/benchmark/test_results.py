"""`scores.json`: strict when it is written, strict when it is read."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmark.case_table import load_table, table_hash
from benchmark.errors import InputError
from benchmark.evaluate import headlines, reference_cases, score
from benchmark.metric_table import LEFT_OUT, metric_table
from benchmark.metrics import METRICS
from benchmark.pair_store import PairStore
from benchmark.references import REFERENCES, BilinearReference
from benchmark.results import (
    CASES,
    SCORES,
    Scores,
    find_scores,
    read_scores,
    row_folder,
    write_scores,
)
from benchmark.sources import StreamedPredictions


@pytest.fixture(scope="module")
def folder(small: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of bilinear on the small task."""
    out = tmp_path_factory.mktemp("results") / "bilinear"
    score(small, StreamedPredictions(BilinearReference(small), "bilinear"), out)
    return out


@pytest.fixture
def content(folder: Path) -> dict[str, Any]:
    """Its scores.json, to be broken."""
    found: dict[str, Any] = json.loads((folder / SCORES).read_text())
    return found


def refused(content: Any, tmp_path: Path) -> str:
    """The text of the InputError that reading `content` raises."""
    path = tmp_path / SCORES
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_scores(path)
    (problem,) = caught.value.problems
    assert str(path) in problem.where
    return str(problem)


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    """Read and written again, the file has the same bytes."""
    scores = read_scores(folder / SCORES)
    write_scores(tmp_path, scores)
    assert (tmp_path / SCORES).read_bytes() == (folder / SCORES).read_bytes()


@pytest.mark.parametrize(
    ("found", "fix"),
    [(3, "Update the elsewhere package"), (1, "Score the predictions again"),
     ("2", "Score the predictions again"), (None, "Score the predictions again")],
)  # fmt: skip
def test_another_format_is_refused(
    content: dict[str, Any], tmp_path: Path, found: object, fix: str
) -> None:
    """A newer file asks for an update, an older or unknown one for a new score."""
    content["format"] = found
    text = refused(content, tmp_path)
    assert "expected format 2" in text
    assert fix in text


def test_an_unknown_key_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """A key of nobody's is named, at the top and inside a headline."""
    assert "first at rank" in refused(content | {"rank": 1}, tmp_path)
    content["headline"][0]["p_value"] = 0.05
    assert "headline.0.p_value" in refused(content, tmp_path)


def test_a_missing_key_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """A file without its data hash is not a result."""
    del content["data_hash"]
    assert "data_hash" in refused(content, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_what_is_not_a_result_is_refused(tmp_path: Path, text: str) -> None:
    """Broken JSON, and JSON that is something else."""
    refused(text, tmp_path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """No file and a folder in its place are InputErrors."""
    with pytest.raises(InputError, match="no such file"):
        read_scores(tmp_path / SCORES)
    with pytest.raises(InputError):
        read_scores(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_scores([tmp_path, tmp_path / "a", tmp_path / "b"])


def test_nan_is_never_written(folder: Path, tmp_path: Path) -> None:
    """A NaN that slipped in stops the writing; the old file stays. Missing is null in the file."""
    scores = read_scores(folder / SCORES)
    write_scores(tmp_path, scores)
    before = (tmp_path / SCORES).read_bytes()
    for value in (math.nan, math.inf):
        broken = scores.headline[0].model_copy(update={"skill": value})
        with pytest.raises(ValueError, match="JSON"):
            write_scores(tmp_path, scores.model_copy(update={"headline": (broken,)}))
    assert (tmp_path / SCORES).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [SCORES]
    text = before.decode()
    assert "NaN" not in text
    assert "Infinity" not in text
    # Bilinear has one member: no spread to compare with, so missing and not 0.
    spread = scores.metrics["t2m"]["spread_skill"]
    assert all(value is None for strata in spread.values() for value in strata.values())


def test_bilinear_scores_zero_against_itself(folder: Path) -> None:
    """The deterministic board's reference has skill 0 in every region, the worst included."""
    scores = read_scores(folder / SCORES)
    own = [one for one in scores.headline if one.board == "deterministic"]
    assert len(own) == 3 * 2
    for one in own:
        # The row is scored in the same way as its reference, so it is 0 exactly.
        assert one.skill == one.median == one.worst == 0
        assert set(one.regions.values()) == {0.0}
        assert one.new_regions is None, "fewer than six clusters"
        assert one.these_regions is None, "fewer than ten blocks of days"


def test_scores_are_a_function_of_the_case_table(small: PairStore, folder: Path) -> None:
    """Headlines and metrics computed again from the saved table are those in the file."""
    scores, (cases, totals) = read_scores(folder / SCORES), load_table(folder / CASES)
    references = {name: reference_cases(small, name) for name in REFERENCES}
    assert headlines(small.task, scores.model, cases, references) == scores.headline
    assert scores.case_table_hash == table_hash(cases, totals)
    assert scores.expected_cases == scores.scored_cases == cases.sizes["case"] == 8
    assert metric_table(cases, totals) == scores.metrics
    for by_metric in scores.metrics.values():
        assert {name.partition("[")[0] for name in by_metric} == set(METRICS) - set(LEFT_OUT)


def test_identical_runs_differ_only_under_run(
    small: PairStore, folder: Path, tmp_path: Path
) -> None:
    """Scored again with threads and other blocks: everything but `run` is equal."""
    source = StreamedPredictions(BilinearReference(small), "bilinear")
    again = score(small, source, tmp_path / "again", workers=2, steps_per_block=3)
    first = read_scores(folder / SCORES)
    assert again.model_dump(exclude={"run"}) == first.model_dump(exclude={"run"})
    assert (tmp_path / "again" / CASES).read_bytes() == (folder / CASES).read_bytes()


def test_folders_and_keys_keep_variants_apart(folder: Path) -> None:
    """Constraint, regime, skip and seed have places of their own; seeds share a row."""
    scores = read_scores(folder / SCORES)

    def variant(**card: object) -> Scores:
        return scores.model_copy(update={"model": scores.model.model_copy(update=card)})

    root = Path("results")
    assert row_folder(root, scores).parts == (
        "results", scores.release, "era5-sample@1", "bilinear", "none-zero_shot", "seed-0",
    )  # fmt: skip
    variants = [variant(), variant(constraint="add"), variant(regime="oracle"), variant(skip=True)]
    assert len({row_folder(root, one) for one in variants}) == 4
    assert len({one.key for one in variants}) == 4
    assert variant(seed=1).key == scores.key
    assert row_folder(root, variant(seed=1)) != row_folder(root, scores)
    assert find_scores([folder.parent]) == [folder / SCORES]
