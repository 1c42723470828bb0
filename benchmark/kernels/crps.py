"""The CRPS of an ensemble in one reading of its members."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmark.families.base import Array, Field
from benchmark.families.ensemble import mean, pair_spread
from benchmark.families.lanes import rank
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import DOUBLE, FLOAT, WIDTH, Rows, VectorOps

_OPS = VectorOps()


@intrinsic
def _add_columns(
    _: Any, members: Any, truth: Any, weights: Any, _column: Any, sums: Any, count: Any
) -> Any:
    """Add the weighted terms of WIDTH cells from `_column` on to sums (3, WIDTH)."""
    signature = types.void(members, truth, weights, types.intp, sums, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        def rows(place: int, offset: Any = None) -> Rows:
            start = ir.Constant(ir.IntType(64), 0) if offset is None else offset
            return Rows(context, builder, (sig.args[place], args[place]), start)

        source = rows(0, args[3])
        for m in range(len(count)):
            source.prefetch(m)
        x = [source.load(m, FLOAT) for m in range(len(count))]
        t = rows(1, args[3]).load(0, FLOAT)
        valid = t.equals(t)
        weight = rows(2, args[3]).load(0, DOUBLE)
        weight = _OPS.where(valid, weight, weight.constant(0.0))
        known = _OPS.wide(_OPS.where(valid, t, t.constant(0.0)))
        distance = mean([abs(_OPS.wide(member) - known) for member in x])
        terms = [weight * distance, weight]
        if len(x) > 1:
            ranked = [_OPS.wide(member) for member in rank(x, _OPS)]
            terms.append(weight * pair_spread(ranked))
        for row, term in enumerate(terms):
            rows(4).store(row, rows(4).load(row, DOUBLE) + term)
        return context.get_dummy_value()

    return signature, generate


@njit(**OPTIONS)
def _reduce_steps(members, truth, weights, ends, count, sums):
    """sums (T, S, 3) of (T, M, N) members against (T, N) truth: |x - t|, weight, pair spread.

    Segment s has the cells from ends[s] to ends[s + 1].
    """
    size = members.shape[1]
    partial = np.zeros((3, WIDTH))
    last = np.zeros((size, WIDTH), np.float32)
    last_truth = np.zeros(WIDTH, np.float32)
    last_weights = np.zeros(WIDTH)
    for k in range(len(members)):
        for s in range(ends.size - 1):
            partial[:] = 0.0
            stop = ends[s + 1]
            whole = stop - (stop - ends[s]) % WIDTH
            for n in range(ends[s], whole, WIDTH):
                _add_columns(members[k], truth[k], weights, n, partial, count)
            if whole < stop:
                last_weights[:] = 0.0
                for n in range(whole, stop):
                    last_truth[n - whole] = truth[k, n]
                    last_weights[n - whole] = weights[n]
                    for m in range(size):
                        last[m, n - whole] = members[k, m, n]
                _add_columns(last, last_truth, last_weights, 0, partial, count)
            for term in range(3):
                sums[k, s, term] = partial[term].sum()


def crps_sums(members: Field, truth: Field, weights: Array, ends: NDArray[np.int64]) -> Array:
    """What `benchmark.families.ensemble.crps_sums` says."""
    sums = np.zeros((len(truth), len(ends) - 1, 3))
    _reduce_steps(members, truth, weights, ends, (0,) * members.shape[1], sums)
    return sums
