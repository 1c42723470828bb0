"""Bins: every float32 number in exactly the bin whose edges enclose it, and refused bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.bins import Bins
from benchmark.errors import InputError

RAIN = Bins("log2", 2.0**-10, 2.0**10)
COARSE = Bins("log2", 0.25, 64.0, per_octave=128)
KELVIN = Bins("linear", 160.0, 352.0, 0.0625)
CELSIUS = Bins("linear", -64.0, 64.0, 0.5)
ALL = [RAIN, COARSE, KELVIN, CELSIUS]


def searched(bins: Bins, x: np.ndarray) -> np.ndarray:
    """The index by binary search in the edges; in log2 bins 0 is dry."""
    found = np.searchsorted(bins.edges[1:-1], x.astype(np.float64), side="right")
    return np.where((x <= 0) & (bins.kind == "log2"), 0, found)


def in_numbers(bins: Bins, x: np.float32) -> int:
    """The index as a kernel computes it from `parameters`."""
    kind, shift, offset, last, inverse = (float(value) for value in bins.parameters)
    if kind == 0:
        return int(min(max(np.floor(x * np.float32(inverse)) + np.float32(offset), 0), last))
    bits = int(x.view(np.int32))
    return int(min(max((bits >> int(shift)) - int(offset), bits > 0), last))


@pytest.mark.parametrize("bins", ALL)
def test_the_index_is_that_of_a_search_in_the_edges(bins: Bins) -> None:
    """Random magnitudes, every edge, and the float32 numbers on both sides of it."""
    rng = np.random.default_rng(1)
    edges = bins.edges[1:-1].astype(np.float32)
    infinity = np.float32(np.inf)
    x = np.concatenate(
        [
            edges,
            np.nextafter(edges, infinity),
            np.nextafter(edges, -infinity),
            rng.lognormal(0, 4, 5000).astype(np.float32),
            rng.uniform(-400, 400, 5000).astype(np.float32),
            np.array([0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32),
        ]
    )
    found = bins.index(x)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, searched(bins, x))
    np.testing.assert_array_equal(found[::97], [in_numbers(bins, value) for value in x[::97]])


@given(st.floats(width=32, allow_nan=False))
def test_any_number_lies_in_its_bin(value: float) -> None:
    """e_b <= x < e_b+1; the dry bin also holds 0 itself."""
    for bins in ALL:
        b = int(bins.index(np.array([value], np.float32))[0])
        if bins.kind == "log2" and value <= 0:
            assert b == 0
        else:
            assert bins.edges[b] <= value < bins.edges[b + 1] or b == len(bins) - 1
            assert value >= bins.edges[b]


def test_a_field_of_any_shape_keeps_it() -> None:
    """(2, 3, 4) values give (2, 3, 4) bins."""
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, :, ::2]
    for bins in ALL:
        np.testing.assert_array_equal(bins.index(x), searched(bins, x))


@pytest.mark.parametrize("bins", ALL)
def test_edges_are_float32_numbers_in_ascending_order(bins: Bins) -> None:
    """So that a float32 value and an edge compare without rounding."""
    inner = bins.edges[1:-1]
    assert len(bins.edges) == len(bins) + 1
    assert np.isinf(bins.edges[[0, -1]]).all()
    assert (inner.astype(np.float32) == inner).all()
    assert (np.diff(bins.edges) > 0).all()
    assert inner[-1] == bins.high
    assert bins.low in inner[:2]


def test_how_many_bins_there_are() -> None:
    """20 octaves of 512, 8 of 128; 192 K and 128 K in bins of 1/16 and 1/2; and the open ones."""
    assert [len(bins) for bins in ALL] == [20 * 512 + 3, 8 * 128 + 3, 192 * 16 + 2, 256 + 2]


@pytest.mark.parametrize("bins", [RAIN, COARSE])
def test_half_a_bin_is_within_the_design_of_its_lower_edge(bins: Bins) -> None:
    """At most 0.5 % between low and high."""
    inner = bins.edges[2:-1]
    assert (np.diff(inner) / 2 / inner[:-1]).max() <= 0.5 / bins.per_octave <= 0.005


def test_groups_start_at_round_values() -> None:
    """A quarter of an octave of evenly spaced bins; 1 K; the dry and the open bins alone."""
    starts = COARSE.edges[COARSE.groups]
    expected = [-np.inf, 0, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625]
    np.testing.assert_array_equal(starts[:8], expected)
    np.testing.assert_array_equal(starts[-2:], [56, 64])
    np.testing.assert_array_equal(
        KELVIN.edges[KELVIN.groups], np.append(-np.inf, np.arange(160, 353))
    )
    wide = Bins("linear", 0.0, 16.0, 4.0)
    np.testing.assert_array_equal(wide.groups, np.arange(len(wide)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("log2", 0.1, 64.0),
        ("log2", 0.0, 64.0),
        ("log2", -1.0, 64.0),
        ("log2", 64.0, 64.0),
        ("log2", 2.0**-140, 64.0),
        ("log2", 0.25, 2.0**125),
        ("log2", 0.25, np.inf),
        ("log2", 0.25, 64.0, 0.5),
        ("log2", 0.25, 64.0, None, 64),
        ("log2", 0.25, 64.0, None, 500),
        ("linear", 160.0, 352.0),
        ("linear", 160.0, 352.0, 0.1),
        ("linear", 160.0, 352.0, -0.5),
        ("linear", 160.0, 352.0, np.inf),
        ("linear", 160.03, 352.0, 0.0625),
        ("linear", 352.0, 160.0, 0.0625),
        ("linear", 0.0, np.nan, 0.0625),
        ("linear", 0.0, 2.0**25, 1.0),
    ],
)
def test_bounds_of_another_form_are_refused(arguments: tuple) -> None:
    """One problem, named after the kind."""
    with pytest.raises(InputError) as caught:
        Bins(*arguments)
    (problem,) = caught.value.problems
    assert problem.where == f"bins of kind {arguments[0]}"


def test_every_problem_is_named_at_once() -> None:
    """A log2 with wrong bounds, a width and a wrong division."""
    with pytest.raises(InputError) as caught:
        Bins("log2", 0.1, 64.0, 0.5, 100)
    assert len(caught.value.problems) == 3
