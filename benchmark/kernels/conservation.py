"""Block means of every member, and their residuals, in one reading of the members.

Eight fields of a step at a time. Down the rows of a block, vectors are columns; transposed once,
in registers, they are fields, so that sums across columns, of any ratio of grid spacings, are
additions of whole vectors and need no gathering.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from benchmark.coarsen import AreaOverlap
from benchmark.families.base import Array, Field
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import prefetch

FIELDS = 8
"""Fields in one vector of float64."""
COLUMNS = 2 * FIELDS
"""Columns in one tile: a cache line of float32."""
AHEAD = 256
"""Bytes from a load to what is fetched meanwhile: processors do not foresee so many streams."""

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), FIELDS)
_LINE = ir.VectorType(ir.FloatType(), FIELDS)
_FLAGS = ("reassoc", "contract", "nsz")


class _Emitter:
    """IR for arrays (C-contiguous) whose elements are loaded and stored as vectors."""

    def __init__(self, context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> None:
        self.context, self.builder, self.sig, self.args = context, builder, sig, args

    def address(self, place: int, *, at: ir.Value, size: int = 8) -> ir.Value:
        """Where element `at` (counted flat) of the array argument lies, as an integer."""
        array = self.context.make_array(self.sig.args[place])(
            self.context, self.builder, self.args[place]
        )
        start = self.builder.ptrtoint(array.data, _I64)
        return self.builder.add(start, self.builder.mul(at, ir.Constant(_I64, size)))

    def load(self, address: ir.Value, kind: ir.Type, align: int = 8) -> ir.Value:
        """What lies there."""
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = align
        return loaded

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Put a vector there."""
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, pointer).align = 8

    def prefetch(self, address: ir.Value) -> None:
        """Ask for the cache line there."""
        prefetch(self.builder, address)

    def splat(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        """The one number that lies there, in every place of a vector of float64."""
        number = self.load(address, kind, 4 if kind == ir.FloatType() else 8)
        if kind == ir.FloatType():
            number = self.builder.fpext(number, ir.DoubleType())
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        single = self.builder.insert_element(undefined, number, ir.Constant(_I64, 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), FIELDS), [0] * FIELDS)
        return self.builder.shuffle_vector(single, undefined, order)

    def add_product(self, total: ir.Value, first: ir.Value, second: ir.Value) -> None:
        """total += first * second, in a register."""
        product = self.builder.fmul(first, second, flags=_FLAGS)
        self.builder.store(self.builder.fadd(self.builder.load(total), product, _FLAGS), total)

    def magnitude(self, vector: ir.Value) -> ir.Value:
        """|vector|."""
        bits = ir.VectorType(_I64, FIELDS)
        cleared = self.builder.and_(
            self.builder.bitcast(vector, bits), ir.Constant(bits, [2**63 - 1] * FIELDS)
        )
        return self.builder.bitcast(cleared, _VECTOR)

    def transpose(self, rows: list[ir.Value]) -> list[ir.Value]:
        """Vector i holds what was at place i of every vector: three rounds of exchanges."""
        rows = list(rows)
        for step in (4, 2, 1):
            low = [j if j & step == 0 else FIELDS + j - step for j in range(FIELDS)]
            high = [j + step if j & step == 0 else FIELDS + j for j in range(FIELDS)]
            for i in range(FIELDS):
                if i & step == 0:
                    pair = rows[i], rows[i + step]
                    rows[i], rows[i + step] = (
                        self.builder.shuffle_vector(
                            *pair, ir.Constant(ir.VectorType(ir.IntType(32), FIELDS), order)
                        )
                        for order in (low, high)
                    )
        return rows


def _emitting(emit: Callable[[_Emitter], None]) -> Callable[..., ir.Value]:
    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        emit(_Emitter(context, builder, sig, args))
        return context.get_dummy_value()

    return generate


@intrinsic
def _down(
    _: Any, fields: Any, weights: Any, first: Any, last: Any, row: Any, width: Any, column: Any,
    partial: Any,
) -> Any:  # fmt: skip
    """partial[x, f] = sum_s weights[s, x] * field f[row + s - first, x], first <= s < last.

    For COLUMNS columns x from `column` on; fields: (FIELDS,) addresses of (ny, width) float32.
    """
    signature = types.void(fields, weights, first, last, row, width, column, partial)

    def emit(emitter: _Emitter) -> None:
        builder, args = emitter.builder, emitter.args
        totals = [
            [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * FIELDS))
             for x in range(FIELDS)]
            for half in range(2)
        ]  # fmt: skip
        for total in itertools.chain(*totals):
            builder.store(ir.Constant(_VECTOR, [0.0] * FIELDS), total)
        starts = [
            emitter.load(emitter.address(0, at=ir.Constant(_I64, f)), _I64) for f in range(FIELDS)
        ]
        with cgutils.for_range_slice(builder, args[2], args[3], ir.Constant(_I64, 1)) as (s, _):
            line = builder.add(args[4], builder.sub(s, args[2]))
            offset = builder.mul(
                builder.add(builder.mul(line, args[5]), args[6]), ir.Constant(_I64, 4)
            )
            at = builder.add(builder.mul(s, args[5]), args[6])
            shares = [
                emitter.load(
                    emitter.address(1, at=builder.add(at, ir.Constant(_I64, half * FIELDS))),
                    _VECTOR,
                )
                for half in range(2)
            ]
            for f, start in enumerate(starts):
                for half in range(2):
                    there = builder.add(
                        builder.add(start, offset), ir.Constant(_I64, 4 * FIELDS * half)
                    )
                    if half == 0:
                        emitter.prefetch(builder.add(there, ir.Constant(_I64, AHEAD)))
                    values = builder.fpext(emitter.load(there, _LINE, 4), _VECTOR)
                    emitter.add_product(totals[half][f], values, shares[half])
        for half in range(2):
            columns = emitter.transpose([builder.load(total) for total in totals[half]])
            for x, vector in enumerate(columns):
                at = builder.add(args[6], ir.Constant(_I64, half * FIELDS + x))
                emitter.store(
                    vector, emitter.address(7, at=builder.mul(at, ir.Constant(_I64, FIELDS)))
                )

    return signature, _emitting(emit)


