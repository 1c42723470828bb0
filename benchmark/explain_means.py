"""A mean over seeds and regions, as boards and region pages show it, with all that it is of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.explain_one import Explanation, explain_one
from benchmark.explain_rows import ScoredRow
from benchmark.metrics import metric

Array = NDArray[np.float64]
How = Literal["geometric", "arithmetic", "largest"]

GEOMETRIC = ("rmse", "crps_fair", "crps_ecdf", "variance_ratio", "effective_resolution")
LARGEST = ("residual_ulps",)
FORMULAS: dict[How, str] = {
    "geometric": "exp(mean over regions and seeds, equal weight, of ln v)",
    "arithmetic": "mean over regions and seeds, equal weight, of v",
    "largest": "the largest v of all regions and seeds that have one",
}
"""v is the metric of one seed in one region. A mean is missing where one v is."""


@dataclass(frozen=True)
class Mean:
    """A metric over several regions or seeds. seeds: {seed: {region: what v is made of}}."""

    entry: str
    title: str
    variable: str
    place: str
    stratum: str
    unit: str
    how: How
    formula: str
    value: float | None
    regions: tuple[str, ...]
    seeds: dict[int, dict[str, Explanation]]


def how_of(name: str) -> How:
    """How boards fold a metric; those that stand on no board are averaged plainly."""
    base = metric(name).name
    if base in GEOMETRIC:
        return "geometric"
    return "largest" if base in LARGEST else "arithmetic"


def explain_mean(
    row: ScoredRow,
    name: str,
    regions: Sequence[str],
    *,
    place: str,
    variable: str,
    stratum: str = "all",
) -> Mean:
    """A metric's entry over regions and all seeds of a row; errors as for `explain_one`."""
    seeds = by_seed(row, name, regions, variable=variable, stratum=stratum)
    every = [one for regions_of in seeds.values() for one in regions_of.values()]
    first = every[0]
    how = how_of(name)
    return Mean(
        entry=name,
        title=first.metric.title,
        variable=variable,
        place=place,
        stratum=stratum,
        unit=first.unit,
        how=how,
        formula=FORMULAS[how],
        value=None if any(one.lacks for one in every) else _folded(values_of(seeds), how),
        regions=tuple(regions),
        seeds=seeds,
    )


def by_seed(
    row: ScoredRow, name: str, regions: Sequence[str], *, variable: str, stratum: str
) -> dict[int, dict[str, Explanation]]:
    """Each seed in each region."""
    return {
        seed.scores.model.seed: {
            region: explain_one(seed, name, region, variable=variable, stratum=stratum)
            for region in regions
        }
        for seed in row.seeds
    }


def values_of(seeds: Mapping[int, Mapping[str, Explanation]]) -> Array:
    """(seed, region) values; NaN where one is missing."""
    found = [
        [np.nan if one.value is None else one.value for one in regions.values()]
        for regions in seeds.values()
    ]
    return np.array(found, dtype=np.float64)


def _folded(values: Array, how: How) -> float | None:
    known = values[np.isfinite(values)]
    if known.size == 0 or (known.size < values.size and how != "largest"):
        return None
    if how == "largest":
        return float(known.max())
    if how == "arithmetic":
        return float(known.mean())
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(known).mean()))
