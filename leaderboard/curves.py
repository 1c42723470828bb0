"""The two curves of a model's page: skill by block size, and power by wavelength.

Missing is NaN, as in the tables: a mean over regions of which one has no value is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.families.block_means import SCALES
from benchmark.metrics import board_score
from benchmark.skill import as_skill
from benchmark.task import TEST_SPLITS, Split, Task
from leaderboard.contrasts import Array, region_names, score
from leaderboard.rows import Group, Row, TaskRows


@dataclass(frozen=True)
class BlockSkill:
    """Skill of the CRPS of means over blocks of `cells` x `cells`; null: the row it is over."""

    cells: int
    km: float
    skill: float
    null: str


@dataclass(frozen=True, eq=False)
class PowerRatio:
    """P_x / P_t at each wavelength, long ones first: (n,) each."""

    wavelength_km: Array
    ratio: Array


@dataclass(frozen=True, eq=False)
class Curves:
    """Both curves of one variable by split."""

    variable: str
    title: str
    scales: dict[Split, tuple[BlockSkill, ...]]
    spectra: dict[Split, PowerRatio]

    @property
    def trust_km(self) -> dict[Split, float]:
        """The distance down to which the row adds value, by split."""
        return {split: trusted_down_to(points) for split, points in self.scales.items()}

    @property
    def has_scales(self) -> bool:
        """Whether there is any skill to draw."""
        return any(np.isfinite(p.skill) for points in self.scales.values() for p in points)

    @property
    def has_spectra(self) -> bool:
        """Whether there is any ratio to draw."""
        return any(np.isfinite(found.ratio).any() for found in self.spectra.values())


def curves_of(rows: TaskRows, group: Group, variable: str, title: str) -> Curves:
    """Both curves of a row for one variable, ID and OOD."""
    return Curves(
        variable=variable,
        title=title,
        scales={split: scale_of_trust(rows, group, variable, split) for split in TEST_SPLITS},
        spectra={split: power_ratio(rows.task, group, variable, split) for split in TEST_SPLITS},
    )


def scale_of_trust(
    rows: TaskRows, group: Group, variable: str, split: Split
) -> tuple[BlockSkill, ...]:
    """1 - exp(mean over regions of ln(S_n / S_n of the best null)) for blocks of n fine cells.

    S_1 is the CRPS (fair), S_n that of block means; ln S is averaged over seeds. The best null is
    found for each n and split apart: the lowest mean of ln S over the regions, so that no null is
    ahead of the one that is shown. km: n times the root of the mean cell's area, mean over
    regions. Stratified members have no curve: block means have no ecdf form.
    """
    regions = region_names(rows.task, split)
    first = group.rows[0]
    cell_km = float(first.cases["cell_km"].sel(region=list(regions)).mean())
    points = []
    for cells in (1, *SCALES):
        others = {null.slug: _log_scores(null, variable, cells, regions) for null in rows.nulls}
        known = {slug: found for slug, found in others.items() if not np.isnan(found.mean())}
        best = min(known, key=lambda slug: (known[slug].mean(), slug), default="")
        mine = _log_scores(group, variable, cells, regions)
        with np.errstate(invalid="ignore"):
            ratio = float((mine - known[best]).mean()) if best else np.nan
        points.append(BlockSkill(cells, cells * cell_km, as_skill(ratio), best))
    return tuple(points)


def trusted_down_to(points: Sequence[BlockSkill]) -> float:
    """The distance in km down to which a row adds value: one of the computed block sizes.

    The smallest size with skill > 0 there and at every larger size. Nothing is claimed between
    sizes, and a good fine scale below a bad coarse one counts for nothing. NaN where there is
    none: at no scale, or unknown (see `has_trust`). A size that no null has a score at (no region
    holds such a block) is left out.
    """
    if not has_trust(points):
        return np.nan
    trusted = np.nan
    for point in sorted(points, key=lambda point: point.cells, reverse=True):
        if point.skill <= 0:
            break
        if point.null:
            trusted = point.km
    return trusted


def has_trust(points: Sequence[BlockSkill]) -> bool:
    """Whether the curve says anything: two sizes at least, and none where only the row has none."""
    compared = [point for point in points if point.null]
    return len(compared) > 1 and not any(np.isnan(point.skill) for point in compared)


def trust_km(rows: TaskRows, group: Group, variable: str, split: Split) -> float:
    """`trusted_down_to` of a row's scale of trust for one variable and split."""
    return trusted_down_to(scale_of_trust(rows, group, variable, split))


