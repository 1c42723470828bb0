"""Headlines of `scores.json` against case tables: what a row claims must be what its sums give."""

import math

from benchmark.errors import InputError, Problem
from benchmark.metrics import BOARDS, board_score
from benchmark.results import SCORES, Headline
from benchmark.skill import as_skill
from leaderboard.contrasts import between, log_scores
from leaderboard.intervals import skill_interval
from leaderboard.rows import Row, TaskRows, disagreement, same


def check_headlines(rows: TaskRows) -> None:
    """Recompute every headline from case tables; InputError names all that differ."""
    problems: list[Problem] = []
    for group in rows.groups:
        for row in group.rows:
            for headline in row.scores.headline:
                problems += _differences(rows, row, headline)
    if problems:
        raise InputError(problems)


def _differences(rows: TaskRows, row: Row, headline: Headline) -> list[Problem]:
    task, split = rows.task, headline.split
    reference_score, reference = BOARDS[headline.board]
    name = board_score(headline.board, row.scores.model.members)
    found = log_scores(task, split, headline.variable, row, name)
    against = log_scores(task, split, headline.variable, rows.reference(reference), reference_score)
    result = between(task, split, row, found, against)
    these, new = skill_interval(result.these_regions), skill_interval(result.new_regions)
    facts: list[tuple[str, float, float | None]] = [
        ("skill", as_skill(result.mean), headline.skill),
        ("median", as_skill(result.median), headline.median),
        ("worst", as_skill(result.worst[1]), headline.worst),
        *(
            (f"regions, {name}", as_skill(ratio), headline.regions.get(name))
            for name, ratio in zip(result.regions, result.log_ratios, strict=True)
        ),
    ]
    for label, mine, written in (
        ("these_regions", these, headline.these_regions),
        ("new_regions", new, headline.new_regions),
    ):
        for end in (0, 1):
            facts.append(
                (
                    f"{label}[{end}]",
                    math.nan if mine is None else mine[end],
                    None if written is None else written[end],
                )
            )
    where = f"{row.folder}/{SCORES}: headline, {headline.board}, {headline.variable}, {split}"
    return [
        disagreement(f"{where}, {what}", mine, written)
        for what, mine, written in facts
        if not same(mine, written)
    ]
