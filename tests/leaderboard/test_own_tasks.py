"""Sites with tasks that do not ship: on a map, with a shifted box, beside a shipped one."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from baselines.nulls import null
from baselines.statistical import load_statistical_config
from baselines.statistical.runs import StatisticalRequest, fit_run, open_statistical
from benchmark.compare import compare
from benchmark.errors import InputError
from benchmark.evaluate import score
from benchmark.explain import explain
from benchmark.kept_mismatch import mismatches
from benchmark.pair_store import PairStore
from benchmark.predictor import Predictor
from benchmark.results import SCORES
from benchmark.sources import StreamedPredictions
from benchmark.task import Task
from benchmark.task_files import CONTRACT, load_task
from leaderboard.places import resolution, whereabouts
from leaderboard.rows import load_rows
from leaderboard.site import build_site

Make = Callable[..., PairStore]
Parse = Callable[[Path], Any]
Command = Callable[..., CompletedProcess[str]]
NULLS = ("bilinear", "bilinear-dressed", "nearest")
FITTED = "quantile-mapping"


def rows_of(store: PairStore, root: Path, told: list[str]) -> Path:
    """The results tree of three nulls of an own task and a model that was fitted on it."""
    run = root.parent / f"{root.name}-run"
    request = StatisticalRequest(
        task=store.task.id, data_hash=store.data_hash, model=FITTED, regime="zero_shot",
        config=load_statistical_config(FITTED),
    )  # fmt: skip
    fit_run(store, request, run)
    predictors: dict[str, Predictor] = {name: null(name, store) for name in NULLS}
    predictors[FITTED] = open_statistical(run, store)
    for name, predictor in predictors.items():
        out = root / "2026.1" / store.task.id / name / "none-zero_shot" / "seed-0"
        out.mkdir(parents=True)
        source = StreamedPredictions(predictor, identity=name)
        score(store, source, out, report=lambda *entry: told.append(entry[2]))
    return root


@pytest.fixture(scope="module")
def own_store(make_map_store: Make) -> PairStore:
    """The pairs of an own task on a map with a shifted box and no statics."""
    return make_map_store(
        "own-site", factor=2.5, coarse_shift=(0.5, -0.5), margin=2, static=(),
        banner="Only a test.",
        sources=[{"product": "Made <up>", "licence": "CC-BY 9.0", "attribution": "By & for us."}],
    )  # fmt: skip


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What scoring said it was doing."""
    return []


