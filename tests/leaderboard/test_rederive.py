"""Metrics that come later and sums that are not there: tables are read again, nothing is scored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr.storage

import benchmark.evaluate
import benchmark.reduce
import benchmark.scoring
from benchmark.case_table import _names_to_attributes, load_table, table_hash
from benchmark.compare import compare
from benchmark.errors import InputError
from benchmark.explain import Explanation, explain
from benchmark.files import pack_groups
from benchmark.invariants import check_invariants
from benchmark.metric_table import metric_table
from benchmark.metrics import METRICS, Metric
from benchmark.metrics.base import mean
from benchmark.results import CASES, SCORES, read_scores
from benchmark.task_files import load_task
from leaderboard.numbers import numbers_of
from leaderboard.render import plain
from leaderboard.rows import load_rows
from leaderboard.site import build_site

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results"
TASK = "2026.1/era5-sample@1"
ROWS = ("bilinear/none-zero_shot/seed-0", "bilinear-dressed/none-zero_shot/seed-0",
        "srcnn/none-zero_shot/seed-0", "srcnn/add-zero_shot/seed-0",
        "srcnn/add-zero_shot/seed-1")  # fmt: skip
NONE, ADD = "srcnn-none-zero_shot", "srcnn-add-zero_shot"
Change = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nulls and two trained rows of the repository, as they are committed."""
    root = tmp_path_factory.mktemp("committed")
    for row in ROWS:
        shutil.copytree(COMMITTED / TASK / row, root / TASK / row)
    return root


@pytest.fixture(scope="module")
def site_files(
    committed: Path,
    tmp_path_factory: pytest.TempPathFactory,
    files_of: Callable[[Path], dict[str, bytes]],
) -> dict[str, bytes]:
    """Every file of the site of these rows."""
    return files_of(build_site([committed], tmp_path_factory.mktemp("out") / "site").parent)


@pytest.fixture
def rows(committed: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(committed, tmp_path / "results"))


def rewrite(folder: Path, change: Change, *, drop: Callable[[str], bool] = lambda _: False) -> None:
    """Change both parts of a row's case table, take metrics off its scores.json, hash again."""
    parts = [change(part).drop_encoding() for part in load_table(folder / CASES)]
    groups = dict(zip(("cases", "totals"), map(_names_to_attributes, parts), strict=True))
    pack_groups(groups, folder / CASES)

    def edit(scores: dict[str, Any]) -> None:
        scores["case_table_hash"] = table_hash(*load_table(folder / CASES))
        for metrics in scores["metrics"].values():
            for entry in [entry for entry in metrics if drop(entry.partition("[")[0])]:
                del metrics[entry]

    edit_scores(folder, edit)


