"""Rows of a source set: told apart, never mixed with others, and in the transfer matrix."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark import RELEASE
from benchmark.errors import InputError
from benchmark.model_card import ModelCard, source_suffix
from leaderboard.boards import make_boards
from leaderboard.curves import trust_km
from leaderboard.render import environment, signed
from leaderboard.rows import TaskRows, load_rows
from leaderboard.transfer import relation, transfer_matrix, write_transfer

EUROPE = ("europe-central", "europe-west")
SLUG = "srcnn-add-zero_shot-from-europe-central+europe-west"


@pytest.fixture(scope="module")
def root(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `add` network, its oracle, and one trained in Europe, in two seeds."""
    more = tmp_path_factory.mktemp("trained")
    maker.row(more, lambda _: 0.9, constraint="add")
    maker.row(more, lambda _: 0.8, constraint="add", regime="oracle")
    for seed, factor in ((0, 1.0), (1, 1.21)):
        maker.row(
            more,
            lambda name, factor=factor: factor * (0.5 if name in EUROPE else 2.0),
            constraint="add", seed=seed, sources=EUROPE,
        )  # fmt: skip
    return more


@pytest.fixture(scope="module")
def rows(nulls: Path, root: Path) -> TaskRows:
    (found,) = load_rows([nulls, root])
    return found


