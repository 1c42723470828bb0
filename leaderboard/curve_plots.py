"""SVG files of the curves on a model's page: one panel a variable, ID and OOD in each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmark.spectral_metrics import RESOLVED
from benchmark.task import Split
from leaderboard.curves import Curves
from leaderboard.pictures import WORST_SHOWN, save_svg, svg_style

SHOWN_RATIOS = (0.01, 10.0)
"""Power ratios at the edges of the plot: others stand on them."""

COLUMNS = 3
"""Panels in a row."""

LINES: dict[Split, dict[str, Any]] = {
    "test_id": {"color": "#00647a", "marker": "o", "label": "in distribution (ID)"},
    "test_ood": {"color": "#b3261e", "marker": "^", "label": "elsewhere (OOD)", "linestyle": "--"},
}
"""Told apart by mark and dash as well as by colour."""


def write_scale_of_trust(path: Path, curves: Sequence[Curves], *, salt: str) -> None:
    """Skill over the best null against block size in km; worse than -1 stands on the edge."""

    def draw(axes: Axes, one: Curves) -> None:
        axes.axhline(0, color="#999999", linewidth=0.9)
        for split, points in one.scales.items():
            skills = np.maximum([point.skill for point in points], WORST_SHOWN)
            axes.plot([point.km for point in points], skills, markersize=4, **LINES[split])
        axes.set_xlabel("block size, km")

    _write(path, curves, draw, label="skill over the best null", salt=salt)


def write_spectra(path: Path, curves: Sequence[Curves], *, salt: str) -> None:
    """P_x / P_t against wavelength in km, large scales on the left, both axes logarithmic.

    Ratios beyond `SHOWN_RATIOS` stand on the edge.
    """

    def draw(axes: Axes, one: Curves) -> None:
        axes.axhline(1, color="#999999", linewidth=0.9)
        axes.axhline(RESOLVED, color="#999999", linewidth=0.9, linestyle=":")
        for split, found in one.spectra.items():
            ratio = np.clip(found.ratio, *SHOWN_RATIOS)
            axes.plot(found.wavelength_km, ratio, markersize=2.5, **LINES[split])
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        # Wide enough that a nearly perfect spectrum looks flat and the axis has numbers.
        axes.set_ylim(min(low, 0.4), max(high, 2.1))
        _number(axes.yaxis)
        axes.set_xlabel("wavelength, km")

    _write(path, curves, draw, label="power of x over power of t", salt=salt, reverse=True)


def _write(
    path: Path,
    curves: Sequence[Curves],
    draw: Callable[[Axes, Curves], None],
    *,
    label: str,
    salt: str,
    reverse: bool = False,
) -> None:
    columns = min(COLUMNS, len(curves))
    lines = -(-len(curves) // COLUMNS)
    width, height = 0.9 + 3.3 * columns, 0.5 + 2.8 * lines
    with mpl.rc_context(svg_style(salt)):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        # Margins in inches by hand: a layout engine draws everything twice.
        figure.subplots_adjust(
            left=0.7 / width, right=1 - 0.15 / width, bottom=0.95 / height, top=1 - 0.3 / height,
            wspace=0.22, hspace=0.4,
        )  # fmt: skip
        for axes, one in zip(panels, curves, strict=False):
            draw(axes, one)
            axes.set_title(one.title, fontsize=9, loc="left")
            axes.set_xscale("log")
            _number(axes.xaxis)
            if reverse:
                axes.invert_xaxis()
        for axes in panels[len(curves) :]:
            axes.remove()
        for axes in panels[: len(curves) : columns]:
            axes.set_ylabel(label)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=2, frameon=False)
        save_svg(figure, path)


def _number(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
