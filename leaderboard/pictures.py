"""PNG and SVG files: maps of one cell a pixel, colour bars, and the scatter of ID against OOD."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from benchmark.model_card import ModelCard
from benchmark.skill import as_skill
from benchmark.task import TEST_SPLITS
from leaderboard.boards import Board, Entry

Array = NDArray[np.float64]

MAP_COLOURS, ERROR_COLOURS = "viridis", "RdBu_r"
MISSING_COLOUR = "#9a9a9a"
WORST_SHOWN = -1.0
"""Worse rows (more than twice the reference's error) stand on the edge of a plot: they do not
stretch its axes, so they move no other row."""

CONSTRAINT_COLOURS = {
    "none": "#d1495b", "soft": "#edae49", "add": "#00798c", "scaled_add": "#30638e",
    "mult": "#7a5195", "softmax": "#3a7d44", "projection": "#8a5a44", "post_hoc": "#6f58c9",
}  # fmt: skip
NULL_COLOUR = "#777777"


@dataclass(frozen=True)
class Scale:
    """A colour scale shared by all panels of a page: values beyond it take its end colours."""

    low: float
    high: float
    colours: str

    @property
    def ticks(self) -> tuple[float, ...]:
        """Five values from end to end."""
        return tuple(np.linspace(self.low, self.high, 5).tolist())


def field_scale(fields: Sequence[Array]) -> Scale:
    """From the smallest to the largest value of the given fields."""
    values = np.concatenate([field.ravel() for field in fields])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return Scale(low, high if high > low else low + 1.0, MAP_COLOURS)


def error_scale(errors: Sequence[Array]) -> Scale:
    """Symmetric, to the 99th percentile of the given errors, rounded up to two digits."""
    limit = float(np.nanquantile(abs(np.concatenate([x.ravel() for x in errors])), 0.99))
    if not limit > 0:
        return Scale(-1.0, 1.0, ERROR_COLOURS)
    unit = 10.0 ** (math.floor(math.log10(limit)) - 1)
    limit = math.ceil(limit / unit) * unit
    return Scale(-limit, limit, ERROR_COLOURS)


def write_map(path: Path, field: Array, scale: Scale) -> None:
    """One pixel a cell, the first row on top (north, or the top of a map); missing cells grey."""
    colours = mpl.colormaps[scale.colours].with_extremes(bad=MISSING_COLOUR)
    norm = Normalize(scale.low, scale.high)
    _write_png(path, colours(norm(np.ma.masked_invalid(field)), bytes=True))


def write_colour_bar(path: Path, scale: Scale) -> None:
    """256 x 1 pixels from low to high."""
    _write_png(path, mpl.colormaps[scale.colours](np.arange(256)[None], bytes=True))


def _write_png(path: Path, colours: NDArray[np.uint8]) -> None:
    # In place of the version of matplotlib: the same numbers give the same bytes.
    imsave(path, colours[..., :3], format="png", metadata={"Software": "Elsewhere"})


def write_scatter(path: Path, board: Board) -> None:
    """ID skill against OOD skill of every row with both, as SVG without dates or random ids.

    The axes span the rows that are not worse than `WORST_SHOWN`; those stand on the edge. Rows of
    a source set of their own are left out: the ID regions are not their own.
    """
    with mpl.rc_context(svg_style(f"{board.task.id} {board.slug}")):
        figure = Figure(figsize=(7.2, 4.6))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        # Margins by hand: a layout engine makes room for the marks on the edge.
        figure.subplots_adjust(left=0.12, right=0.69, bottom=0.11, top=0.97)
        low, high = _span(board)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.axline((0, 0), slope=1, color="#999999", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.axhline(0, color="#cccccc", linewidth=0.7, zorder=0)
        axes.axvline(0, color="#cccccc", linewidth=0.7, zorder=0)
        for entry in board.entries:
            point = _point(entry)
            if point is not None:
                axes.plot(*np.clip(point, low, high), **_mark(entry.group.card), clip_on=False)
        _name_nulls(axes, board)
        axes.set_xlabel("skill in distribution (ID)")
        axes.set_ylabel("skill out of distribution (OOD)")
        axes.legend(
            handles=_legend(board), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False
        )
        save_svg(figure, path)


def svg_style(salt: str) -> dict[Any, Any]:
    """How plots look; salt: what tells this plot's ids from those of others."""
    return {
        "svg.hashsalt": salt,
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def save_svg(figure: Figure, path: Path) -> None:
    """Without the date and the version of matplotlib: the same numbers give the same bytes."""
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _point(entry: Entry) -> Array | None:
    """(ID, OOD) skill; None where one is missing, or the ID regions are not all trained on."""
    if entry.group.card.sources or entry.group.card.target_only:
        return None
    skills = [as_skill(entry.skill[split].mean) for split in TEST_SPLITS]
    return None if any(math.isnan(skill) for skill in skills) else np.array(skills)


def _span(board: Board) -> tuple[Array, Array]:
    """The ends of both axes: all rows within the edge, and 0, with 8 % to spare."""
    points = [point for entry in board.entries if (point := _point(entry)) is not None]
    inside = np.array([np.zeros(2), *(p for p in points if (p >= WORST_SHOWN).all())])
    low, high = inside.min(axis=0), inside.max(axis=0)
    spare = np.where(high > low, 0.08 * (high - low), 0.05)
    return low - spare, high + spare


def _mark(card: ModelCard) -> dict[str, Any]:
    if card.null:
        return {"marker": "s", "color": NULL_COLOUR, "markersize": 5, "linestyle": "none"}
    colour = CONSTRAINT_COLOURS[card.constraint]
    return {
        "marker": "^" if card.skip else "o",
        "markerfacecolor": "white" if card.regime == "oracle" else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.5,
        "markersize": 7,
        "linestyle": "none",
    }


def _name_nulls(axes: Axes, board: Board) -> None:
    """Names beside the nulls, towards the middle; nulls on one point share a label."""
    names: dict[tuple[float, float], list[str]] = {}
    low, high = _span(board)
    middle = (low[0] + high[0]) / 2
    for entry in board.entries:
        point = _point(entry)
        if entry.group.card.null and point is not None:
            place = np.clip(point, low, high)
            names.setdefault((float(place[0]), float(place[1])), []).append(entry.group.card.model)
    for mark, models in names.items():
        right = mark[0] > middle
        axes.annotate(
            ", ".join(models), mark, xytext=(-6 if right else 6, -2.5), fontsize=7,
            textcoords="offset points", ha="right" if right else "left", color="#555555",
        )  # fmt: skip


def _legend(board: Board) -> list[Line2D]:
    cards = [entry.group.card for entry in board.entries]
    trained = [card for card in cards if not card.null]
    used = {card.constraint for card in trained}
    dark = "#444444"

    def handle(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, linestyle="none", **style)

    handles = [handle(f"constraint: {name}", marker="o", color=colour)
               for name, colour in CONSTRAINT_COLOURS.items() if name in used]  # fmt: skip
    if any(card.skip for card in trained):
        handles += [
            handle("without skip", marker="o", color=dark),
            handle("with skip", marker="^", color=dark),
        ]
    if any(card.regime == "oracle" for card in trained):
        handles.append(
            handle("oracle (hollow)", marker="o", markerfacecolor="white", markeredgecolor=dark)
        )
    handles.append(handle("null", marker="s", color=NULL_COLOUR))
    handles.append(
        Line2D([], [], color="#999999", linestyle=(0, (4, 3)), label="1:1 (no loss elsewhere)")
    )
    return handles
