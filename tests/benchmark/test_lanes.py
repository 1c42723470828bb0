"""Lanes: the sorting network, pairwise sums, and the compiled vectors against numpy."""

import itertools
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from benchmark.families.lanes import ArrayOps, add_up, comparators, rank
from benchmark.kernels.lanes import DOUBLE, FLOAT, INT, WIDTH, Rows, VectorOps, any_of, splat

_OPS = VectorOps()


@pytest.mark.parametrize("count", range(1, 13))
def test_the_network_sorts_every_vector_of_zeros_and_ones(count: int) -> None:
    """A network that sorts all of them sorts everything (Knuth, TAOCP 3, 5.3.4, theorem Z)."""
    vectors = np.array(list(itertools.product((0, 1), repeat=count))).T.copy()
    for low, high in comparators(count):
        assert low < high
        small, large = np.minimum(*vectors[[low, high]]), np.maximum(*vectors[[low, high]])
        vectors[low], vectors[high] = small, large
    assert (np.diff(vectors, axis=0) >= 0).all()


def test_sixteen_members_take_63_comparators() -> None:
    """Batcher's count for a power of two 2^p: (p^2 - p + 4) 2^(p - 2) - 1."""
    counts = [len(comparators(2**p)) for p in range(6)]
    assert counts == [0, 1, 5, 19, 63, 191]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 21, 50])
def test_rank_sorts_each_cell(count: int) -> None:
    """As numpy's sort, ties included; the members themselves are left alone."""
    members = np.floor(np.random.default_rng(count).normal(0, 4, (count, 100)))
    before = members.copy()
    np.testing.assert_array_equal(rank(list(members), ArrayOps()), np.sort(members, axis=0))
    np.testing.assert_array_equal(members, before)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 16, 33])
def test_sums_in_pairs(count: int) -> None:
    """Every term once, for any number of them, in the order of neighbours."""
    terms = [2.0**k for k in range(count)]
    assert add_up(terms) == 2.0**count - 1
    words = [chr(97 + k % 26) for k in range(count)]
    assert add_up(words) == "".join(words)


@intrinsic
def _every_operator(_: Any, floats: Any, doubles: Any, out: Any, counts: Any) -> Any:
    """Operators of lanes on rows of floats (2, n) and doubles (2, n), from column 1 on."""
    signature = types.void(floats, doubles, out, counts)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        one = ir.Constant(ir.IntType(64), 1)
        f, d, o, c = (
            Rows(context, builder, (sig.args[k], args[k]), one if k < 2 else one.type(0))
            for k in range(4)
        )
        x, y = (f.load(k, FLOAT) for k in (0, 1))
        a, b = (d.load(k, DOUBLE) for k in (0, 1))
        results = [
            a + b, a - b, a * b, abs(a), a + 1.5, _OPS.wide(x),
            _OPS.where(a < b, a, b), _OPS.where(a >= 0.5, b, a.constant(7.0)),
            _OPS.where(x.positive(), a, b), splat(builder, ir.Constant(ir.DoubleType(), 2.5)),
        ]  # fmt: skip
        for row, result in enumerate(results):
            o.store(row, result)
        lowest = c.load(0, INT) * 0
        numbers = [
            _OPS.count([x < y, x >= y, _OPS.equal(x, y), x < 1.0]), _OPS.floor(a),
            _OPS.whole(a), _OPS.leading_bits(x, lowest + 16), lowest - 3,
        ]  # fmt: skip
        for row, number in enumerate(numbers):
            c.store(row, number)
        o.store(len(results), _OPS.number(numbers[0]))
        for row, mask in enumerate((x < y, a < -1e9)):
            some = builder.sitofp(any_of(mask), ir.DoubleType())
            o.store(len(results) + 1 + row, splat(builder, some))
        return context.get_dummy_value()

    return signature, generate


@njit(error_model="numpy")
def _run(floats: Any, doubles: Any, out: Any, counts: Any) -> None:
    _every_operator(floats, doubles, out, counts)


@pytest.fixture(scope="module")
def lanes() -> tuple[Any, ...]:
    """(x, y) float32, (a, b) float64 with NaN, infinities, ties and zeros; results."""
    generator = np.random.default_rng(0)
    floats = generator.normal(0, 2, (2, WIDTH + 3)).astype(np.float32)
    floats[0, 1:6] = [np.nan, np.inf, -0.0, 0.0, 1e-45]
    floats[1, 6:9] = floats[0, 6:9]
    doubles = generator.normal(0, 2, (2, WIDTH + 3))
    doubles[0, 1:6] = [0.0, -0.0, 3.0, -3.0, -2.000001]
    out, counts = np.zeros((13, WIDTH)), np.zeros((5, WIDTH), np.int32)
    _run(floats, doubles, out, counts)
    inner = slice(1, 1 + WIDTH)
    return floats[:, inner], doubles[:, inner], out, counts


def test_vectors_calculate_as_numpy_does(lanes: tuple[Any, ...]) -> None:
    """Arithmetic, choices and conversions of sixteen lanes, bit for bit."""
    (x, y), (a, b), out, _ = lanes
    expected = [
        a + b, a - b, a * b, abs(a), a + 1.5, x.astype(np.float64), np.where(a < b, a, b),
        np.where(a >= 0.5, b, 7.0), np.where((x > 0) | np.isposinf(x) | np.isnan(x), a, b),
        np.full(WIDTH, 2.5),
    ]  # fmt: skip
    for k, values in enumerate(expected):
        np.testing.assert_array_equal(out[k], values, err_msg=str(k))
    np.testing.assert_array_equal(out[11], float((x < y).any()))
    np.testing.assert_array_equal(out[12], 0.0)


def test_comparisons_and_integers(lanes: tuple[Any, ...]) -> None:
    """Ordered comparisons (NaN is never less, more or equal), floor, cut, bits, int32."""
    (x, y), (a, _), out, counts = lanes
    masks = [x < y, x >= y, x == y, x < 1]
    np.testing.assert_array_equal(counts[0], np.sum(masks, axis=0))
    assert counts[0][0] == 0, "NaN"
    np.testing.assert_array_equal(out[10], counts[0])
    np.testing.assert_array_equal(counts[1], np.floor(a))
    np.testing.assert_array_equal(counts[2], np.trunc(a))
    np.testing.assert_array_equal(counts[3], np.ascontiguousarray(x).view(np.int32) >> 16)
    np.testing.assert_array_equal(counts[4], -3)


def test_array_ops_are_numpy() -> None:
    """The numpy engine's own operators."""
    ops, x = ArrayOps(), np.array([1.5, 2.0, np.nan], np.float32)
    assert ops.wide(x).dtype == np.float64
    np.testing.assert_array_equal(ops.equal(x, x), [True, True, False])
    count = ops.count([x > 1, x > 1.7])
    assert count.dtype == np.int32
    np.testing.assert_array_equal(count, [1, 2, 0])
    assert ops.number(count).dtype == np.float64
