"""What ranks: the place of each row in its section, its rank group, and what can be told apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from benchmark.confidence_set import rank_groups
from benchmark.inference import StandardError
from benchmark.model_card import ModelCard
from benchmark.skill import as_skill, draws_of
from leaderboard.contrasts import BoardLogs
from leaderboard.rows import Group

SECTIONS: tuple[tuple[str, str, bool], ...] = (
    ("null", "Nulls: need no training, pinned", False),
    ("zero_shot", "Zero-shot: nothing seen of the target regions", True),
    ("target_inputs", "Target inputs seen: ranked apart", True),
    ("few_shot", "Few-shot: the task's labelled target days seen, ranked apart", True),
    ("oracle", "Oracle: trained on the target regions too; a reference, not ranked", False),
    ("sources", "Other source sets: trained on fewer regions; compared, not ranked", False),
    ("exposed-zero_shot", "Exposed by pretraining, zero-shot: ranked apart", True),
    ("exposed-target_inputs", "Exposed by pretraining, target inputs: ranked apart", True),
    ("exposed-few_shot", "Exposed by pretraining, few-shot: ranked apart", True),
    ("exposed-oracle", "Exposed by pretraining, oracle: a reference, not ranked", False),
)
"""(key, heading, ranked) of each section of a table, in order; empty ones are left out."""

DIVERGED = -1.0
"""Rows of less skill, with twice the reference's error, are grouped among themselves, behind the
others, and are in no pair of `Resolvable`: a row that diverged changes nothing between others."""

RANKED = {key for key, _, ranked in SECTIONS if ranked}


@dataclass(frozen=True)
class Standing:
    """rank: within the section, by mean OOD skill, None where nothing ranks; group: of rows that
    cannot be told apart, None where the days hold too few blocks."""

    rank: int | None
    group: int | None
    skill: float


@dataclass(frozen=True)
class Resolvable:
    """The smallest log-ratio of two rows that each claim can tell from 0, the median over pairs.

    None where a claim cannot be made, or fewer than two rows are ranked together.
    """

    days: float | None
    regions: float | None


def section_of(card: ModelCard) -> str:
    """Which section a row stands in: regimes, exposed models and source sets are never mixed."""
    if card.null:
        return "null"
    if card.sources or card.target_only:
        return "sources"
    return card.regime if card.exposure == "none" else f"exposed-{card.regime}"


def standings(logs: BoardLogs) -> dict[str, Standing]:
    """The place of each row on the primary board; a row without a finite score has none."""
    found: dict[str, Standing] = {}
    for section, members in _by_section(logs).items():
        skills = {g.slug: as_skill(logs.skill(g.slug, "test_ood").mean) for g in members}
        known = [slug for slug, skill in skills.items() if math.isfinite(skill)]
        ranked = known if section in RANKED else []
        groups = _groups(logs, [slug for slug in ranked if skills[slug] >= DIVERGED])
        behind = _groups(logs, [slug for slug in ranked if skills[slug] < DIVERGED])
        groups |= {slug: group + max(groups.values(), default=0) for slug, group in behind.items()}
        for slug, skill in skills.items():
            above = sum(skills[rival] > skill for rival in known)
            rank = 1 + above if slug in ranked else None
            found[slug] = Standing(rank, groups.get(slug), skill)
    return found


def resolvable(logs: BoardLogs) -> Resolvable:
    """What two rows of a section must differ by, OOD, to be told apart in four worlds of five."""
    days: list[StandardError | None] = []
    regions: list[StandardError | None] = []
    for section, members in _by_section(logs).items():
        if section not in RANKED:
            continue
        known = [
            logs.groups[group.slug]["test_ood"]
            for group in members
            if as_skill(logs.skill(group.slug, "test_ood").mean) >= DIVERGED
        ]
        for mine, other in combinations(known, 2):
            found = logs.between(mine, other)
            days.append(found.days_error)
            regions.append(found.regions_error)
    return Resolvable(_median(days), _median(regions))


def _by_section(logs: BoardLogs) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in logs.rows.groups:
        found.setdefault(section_of(group.card), []).append(group)
    return found


def _groups(logs: BoardLogs, slugs: list[str]) -> dict[str, int]:
    """The rank group of each row: losses are the mean over OOD regions of ln S."""
    draws = draws_of(logs.rows.task, logs.rows.groups[0].rows[0].cases)
    scores = [logs.groups[slug]["test_ood"] for slug in slugs]
    drawn = [one.resampled.mean(axis=1) for one in scores if one.resampled is not None]
    if draws is None or not drawn:
        return {}
    finite = [slug for slug, values in zip(slugs, drawn, strict=True) if np.isfinite(values).all()]
    if not finite:
        return {}
    kept = [slugs.index(slug) for slug in finite]
    losses = np.array([scores[k].points.mean() for k in kept])
    groups = rank_groups(losses, np.stack([drawn[k] for k in kept], axis=1), draws.widths)
    return dict(zip(finite, groups, strict=True))


def _median(errors: Sequence[StandardError | None]) -> float | None:
    values = [error.resolvable() for error in errors if error is not None]
    return median(values) if values else None
