"""Rows of structural similarity in vectors: filtered along x, then along y and made into losses."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from benchmark.kernels.lanes import DOUBLE, FLOAT, INT, WIDTH, splat
from benchmark.kernels.row_lanes import RowCode, number

_FUSED = ("contract",)
TAPS = 11
FIELDS = 4
"""Filtered: u, v, u^2 and v^2."""
TILE = 160
"""Columns filtered together: wide for long loops, narrow so that eleven rows stay near the core;
a constant, so that one address serves all fields."""


class _Code(RowCode):
    """float32 lanes, whose products may become part of a fused sum."""

    def add(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """Their sum."""
        return self.builder.fadd(first, second, flags=_FUSED)

    def subtract(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """Their difference."""
        return self.builder.fsub(first, second, flags=_FUSED)

    def multiply(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """Their product."""
        return self.builder.fmul(first, second, flags=_FUSED)

    def splats(self, place: int, count: int) -> list[ir.Value]:
        """A tuple of numbers, each in every lane."""
        return [splat(self.builder, value).value for value in self.numbers(place, count)]

    def weighted(self, half: list[ir.Value], pair: Callable[[int], ir.Value]) -> ir.Value:
        """half[0] * pair(0) + ... + half[5] * pair(5)."""
        total = self.multiply(half[0], pair(0))
        for k in range(1, len(half)):
            total = self.add(total, self.multiply(half[k], pair(k)))
        return total


@intrinsic
def centre_row(
    _: Any, p: Any, t: Any, first: Any, width: Any, means: Any, u: Any, v: Any, y: Any
) -> Any:
    """u[y, x] = (p - t) - (mean p - mean t) and v[y, x] = (p - mean p) + (t - mean t), x < width.

    p, t: (N,) cells, from `first` on; means: of p, of t, and their difference.
    """
    signature = types.void(p, t, first, width, means, u, v, y)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = _Code(context, builder, sig, args)
        mean_p, mean_t, mean_u = code.splats(4, 3)
        with code.each(number(0), args[3]) as x:
            cell = builder.add(args[2], x)
            predicted, true = code.load(0, cell), code.load(1, cell)
            minus = code.subtract(code.subtract(predicted, true), mean_u)
            plus = code.add(code.subtract(predicted, mean_p), code.subtract(true, mean_t))
            code.store(minus, 5, args[7], x)
            code.store(plus, 6, args[7], x)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def filter_row(
    _: Any, field: Any, y: Any, left: Any, width: Any, half: Any, filtered: Any, row: Any, kind: Any
) -> Any:  # fmt: skip
    """Windowed sums of a row along x to field `kind` of filtered[row], of its square to kind + 2.

    x < width (rounded up to vectors) stands for the window from column `left` + x on.
    """
    signature = types.void(field, y, left, width, half, filtered, row, kind)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = _Code(context, builder, sig, args)
        weights = code.splats(4, TAPS // 2 + 1)
        with code.each(number(0), args[3]) as x:
            column = builder.add(args[2], x)
            cells = [code.load(0, args[1], builder.add(column, number(k))) for k in range(TAPS)]

            def pair(k: int) -> ir.Value:
                if k == TAPS // 2:
                    return cells[k]
                return code.add(cells[k], cells[TAPS - 1 - k])

            def squares(k: int) -> ir.Value:
                square = code.multiply(cells[k], cells[k])
                if k == TAPS // 2:
                    return square
                return code.add(code.multiply(cells[TAPS - 1 - k], cells[TAPS - 1 - k]), square)

            place = builder.add(builder.mul(args[7], number(TILE)), x)
            code.store(code.weighted(weights, pair), 5, args[6], place)
            place = builder.add(place, number(2 * TILE))
            code.store(code.weighted(weights, squares), 5, args[6], place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_losses(
    _: Any, filtered: Any, oldest: Any, width: Any, half: Any, constants: Any, sums: Any
) -> Any:
    """Add 1 - l cs and 1 - cs of a row of windows to sums (2, WIDTH) float64.

    filtered: a ring of rows, (TAPS, FIELDS * TILE); oldest: the first row in the windows;
    constants: C1, C2, the means of u and v, and 1/2.
    """
    signature = types.void(filtered, oldest, width, half, constants, sums)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        code = _Code(context, builder, sig, args)
        add, subtract, multiply = code.add, code.subtract, code.multiply
        weights = code.splats(3, TAPS // 2 + 1)
        c1, c2, mean_u, mean_v, mid = code.splats(4, 5)
        one = ir.Constant(FLOAT, [1.0] * WIDTH)
        rows = [builder.srem(builder.add(args[1], number(k)), number(TAPS)) for k in range(TAPS)]
        totals = [code.variable(DOUBLE) for _ in range(2)]
        lanes = ir.Constant(INT, list(range(WIDTH)))
        with code.each(number(0), args[2]) as x:

            def window(field: int) -> ir.Value:
                column = builder.add(x, number(field * TILE))

                def pair(k: int) -> ir.Value:
                    first = code.load(0, rows[k], column)
                    if k == TAPS // 2:
                        return first
                    return add(first, code.load(0, rows[TAPS - 1 - k], column))

                return code.weighted(weights, pair)

            mu, mv, uu, vv = (window(field) for field in range(FIELDS))
            varied = subtract(uu, multiply(mu, mu))
            both = add(varied, subtract(vv, multiply(mv, mv)))
            spread = add(multiply(mid, both), c2)
            u, v = add(mu, mean_u), add(mv, mean_v)
            bias = multiply(u, u)
            bright = add(multiply(mid, add(bias, multiply(v, v))), c1)
            # One division for both ratios.
            scale = builder.fdiv(one, multiply(spread, bright))
            dark = multiply(multiply(bias, spread), scale)
            flat = multiply(multiply(varied, bright), scale)
            loss = subtract(add(flat, dark), multiply(flat, dark))
            left = builder.trunc(builder.sub(args[2], x), INT.element)
            inside = builder.icmp_signed("<", lanes, splat(builder, left).value)
            for total, value in zip(totals, (loss, flat), strict=True):
                kept = builder.select(inside, value, ir.Constant(FLOAT, None))
                wide = builder.fpext(kept, DOUBLE)
                builder.store(builder.fadd(builder.load(total), wide), total)
        for row, total in enumerate(totals):
            before = code.load(5, number(row), number(0))
            code.store(builder.fadd(before, builder.load(total)), 5, number(row), number(0))
        return context.get_dummy_value()

    return signature, generate