@pytest.fixture(scope="module")
def own(own_store: PairStore, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of that task."""
    return rows_of(own_store, tmp_path_factory.mktemp("own"), told)


@pytest.fixture(scope="module")
def both(own: Path, nulls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of it and of the shipped task."""
    return build_site([own, nulls], tmp_path_factory.mktemp("both") / "site").parent


@pytest.fixture
def copied_own(own: Path, tmp_path: Path) -> Path:
    """The results to be spoilt."""
    target = tmp_path / "own"
    shutil.copytree(own, target)
    return target


def row(root: Path, name: str) -> Path:
    return root / "2026.1" / "own-site@1" / name / "none-zero_shot" / "seed-0"


def test_the_contract_lies_in_every_row(own: Path, nulls: Path) -> None:
    """In those of a task that does not ship, and in no other."""
    contracts = [
        Task.model_validate_json((row(own, name) / CONTRACT).read_bytes()) for name in NULLS
    ]
    assert contracts[0] == contracts[1] == contracts[2]
    assert contracts[0].coarse_shift == (0.5, -0.5)
    assert not list(nulls.rglob(CONTRACT))


def test_a_site_of_a_shipped_and_an_own_task(both: Path, parse: Parse) -> None:
    """Each has a folder; every page says whose data they are and under which licence."""
    folders = {path.name for path in both.iterdir() if path.is_dir()}
    assert folders == {"own-site@1", "era5-sample@1"}
    start = parse(both / "index.html").text
    assert "An invented task" in start
    assert "Made <up> (CC-BY 9.0). By & for us." in start
    pages = sorted((both / "own-site@1").rglob("*.html"))
    assert len(pages) == 2 + 4 + 4, "index, transfer, regions, models"
    for path in pages:
        page = parse(path)
        footer = page.one("footer").text
        assert "Made <up> (CC-BY 9.0). By & for us." in footer
        assert "own-site@1" in footer
        assert "Only a test." in page.one("div", class_="banner").text


def test_a_real_pairs_residual_is_no_violation(both: Path) -> None:
    """Two products differ: no page, table or plot calls that a violation."""
    for path in (both / "own-site@1").rglob("*"):
        if path.suffix in (".html", ".csv", ".tex", ".json", ".svg"):
            assert "violation" not in path.read_text(encoding="utf-8").lower(), path.name
    text = " ".join((both / "own-site@1" / "index.html").read_text(encoding="utf-8").split())
    assert "a residual describes and violates nothing" in text
    assert "a hard layer holds it to" not in text


def test_sizes_and_places_in_words(both: Path, parse: Parse) -> None:
    """km of a map, degrees elsewhere; the box of a map by its middle and its bounds."""
    facts = {
        name: parse(both / name / "index.html").one("dl", class_="facts").text
        for name in ("own-site@1", "era5-sample@1")
    }
    assert "2.5×, to 5.5 km" in facts["own-site@1"]
    assert "4×, to 1°" in facts["era5-sample@1"]
    north = parse(both / "own-site@1" / "regions" / "north.html")
    assert "y 1500 to 1720 km, x 100 to 320 km" in north.text
    assert "the top of the map on top" in north.text
    assert "north on top" in parse(both / "era5-sample@1" / "regions" / "andes-south.html").text
    plain = load_task("radar-perfect")
    assert resolution(plain) == "0.01° or 1 km"
    said = whereabouts(plain.region("us2"))
    assert said == "Latitude 28.4° to 31.6°, longitude −79.8° to −76.6°."
    assert "map fmi" in whereabouts(plain.region("fmi"))
    assert "y −2943 to −2623 km, x −161 to 159 km" in whereabouts(plain.region("fmi"))


def test_tables_of_an_own_task(both: Path) -> None:
    """CSV, JSON and LaTeX: the same rows, the task's name, the banner."""
    folder = both / "own-site@1"
    lines = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    assert "# task: own-site@1" in lines
    assert "# banner: Only a test." in lines
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert {line["model"] for line in rows} == {*NULLS, FITTED}
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert len(table["rows"]) == len(rows)
    tex = (folder / "table.tex").read_text(encoding="utf-8")
    assert "own-site@1, release" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2


def test_explain_and_compare_by_the_contract_in_the_row(own: Path, elsewhere: Command) -> None:
    """No pair store is there any more to ask."""
    assert compare(row(own, "bilinear"), row(own, "bilinear"))[0].change == 0.0
    worse = {d.split: d.change for d in compare(row(own, "bilinear"), row(own, "nearest"))}
    assert set(worse) == {"test_id", "test_ood"}
    found = explain(row(own, "nearest"), "skill", "test_ood", board="deterministic")
    assert found is not None
    for words in (("rmse", "north"), ("skill", "test_ood", "--board", "deterministic"),
                  ("rmse", "test_ood", "--against", "bilinear")):  # fmt: skip
        done = elsewhere("explain", row(own, "nearest"), *words, "--json")
        assert done.returncode == 0, done.stderr
    done = elsewhere("compare", row(own, "bilinear"), row(own, "nearest"))
    assert done.returncode == 0, done.stderr


def change_contract(folder: Path, **changes: object) -> None:
    path = folder / CONTRACT
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_revision_is_refused(copied_own: Path, tmp_path: Path, elsewhere: Command) -> None:
    """The contract beside the scores is of a revision that did not make them."""
    folder = row(copied_own, "nearest")
    change_contract(folder, revision=2)
    with pytest.raises(InputError) as caught:
        build_site([copied_own], tmp_path / "site")
    (problem,) = caught.value.problems
    assert (problem.where, problem.expected) == (str(folder), "scores of own-site@2")
    assert problem.got == "own-site@1"
    done = elsewhere("explain", folder, "rmse", "north")
    assert (done.returncode, "own-site@2" in done.stderr) == (2, True)
    assert elsewhere("compare", row(copied_own, "bilinear"), folder).returncode == 2


def test_one_revision_with_two_contracts_is_refused(copied_own: Path, tmp_path: Path) -> None:
    """Somebody changed the task and kept its revision: rows do not mean the same."""
    folder = row(copied_own, "nearest")
    change_contract(folder, block_days=2, cluster_km=10.0)
    for act in (
        lambda: build_site([copied_own], tmp_path / "site"),
        lambda: compare(row(copied_own, "bilinear"), folder),
        lambda: explain(folder, "rmse", "test_ood", against=str(row(copied_own, "bilinear"))),
    ):
        with pytest.raises(InputError) as caught:
            act()
        (problem,) = caught.value.problems
        assert "differs in block_days, cluster_km" in problem.got
        assert "new revision" in problem.fix


def test_no_contract_is_no_task(copied_own: Path, tmp_path: Path) -> None:
    """A row that lost it cannot be read: its task does not ship."""
    (row(copied_own, "nearest") / CONTRACT).unlink()
    with pytest.raises(InputError, match="own-site"):
        build_site([copied_own], tmp_path / "site")


def test_a_damaged_contract_is_named(copied_own: Path, tmp_path: Path) -> None:
    (row(copied_own, "nearest") / CONTRACT).write_text("{")
    with pytest.raises(InputError, match=CONTRACT):
        build_site([copied_own], tmp_path / "site")


def mismatch_in(folder: Path) -> list[dict[str, Any]]:
    """What a row's `scores.json` says of the two products."""
    found: list[dict[str, Any]] = json.loads((folder / SCORES).read_text())["mismatch"]
    return found


def change_mismatch(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a row's `scores.json`."""
    table = json.loads((folder / SCORES).read_text())
    change(table)
    (folder / SCORES).write_text(json.dumps(table))


def test_a_score_records_how_far_apart_the_products_are(
    own: Path, own_store: PairStore, told: list[str]
) -> None:
    """All regions, by name; the first score computes and keeps it, the others read it."""
    computed = [one.model_dump(mode="json") for one in mismatches(own_store)]
    assert [one["region"] for one in computed] == ["home", "judge", "north", "second", "south"]
    for name in (*NULLS, FITTED):
        assert mismatch_in(row(own, name)) == computed
    said = [words for words in told if words.startswith("mismatch")]
    assert said == [f"mismatch of {one['region']}" for one in computed]
    kept = [json.loads(path.read_text()) for path in own_store.folder.glob("mismatch/*.json")]
    assert sorted(one["mismatch"][0]["region"] for one in kept) == [
        one["region"] for one in computed
    ]


def test_the_page_says_how_far_apart_the_products_are(own: Path, both: Path, parse: Parse) -> None:
    """Every number of the rows, with role and units; a perfect pair has no such section."""
    page = parse(both / "own-site@1" / "index.html")
    table = page.one("table", id="mismatch-t2m")
    heads = [head.text for head in table.one("thead").all("th")]
    known = {one["region"]: one for one in mismatch_in(row(own, "nearest"))}
    octaves = max(len(one["coherence"]) for one in known.values())
    assert heads[:5] == ["Region", "Role", "Bias, K", "Correlation", "Variance ratio"]
    assert len(heads) == 5 + octaves > 6
    roles = {"north": "elsewhere (OOD)", "south": "elsewhere (OOD)", "judge": "validation",
             "home": "in distribution (ID)", "second": "in distribution (ID)"}  # fmt: skip
    lines = table.one("tbody").all("tr")
    assert [line.attrs["data-region"] for line in lines] == [
        "north", "south", "home", "second", "judge",
    ]  # fmt: skip
    for line in lines:
        one = known[line.attrs["data-region"]]
        role, *cells = line.all("td")
        assert role.text == roles[one["region"]]
        octaves_here = [octave["coherence"] for octave in one["coherence"]]
        numbers = [one["bias"], one["correlation"], one["variance_ratio"], *octaves_here]
        assert [float(cell.attrs["data-value"]) for cell in cells[: len(numbers)]] == numbers
        assert all("data-value" in cell.attrs for cell in cells)
    low = min(one["coherence"][0]["shortest_km"] for one in known.values())
    high = 2 * max(one["coherence"][0]["shortest_km"] for one in known.values())
    assert heads[5] == f"Coherence, {low:.1f} to {high:.1f} km"
    assert "no model can be blamed" in page.text
    assert "#mismatch" in {link.attrs.get("href") for link in page.one("nav").all("a")}
    assert "mismatch" not in (both / "era5-sample@1" / "index.html").read_text()
    assert not (both / "era5-sample@1" / "mismatch.csv").exists()


def test_the_tables_of_it(own: Path, both: Path) -> None:
    """CSV and JSON: what the rows have."""
    known = mismatch_in(row(own, "nearest"))
    table = json.loads((both / "own-site@1" / "table.json").read_text(encoding="utf-8"))
    assert table["mismatch"] == known
    text = (both / "own-site@1" / "mismatch.csv").read_text(encoding="utf-8").splitlines()
    assert "# task: own-site@1" in text
    lines = list(csv.DictReader(line for line in text if not line.startswith("#")))
    for line, one in zip(lines, known, strict=True):
        assert (line["region"], line["units"], line["variable"]) == (one["region"], "K", "t2m")
        for name in ("bias", "correlation", "variance_ratio"):
            assert float(line[name]) == one[name]
        assert float(line["finest_km"]) == one["coherence"][0]["shortest_km"]
        for number, octave in enumerate(one["coherence"], start=1):
            assert float(line[f"coherence_{number}"]) == octave["coherence"]
    assert {line["region"]: line["role"] for line in lines}["judge"] == "val_ood"


def test_a_row_that_contradicts_and_one_from_before(
    copied_own: Path, tmp_path: Path, parse: Parse
) -> None:
    """The first is refused; the second is read, and the page names it."""
    folder = row(copied_own, "nearest")
    change_mismatch(folder, lambda table: table["mismatch"][2].update(bias=1.0))
    change_mismatch(row(copied_own, "bilinear"), lambda table: table.pop("mismatch"))
    with pytest.raises(InputError) as caught:
        load_rows([copied_own])
    (problem,) = caught.value.problems
    assert problem.where == f"{folder}/{SCORES}: mismatch"
    assert problem.expected.startswith(f"that of {row(copied_own, 'bilinear-dressed')} in north")
    change_mismatch(folder, lambda table: table.pop("mismatch"))
    build_site([copied_own], tmp_path / "site")
    found = parse(tmp_path / "site" / "index.html").one("section", id="mismatch")
    assert "Recorded by 2 rows" in found.text
    assert "Not recorded by bilinear-none-zero_shot (seed 0), nearest-none-zero" in found.text
    assert len(found.one("tbody").all("tr")) == 5