def edit_scores(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    scores = json.loads((folder / SCORES).read_text())
    edit(scores)
    (folder / SCORES).write_text(json.dumps(scores))


def without(*names: str) -> Change:
    return lambda part: part.drop_vars([name for name in names if name in part])


def needs(*names: str) -> Callable[[str], bool]:
    """Whether a metric needs one of these."""
    return lambda metric: (
        not set(names).isdisjoint((*METRICS[metric].needs, *METRICS[metric].weights))
    )


def test_a_later_metric_is_computed_for_every_row(
    committed: Path,
    tmp_path: Path,
    parse: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    site_files: dict[str, bytes],
) -> None:
    """Registered today, from sums of then: on every page, and nothing is scored."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a row was scored again")

    for module, name in ((benchmark.scoring, "score_cases"), (benchmark.reduce, "reduce_slab"),
                         (benchmark.evaluate, "score")):  # fmt: skip
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr("leaderboard.site._write_regions", lambda *_: None)  # maps take long
    later = Metric("nmae", "normalised MAE", "1", "lower", "<|p - t|> / <t>", "a test",
                   ("abs_error", "t"), lambda s: mean(s, "abs_error") / mean(s, "t"))  # fmt: skip
    monkeypatch.setitem(METRICS, later.name, later)
    site = build_site([committed], tmp_path / "site").parent
    for row in ROWS:
        model, variant, seed = row.split("/")
        page = parse(site / "models" / f"{model}-{variant}.html")
        block = page.one("details", data_variable="t2m", data_seed=seed[-1])
        table = block.one("table", data_sheet="Other metrics")
        assert [head.text for head in table.one("thead").all("th")] == [
            "Region", "normalised MAE lower is better"
        ]  # fmt: skip
        totals = load_table(committed / TASK / row / CASES)[1]
        at = totals.sel(variable="t2m", region="andes-south", stratum="all")
        (line,) = (tr for tr in table.all("tr") if tr.all("th")[0].text == "andes-south")
        assert line.one("td").text == plain(float(at["abs_error"] / at["t"]))
        assert "normalised MAE" not in site_files[f"models/{model}-{variant}.html"].decode()
    assert (site / "table.csv").read_bytes() == site_files["table.csv"], "ranks by what it did"
    found = explain(committed / TASK / ROWS[2], "nmae", "andes-south")
    assert isinstance(found, Explanation)
    assert found.totals.keys() == {"abs_error", "t", "weight"}


def test_a_row_without_a_statistic_is_marked_and_others_stay(
    rows: Path,
    tmp_path: Path,
    parse: Callable[[Path], Any],
    files_of: Callable[[Path], dict[str, bytes]],
    site_files: dict[str, bytes],
) -> None:
    """Dashes that say what one seed lacks; its other numbers and other rows' pages stay."""
    lost = {"power_t": "log_spectral_distance", "tt": "variance_ratio",
            "scale_abs_error": "block_crps[4 cells]"}  # fmt: skip
    rewrite(rows / TASK / ROWS[4], without(*lost), drop=needs(*lost))
    found = files_of(build_site([rows], tmp_path / "site").parent)
    changed = {name for name in found if found[name] != site_files.get(name)}
    own = {name for name in changed if name.startswith(f"models/{ADD}")}
    assert changed - own <= {"index.html", "table.csv", "table.json", "table.tex"}
    gone = {name for name in site_files if name not in found}
    assert gone == {f"models/{ADD}-spectrum.svg", f"models/{ADD}-spectrum.csv"}

    page, before = (
        parse_bytes(parse, files[f"models/{ADD}.html"], tmp_path) for files in (found, site_files)
    )
    for variable in ("t2m", "precipitation"):
        for lacks, entry in lost.items():
            cells = column(page, variable, "1", entry)
            assert {cell.text for cell in cells} == {"–"}
            (title,) = {cell.one("span", class_="missing").attrs["title"] for cell in cells}
            assert title == f"not in this row's case table: it lacks {lacks}"
        for seed, entry in (("0", "log_spectral_distance"), ("1", "rmse"), ("1", "amse")):
            mine, other = (
                [cell.text for cell in column(one, variable, seed, entry)] for one in (page, before)
            )
            # AMSE needs the spectrum of the truth too.
            assert (mine == other) is (entry != "amse")
    block = page.one("details", data_variable="t2m", data_seed="1")
    words = block.one("p", class_="lacking").text.replace(",", "").replace(".", "").split()
    assert set(lost) <= set(words)
    assert not page.one("details", data_variable="t2m", data_seed="0").all("p", class_="lacking")
    why = "not in this row's case table: it lacks"
    assert f"No spectrum: {why} power_t" in page.text
    assert f"No scale of trust of blocks of 2 cells and more: {why} scale_abs_error" in page.text

    index, before = (
        parse_bytes(parse, files["index.html"], tmp_path) for files in (found, site_files)
    )
    for slug in ("bilinear-none-zero_shot", NONE):
        mine, other = (
            [line.text for line in one.all("tr", data_row=slug)] for one in (index, before)
        )
        assert mine == other, "other rows' lines have the numbers they had"
    line = index.one("table", id="table-t2m-deterministic").one("tr", data_row=ADD)
    reasons = [span.attrs["title"] for span in line.all("span", class_="missing")]
    assert sum("it lacks tt" in reason for reason in reasons) == 2
    assert sum("it lacks power_t" in reason for reason in reasons) == 1
    skill, old = (
        one.one("table", id="table-t2m-deterministic").one("tr", data_row=ADD)
        .one("td", data_column="ood").attrs["data-value"]
        for one in (index, before)
    )  # fmt: skip
    assert skill == old


def column(page: Any, variable: str, seed: str, entry: str) -> list[Any]:
    """The cells of one entry of a model's page."""
    block = page.one("details", data_variable=variable, data_seed=seed)
    table = next(t for t in block.all("table") if t.all("th", data_entry=entry))
    heads = [head.attrs.get("data-entry") for head in table.one("thead").all("th")]
    lines = [tr for body in table.all("tbody", class_="rows") for tr in body.all("tr")]
    return [line.all("td")[heads.index(entry) - 1] for line in lines]


def parse_bytes(parse: Callable[[Path], Any], content: bytes, folder: Path) -> Any:
    path = folder / "page.html"
    path.write_bytes(content)
    return parse(path)


def test_a_number_whose_sums_are_lacking_is_refused(rows: Path) -> None:
    """`scores.json` still lists what its table cannot give: it is not of that table."""
    folder = rows / TASK / ROWS[2]
    rewrite(folder, without("cross"))
    with pytest.raises(InputError, match="metrics, t2m, amse") as caught:
        load_rows([folder])
    assert all("recomputed from" in problem.expected for problem in caught.value.problems)


def test_without_a_sum_that_ranks_a_row_is_refused(rows: Path) -> None:
    """One clear problem that names the row and the sum, on the site and in `compare`."""
    folder = rows / TASK / ROWS[3]
    rewrite(folder, without("squared_error"), drop=needs("squared_error"))
    with pytest.raises(InputError) as caught:
        load_rows([folder])
    (problem,) = caught.value.problems
    assert str(folder) in problem.where
    assert problem.got == "a case table that lacks squared_error"
    assert "RMSE" in problem.expected
    with pytest.raises(InputError, match="lacks squared_error"):
        compare(rows / TASK / ROWS[2], folder)


def newer(part: xr.Dataset) -> xr.Dataset:
    """A table of a package that knows one statistic more."""
    regions = part.sizes["region"]
    dims = ("region", "quarter")
    return part.assign(lightning=(dims, np.ones((regions, 4)))).assign_attrs(flashes="counted")


def test_a_statistic_of_a_newer_package_is_passed_over(rows: Path, committed: Path) -> None:
    """Hashed with the rest, then left alone: the row's numbers are those it had."""
    folder = rows / TASK / ROWS[2]
    rewrite(folder, newer)

    def of_newer(scores: dict[str, Any]) -> None:
        scores["metrics"]["t2m"]["lightning_skill"] = {"andes-south": {"all": 0.5}}

    edit_scores(folder, of_newer)
    assert len(compare(folder, committed / TASK / ROWS[3])) == 12
    shutil.rmtree((rows / TASK / ROWS[3]).parent)
    (found,) = load_rows([rows])
    (group,) = (one for one in found.groups if one.slug == NONE)
    before = numbers_of(found.task, load_table(committed / TASK / ROWS[2] / CASES)[1])
    for variable, entries in before.items():
        assert group.rows[0].numbers[variable].keys() == entries.keys()
        for entry, values in entries.items():
            np.testing.assert_array_equal(group.rows[0].numbers[variable][entry], values)
    explained = explain(folder, "rmse", "andes-south")
    assert explained.value == explain(committed / TASK / ROWS[2], "rmse", "andes-south").value

    parts = iter(load_table(folder / CASES))
    hashed = json.loads((folder / SCORES).read_text())["case_table_hash"]
    rewrite(folder, lambda part: part.assign(error=next(parts)["error"] * (1 + 1e-15)))
    edit_scores(folder, lambda scores: scores.update(case_table_hash=hashed))
    with pytest.raises(InputError, match=f"{CASES}: hash"):
        load_rows([folder])


def test_what_a_table_lacks_is_left_out_of_its_numbers(committed: Path, tmp_path: Path) -> None:
    """`metric_table` and `explain` on an older table; seasons too."""
    cases, totals = load_table(committed / TASK / ROWS[2] / CASES)
    whole = metric_table(cases, totals)
    lost = ("pp", "fss_p")
    some = metric_table(*(without(*lost)(part) for part in (cases, totals)))
    for variable, entries in whole.items():
        kept = {k: v for k, v in entries.items() if not needs(*lost)(k.partition("[")[0])}
        assert some[variable] == kept
        assert kept.keys() < entries.keys()
    folder = Path(shutil.copytree(committed / TASK / ROWS[2], tmp_path / "row"))
    rewrite(folder, without(*lost), drop=needs(*lost))
    found = explain(folder, "variance_ratio", "andes-south")
    assert isinstance(found, Explanation)
    assert (found.value, found.lacks) == (None, ("pp",))
    assert found.totals.keys() == {"p", "t", "tt", "weight"}
    assert explain(folder, "variance_ratio", "test_ood").value is None
    assert (
        explain(folder, "rmse", "andes-south").value == whole["t2m"]["rmse"]["andes-south"]["all"]
    )


def test_invariants_of_what_is_there_are_checked(committed: Path) -> None:
    """Any one statistic may be lacking; what is there is still held to its rules."""
    folder = committed / TASK / ROWS[3]
    task, card = load_task("era5-sample"), read_scores(folder / SCORES).model
    tables = load_table(folder / CASES)
    checked = ("weight", "rank_weight", "reliability", "bin_t", "fss_p", "pair_spread", "tt",
               "coarse_max", "residual_max", "abs_error", "squared_error", "error")  # fmt: skip
    for name in checked:
        assert check_invariants(task, card, *(without(name)(part) for part in tables)) == []
    cases, totals = (without("rank_weight")(part) for part in tables)
    totals["residual_max"] = totals["residual_max"] + 1
    (problem,) = check_invariants(task, card, cases, totals)
    assert problem.expected.startswith("max |A y - x|")


def test_the_site_is_a_function_of_case_tables(
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files_of: Callable[[Path], dict[str, bytes]],
    site_files: dict[str, bytes],
) -> None:
    """No headline, no metric, no pair or prediction store: ranks, skills, intervals, all bytes."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a store was opened")

    for folder in sorted(path.parent for path in rows.rglob(SCORES)):
        edit_scores(folder, lambda scores: scores.update(headline=[], metrics={}))
    monkeypatch.setattr(zarr.storage.LocalStore, "__init__", never)
    monkeypatch.setenv("ELSEWHERE_DATA", str(tmp_path / "nowhere"))
    site = build_site([rows], tmp_path / "site").parent
    assert files_of(site) == site_files
