"""The pointwise families of one step in one reading of its members.

Sixteen cells at a time: the formulas of `benchmark.families` run on vectors, their values go to a
small scratch array, and are added, times the cells' areas, to the sums of the cells' class.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmark.families.base import Domain, Slab
from benchmark.families.ensemble import ensemble, mean, ties_and_below
from benchmark.families.events import threshold_weighted
from benchmark.families.lanes import rank
from benchmark.families.moments import moments
from benchmark.families.pointwise import FIELDS, PointwiseSums
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import (
    BYTE,
    DOUBLE,
    FLOAT,
    INT,
    WIDTH,
    Lanes,
    Rows,
    VectorOps,
    any_of,
    reduce_or,
    splat,
)

_OPS = VectorOps()


def field_values(
    members: list[Lanes], t: Lanes, b: Lanes, c: Lanes, ops: VectorOps
) -> tuple[list[Lanes], list[Lanes]]:
    """(the fields of moments and ensemble in the order of their statistics, ranked members)."""
    ranked = rank(members, ops)
    p = mean([ops.wide(member) for member in members])
    wide = ops.wide(t)
    values = moments(p, wide, b, c) | ensemble(members, ranked, p, wide, ops)
    return list(values.values()), ranked


@intrinsic
def _columns(
    _: Any, members: Any, column: Any, truth: Any, bilinear: Any, origin: Any, area: Any,
    whole: Any, fields: Any, ranked: Any, known: Any, weights: Any, order: Any, only: Any,
    accumulated: Any, count: Any,
) -> Any:  # fmt: skip
    """Fields and ranks of WIDTH cells from `column` on; count: a tuple as long as the ensemble.

    known: the truth, 0 where it is missing; weights (2, WIDTH): the area and the whole-number
    weight, 0 where it is missing; order: the place of the cell's rank in its class's table. Where
    all cells are of the class `only`, their fields are added to its sums; where it is -1, because
    they are not, the fields are written for `_accumulate`.
    """
    signature = types.void(
        members, column, truth, bilinear, origin, area, whole, fields, ranked, known, weights,
        order, types.int64, accumulated, count,
    )  # fmt: skip

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        def rows(place: int, offset: Any = None) -> Rows:
            start = ir.Constant(ir.IntType(64), 0) if offset is None else offset
            return Rows(context, builder, (sig.args[place], args[place]), start)

        column, size = args[1], len(count)
        source = rows(0, column)
        for m in range(size):
            source.prefetch(m)
        x = [source.load(m, FLOAT) for m in range(size)]
        truth = rows(2, column).load(0, FLOAT)
        valid = truth.equals(truth)
        t = _OPS.where(valid, truth, truth.constant(0.0))
        area = rows(5, column).load(0, DOUBLE)
        b, c = (rows(place, column).load(0, DOUBLE) for place in (3, 4))
        values, ascending = field_values(x, t, b, c, _OPS)
        weight = _OPS.where(valid, area, area.constant(0.0))
        zero = ir.Constant(ir.IntType(64), 0)
        mixed = builder.icmp_signed("<", args[12], zero)
        with builder.if_else(mixed) as (then, otherwise):
            with then:
                for row, value in enumerate(values):
                    rows(7).store(row, value)
            with otherwise:
                total, size_all = rows(13), ir.Constant(ir.IntType(64), len(values) + 1)
                first = builder.mul(args[12], size_all)
                for row, value in enumerate([*(weight * value for value in values), weight]):
                    total.store(row, total.load(row, DOUBLE, first) + value, first)
        for row, value in enumerate(ascending):
            rows(8).store(row, value)
        rows(9).store(0, t)
        rows(10).store(0, weight)
        number = rows(6, column).load(0, DOUBLE)
        rows(10).store(1, _OPS.where(valid, number, number.constant(0.0)))
        below, ties = ties_and_below(x, t, _OPS)
        rows(11).store(0, below * (size + 1) + ties)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _exceeding(
    _: Any, ranked: Any, truth: Any, threshold: Any, values: Any, order: Any, count: Any
) -> Any:
    """1 where a member or the truth of WIDTH cells reaches the threshold, else 0.

    values: threshold-weighted differences; order: truth reaches * (M + 1) + members that do.
    """
    signature = types.int64(ranked, truth, threshold, values, order, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        def rows(place: int) -> Rows:
            start = ir.Constant(ir.IntType(64), 0)
            return Rows(context, builder, (sig.args[place], args[place]), start)

        size = len(count)
        u, t = splat(builder, args[2]), rows(1).load(0, FLOAT)
        highest = rows(0).load(size - 1, FLOAT)
        some = any_of(_OPS.where(highest < t, t, highest) >= u)
        with builder.if_then(builder.trunc(some, ir.IntType(1))):
            x = [rows(0).load(m, FLOAT) for m in range(size)]
            for row, value in enumerate(threshold_weighted(x, t, u, _OPS)):
                rows(3).store(row, value)
            reached = _OPS.count([t >= u]) * (size + 1)
            rows(4).store(0, reached + _OPS.count([member >= u for member in x]))
        return some

    return signature, generate


@intrinsic
def _accumulate(
    _: Any, fields: Any, weights: Any, group: Any, wanted: Any, target: Any, place: Any, count: Any
) -> Any:
    """target[place] += weights * fields, for the lanes whose group is `wanted`.

    count: a tuple as long as the fields and one more: the last row of the target sums weights.
    """
    signature = types.void(fields, weights, group, wanted, target, place, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)

        def rows(place: int) -> Rows:
            return Rows(context, builder, (sig.args[place], args[place]), start)

        inside = rows(2).load(0, INT).equals(splat(builder, args[3]))
        weights = rows(1).load(0, DOUBLE)
        masked = _OPS.where(inside, weights, weights.constant(0.0))
        size = len(count)
        total = Rows(context, builder, (sig.args[4], args[4]), start)
        first = builder.mul(args[5], ir.Constant(ir.IntType(64), size))
        for row in range(size):
            term = masked if row == size - 1 else masked * rows(0).load(row, DOUBLE)
            total.store(row, total.load(row, DOUBLE, first) + term, first)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _add(_: Any, target: Any, row: Any, source: Any, which: Any) -> Any:
    """target[row] += source[which], WIDTH numbers."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        to, of = (Rows(context, builder, (sig.args[k], args[k]), start) for k in (0, 2))
        to.store(0, to.load(0, DOUBLE, args[1]) + of.load(0, DOUBLE, args[3]), args[1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _first_level(_: Any, labels: Any, column: Any, levels: Any, group: Any) -> Any:
    """group = label * levels: the lowest class of each cell's static class."""
    signature = types.void(labels, types.intp, types.int32, group)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        label = Rows(context, builder, (sig.args[0], args[0]), args[1]).load(0, BYTE)
        wide = Lanes(builder, builder.zext(label.value, INT))
        target = Rows(context, builder, (sig.args[3], args[3]), start)
        target.store(0, wide * splat(builder, args[2]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _raise_level(_: Any, truth: Any, edge: Any, group: Any) -> Any:
    """group += 1 where the truth reaches the edge."""
    signature = types.void(truth, types.float32, group)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        t = Rows(context, builder, (sig.args[0], args[0]), start).load(0, FLOAT)
        target = Rows(context, builder, (sig.args[2], args[2]), start)
        reached = _OPS.count([t >= splat(builder, args[1])])
        target.store(0, target.load(0, INT) + reached)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _present(_: Any, group: Any) -> Any:
    """The set of classes of WIDTH cells, as the bits of a whole number."""
    signature = types.int64(group)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        classes = Rows(context, builder, (sig.args[0], args[0]), start).load(0, INT)
        bits = builder.shl(classes.constant(1).value, classes.value)
        return builder.zext(reduce_or(builder, bits), ir.IntType(64))

    return signature, generate


@intrinsic
def _places(
    _: Any, values: Any, row: Any, column: Any, places: Any, logarithmic: Any, bins: Any
) -> Any:
    """The bin of WIDTH float32 values of a row; returns 0 where all are in the dry bin, else 1.

    bins: (shift, offset, last bin, 1 / width) as of `Bins.parameters`.
    """
    signature = types.int64(values, types.intp, types.intp, places, logarithmic, bins)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        values = Rows(context, builder, (sig.args[0], args[0]), args[2])
        places = Rows(context, builder, (sig.args[3], args[3]), start)
        shift, offset, last, scale = (
            splat(builder, builder.extract_value(args[5], k)) for k in range(4)
        )
        x = values.load(0, FLOAT, args[1])
        some = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(64), 1))
        offset, last = _OPS.whole(offset), _OPS.whole(last)

        def put(found: Lanes, lowest: int) -> None:
            bottom = found.constant(lowest)
            found = _OPS.where(found < bottom, bottom, found)
            found = _OPS.where(found < last, found, last)
            places.store(0, found if lowest == 0 else _OPS.where(wet, found, found.constant(0)))

        wet = x.positive()
        with builder.if_else(builder.trunc(args[4], ir.IntType(1))) as (then, otherwise):
            with then:
                put(_OPS.leading_bits(x, _OPS.whole(shift)) - offset, 1)
                builder.store(any_of(wet), some)
            with otherwise:
                known = _OPS.where(x.equals(x), x, x.constant(0.0))
                put(_OPS.floor(_OPS.wide(known) * scale) + offset, 0)
        return builder.load(some)

    return signature, generate


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
            _columns(
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
                _first_level(labels, n, levels, group)
                for edge in intensity:
                    _raise_level(t, edge, group)
                present = _present(group)
                for c in range(classes):
                    if present >> c & 1:
                        _accumulate(fields, w, group, np.int32(c), accumulated, c, kinds)
                for i in range(WIDTH):
                    ranking[i & 3, group[i] * table + order[i]] += w[i]
            for j in range(thresholds.size):
                if _exceeding(ranked, t, thresholds[j], chained, order, count):
                    _accumulate(chained, w, everywhere, np.int32(0), chained_sums, j, (0, 0, 0))
                    for i in range(WIDTH):
                        reliability[k, j, order[i]] += w[i]
                else:
                    _add(skipped, 2 + j, both, 0)
            if counts.shape[1] == 0:
                continue
            if _places(members[k], (first + k) % size, n, place, logarithmic, bins):
                for i in range(0, WIDTH, 2):
                    for lane in range(2):
                        tables[0, lane, place[0, i + lane]] += whole_w[i + lane]
            else:
                _add(skipped, 0, both, 1)
            if _places(known, 0, 0, place, logarithmic, bins):
                for i in range(0, WIDTH, 2):
                    for lane in range(2):
                        tables[1, lane, place[0, i + lane]] += whole_w[i + lane]
            else:
                _add(skipped, 1, both, 1)
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
        bool(kind), (bins[0], bins[1], bins[2], 0.0 if kind else bins[3]), slab.first,
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
