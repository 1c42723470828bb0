"""What a region's page shows: maps on common colour scales and the scores of every row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.grid import region_grid
from benchmark.region import Region
from benchmark.sample_fields import read_sample
from leaderboard.pictures import (
    Array,
    Scale,
    error_scale,
    field_scale,
    write_colour_bar,
    write_map,
)
from leaderboard.ranks import SECTIONS, section_of
from leaderboard.rows import Group, TaskRows

SHOWN = ("null", "zero_shot")
"""Sections whose predictions are drawn."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Prediction and error of one row, as file names; rms of the error over scored cells."""

    group: Group
    prediction: str
    error: str
    rms: float


@dataclass(frozen=True, eq=False)
class Gallery:
    """The maps of one region. inset: the unscored margin as a share of (height, width)."""

    folder: str
    time: str
    units: str
    fields: Scale
    errors: Scale
    panels: tuple[Panel, ...]
    inset: tuple[float, float]


def draw_region(rows: TaskRows, region: Region, site: Path) -> Gallery:
    """Write the maps of a region below `site/regions/NAME/`.

    The lowest seed of each null and zero-shot row. Fields share the range of truth and coarse
    input; errors that of the nulls, so that no trained row changes how the others look.
    Errors: InputError where a row's sample is absent or shows other fields than the first row's.
    """
    folder = site / "regions" / region.name
    folder.mkdir(parents=True)
    order = [key for key, _, _ in SECTIONS]
    groups = sorted(
        (g for g in rows.groups if section_of(g.card) in SHOWN),
        key=lambda g: (order.index(section_of(g.card)), g.slug),
    )
    samples = {g.slug: read_sample(g.rows[0].sample, region.name) for g in groups}
    first = samples[groups[0].slug]
    for group in groups:
        _check_same(group, samples[group.slug], first, rows)
    coarse, truth = _values(first, "coarse"), _values(first, "truth")
    errors = {g.slug: _values(samples[g.slug], "prediction") - truth for g in groups}
    fields = field_scale([coarse, truth])
    error = error_scale([errors[group.slug] for group in groups if group.card.null])
    write_map(folder / "coarse.png", coarse, fields)
    write_map(folder / "truth.png", truth, fields)
    write_colour_bar(folder / "field-scale.png", fields)
    write_colour_bar(folder / "error-scale.png", error)
    for group in groups:
        prediction = _values(samples[group.slug], "prediction")
        write_map(folder / f"{group.slug}.png", prediction, fields)
        write_map(folder / f"{group.slug}-error.png", errors[group.slug], error)
    margin, grid = rows.task.margin, region_grid(rows.task, region)
    return Gallery(
        folder=region.name,
        time=str(first.attrs["time"]),
        units=str(first.attrs["units"]),
        fields=fields,
        errors=error,
        panels=tuple(
            Panel(
                group=g,
                prediction=f"{g.slug}.png",
                error=f"{g.slug}-error.png",
                rms=_rms(grid.crop_fine(errors[g.slug]).astype(np.float64)),
            )
            for g in groups
        ),
        inset=(margin / coarse.shape[0], margin / coarse.shape[1]),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.nanmean(values**2)))


def _values(sample: xr.Dataset, name: str) -> Array:
    return np.asarray(sample[name].values, dtype=np.float64)


def _check_same(group: Group, sample: xr.Dataset, first: xr.Dataset, rows: TaskRows) -> None:
    """Maps side by side must be of one time, variable and truth."""
    expected = {"time": first.attrs["time"], "variable": rows.task.primary.variable}
    got = {name: sample.attrs.get(name) for name in expected}
    for name in ("coarse", "truth"):
        expected[name], got[name] = (
            True,
            np.array_equal(_values(sample, name), _values(first, name), equal_nan=True),
        )
    if got != expected:
        raise InputError(
            Problem(
                str(group.rows[0].sample), f"a sample that agrees with the other rows: {expected}",
                str(got), "Score the model again on the same pair store.",
            )
        )  # fmt: skip