def _log_scores(group: Group, variable: str, cells: int, regions: Sequence[str]) -> Array:
    """(region,) mean over seeds of ln S."""
    name = _score_name(group, cells)
    if group.card.members == "stratified" or name not in group.rows[0].numbers[variable]:
        return np.full(len(regions), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(score(row, name, variable, regions)) for row in group.rows]
    return np.asarray(np.mean(logs, axis=0))


def _score_name(group: Group, cells: int) -> str:
    """The CRPS of means over so many cells a side."""
    if cells == 1:
        return board_score("probabilistic", group.card.members)
    return f"block_crps[{cells} cells]"


def power_ratio(task: Task, group: Group, variable: str, split: Split) -> PowerRatio:
    """exp(mean over regions and seeds of ln(P_x / P_t)) of the period's mean spectra.

    Rings of regions differ in km, so ln(P_x / P_t) is interpolated linearly in ln k to wavenumbers
    that all regions of the split resolve, as many as the fewest rings. NaN where a region has no
    power, in x or t.
    """
    regions = region_names(task, split)
    wavenumbers = [_wavenumbers(group.rows[0], region) for region in regions]
    k = np.linspace(
        max(own[0] for own in wavenumbers),
        min(own[-1] for own in wavenumbers),
        min(len(own) for own in wavenumbers),
    )
    logs = [
        np.interp(np.log(k), np.log(own), _log_ratio(row, variable, region, len(own)))
        for row in group.rows
        for region, own in zip(regions, wavenumbers, strict=True)
    ]
    return PowerRatio(1 / k, np.exp(np.mean(logs, axis=0)))


def _wavenumbers(row: Row, region: str) -> Array:
    values = row.spectra["wavenumber"].values[row.regions.index(region)]
    return np.asarray(values[np.isfinite(values)])


def _log_ratio(row: Row, variable: str, region: str, rings: int) -> Array:
    place = list(row.numbers).index(variable), row.regions.index(region)
    p, t = (row.spectra[name].values[place][:rings] for name in ("power_p", "power_t"))
    known = (p > 0) & (t > 0)
    return np.asarray(np.log(np.divide(p, t, where=known, out=np.full(rings, np.nan))))


def scale_frame(rows: TaskRows, group: Group, curves: Sequence[Curves]) -> pd.DataFrame:
    """One line a point of the scale-of-trust curves; `trust_km` is one number a curve.

    explain: the command that takes a point back to its sums, in the folder with the results.
    """
    places = {null.slug: null.place for null in rows.nulls}

    def command(one: Curves, split: Split, point: BlockSkill) -> str:
        if not point.null:
            return ""
        score = _score_name(group, point.cells)
        return (
            f"elsewhere explain {group.place} '{score}' {split} --variable {one.variable} "
            f"--against {places[point.null]}"
        )

    return pd.DataFrame(
        [
            {
                "variable": one.variable, "split": split, "block_cells": point.cells,
                "block_km": point.km, "skill": point.skill, "best_null": point.null,
                "trust_km": one.trust_km[split], "explain": command(one, split, point),
            }
            for one in curves
            for split, points in one.scales.items()
            for point in points
        ]
    )  # fmt: skip


def spectra_frame(curves: Sequence[Curves]) -> pd.DataFrame:
    """One line a point of the power ratios."""
    return pd.DataFrame(
        [
            {"variable": one.variable, "split": split, "wavelength_km": km, "power_ratio": ratio}
            for one in curves
            for split, found in one.spectra.items()
            for km, ratio in zip(found.wavelength_km, found.ratio, strict=True)
        ]
    )