@intrinsic
def _across(
    _: Any, partial: Any, shares: Any, first: Any, last: Any, column: Any, inverse: Any,
    block: Any, means: Any,
) -> Any:  # fmt: skip
    """means[block] = inverse[block] * sum_q shares[q] * partial[column + q - first]."""
    signature = types.void(partial, shares, first, last, column, inverse, block, means)

    def emit(emitter: _Emitter) -> None:
        builder, args = emitter.builder, emitter.args
        size = ir.Constant(_I64, FIELDS)
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(ir.Constant(_VECTOR, [0.0] * FIELDS), total)
        with cgutils.for_range_slice(builder, args[2], args[3], ir.Constant(_I64, 1)) as (q, _):
            x = builder.add(args[4], builder.sub(q, args[2]))
            values = emitter.load(emitter.address(0, at=builder.mul(x, size)), _VECTOR)
            share = emitter.splat(emitter.address(1, at=q), ir.DoubleType())
            emitter.add_product(total, values, share)
        scale = emitter.splat(emitter.address(5, at=args[6]), ir.DoubleType())
        mean = builder.fmul(builder.load(total), scale)
        emitter.store(mean, emitter.address(7, at=builder.mul(args[6], size)))

    return signature, _emitting(emit)


@intrinsic
def _add_residuals(
    _: Any, means: Any, coarse: Any, known: Any, area: Any, whole: Any, blocks: Any, sums: Any
) -> Any:
    """sums (5, FIELDS) += area |r|, area r^2, whole |d|, whole d^2; the last becomes max |r|.

    Of a row of blocks, r = means - coarse and d = means - known.
    """
    signature = types.void(means, coarse, known, area, whole, blocks, sums)

    def emit(emitter: _Emitter) -> None:
        builder, args = emitter.builder, emitter.args
        size = ir.Constant(_I64, FIELDS)
        places = [emitter.address(6, at=ir.Constant(_I64, FIELDS * k)) for k in range(5)]
        totals = []
        for place in places:
            totals.append(cgutils.alloca_once(builder, _VECTOR))
            builder.store(emitter.load(place, _VECTOR), totals[-1])
        with cgutils.for_range(builder, args[5]) as loop:
            block = loop.index
            mean = emitter.load(emitter.address(0, at=builder.mul(block, size)), _VECTOR)
            for first, reference, weight in ((0, 1, 3), (2, 2, 4)):
                single = ir.FloatType() if reference == 1 else ir.DoubleType()
                bytes_each = 4 if reference == 1 else 8
                there = emitter.address(reference, at=block, size=bytes_each)
                gap = emitter.magnitude(builder.fsub(mean, emitter.splat(there, single)))
                weights = emitter.splat(emitter.address(weight, at=block), ir.DoubleType())
                weighted = builder.fmul(weights, gap)
                emitter.add_product(totals[first], weights, gap)
                emitter.add_product(totals[first + 1], weighted, gap)
                if first == 0:
                    highest = builder.load(totals[4])
                    smaller = builder.fcmp_ordered("<", gap, highest)
                    builder.store(builder.select(smaller, highest, gap), totals[4])
        for place, total in zip(places, totals, strict=True):
            emitter.store(builder.load(total), place)

    return signature, _emitting(emit)


@njit(**OPTIONS)
def _block_means(
    fields, weights, top, rows, left, column_starts, shares, inverse, partial, means
):  # fmt: skip
    """Means (blocks, FIELDS) of one row of blocks: down its fine rows, then across."""
    nx = len(partial)
    for x in range(0, nx, COLUMNS):
        # The last tile may overlap the one before it: its columns are computed again, alike.
        _down(fields, weights, rows[0], rows[1], top, nx, min(x, nx - COLUMNS), partial)
    for block in range(len(means)):
        _across(
            partial, shares, column_starts[block], column_starts[block + 1], left[block],
            inverse, block, means,
        )  # fmt: skip


