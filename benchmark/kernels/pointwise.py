"""The pointwise families of one step in one reading of its members.

Sixteen cells at a time: the formulas of `benchmark.families` run on vectors, their values go to a
small scratch array, and are added, times the cells' areas, to the sums of the cells' class.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmark.families.base import Domain, Slab
from benchmark.families.pointwise import FIELDS, PointwiseSums
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import WIDTH
from benchmark.kernels.pointwise_lanes import (
    accumulate,
    add,
    columns,
    exceeding,
    first_level,
    places,
    present,
    raise_level,
)


@njit(**OPTIONS)
def _reduce_steps(
    members, truth, bilinear, origin, area, whole, labels, uniform, intensity, thresholds,
    logarithmic, bins, first, count, kinds, sums, ranks, reliability, weighted, counts,
):  # fmt: skip
    """Reduce (T, M, N) members against (T, N) truth and bilinear, N a multiple of WIDTH.

    kinds: a tuple of K + 1 entries. Adds to zeroed arrays: sums (T, C, K + 1), the last of which
    is the weight; ranks (T, C (M + 1)^2) by (class, below, equal); reliability
    (T, J, 2 (M + 1)) by (event, exceeding members); weighted (T, J, 2); counts (2, bins), or
    (2, 0) for none: of member (first + k) mod M and of the truth, by whole-number weights
    `whole`. C classes: static ones x intensity; uniform: (N / WIDTH,) the class of all cells of a
    vector, -1 where they differ, -2 where they have no area. A member that is not finite makes
    the sums of a class so. Sums of whole numbers below 2^53 are exact: counts have no order.
    """
    size, cells = members.shape[1], members.shape[2]
    classes, table = sums.shape[1], (size + 1) * (size + 1)
    levels = np.int32(intensity.size + 1)
    accumulated = np.zeros((classes * len(kinds), WIDTH))
    chained_sums = np.zeros((3 * max(1, thresholds.size), WIDTH))
    ranking = np.zeros((4, ranks.shape[1]))
    fields = np.zeros((len(kinds), WIDTH))
    ranked = np.zeros((size, WIDTH), np.float32)
    order = np.zeros(WIDTH, np.int32)
    chained = np.zeros((2, WIDTH))
    known = np.zeros((1, WIDTH), np.float32)
    t = known[0]
    both = np.zeros((2, WIDTH))
    w, whole_w = both[0], both[1]
    group = np.zeros(WIDTH, np.int32)
    everywhere = np.zeros(WIDTH, np.int32)
    place = np.zeros((1, WIDTH), np.int32)
    skipped = np.zeros((2 + max(1, thresholds.size), WIDTH))
    tables = np.zeros((2, 2, counts.shape[1]))
    for k in range(len(members)):
        accumulated[:] = 0.0
        chained_sums[:] = 0.0
        ranking[:] = 0.0
        skipped[2:] = 0.0
        for n in range(0, cells, WIDTH):
            only = uniform[n // WIDTH]
            if only == -2:
                for m in range(size):
                    for i in range(WIDTH):
                        accumulated[3, i] += members[k, m, n + i] * 0.0
                continue
            columns(
                members[k],
                n,
                truth[k],
                bilinear[k],
                origin,
                area,
                whole,
                fields,
                ranked,
                t,
                both,
                order,
                only,
                accumulated,
                count,
            )
            if only >= 0:
                start = only * table
                for i in range(0, WIDTH, 4):
                    for lane in range(4):
                        ranking[lane, start + order[i + lane]] += w[i + lane]
            else:
                first_level(labels, n, levels, group)
                for edge in intensity:
                    raise_level(t, edge, group)
                classes_here = present(group)
                for c in range(classes):
                    if classes_here >> c & 1:
                        accumulate(fields, w, group, np.int32(c), accumulated, c, kinds)
                for i in range(WIDTH):
                    ranking[i & 3, group[i] * table + order[i]] += w[i]
            for j in range(thresholds.size):
                if exceeding(ranked, t, thresholds[j], chained, order, count):
                    accumulate(chained, w, everywhere, np.int32(0), chained_sums, j, (0, 0, 0))
                    for i in range(WIDTH):
                        reliability[k, j, order[i]] += w[i]
                else:
                    add(skipped, 2 + j, both, 0)
            if counts.shape[1] == 0:
                continue
            if places(members[k], (first + k) % size, n, place, logarithmic, bins):
                for i in range(0, WIDTH, 2):
                    for lane in range(2):
                        tables[0, lane, place[0, i + lane]] += whole_w[i + lane]
            else:
                add(skipped, 0, both, 1)
            if places(known, 0, 0, place, logarithmic, bins):
                for i in range(0, WIDTH, 2):
                    for lane in range(2):
                        tables[1, lane, place[0, i + lane]] += whole_w[i + lane]
            else:
                add(skipped, 1, both, 1)
        for c in range(classes):
            for row in range(len(kinds)):
                sums[k, c, row] = accumulated[c * len(kinds) + row].sum()
        for j in range(thresholds.size):
            reliability[k, j, 0] += skipped[2 + j].sum()
            weighted[k, j, 0] = chained_sums[3 * j].sum()
            weighted[k, j, 1] = chained_sums[3 * j + 1].sum()
        for slot in range(ranks.shape[1]):
            for lane in range(4):
                ranks[k, slot] += ranking[lane, slot]
    for field in range(2):
        if counts.shape[1] > 0:
            counts[field, 0] += skipped[field].sum()
        for b in range(counts.shape[1]):
            counts[field, b] += tables[field, 0, b] + tables[field, 1, b]


def reduce(slab: Slab) -> PointwiseSums:
    """What `benchmark.families.pointwise.reduce_slab` says."""
    domain = slab.domain
    count, size = slab.members.shape[:2]
    classes = domain.classes * (len(domain.intensity) + 1)
    kind, *bins = domain.bins.parameters
    sums = np.zeros((count, classes, len(FIELDS) + 1))
    ranks = np.zeros((count, classes * (size + 1) ** 2))
    reliability = np.zeros((count, len(domain.thresholds), 2 * (size + 1)))
    weighted = np.zeros((count, len(domain.thresholds), 2))
    counts = np.zeros((2, len(domain.bins)))
    _reduce_steps(
        _flat(slab.members, np.float32), _flat(slab.truth, np.float32),
        _flat(slab.bilinear, np.float64), *_flat_domain(domain),
        np.array(domain.intensity, np.float32), domain.thresholds.astype(np.float32),
        bool(kind), tuple(bins), slab.first,
        (0,) * size, (0,) * (len(FIELDS) + 1), sums, ranks, reliability, weighted, counts,
    )  # fmt: skip
    return PointwiseSums(
        fields=sums[..., :-1],
        weight=sums[..., -1],
        ranks=ranks.reshape(count, classes, size + 1, size + 1),
        reliability=reliability.reshape(count, len(domain.thresholds), 2, size + 1),
        weighted=weighted,
        counts=counts,
    )


def _flat(field: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """(..., cells) in whole vectors; the cells that fill the last one have no area."""
    cells = field.shape[-2] * field.shape[-1]
    rows = np.ascontiguousarray(field, dtype).reshape(*field.shape[:-2], cells)
    missing = -cells % WIDTH
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)]) if missing else rows


@lru_cache(maxsize=64)
def _flat_domain(domain: Domain) -> tuple[NDArray[Any], ...]:
    """(origin of anomalies, area, whole weights, labels, class of each vector of cells)."""
    area, labels = _flat(domain.area, np.float64), _flat(domain.labels, np.uint8)
    vectors = labels.reshape(-1, WIDTH)
    single = (vectors == vectors[:, :1]).all(axis=1) & (len(domain.intensity) == 0)
    uniform = np.where(single, vectors[:, 0].astype(np.int64), -1)
    uniform[(area.reshape(-1, WIDTH) == 0).all(axis=1)] = -2
    origin, weights = (_flat(f, np.float64) for f in (domain.anomaly_origin, domain.whole_weights))
    return origin, area, weights, labels, uniform
