"""From a displayed number back to the sums, weights, cases and hashes that made it.

Three kinds of numbers: one metric of one seed in one region (`explain_one`), a mean over regions
and seeds (`explain_means`), and a comparison of two rows (`explain_ratio`).
"""

from pathlib import Path

from benchmark.errors import InputError, Problem
from benchmark.explain_means import Mean, explain_mean
from benchmark.explain_one import Explanation, check_name, explain_one
from benchmark.explain_ratio import COMPARED, Ratio, explain_ratio
from benchmark.explain_rows import ScoredRow, find_row
from benchmark.metrics import METRICS
from benchmark.task import TEST_SPLITS, Split
from benchmark.toml_model import nearest

__all__ = ["Explanation", "Mean", "Ratio", "explain"]

SPLITS: dict[str, tuple[Split, ...]] = {split: (split,) for split in TEST_SPLITS} | {
    "test": TEST_SPLITS
}
"""Names that stand for several regions; `test` for all of them."""


def explain(
    where: Path,
    name: str,
    place: str,
    *,
    variable: str | None = None,
    stratum: str = "all",
    against: str | None = None,
    board: str | None = None,
) -> Explanation | Mean | Ratio:
    """Explain a number of a row.

    where: a score folder (or its scores.json), or a folder with several seeds; name: a metric, its
    entry as in `csi[>= 1 mm h-1]`, or `skill`, `gap`, `regret`; place: a region, or `test_id`,
    `test_ood`, `test`; variable: the task's primary one by default; stratum: or a local season;
    against: another row, for the ratio of the two; board: for skill, gap and regret.
    One seed in one region is an `Explanation`; several are a `Mean` as boards have it; what
    compares two rows is a `Ratio`.
    Errors: InputError on an unknown row, metric, place, variable or stratum, with the nearest that
    is known; where the case table is not the one that the scores came from.
    """
    if (base := name.partition("[")[0]) not in (*METRICS, *COMPARED):
        fix = nearest(base, [*METRICS, *COMPARED])
        raise InputError(Problem(f"metric {name!r}", "a known metric", "this", fix))
    row = find_row(where)
    variable = variable or row.task.primary.variable
    regions = _regions(row, place)
    if name in COMPARED or against is not None:
        return explain_ratio(
            row, name, regions, place=place, variable=variable, stratum=stratum, against=against,
            board=board,
        )  # fmt: skip
    if board is not None:
        fix = f"Leave it out: it is for {', '.join(COMPARED)}."
        raise InputError(Problem("--board", "none with a metric", board, fix))
    if len(row.seeds) == len(regions) == 1:
        return explain_one(row.seeds[0], name, regions[0], variable=variable, stratum=stratum)
    return explain_mean(row, name, regions, place=place, variable=variable, stratum=stratum)


def _regions(row: ScoredRow, place: str) -> list[str]:
    """The regions that a place stands for."""
    if place in SPLITS:
        return [region.name for region in row.task.regions_of(*SPLITS[place])]
    known = [str(name) for name in row.seeds[0].totals["region"].values]
    check_name("region", place, [*known, *SPLITS])
    return [place]