@njit(**OPTIONS)
def _reduce_steps(
    members, truth, coarse, weights, top, row_starts, left, column_starts, shares, inverse, area,
    sums, largest,
):  # fmt: skip
    """Residuals of (T, M, ny, nx) members and (T, ny, nx) truth against (T, Ny, Nx) coarse.

    A as overlaps along each axis: coarse row J holds the fine rows from `top[J]` on, with
    area-weighted shares `weights[s]` (nx,), `row_starts[J]` <= s < `row_starts[J + 1]`; coarse
    column J those from `left[J]` on, with `shares[q]` by `column_starts`.
    inverse, area: (Ny, Nx), one over a block's sum of weights, and its area in m2.

    Adds to zeroed sums (T, 7): area, whole area, |A x - coarse|, its square, |A x - A t|, its
    square, |A t - coarse|, the last three over blocks whose truth is complete; largest (T, 2)
    becomes max |A x - coarse| and max |coarse|. Means over members.
    """
    steps, size, ny, nx = members.shape
    block_rows, block_columns = inverse.shape
    fields = np.zeros(FIELDS, np.int64)
    partial = np.zeros((nx, FIELDS))
    means = np.zeros((block_columns, FIELDS))
    totals = np.zeros((5, FIELDS))
    known = np.zeros((FIELDS, block_rows, block_columns))
    whole = np.zeros((FIELDS, block_rows, block_columns))
    bytes_each = 4 * ny * nx
    for k in range(steps):
        if k % FIELDS == 0:
            for f in range(FIELDS):
                fields[f] = truth.ctypes.data + min(k + f, steps - 1) * bytes_each
            for row in range(block_rows):
                _block_means(
                    fields, weights, top[row], row_starts[row : row + 2], left, column_starts,
                    shares, inverse[row], partial, means,
                )  # fmt: skip
                for f in range(FIELDS):
                    for block in range(block_columns):
                        complete = means[block, f] == means[block, f]
                        known[f, row, block] = means[block, f] if complete else 0.0
                        whole[f, row, block] = area[row, block] if complete else 0.0
        t, complete_area, x = known[k % FIELDS], whole[k % FIELDS], coarse[k]
        for row in range(block_rows):
            for block in range(block_columns):
                sums[k, 0] += area[row, block]
                sums[k, 1] += complete_area[row, block]
                sums[k, 6] += complete_area[row, block] * abs(t[row, block] - x[row, block])
                largest[k, 1] = max(largest[k, 1], abs(np.float64(x[row, block])))
        for start in range(0, size, FIELDS):
            for f in range(FIELDS):
                member = k * size + min(start + f, size - 1)
                fields[f] = members.ctypes.data + member * bytes_each
            totals[:] = 0.0
            for row in range(block_rows):
                _block_means(
                    fields, weights, top[row], row_starts[row : row + 2], left, column_starts,
                    shares, inverse[row], partial, means,
                )  # fmt: skip
                _add_residuals(
                    means, x[row], t[row], area[row], complete_area[row], block_columns, totals
                )
            for f in range(min(FIELDS, size - start)):
                for kind in range(4):
                    sums[k, 2 + kind] += totals[kind, f]
                largest[k, 0] = max(largest[k, 0], totals[4, f])
        for kind in range(2, 6):
            sums[k, kind] /= size


@lru_cache(maxsize=64)
def _lists(overlap: AreaOverlap) -> tuple[Any, ...]:
    """The operator as the kernel reads it: the first fine row and column of each block, and the
    shares of those that follow (an interval overlaps an unbroken run of intervals).
    """
    top, row_starts, in_y = _runs(overlap.in_y)
    left, column_starts, shares = _runs(overlap.in_x)
    rows = np.concatenate(
        [np.arange(n) + first for first, n in zip(top, np.diff(row_starts), strict=True)]
    )
    weights = in_y[:, None] * overlap.area[rows]
    return weights, top, row_starts, left, column_starts, shares, 1 / overlap.total


def _runs(shares: Array) -> tuple[Any, Any, Array]:
    """(first column, where each row starts in the values, all rows' values other than 0)."""
    first = np.argmax(shares > 0, axis=1)
    last = shares.shape[1] - np.argmax(shares[:, ::-1] > 0, axis=1)
    values = [row[a:b] for row, a, b in zip(shares, first, last, strict=True)]
    return first, np.concatenate([[0], np.cumsum(last - first)]), np.concatenate(values)


def residuals(
    members: Field, truth: Field, coarse: Field, overlap: AreaOverlap, area: Array
) -> tuple[Array, Array]:
    """What `benchmark.families.conservation.residuals` says."""
    sums, largest = np.zeros((len(truth), 7)), np.zeros((len(truth), 2))
    weights, *lists = _lists(overlap)
    missing = max(0, COLUMNS - members.shape[-1])
    if missing:
        members, truth, weights = (
            np.pad(field, [(0, 0)] * (field.ndim - 1) + [(0, missing)])
            for field in (members, truth, weights)
        )
    _reduce_steps(
        *(np.ascontiguousarray(field, np.float32) for field in (members, truth, coarse)),
        weights, *lists, np.ascontiguousarray(area), sums, largest,
    )  # fmt: skip
    return sums, largest
