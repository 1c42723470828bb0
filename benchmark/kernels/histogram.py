"""Counts of many values by bin, in one reading of the values."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmark.bins import Bins
from benchmark.families.base import Field
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import FLOAT, WIDTH, Lanes, Rows, VectorOps, splat

_OPS = VectorOps()
_I64 = ir.IntType(64)

BLOCK = 64 * WIDTH
"""Values whose bins are found before they are counted."""
BEYOND = 2.0**30
"""More widths than linear bins may be from 0."""
FULL = 2**31
"""Values after which 32-bit counts are emptied: small tables stay in the first-level cache."""


def _append(context: Any, mask: Lanes, lanes: Lanes, array: Any, filled: ir.Value) -> ir.Value:
    """Store the lanes where the mask holds, one after another, from place `filled` on; how many.

    Rain is mostly dry: counting only what this leaves is what makes the histogram fast.
    """
    builder, kind = lanes.builder, lanes.value.type
    data = context.make_array(array[0])(context, builder, array[1]).data
    target = builder.gep(data, [filled])
    of = ir.FunctionType(ir.VoidType(), [kind, target.type, mask.value.type])
    name = f"llvm.masked.compressstore.v{WIDTH}i32"
    compress = cgutils.get_or_insert_function(builder.module, of, name)
    builder.call(compress, [lanes.value, target, mask.value])
    return _count_of(mask)


def _count_of(mask: Lanes) -> ir.Value:
    """In how many lanes the mask holds, as a 64-bit integer."""
    bits = mask.builder.bitcast(mask.value, ir.IntType(WIDTH))
    return mask.builder.zext(mask.builder.ctpop(bits), _I64)


@intrinsic
def _place(
    _: Any, values: Any, column: Any, logarithmic: Any, bins: Any, places: Any, filled: Any
) -> Any:
    """(how many bins were appended to `places`, how many values are dry) of WIDTH values.

    values: (N,), from `column` on. Dry are those at or below 0 of log2 bins; all are in bin 0 and
    not appended. A NaN is neither. bins: (shift, offset, last bin, 1 / width) of `Bins.parameters`.
    """
    signature = types.UniTuple(types.intp, 2)(values, column, logarithmic, bins, places, filled)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        x = Rows(context, builder, (sig.args[0], args[0]), args[1]).load(0, FLOAT)
        shift, offset, last, scale = (
            splat(builder, builder.extract_value(args[3], k)) for k in range(4)
        )
        offset, last = _OPS.whole(offset), _OPS.whole(last)
        appended, dry = (cgutils.alloca_once_value(builder, ir.Constant(_I64, 0)) for _ in range(2))

        def put(mask: Lanes, found: Lanes, lowest: int) -> None:
            bottom = found.constant(lowest)
            found = _OPS.where(found < bottom, bottom, found)
            found = _OPS.where(found < last, found, last)
            place = sig.args[4], args[4]
            builder.store(_append(context, mask, found, place, args[5]), appended)

        with builder.if_else(builder.trunc(args[2], ir.IntType(1))) as (then, otherwise):
            with then:
                zero = x.constant(0.0)
                put(zero < x, _OPS.leading_bits(x, _OPS.whole(shift)) - offset, 1)
                builder.store(_count_of(zero >= x), dry)
            with otherwise:
                # Infinite values have no integer; these two lie beyond the bins all the same.
                steps = _OPS.wide(x) * scale
                lowest, highest = steps.constant(-BEYOND), steps.constant(BEYOND)
                steps = _OPS.where(steps < lowest, lowest, steps)
                steps = _OPS.where(steps < highest, steps, highest)
                put(x.equals(x), _OPS.floor(steps) + offset, 0)
        pair = [builder.load(appended), builder.load(dry)]
        return context.make_tuple(builder, sig.return_type, pair)

    return signature, generate


@njit(**OPTIONS)
def _count(values, logarithmic, bins, counts, full):
    """Add the numbers of (N,) values, N a multiple of WIDTH, to counts (bins,), int64.

    full: values after which the small tables are emptied, a multiple of WIDTH.
    """
    places = np.zeros(BLOCK, np.int32)
    # Neighbours often share a bin: with two tables one count need not wait for the other.
    first, second = np.zeros(len(counts), np.uint32), np.zeros(len(counts), np.uint32)
    for start in range(0, len(values), full):
        end = min(start + full, len(values))
        for block in range(start, end, BLOCK):
            filled = 0
            for n in range(block, min(block + BLOCK, end), WIDTH):
                appended, dry = _place(values, n, logarithmic, bins, places, filled)
                filled += appended
                counts[0] += dry
            for i in range(0, filled - 1, 2):
                first[places[i]] += np.uint32(1)
                second[places[i + 1]] += np.uint32(1)
            if filled % 2 == 1:
                first[places[filled - 1]] += np.uint32(1)
        for b in range(len(counts)):
            counts[b] += np.int64(first[b]) + np.int64(second[b])
        first[:] = 0
        second[:] = 0


def count(values: Field, bins: Bins) -> NDArray[np.int64]:
    """What `benchmark.verification.count` says."""
    kind, *parameters = bins.parameters
    flat = np.ascontiguousarray(values, np.float32).ravel()
    whole = flat.size - flat.size % WIDTH
    last = np.full(WIDTH, np.nan, np.float32)
    last[: flat.size - whole] = flat[whole:]
    counts = np.zeros(len(bins), np.int64)
    for part in (flat[:whole], last):
        _count(part, bool(kind), tuple(parameters), counts, FULL)
    return counts
