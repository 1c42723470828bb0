"""Rows of the fractions skill score in vectors: events counted, added up along x, windows squared.

A word counts the events of all members in its upper bits and those of the truth in its lower bits,
two more of these, so that both counts are less than half a word long: the product of two such
numbers takes one instruction where a product of words takes several.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from benchmark.kernels.lanes import WIDTH
from benchmark.kernels.row_lanes import RowCode, constant, number

_I64 = ir.IntType(64)
PAIR = 2 * WIDTH
"""Cells counted together: two vectors, so that one addition does not wait for the other."""
TOGETHER = 3
"""Thresholds that a cell is compared with once it is loaded."""


def _truth_bits(kind: ir.VectorType) -> int:
    """How many bits of a word count the truth's events."""
    return kind.element.width // 2 + 1  # type: ignore[no-any-return]


@intrinsic
def count_row(
    _: Any, members: Any, truth: Any, levels: Any, level: Any, first: Any, width: Any, events: Any,
    column: Any,
) -> Any:  # fmt: skip
    """events[j, `column` + x] counts cell `first` + x, x < width (whole PAIRs).

    members (M, N), truth (N,) and thresholds `levels` float32; j: `level` and the next, TOGETHER.
    """
    signature = types.void(members, truth, levels, level, first, width, events, column)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = RowCode(context, builder, sig, args)
        word = code.vector(6)
        one, none = constant(word, 1 << _truth_bits(word)), constant(word, 0)
        rows = [builder.add(args[3], number(j)) for j in range(TOGETHER)]
        bounds = [code.everywhere(2, row) for row in rows]
        with code.each(number(0), args[5], PAIR) as x:
            places = [builder.add(x, number(half * WIDTH)) for half in range(2)]
            cells = [builder.add(args[4], place) for place in places]
            totals = [[code.variable(word) for _ in cells] for _ in bounds]
            for half, cell in enumerate(cells):
                true = code.load(1, cell)
                for total, bound in zip(totals, bounds, strict=True):
                    event = builder.fcmp_ordered(">=", true, bound)
                    code.increase(total[half], builder.zext(event, word))
            with code.each(number(0), code.length(0), 1) as m:
                for half, cell in enumerate(cells):
                    member = code.load(0, m, cell)
                    for total, bound in zip(totals, bounds, strict=True):
                        event = builder.fcmp_ordered(">=", member, bound)
                        code.increase(total[half], builder.select(event, one, none))
            for row, total in zip(rows, totals, strict=True):
                for half, place in enumerate(places):
                    counted = builder.load(total[half])
                    code.store(counted, 6, row, builder.add(args[7], place))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_up_row(_: Any, events: Any, table: Any, above: Any, here: Any, width: Any) -> Any:
    """table[here, 1 + x] = table[above, 1 + x] + events[0] + ... + events[x], x < width.

    Gives whether there is any event.
    """
    signature = types.boolean(events, table, above, here, width)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = RowCode(context, builder, sig, args)
        word = code.vector(0)
        zeros = constant(word, 0)
        run, seen = code.variable(word), code.variable(word)

        def chosen(lanes: ir.Value, order: list[int]) -> ir.Value:
            kind = ir.VectorType(ir.IntType(32), WIDTH)
            return builder.shuffle_vector(zeros, lanes, ir.Constant(kind, order))

        with code.each(number(0), args[4]) as x:
            total = code.load(0, x)
            builder.store(builder.or_(builder.load(seen), total), seen)
            for shift in (1, 2, 4, 8):
                moved = chosen(total, [WIDTH - shift + lane for lane in range(WIDTH)])
                total = builder.add(total, moved)
            total = builder.add(total, builder.load(run))
            builder.store(chosen(total, [2 * WIDTH - 1] * WIDTH), run)
            column = builder.add(x, number(1))
            code.store(builder.add(total, code.load(1, args[2], column)), 1, args[3], column)
        some = builder.icmp_unsigned("!=", builder.load(seen), zeros)
        bits = builder.bitcast(some, ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, generate


def _square(
    code: RowCode, word: ir.VectorType, masks: int, bounds: int, sums: int,
    box_at: Callable[[ir.Value], Callable[[ir.Value], ir.Value]],
) -> None:  # fmt: skip
    """Add C_p^2, C_t^2 and C_p C_t of boxes, by row and column; arguments as `square_windows`."""
    builder = code.builder
    lower = _truth_bits(word)
    first_row, last_row, start, whole, stop = code.numbers(bounds, 5)
    # Two sums of each kind in turn, as an addition takes longer than a box.
    totals = [code.variable(word) for _ in range(6)]

    def add(box: ir.Value, totals: list[ir.Value]) -> None:
        p = builder.lshr(box, constant(word, lower))
        t = builder.and_(box, constant(word, (1 << lower - 2) - 1))
        for total, pair in zip(totals, ((p, p), (t, t), (p, t)), strict=True):
            code.increase(total, builder.mul(*pair))

    with code.each(first_row, last_row, 1) as r:
        box = box_at(r)
        with code.each(start, whole, PAIR) as x:
            add(box(x), totals[:3])
            add(box(builder.add(x, number(WIDTH))), totals[3:])
        with code.each(whole, stop) as x:
            add(builder.and_(box(x), code.load(masks, r, x)), totals[:3])
    for row in range(3):
        wide = builder.add(builder.load(totals[row]), builder.load(totals[row + 3]))
        if word.element.width < 64:
            wide = builder.zext(wide, ir.VectorType(_I64, WIDTH))
        before = code.load(sums, number(row), number(0))
        code.store(builder.add(before, wide), sums, number(row), number(0))


@intrinsic
def square_windows(
    _: Any, table: Any, side: Any, here: Any, masks: Any, bounds: Any, sums: Any
) -> Any:
    """Add C_p^2, C_t^2 and C_p C_t of rows x columns of windows to sums (3, WIDTH) int64.

    Windows of row r of `masks` end at row `here` + r of the table, a ring; masks: all bits set
    where a window counts; bounds: first row, last row + 1, first column, the column from which
    on masks are looked at, last column + 1.
    """
    signature = types.void(table, side, here, masks, bounds, sums)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = RowCode(context, builder, sig, args)

        def box_at(r: ir.Value) -> Callable[[ir.Value], ir.Value]:
            last = builder.add(args[2], r)
            old = builder.sub(last, args[1])
            wrapped = builder.icmp_signed("<", old, number(0))
            old = builder.select(wrapped, builder.add(old, code.length(0)), old)

            def box(x: ir.Value) -> ir.Value:
                right = builder.add(x, args[1])
                until = builder.sub(code.load(0, last, right), code.load(0, last, x))
                before = builder.sub(code.load(0, old, right), code.load(0, old, x))
                return builder.sub(until, before)

            return box

        _square(code, code.vector(0), 3, 4, 5, box_at)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def square_cells(_: Any, events: Any, masks: Any, bounds: Any, sums: Any) -> Any:
    """`square_windows` of one cell each: events (rows, columns)."""
    signature = types.void(events, masks, bounds, sums)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = RowCode(context, builder, sig, args)
        _square(code, code.vector(0), 1, 2, 3, lambda r: lambda x: code.load(0, r, x))
        return context.get_dummy_value()

    return signature, generate
