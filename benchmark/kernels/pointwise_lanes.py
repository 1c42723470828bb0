"""What the pointwise kernel does with sixteen cells at a time."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from benchmark.families.ensemble import ensemble, mean, ties_and_below
from benchmark.families.events import threshold_weighted
from benchmark.families.lanes import rank
from benchmark.families.moments import moments
from benchmark.kernels.lanes import (
    BYTE,
    DOUBLE,
    FLOAT,
    INT,
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
def columns(
    _: Any, members: Any, column: Any, truth: Any, bilinear: Any, origin: Any, area: Any,
    whole: Any, fields: Any, ranked: Any, known: Any, weights: Any, order: Any, only: Any,
    accumulated: Any, count: Any,
) -> Any:  # fmt: skip
    """Fields and ranks of WIDTH cells from `column` on; count: a tuple as long as the ensemble.

    known: the truth, 0 where it is missing; weights (2, WIDTH): the area and the whole-number
    weight, 0 where it is missing; order: the place of the cell's rank in its class's table. Where
    all cells are of the class `only`, their fields are added to its sums; where it is -1, because
    they are not, the fields are written for `accumulate`.
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
def exceeding(
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
def accumulate(
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
def add(_: Any, target: Any, row: Any, source: Any, which: Any) -> Any:
    """target[row] += source[which], WIDTH numbers."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        to, of = (Rows(context, builder, (sig.args[k], args[k]), start) for k in (0, 2))
        to.store(0, to.load(0, DOUBLE, args[1]) + of.load(0, DOUBLE, args[3]), args[1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def first_level(_: Any, labels: Any, column: Any, levels: Any, group: Any) -> Any:
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
def raise_level(_: Any, truth: Any, edge: Any, group: Any) -> Any:
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
def present(_: Any, group: Any) -> Any:
    """The set of classes of WIDTH cells, as the bits of a whole number."""
    signature = types.int64(group)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = ir.Constant(ir.IntType(64), 0)
        classes = Rows(context, builder, (sig.args[0], args[0]), start).load(0, INT)
        bits = builder.shl(classes.constant(1).value, classes.value)
        return builder.zext(reduce_or(builder, bits), ir.IntType(64))

    return signature, generate


@intrinsic
def places(
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