@pytest.fixture(scope="module")
def folder(rows: TaskRows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page and its tables are."""
    out, made = tmp_path_factory.mktemp("page"), environment()
    made.globals.update(release=RELEASE)
    boards = make_boards(rows)
    shared = {"task": rows.task, "data_hash": rows.data_hash, "boards": boards}
    write_transfer(made, rows, out, shared)
    return out


def lines(path: Path) -> list[dict[str, str]]:
    text = path.read_text().splitlines()
    return list(csv.DictReader(line for line in text if line[0] != "#"))


def test_a_source_set_is_a_row_of_its_own(rows: TaskRows, root: Path) -> None:
    found = {group.slug: group for group in rows.groups}
    assert {slug for slug in found if slug.startswith("srcnn")} == {
        "srcnn-add-zero_shot", "srcnn-add-oracle", SLUG
    }  # fmt: skip
    assert [row.seed for row in found[SLUG].rows] == [0, 1]
    assert found[SLUG].name == "SR-CNN, add, from europe-central + europe-west"
    place = "srcnn/add-zero_shot-from-europe-central+europe-west/seed-1"
    assert len(list(root.glob(f"*/*/{place}/scores.json"))) == 1


def test_it_has_no_gap_and_is_nobodys_twin(rows: TaskRows) -> None:
    """The oracle is that of the row of all training regions."""
    primary = make_boards(rows)[0]
    found = {entry.group.slug: entry for entry in primary.entries}
    assert found[SLUG].gap is None
    assert found["srcnn-add-zero_shot"].gap is not None


@pytest.mark.parametrize("change", ["dropped", "other", "unknown"])
def test_a_card_that_differs_in_its_sources_is_refused(
    change: str, maker: Any, tmp_path: Path
) -> None:
    folder = maker.row(tmp_path, lambda _: 1.0, sources=EUROPE)
    text = (folder / "model.toml").read_text()
    assert 'sources = ["europe-central", "europe-west"]\n' in text
    into = {"dropped": "", "other": 'sources = ["europe-west"]\n'}
    for name in ("model.toml", "scores.json") if change == "unknown" else ("model.toml",):
        path = folder / name
        text = path.read_text()
        if change == "unknown":
            path.write_text(text.replace('"europe-central"', '"europe-cantral"'))
        else:
            path.write_text(
                text.replace('sources = ["europe-central", "europe-west"]\n', into[change])
            )
    said = "Did you mean 'europe-central'" if change == "unknown" else r"\['sources'\]"
    with pytest.raises(InputError, match=said):
        load_rows([tmp_path])


def test_the_page_holds_the_matrix(folder: Path, parse: Callable[[Path], Any]) -> None:
    page = parse(folder / "transfer.html")
    table = page.one("table", id="transfer-t2m-deterministic")
    order = [line.attrs["data-row"] for line in table.all("tr") if "data-row" in line.attrs]
    assert order == ["srcnn-add-zero_shot", SLUG, "srcnn-add-oracle"]
    line = table.one("tr", data_row=SLUG)
    inside, outside = 1 - 0.5 * math.sqrt(1.21), 1 - 2 * math.sqrt(1.21)
    for name, expected, sign in (
        ("europe-west", inside, "●"),
        ("europe-east", outside, "≈"),
        ("japan-okhotsk", outside, ""),
        ("andes-south", outside, ""),
    ):
        cell = line.one("td", data_target=name)
        assert float(cell.attrs["data-value"]) == pytest.approx(expected, rel=1e-9)
        assert cell.text == f"{signed(expected)} {sign}".strip()
    means = {cell.attrs["data-mean"]: cell for cell in line.all("td") if "data-mean" in cell.attrs}
    assert float(means["id_source"].attrs["data-value"]) == pytest.approx(inside, rel=1e-9)
    assert float(means["id_held_out"].attrs["data-value"]) == pytest.approx(outside, rel=1e-9)
    whole = table.one("tr", data_row="srcnn-add-zero_shot")
    assert whole.one("td", data_mean="id_held_out").attrs["data-value"] == ""
    assert whole.one("td", data_mean="id_held_out").text == "–"
    oracle = table.one("tr", data_row="srcnn-add-oracle")
    assert oracle.one("td", data_target="andes-south").text.endswith("●")
    assert len(line.all("td")) == 3 + 9 + 12
    assert len(page.all("table", class_="matrix")) == 6


def test_the_tables_hold_the_same_numbers(folder: Path, parse: Callable[[Path], Any]) -> None:
    table = parse(folder / "transfer.html").one("table", id="transfer-precipitation-probabilistic")
    found = lines(folder / "transfer.csv")
    assert len(found) == 6 * 3 * 21
    for line in found:
        if (line["variable"], line["board"]) == ("precipitation", "probabilistic"):
            cell = table.one("tr", data_row=line["row"]).one("td", data_target=line["target"])
            assert cell.attrs["data-value"] == line["skill"]
            assert line["relation"] == cell.attrs["class"].split()[1]
    (one,) = (
        line
        for line in found
        if (line["row"], line["target"]) == (SLUG, "japan-okhotsk")
        and (line["variable"], line["board"]) == ("t2m", "deterministic")
    )
    # Seeds are paired: zero-shot has seed 0 alone.
    assert float(one["log_ratio_to_zero_shot"]) == pytest.approx(math.log(2.0 / 0.9), rel=1e-9)
    means = lines(folder / "transfer-means.csv")
    assert len(means) == 6 * 3
    assert {line["sources"] for line in means} == {"", "europe-central+europe-west"}


def test_without_trained_rows_there_is_no_page(nulls: Path, tmp_path: Path) -> None:
    (found,) = load_rows([nulls])
    write_transfer(environment(), found, tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_what_a_target_is_to_the_sources(rows: TaskRows) -> None:
    """Overlapping and neighbouring boxes are no unseen regions."""
    card = next(group.card for group in rows.groups if group.slug == SLUG)
    found = {r.name: relation(rows.task, card, r.name) for r in rows.task.regions_of("test_id")}
    assert [name for name, kind in found.items() if kind == "source"] == list(EUROPE)
    assert [name for name, kind in found.items() if kind == "near"] == [
        "caucasus-kazakhstan", "europe-east"
    ]  # fmt: skip
    assert relation(rows.task, card, "andes-south") == "elsewhere"


@pytest.fixture(scope="module")
def with_targets(maker: Any, nulls: Path, tmp_path_factory: pytest.TempPathFactory) -> TaskRows:
    """An oracle, the same of the targets alone, which is much better there, and a zero-shot row."""
    root = tmp_path_factory.mktemp("targets")
    maker.row(root, lambda _: 1.2, constraint="add", skip=False)
    maker.row(root, lambda _: 0.9, constraint="add", regime="oracle")
    maker.row(root, lambda _: 0.5, constraint="add", regime="oracle", target_only=True)
    (loaded,) = load_rows([nulls, root])
    return loaded


def test_an_oracle_of_the_targets_alone(with_targets: TaskRows) -> None:
    """A line of its family, for reference: nobody's twin, and no regret is against it."""
    slug = "srcnn-add-oracle-target-only"
    found = {group.slug: group for group in with_targets.groups}
    assert found[slug].name == "SR-CNN, add, oracle, targets only"
    assert found[slug].rows[0].place.endswith("srcnn/add-oracle-target-only/seed-0")
    card = found[slug].card
    assert relation(with_targets.task, card, "andes-south") == "source"
    assert relation(with_targets.task, card, "europe-west") == "elsewhere"
    (family,) = transfer_matrix(with_targets, "deterministic", "t2m").families
    assert [line.title for line in family.lines] == [
        "all training regions", "training and OOD regions (oracle)", "OOD regions only (oracle)",
    ]  # fmt: skip
    entry = next(
        entry for entry in make_boards(with_targets)[0].entries
        if entry.group.slug == "srcnn-add-zero_shot"
    )  # fmt: skip
    expected = math.log(1.2 / 0.9)
    assert entry.gap is not None
    assert entry.gap.mean == pytest.approx(expected, rel=1e-9)
    assert entry.regret is not None
    assert entry.regret.mean == pytest.approx(expected, rel=1e-9)


def test_only_an_oracle_can_be_of_the_targets() -> None:
    with pytest.raises(ValidationError, match="target_only"):
        ModelCard(task="era5-sample@1", model="m", title="m", reference="", target_only=True)


def test_names_of_files_stay_short() -> None:
    assert source_suffix(()) == ""
    assert source_suffix(("a", "b")) == "-from-a+b"
    many = tuple(f"region-{k:02d}-of-many" for k in range(20))
    suffix = source_suffix(many)
    assert suffix.startswith("-from-20-regions-")
    assert len(suffix) < 40
    assert suffix != source_suffix((*many[:-1], "region-99"))


def test_the_scale_of_trust_is_stated_on_the_page(
    site: Path, results: Path, parse: Callable[[Path], Any]
) -> None:
    """In words, in the picture's text, and in the table behind it."""
    (found,) = load_rows([results])
    slug = "srcnn-add-zero_shot"
    group = next(group for group in found.groups if group.slug == slug)
    page = parse(site / "models" / f"{slug}.html")
    words = [item.text for item in page.one("ul", id="trust").all("li")]
    alt = page.one("figure", id="scale-of-trust").one("img").attrs["alt"]
    table = lines(site / "models" / f"{slug}-scale-of-trust.csv")
    stated = 0
    for variable, item in zip(("t2m", "wind_speed", "precipitation"), words, strict=True):
        for split, place in (("test_id", "at home (ID)"), ("test_ood", "elsewhere (OOD)")):
            km = trust_km(found, group, variable, split)  # type: ignore[arg-type]
            text = "at no scale" if math.isnan(km) else f"down to {float(f'{km:.3g}'):g} km"
            stated += not math.isnan(km)
            assert f"{text} {place}" in item
            assert f"adds value: {text}" in alt
            written = {
                line["trust_km"]
                for line in table
                if (line["variable"], line["split"]) == (variable, split)
            }
            assert written == {"" if math.isnan(km) else repr(km)}
    assert 0 < stated < 6
