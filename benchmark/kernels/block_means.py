"""Area means over nested blocks of 2, 4, 8 and 16 cells, in one reading of the fields."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmark.families.base import Array, Field
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import DOUBLE, FLOAT, WIDTH, Lanes, Rows, VectorOps

_OPS = VectorOps()
_HALF = WIDTH // 2
_SINGLE = ir.VectorType(ir.FloatType(), _HALF)


def _write(both: Lanes, inverse: Rows, sums: Rows, means: Rows, row: ir.Value) -> None:
    """Add the neighbours of WIDTH column sums; write the sums and, over their areas, the means."""
    builder, empty = both.builder, ir.Constant(DOUBLE, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(
            both.value,
            empty,
            ir.Constant(ir.VectorType(ir.IntType(32), _HALF), list(range(first, WIDTH, 2))),
        )
        for first in range(2)
    )
    total = builder.fadd(even, odd)
    share = inverse.load_any(total.type, ir.Constant(ir.IntType(64), 0))
    sums.store_any(total, row)
    means.store_any(
        builder.fptrunc(builder.fmul(total, share), _SINGLE), ir.Constant(ir.IntType(64), 0)
    )


def _generate(args_are_fields: bool) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        def rows(which: int, offset: ir.Value) -> Rows:
            return Rows(context, builder, (sig.args[which], args[which]), offset)

        source, above, column, inverse, sums, row, place, means, first = range(1, 10)
        if args_are_fields:
            areas = rows(0, builder.mul(args[place], ir.Constant(ir.IntType(64), 2)))
            products = [
                areas.load(k, DOUBLE, builder.mul(args[row], ir.Constant(ir.IntType(64), 2)))
                * _OPS.wide(rows(source, args[column]).load(k, FLOAT, args[above]))
                for k in range(2)
            ]
        else:
            products = [rows(source, args[column]).load(k, DOUBLE, args[above]) for k in range(2)]
        there = builder.add(args[first], args[place])
        _write(
            products[0] + products[1], rows(inverse, there), rows(sums, args[place]),
            rows(means, there), args[row],
        )  # fmt: skip
        return context.get_dummy_value()

    return generate


@intrinsic
def _first(
    _: Any, weights: Any, field: Any, above: Any, column: Any, inverse: Any, sums: Any, row: Any,
    place: Any, means: Any, first: Any,
) -> Any:  # fmt: skip
    """WIDTH // 2 blocks of 2 x 2 cells: rows `above` and the next, from `column` on."""
    at = types.intp
    return types.void(weights, field, at, at, inverse, sums, at, at, means, at), _generate(True)


@intrinsic
def _next(
    _: Any, unused: Any, blocks: Any, above: Any, column: Any, inverse: Any, sums: Any, row: Any,
    place: Any, means: Any, first: Any,
) -> Any:  # fmt: skip
    """WIDTH // 2 blocks of 2 x 2 blocks of the scale before."""
    at = types.intp
    return types.void(unused, blocks, at, at, inverse, sums, at, at, means, at), _generate(False)


@njit(**OPTIONS)
def _average(fields, weights, inverse, ends, offset, means):
    """means (F, blocks) of (F, ny, nx) fields; weights: areas of cells from `offset` on."""
    ny, nx = weights.shape[0] // 2, weights.shape[1] // 2
    sums = np.zeros((ny, nx + WIDTH))
    coarser = np.zeros((ny, nx + WIDTH))
    for k in range(len(fields)):
        field, mean = fields[k], means[k]
        whole = nx - nx % _HALF
        for y in range(ny):
            above, first = offset + 2 * y, y * nx
            for x in range(0, whole, _HALF):
                _first(weights, field, above, offset + 2 * x, inverse, sums, y, x, mean, first)
            for x in range(whole, nx):
                n = offset + 2 * x
                upper = weights[2 * y, 2 * x] * field[above, n]
                upper += weights[2 * y, 2 * x + 1] * field[above, n + 1]
                lower = weights[2 * y + 1, 2 * x] * field[above + 1, n]
                lower += weights[2 * y + 1, 2 * x + 1] * field[above + 1, n + 1]
                sums[y, x] = upper + lower
                mean[first + x] = np.float32(sums[y, x] * inverse[first + x])
        rows, columns = ny, nx
        fine, coarse = sums, coarser
        for scale in range(1, ends.size - 1):
            rows, columns = rows // 2, columns // 2
            whole = columns - columns % _HALF
            for y in range(rows):
                first = ends[scale] + y * columns
                for x in range(0, whole, _HALF):
                    _next(weights, fine, 2 * y, 2 * x, inverse, coarse, y, x, mean, first)
                for x in range(whole, columns):
                    upper = fine[2 * y, 2 * x] + fine[2 * y, 2 * x + 1]
                    lower = fine[2 * y + 1, 2 * x] + fine[2 * y + 1, 2 * x + 1]
                    coarse[y, x] = upper + lower
                    mean[first + x] = np.float32(coarse[y, x] * inverse[first + x])
            fine, coarse = coarse, fine


def block_means(
    fields: Field, area: Array, areas: Array, ends: NDArray[np.int64], offset: int, margin: int
) -> Field:
    """What `benchmark.families.block_means.block_means` says."""
    flat = np.ascontiguousarray(fields).reshape(-1, *area.shape)
    means = np.empty((len(flat), len(areas)), np.float32)
    stop = [size - margin - (size - margin - offset) % 2 for size in area.shape]
    inside = np.ascontiguousarray(area[offset : stop[0], offset : stop[1]])
    _average(flat, inside, 1 / areas, ends, offset, means)
    return means.reshape(*fields.shape[:2], -1)
