"""All statistics that a case table keeps, and the weights that divide them."""

from benchmark.families import (
    block_means,
    conservation,
    distribution,
    ensemble,
    events,
    moments,
    whole_field,
)
from benchmark.families.base import Statistic

WEIGHTS = {
    "cell": Statistic("weight", "moments", "area of cells with a truth, m2", strata=True),
    "climate": Statistic("climate_weight", "moments", "weight; 0 without a climatology",
                         strata=True),
    "block": Statistic("block_weight", "conservation", "area of coarse blocks, m2"),
    "whole_block": Statistic("whole_block_weight", "conservation",
                             "area of coarse blocks whose truth is complete, m2"),
    "scale": Statistic("scale_weight", "ensemble", "area of whole block means, m2",
                       dims=("scale",)),
    "image": Statistic("images", "structure", "steps whose truth is complete"),
    "large_image": Statistic("large_images", "structure", "the same, where MS-SSIM fits"),
    "orbit2": Statistic("orbit2_images", "extremes", "steps with ORBIT-2's scores"),
    "wassdiff": Statistic("wassdiff_images", "extremes", "steps with WassDiff's scores"),
    "ralsd": Statistic("ralsd_images", "extremes", "steps with a RALSD"),
    "pair": Statistic("structure_pairs", "spectrum", "pairs of cells with a truth",
                      dims=("axis", "lag"), keep="period"),
}  # fmt: skip
"""{kind: weight}: what a `Statistic.weight` of that kind is divided by."""

FAMILIES = (moments, ensemble, block_means, events, distribution, conservation, whole_field)

STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (*WEIGHTS.values(), *(s for family in FAMILIES for s in family.STATISTICS))
}


def weight_of(name: str) -> str | None:
    """The name of the weight that divides a statistic; None where none does."""
    kind = STATISTICS[name].weight
    return WEIGHTS[kind].name if kind in WEIGHTS else None
