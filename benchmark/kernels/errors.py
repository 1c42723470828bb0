"""Errors of the ensemble mean, and ranks of the truth, each in one reading of the members."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from benchmark.families.base import Array, Field
from benchmark.families.ensemble import mean, ties_and_below
from benchmark.families.lanes import add_up
from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import DOUBLE, FLOAT, WIDTH, Lanes, Rows, VectorOps

_OPS = VectorOps()
_START = ir.Constant(ir.IntType(64), 0)


class _Cells:
    """Members, truth and weights of WIDTH cells; a missing truth is 0 and has no weight."""

    def __init__(self, context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> None:
        def rows(place: int) -> Rows:
            return Rows(context, builder, (sig.args[place], args[place]), args[3])

        source = rows(0)
        for m in range(len(sig.args[5])):
            source.prefetch(m)
        self.members = [source.load(m, FLOAT) for m in range(len(sig.args[5]))]
        truth = rows(1).load(0, FLOAT)
        valid = truth.equals(truth)
        self.truth: Lanes = _OPS.where(valid, truth, truth.constant(0.0))
        weight = rows(2).load(0, DOUBLE)
        self.weight: Lanes = _OPS.where(valid, weight, weight.constant(0.0))


@intrinsic
def _add_errors(
    _: Any, members: Any, truth: Any, weights: Any, column: Any, sums: Any, count: Any
) -> Any:
    """sums (8, WIDTH) += weight times 1, e, |e|, e^2, p, t, p^2, t^2, with e = p - t."""
    signature = types.void(members, truth, weights, column, sums, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        cells = _Cells(context, builder, sig, args)
        p = mean([_OPS.wide(member) for member in cells.members])
        _add(context, builder, (sig.args[4], args[4]), cells, [p])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _add_member_errors(
    _: Any, members: Any, truth: Any, weights: Any, column: Any, sums: Any, count: Any
) -> Any:
    """The same, means over the members of e = x - t, |x - t|, ... in place of p's."""
    signature = types.void(members, truth, weights, column, sums, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        cells = _Cells(context, builder, sig, args)
        wide = [_OPS.wide(member) for member in cells.members]
        _add(context, builder, (sig.args[4], args[4]), cells, wide)
        return context.get_dummy_value()

    return signature, generate


def _add(
    context: Any, builder: ir.IRBuilder, sums: tuple[Any, ir.Value], cells: _Cells, x: list[Lanes]
) -> None:
    """Add the terms of the forecasts x, each a mean over them."""
    t, weight = _OPS.wide(cells.truth), cells.weight
    e = [member - t for member in x]
    bias, square, tt = mean(e), mean([error * error for error in e]), t * t
    # x = e + t, so the sums of e give those of x and x^2.
    terms = [
        bias, mean([abs(error) for error in e]), square,
        bias + t, t, square + bias * t * 2.0 + tt, tt,
    ]  # fmt: skip
    target = Rows(context, builder, sums, _START)
    for row, term in enumerate([weight, *(weight * term for term in terms)]):
        target.store(row, target.load(row, DOUBLE) + term)


@intrinsic
def _rank(
    _: Any, members: Any, truth: Any, weights: Any, column: Any, ranks: Any, count: Any
) -> Any:
    """ranks: (order, known, broken), of WIDTH cells, (WIDTH,) each.

    order = (M + 1) members below + members equal to the truth, int32; known = the weight of the
    truth; broken += 0, or NaN where a member is not finite (which no comparison would show).
    """
    signature = types.void(members, truth, weights, column, ranks, count)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        cells = _Cells(context, builder, sig, args)
        order, known, broken = (
            Rows(context, builder, (kind, builder.extract_value(args[4], k)), _START)
            for k, kind in enumerate(sig.args[4])
        )
        below, ties = ties_and_below(cells.members, cells.truth, _OPS)
        order.store(0, below * (len(cells.members) + 1) + ties)
        known.store(0, cells.weight)
        nothing = add_up([member * 0.0 for member in cells.members])
        broken.store(0, broken.load(0, FLOAT) + nothing)
        return context.get_dummy_value()

    return signature, generate


@njit(**OPTIONS)
def _copy_end(members, truth, weights, start, last):
    """The cells from `start` on into one vector; what is left of it stays without weight."""
    for n in range(start, len(weights)):
        last[1][n - start] = truth[n]
        last[2][n - start] = weights[n]
        for m in range(len(members)):
            last[0][m, n - start] = members[m, n]


@njit(**OPTIONS)
def _sum_errors(members, truth, weights, each, count, sums):
    """sums (T, 8) of (T, M, N) members against (T, N) truth."""
    partial = np.zeros((8, WIDTH))
    size, cells = members.shape[1:]
    last = np.zeros((size, WIDTH), np.float32), np.zeros(WIDTH, np.float32), np.zeros(WIDTH)
    whole = cells - cells % WIDTH
    for k in range(len(members)):
        partial[:] = 0.0
        for n in range(0, whole, WIDTH):
            if each:
                _add_member_errors(members[k], truth[k], weights, n, partial, count)
            else:
                _add_errors(members[k], truth[k], weights, n, partial, count)
        if whole < cells:
            _copy_end(members[k], truth[k], weights, whole, last)
            if each:
                _add_member_errors(last[0], last[1], last[2], 0, partial, count)
            else:
                _add_errors(last[0], last[1], last[2], 0, partial, count)
        for term in range(8):
            sums[k, term] = partial[term].sum()


@njit(**OPTIONS)
def _sum_ranks(members, truth, weights, count, sums):
    """sums (T, (M + 1)^2) of weights by (below, equal); NaN where a member is not finite."""
    size, cells = members.shape[1:]
    last = np.zeros((size, WIDTH), np.float32), np.zeros(WIDTH, np.float32), np.zeros(WIDTH)
    whole = cells - cells % WIDTH
    order, known = np.zeros(WIDTH, np.int32), np.zeros(WIDTH)
    broken = np.zeros(WIDTH, np.float32)
    # Neighbours often have one rank: with four tables one sum need not wait for the other.
    tables = np.zeros((4, sums.shape[1]))
    for k in range(len(members)):
        tables[:] = 0.0
        broken[:] = 0.0
        for n in range(0, cells, WIDTH):
            if n < whole:
                _rank(members[k], truth[k], weights, n, (order, known, broken), count)
            else:
                _copy_end(members[k], truth[k], weights, whole, last)
                _rank(last[0], last[1], last[2], 0, (order, known, broken), count)
            for i in range(0, WIDTH, 4):
                for lane in range(4):
                    tables[lane, order[i + lane]] += known[i + lane]
        for place in range(sums.shape[1]):
            for lane in range(4):
                sums[k, place] += tables[lane, place]
            sums[k, place] += broken.sum()


def error_sums(members: Field, truth: Field, weights: Array, *, each: bool) -> Array:
    """What `benchmark.verification.error_sums` says."""
    sums = np.zeros((len(truth), 8))
    _sum_errors(members, truth, weights, each, (0,) * members.shape[1], sums)
    return sums


def rank_sums(members: Field, truth: Field, weights: Array) -> Array:
    """What `benchmark.verification.rank_sums` says."""
    sums = np.zeros((len(truth), (members.shape[1] + 1) ** 2))
    _sum_ranks(members, truth, weights, (0,) * members.shape[1], sums)
    return sums
