"""The leaderboard as a folder of static pages: a pure function of committed result folders."""

from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment

from benchmark import RELEASE
from benchmark.errors import InputError, Problem
from benchmark.files import new_folder
from benchmark.inference import LEVEL, POWER
from benchmark.region import Region
from benchmark.skill import FAILED, as_gap, as_skill
from leaderboard.boards import Board, make_boards
from leaderboard.contrasts import has_blocks
from leaderboard.export import write_exports
from leaderboard.headlines import check_headlines
from leaderboard.intervals import MARKS
from leaderboard.legend import DIRECTIONS, legend, shown_metrics
from leaderboard.mismatch_tables import mismatch_of, recorded
from leaderboard.models import write_model
from leaderboard.pictures import WORST_SHOWN, write_scatter
from leaderboard.places import resolution, whereabouts
from leaderboard.ranks import SECTIONS
from leaderboard.regions import draw_region
from leaderboard.render import environment, show, write_page
from leaderboard.rows import Report, TaskRows, load_rows
from leaderboard.transfer import write_transfer

MARKER = ".elsewhere-site"
"""A file that says a folder is a site of ours, and may be replaced."""
MARKER_TEXT = "A leaderboard built by `elsewhere site`; the next build replaces this folder.\n"
ASSETS = ("style.css", "sort.js")


def build_site(results: Sequence[Path], out: Path, *, report: Report = lambda *_: None) -> Path:
    """Build the site of every row below `results` in the folder `out`; the path of its index.

    The same results give the same bytes. `out` is written whole or not at all: an earlier site is
    replaced only by a finished one. With one task the site is that task's; with several, each has
    a folder TASK@REVISION and the index lists them.
    Errors: InputError where `out` is neither new, empty nor a site of ours, and for everything
    `load_rows` and `check_headlines` refuse.
    """
    out = out.resolve()
    _check_target(out, results)
    tasks = load_rows(results, report=report)
    for rows in tasks:
        check_headlines(rows)
    made = environment()
    made.globals.update(
        release=RELEASE, marks=MARKS, as_skill=as_skill, as_gap=as_gap, plot_alt=plot_alt,
        headings={key: heading for key, heading, _ in SECTIONS}, worst_shown=WORST_SHOWN,
        directions=DIRECTIONS, metrics=shown_metrics(), level=f"{100 * LEVEL:g} %",
        power=f"{100 * POWER:g} %", failed_at=FAILED, resolution=resolution,
        whereabouts=whereabouts,
    )  # fmt: skip
    with new_folder(out) as folder:
        (folder / MARKER).write_text(MARKER_TEXT, encoding="utf-8")
        if len(tasks) == 1:
            _build_task(made, tasks[0], folder, report)
        else:
            _write_assets(folder)
            values = [rows.task for rows in tasks]
            write_page(made, "tasks.html.j2", folder / "index.html", tasks=values)
            for rows in tasks:
                _build_task(made, rows, folder / rows.task.id, report)
    return out / "index.html"


def _check_target(out: Path, results: Sequence[Path]) -> None:
    """Refuse to replace what is not a site, or a folder that holds the results."""
    inside = [path for path in results if path.resolve().is_relative_to(out)]
    ours = out.is_dir() and ((out / MARKER).is_file() or not any(out.iterdir()))
    if inside or (out.exists() and not ours):
        got = f"a folder that holds {inside[0]}" if inside else "something else that is there"
        raise InputError(
            Problem(
                str(out), "a new folder, an empty one or an earlier site (it is replaced)", got,
                "Choose another folder with --out.",
            )
        )  # fmt: skip


def _write_assets(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ASSETS:
        text = (resources.files("leaderboard") / "templates" / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")


def _build_task(made: Environment, rows: TaskRows, folder: Path, report: Report) -> None:
    """All pages of one task below `folder`."""
    task = rows.task
    _write_assets(folder)
    boards = make_boards(rows)
    shared: dict[str, Any] = {"task": task, "data_hash": rows.data_hash, "boards": boards}
    (folder / "plots").mkdir()
    for done, board in enumerate(boards, start=1):
        write_scatter(folder / "plots" / f"{board.slug}.svg", board)
        report(done, len(boards), "plots")
    first = rows.groups[0].rows[0]
    write_page(
        made, "index.html.j2", folder / "index.html", root="", legend=legend(task),
        id_regions=task.regions_of("test_id"), ood_regions=task.regions_of("test_ood"),
        cases=first.scores.expected_cases, blocks=has_blocks(task, first),
        transfer=not all(group.card.null for group in rows.groups), mismatch=mismatch_of(rows),
        **shared,
    )  # fmt: skip
    write_exports(folder, boards, rows.data_hash, mismatch=recorded(rows))
    write_transfer(made, rows, folder, shared)
    _write_regions(made, rows, folder, shared, report)
    for done, group in enumerate(rows.groups, start=1):
        write_model(made, rows, group, folder, shared)
        report(done, len(rows.groups), "models")


def _write_regions(
    made: Environment, rows: TaskRows, folder: Path, shared: dict[str, Any], report: Report
) -> None:
    """One page a test region: those elsewhere first, each linked to its neighbours in the list."""
    task = rows.task
    ordered: list[Region] = [*task.regions_of("test_ood"), *task.regions_of("test_id")]
    neighbours = list(pairwise([None, *ordered, None]))
    for done, region in enumerate(ordered, start=1):
        write_page(
            made, "region.html.j2", folder / "regions" / f"{region.name}.html", root="../",
            region=region, split="test_id" if region.role == "train" else "test_ood",
            gallery=draw_region(rows, region, folder),
            variable=task.variable(task.primary.variable),
            previous=neighbours[done - 1][0], next=neighbours[done][1], **shared,
        )  # fmt: skip
        report(done, len(ordered), "regions")


def plot_alt(board: Board) -> str:
    """The scatter in words: the best ranked row, its two skills, and the best null's."""
    lines = [
        f"{entry.group.name}: {show(as_skill(entry.skill['test_id'].mean), 'signed')} ID, "
        f"{show(as_skill(entry.skill['test_ood'].mean), 'signed')} OOD"
        for entry in board.entries
        if entry.rank == 1 or entry.group is board.best_null
    ]
    return f"Scatter of ID skill against OOD skill for {len(board.entries)} rows. " + "; ".join(
        lines
    )
