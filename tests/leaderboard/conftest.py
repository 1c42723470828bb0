"""Rows to build sites from: three nulls scored for real, and trained rows made from their sums."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from baselines.nulls import null
from benchmark.case_table import by_case, load_table, save_table, table_hash, total
from benchmark.evaluate import headlines, score
from benchmark.metric_table import metric_table
from benchmark.model_card import ModelCard, write_card
from benchmark.pair_store import PairStore
from benchmark.results import CASES, Scores, read_scores, row_folder, write_scores
from benchmark.sample_fields import SAMPLE
from benchmark.scoring import score_cases
from benchmark.sources import StreamedPredictions
from benchmark.task import Task
from benchmark.task_files import load_task
from data_recipes.build import build
from leaderboard.site import build_site

NULLS = ("bilinear", "bilinear-dressed", "nearest")
VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Node:
    """An element of a page: enough of a tree to find tables and links."""

    tag: str
    attrs: dict[str, str]
    children: "list[Node | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, spaces collapsed."""
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join(" ".join(parts).split())

    def all(self, tag: str = "", **attrs: str) -> "list[Node]":
        """Descendants by tag and attributes (`class_` for class, `_` for `-`), in order."""
        wanted = {k.rstrip("_").replace("_", "-"): v for k, v in attrs.items()}
        found: list[Node] = []
        for child in self.children:
            if isinstance(child, Node):
                if tag in ("", child.tag) and wanted.items() <= child.attrs.items():
                    found.append(child)
                found += child.all(tag, **attrs)
        return found

    def one(self, tag: str = "", **attrs: str) -> "Node":
        """The only such descendant."""
        (found,) = self.all(tag, **attrs)
        return found


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse_page(path: Path) -> Node:
    """The tree of a page; an element that is not closed in order is an error."""
    tree = _Tree()
    tree.feed(path.read_text(encoding="utf-8"))
    tree.close()
    assert tree.open == [tree.root], "an element was not closed"
    return tree.root


def scaled(table: xr.Dataset, factor: Callable[[str], float], *, hard: bool) -> xr.Dataset:
    """The sums of a model whose errors are `factor(region)` times as large; hard: no residual."""
    by_region = xr.DataArray([factor(str(name)) for name in table["region"].values], dims="region")
    made = table.copy(deep=True)
    for name, power in (("error", 1), ("abs_error", 1), ("member_abs_error", 1),
                        ("scale_abs_error", 1), ("squared_error", 2)):  # fmt: skip
        made[name] = (table[name] * by_region**power).transpose(*table[name].dims)
    if hard:
        for name in ("residual_abs", "residual_squared", "residual_max"):
            made[name] = table[name] * 0.0
    return made


@dataclass(frozen=True)
class Maker:
    """Writes rows whose case tables are the bilinear one's, with other errors."""

    task: Task
    template: Scores
    table: xr.Dataset
    references: dict[str, xr.Dataset]
    sample: Path

    def row(
        self,
        root: Path,
        factor: Callable[[str], float],
        *,
        task: Task | None = None,
        **card: object,
    ) -> Path:
        """One row below `root`; keyword arguments change its card."""
        mine = task or self.task
        made = self.template.model.model_copy(
            update={"model": "srcnn", "title": "SR-CNN", "null": False, "task": mine.id, **card}
        )
        made = ModelCard.model_validate(made.model_dump())
        table = scaled(self.table, factor, hard=made.constraint != "none")
        table = table.assign_attrs(task=mine.id)
        cases, totals = by_case(table), total(table)
        scores = self.template.model_copy(
            update={
                "task": mine.id,
                "model": made,
                "case_table_hash": table_hash(cases, totals),
                "headline": headlines(self.task, made, cases, self.references),
                "metrics": metric_table(cases, totals),
            }
        )
        folder = row_folder(root, scores)
        folder.mkdir(parents=True)
        save_table(table, folder / CASES)
        shutil.copy(self.sample, folder / SAMPLE)
        write_card(folder / "model.toml", made)
        write_scores(folder, scores)
        return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return build(load_task("era5-sample"), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def nulls(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three nulls, scored for real."""
    root = tmp_path_factory.mktemp("nulls")
    for name in NULLS:
        out = root / "2026.1" / store.task.id / name / "none-zero_shot" / "seed-0"
        out.mkdir(parents=True)
        score(store, StreamedPredictions(null(name, store), identity=name), out)
    return root


def null_folder(root: Path, name: str) -> Path:
    """The folder of a null's row."""
    (folder,) = root.glob(f"*/*/{name}/none-zero_shot/seed-0")
    return folder


@pytest.fixture(scope="session")
def maker(store: PairStore, nulls: Path, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    bilinear = null_folder(nulls, "bilinear")
    source = StreamedPredictions(null("bilinear", store), identity="bilinear")
    return Maker(
        task=store.task,
        template=read_scores(bilinear / "scores.json"),
        table=score_cases(store, source, work=tmp_path_factory.mktemp("work")).table,
        references={name: load_table(null_folder(nulls, name) / CASES)[0] for name in NULLS[:2]},
        sample=bilinear / SAMPLE,
    )


def _wave(task: Task, home: float, away: float) -> Callable[[str], float]:
    """Errors `home` times bilinear's in distribution, `away` elsewhere, a little by region."""

    def factor(name: str) -> float:
        base = home if task.region(name).role == "train" else away
        return base * (1 + 0.01 * (sum(name.encode()) % 97) / 10)

    return factor  # fmt: skip


@pytest.fixture(scope="session")
def results(nulls: Path, maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nulls and trained rows: `add` with two seeds and an oracle of one, `none` without oracle."""
    root = tmp_path_factory.mktemp("results")
    shutil.copytree(nulls, root, dirs_exist_ok=True)
    task = maker.task
    maker.row(root, _wave(task, 0.80, 0.90), constraint="add", seed=0)
    maker.row(root, _wave(task, 0.82, 0.98), constraint="add", seed=1)
    maker.row(root, _wave(task, 0.81, 0.75), constraint="add", seed=1, regime="oracle")
    maker.row(root, _wave(task, 0.85, 1.40), constraint="none", skip=True)
    maker.row(root, _wave(task, 0.70, 0.70), constraint="none", exposure="target_labels")
    return root


@pytest.fixture(scope="session")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished site's folder."""
    return build_site([results], tmp_path_factory.mktemp("out") / "site").parent


@pytest.fixture(scope="session")
def parse() -> Callable[[Path], Node]:
    return parse_page


@pytest.fixture
def copied(results: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may spoil."""
    target = tmp_path / "results"
    shutil.copytree(results, target)
    return target


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder by its relative path."""

    def read(folder: Path, skip: Sequence[str] = ()) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in skip
        }

    return read  # fmt: skip


@pytest.fixture(scope="session")
def rms() -> Callable[[Path, str, str], float]:
    """rms(row folder, variable, region) by hand: sqrt(sum of squared errors / sum of weights)."""

    def compute(folder: Path, variable: str, region: str) -> float:
        cases = load_table(folder / CASES)[0].sel(variable=variable, region=region, stratum="all")
        return float(np.sqrt(cases["squared_error"].values.sum() / cases["weight"].values.sum()))

    return compute  # fmt: skip
