"""All statistics of single cells, in one reading of the members: moments, ensemble, events,
distribution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.engine import compiled
from benchmark.families import distribution, ensemble, events, moments
from benchmark.families.base import Array, Domain, Field, Slab, Sums
from benchmark.families.ensemble import mean
from benchmark.families.lanes import ArrayOps, rank
from benchmark.strata import over_strata

FIELDS = (*moments.FORMULAS, *ensemble.FORMULAS)
"""The statistics with one value a cell, in the order that both engines keep them in."""

_OPS = ArrayOps()


@dataclass(frozen=True)
class PointwiseSums:
    """Area-weighted sums of T steps by class: C static classes times classes of the truth.

    fields: (T, C, len(FIELDS)); weight: (T, C); ranks: (T, C, M + 1, M + 1) weight by (members
    below the truth, members equal to it); reliability: (T, J, 2, M + 1) weight by (truth reaches
    the threshold, members that do); weighted: (T, J, 2) of the threshold-weighted CRPS; counts:
    (2, bins), all steps together: of one member a step and of the truth, by whole-number weights.
    """

    fields: Array
    weight: Array
    ranks: Array
    reliability: Array
    weighted: Array
    counts: Array


def reduce(slab: Slab) -> tuple[Sums, Sums]:
    """(sums of each step, counts of the slab); a cell without a truth counts nowhere.

    Sums of a class become sums of the strata that it belongs to.
    """
    if compiled():
        from benchmark.kernels import pointwise

        found = pointwise.reduce(slab)
    else:
        found = reduce_slab(slab)
    domain, size = slab.domain, slab.members.shape[1]
    ranks = found.ranks.reshape(*found.ranks.shape[:2], -1)
    by_class = np.concatenate([found.fields, found.weight[..., None], ranks], axis=-1)
    by_stratum = over_strata(by_class, domain.classes, len(domain.intensity) + 1)
    sums = {name: by_stratum[..., k] for k, name in enumerate(FIELDS)}
    sums["weight"] = by_stratum[..., len(FIELDS)]
    sums["climate_weight"] = sums["weight"] * domain.has_climatology
    # einsum, not a matrix product: the order of additions must not depend on the number of steps.
    joint = by_stratum[..., len(FIELDS) + 1 :]
    sums["rank_weight"] = np.einsum("tsj,jr->tsr", joint, rank_shares(size))
    sums |= events.from_tables(found.reliability, found.weighted)
    sums |= distribution.of_truth(slab)
    return sums, distribution.from_counts(found.counts)


def reduce_slab(slab: Slab) -> PointwiseSums:
    """The sums with numpy, step by step: every formula on arrays of all cells at once."""
    steps = [_reduce_step(slab, k) for k in range(len(slab.truth))]
    return PointwiseSums(
        **{
            name: np.stack([getattr(step, name) for step in steps])
            for name in ("fields", "weight", "ranks", "reliability", "weighted")
        },
        counts=np.sum([step.counts for step in steps], axis=0),
    )


def _reduce_step(slab: Slab, k: int) -> PointwiseSums:
    domain = slab.domain
    members = list(slab.members[k].reshape(slab.members.shape[1], -1))
    truth = slab.truth[k].ravel()
    valid = np.isfinite(truth)
    t = np.where(valid, truth, np.float32(0))
    weights = np.where(valid, domain.area.ravel(), 0.0)
    ranked = rank(members, _OPS)
    p, wide = mean([_OPS.wide(member) for member in members]), _OPS.wide(t)
    values = moments.moments(p, wide, slab.bilinear[k].ravel(), domain.anomaly_origin.ravel())
    values |= ensemble.ensemble(members, ranked, p, wide, _OPS)
    below, ties = ensemble.ties_and_below(members, t, _OPS)
    total = _by_class(domain, t)
    cells = (len(members) + 1) ** 2
    ranks = [np.bincount(below * (len(members) + 1) + ties, w, cells) for w in total(weights)]
    return PointwiseSums(
        fields=np.stack([total(weights * value).sum(axis=1) for value in values.values()], axis=1),
        weight=total(weights).sum(axis=1),
        ranks=np.stack(ranks).astype(np.float64).reshape(-1, len(members) + 1, len(members) + 1),
        reliability=_reliability(domain, members, t, weights),
        weighted=_weighted(domain, ranked, t, weights),
        counts=_counts(domain, slab.one_member[k].ravel(), t, valid),
    )


def _by_class(domain: Domain, t: Field) -> Callable[[Array], Array]:
    """A function from values (cells,) to (C, cells), 0 outside the class."""
    edges = np.array(domain.intensity, np.float32)
    levels = np.searchsorted(edges, t, side="right")
    group = domain.labels.ravel().astype(np.int64) * (len(edges) + 1) + levels
    members = group == np.arange(domain.classes * (len(edges) + 1))[:, None]
    return lambda values: np.where(members, values, 0.0)


def _reliability(domain: Domain, members: list[Field], t: Field, weights: Array) -> Array:
    size = len(members) + 1
    tables = np.zeros((len(domain.thresholds), 2, size))
    for j, u in enumerate(domain.thresholds.astype(np.float32)):
        exceeding = _OPS.count([member >= u for member in members])
        place = (t >= u) * size + exceeding
        tables[j] = np.bincount(place, weights, 2 * size).reshape(2, size)
    return tables


def _weighted(domain: Domain, ranked: list[Field], t: Field, weights: Array) -> Array:
    pairs = [
        events.threshold_weighted(ranked, t, u, _OPS) if np.isfinite(u) else (t * 0.0, t * 0.0)
        for u in domain.thresholds.astype(np.float32)
    ]
    sums = [[(weights * value).sum() for value in pair] for pair in pairs]
    return np.asarray(sums, dtype=np.float64).reshape(-1, 2)


def _counts(domain: Domain, member: Field, t: Field, valid: NDArray[np.bool_]) -> Array:
    bins = domain.bins
    weights = np.where(valid, domain.whole_weights.ravel(), 0.0)
    # A member that is not finite is refused by its sums; it has no bin.
    fields = (np.where(np.isfinite(member), member, np.float32(0)), t)
    counted = [np.bincount(bins.index(field), weights, len(bins)) for field in fields]
    return np.asarray(counted, np.float64)


@lru_cache(maxsize=16)
def rank_shares(size: int) -> Array:
    """((M + 1)^2, M + 1) share of each rank for a truth with `below` members below and `ties` equal
    to it: spread evenly over the ties + 1 ranks that it could have.
    """
    shares = np.zeros((size + 1, size + 1, size + 1))
    for below in range(size + 1):
        for ties in range(size + 1 - below):
            shares[below, ties, below : below + ties + 1] = 1 / (ties + 1)
    return shares.reshape(-1, size + 1)
