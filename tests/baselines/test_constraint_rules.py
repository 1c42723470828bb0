"""Where each rule could go wrong: bounds, zero means, dry blocks, huge values, any input at all."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.constraints import (
    Layer,
    add,
    block_mean,
    mult,
    nonnegative,
    on_blocks,
    proportional,
    scaled_add,
    softmax,
)
from baselines.constraints.rules import POSITIVE, relu_above

LOW, HIGH = -2.0, 5.0
bounded = on_blocks(scaled_add(LOW, HIGH))
GENERAL = {name: on_blocks(proportional(g)) for name, g in POSITIVE.items()}
MULTIPLICATIVE = {"mult": mult, "softmax": softmax, **GENERAL}
HARD = {"add": add, "scaled_add": bounded, "nonnegative": nonnegative, **MULTIPLICATIVE}


def block(values: object, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, 1, 2, 2) one block of four cells."""
    return torch.as_tensor(values, dtype=dtype).expand(4).reshape(1, 1, 2, 2).clone()


EVEN = block(0.25)
UNEVEN = block([0.1, 0.2, 0.3, 0.4])


def coarse(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


def differentiated(layer: Layer, field: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """The layer's answer, once it and all derivatives of its squares are seen to be finite."""
    field, x = field.clone().requires_grad_(), x.clone().requires_grad_()
    got = layer(field, x, weights)
    assert torch.isfinite(got).all()
    size = 1 + got.detach().abs().max()
    (got / size).square().sum().backward()
    for tensor in (field, x):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    return got.detach()


@pytest.mark.parametrize("values", [[1, 1, -1, -1], [0, 0, 0, 0], [3, 1, 0.5, -0.5]])
def test_scaled_add_leaves_alone_what_is_right(values: list[float]) -> None:
    """x = m: sign(0) = 0 moved such blocks in the released code, and was 0 / 0 at m = 0."""
    field = block(values)
    mean = block_mean(field, EVEN, 2)
    got = differentiated(on_blocks(scaled_add(-4.0, 4.0)), field, mean, EVEN)
    torch.testing.assert_close(got, field, rtol=0, atol=1e-6)


@pytest.mark.parametrize("x", [LOW, HIGH])
@pytest.mark.parametrize("values", [[-1, 0, 2, 4], [LOW] * 4, [HIGH] * 4, [-1e6, 0, 1, 1e6]])
def test_scaled_add_at_a_bound(x: float, values: list[float]) -> None:
    """The mean is a bound, so that every cell is; also where m is that bound, s + m = 0."""
    got = differentiated(bounded, block(values), coarse(x), UNEVEN)
    torch.testing.assert_close(got, block(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize("x", [LOW - 1e-3, HIGH + 1e-3, -300.0, 1e4])
def test_scaled_add_beyond_a_bound(x: float) -> None:
    """Conservation goes before bounds: an x outside of them is repeated."""
    got = differentiated(bounded, block([-1, 0, 2, 4]), coarse(x), UNEVEN)
    torch.testing.assert_close(got, block(x), rtol=1e-6, atol=0)


def test_scaled_add_moves_by_the_way_that_is_left() -> None:
    """x = 3 above m = 1: halfway to 5 for all; x = 0 below it: two thirds of the height over -2."""
    field = block([-1.0, 0.0, 2.0, 3.0])
    up = bounded(field, coarse(3.0), EVEN)
    torch.testing.assert_close(up, field + (HIGH - field) / 2)
    down = bounded(field, coarse(0.0), EVEN)
    torch.testing.assert_close(down, LOW + (field - LOW) * 2 / 3)


def test_scaled_add_is_precise_far_from_its_bounds() -> None:
    """Drizzle under a bound of 256 mm h-1 is conserved to its own digits in float32."""
    field, x = block([1e-3, 0, 2e-3, 5e-4]), coarse(2e-3)
    got = on_blocks(scaled_add(0.0, 256.0))(field, x, UNEVEN)
    torch.testing.assert_close(block_mean(got, UNEVEN, 2), x, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("values", "x"),
    [
        ([1, -1, 1, -1], 2.0),  # m = 0
        ([0, 0, 0, 0], 2.0),
        ([1, -1, 1, -0.99], 2.0),  # m near 0
        ([-1, -2, -3, -4], 2.0),  # the other sign
        ([1, 2, 3, 4], -2.0),
        ([1e-30] * 4, 2.0),  # smaller than any value that is meant
    ],
)
def test_mult_without_a_usable_mean_repeats_x(values: list[float], x: float) -> None:
    """The released code divides by m whatever it is."""
    got = differentiated(mult, block(values), coarse(x), EVEN)
    assert torch.equal(got, block(x))


def test_mult_scales_where_it_can() -> None:
    """Positive and negative fields of one sign, and mixed ones whose mean is clear."""
    for values, x in (([1, 2, 3, 4], 5.0), ([-1, -2, -3, -4], -5.0), ([-1, 2, 3, 4], 4.0)):
        field = block(values)
        got = differentiated(mult, field, coarse(x), EVEN)
        torch.testing.assert_close(got, field * x / field.mean())


def test_mult_amplifies_at_most_tenfold() -> None:
    """sum_k a_k |y_k| <= |x| / 0.1 for any field, just before and after the guard."""
    worst = 0.0
    for shift in np.linspace(0, 0.5, 101):
        field = block([1 + shift, -1 + shift, 1 + shift, -1 + shift])
        worst = max(worst, block_mean(mult(field, coarse(1.0), EVEN).abs(), EVEN, 2).item())
    assert 9 < worst <= 10.01


@pytest.mark.parametrize("layer", MULTIPLICATIVE.values(), ids=MULTIPLICATIVE.keys())
@pytest.mark.parametrize("values", [[1, 2, 3, 4], [0, 0, 0, 0], [-1, 1, -1, 1], [-1e4, 0, 0, 1e4]])
def test_multiplicative_forms_of_a_dry_block_are_zero(layer: Layer, values: list[float]) -> None:
    """x = 0 gives exact zeros and finite derivatives, whatever the network says."""
    got = differentiated(layer, block(values), coarse(0.0), UNEVEN)
    assert (got == 0).all()


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_general_forms_take_huge_values(name: str, size: float) -> None:
    """Equal values repeat x, also where g vanishes everywhere (softplus, sigmoid of -1e4)."""
    got = differentiated(GENERAL[name], block(size), coarse(3.0), UNEVEN)
    torch.testing.assert_close(got, block(3.0), rtol=1e-6, atol=0)


def test_general_form_is_the_published_one() -> None:
    """y_i = x g(f_i) / mean g(f), with g given by the caller."""
    field = block([-1.0, 0.0, 1.0, 2.0])
    got = on_blocks(proportional(relu_above(0.5)))(field, coarse(2.0), EVEN)
    torch.testing.assert_close(got.flatten(), 2 * torch.tensor([0.5, 0.5, 1.5, 2.5]) / 1.25)


def test_nonnegative_is_add_where_that_is_not_negative() -> None:
    """And stays put where nothing is wrong."""
    field = block([1.0, 2.0, 3.0, 4.0])
    x = coarse(2.0)
    torch.testing.assert_close(nonnegative(field, x, EVEN), add(field, x, EVEN))
    assert torch.equal(nonnegative(field, coarse(2.5), EVEN), field)


def test_nonnegative_cuts_and_conserves() -> None:
    """By hand: of (-2, 0, 1, 3) with mean 0.75 the wet cells are 0.5 and 2.5."""
    got = nonnegative(block([-2.0, 0.0, 1.0, 3.0]), coarse(0.75), EVEN)
    torch.testing.assert_close(got.flatten(), torch.tensor([0.0, 0.0, 0.5, 2.5]))


@pytest.mark.parametrize("x", [0.0, 1e-30, 1e-12, 1.0])
def test_nonnegative_of_almost_dry_blocks(x: float) -> None:
    """A tiny mean is not lost beside a field of thousands; a dry block is exactly 0."""
    field = block([3000.0, 1.0, -50.0, 2999.0])
    got = differentiated(nonnegative, field, coarse(x), UNEVEN)
    assert (got >= 0).all()
    torch.testing.assert_close(block_mean(got, UNEVEN, 2).item(), x, rtol=1e-6, atol=0)


def test_nonnegative_conserves_beside_a_large_value() -> None:
    """Rounding of 10,000 is not left in the mean of 256, nor in the cells that are barely wet."""
    weights = block([0.203125, 1.0, 2.0, 4.75]) / 7.953125
    got = nonnegative(block([1e4, 0.0, 0.0, 0.0]), coarse(256.0), weights)
    mean = (got.double() * weights.double()).sum().item()
    assert mean == pytest.approx(256 * weights.double().sum().item(), rel=3e-7)


def test_nonnegative_refuses_a_negative_mean() -> None:
    """No such field exists: not zeros, not the mean repeated."""
    with pytest.raises(ValueError, match="negative mean"):
        nonnegative(block(1.0), coarse(-1e-9), EVEN)


VALUES = st.one_of(
    st.floats(-20, 20, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e4, -1e4, 1e-30, -1e-30, 1e-42, 6e4]),
)
MEANS = st.one_of(
    st.floats(0, 400, width=32), st.sampled_from([0.0, 1e-30, 1e-42, 1e-6, LOW, HIGH, 6e4])
)
WEIGHTS = st.lists(st.floats(0.2, 5), min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(HARD)),
    values=st.lists(VALUES, min_size=4, max_size=4),
    x=MEANS,
    negative=st.booleans(),
    shares=WEIGHTS,
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_any_field_is_constrained(
    name: str,
    values: list[float],
    x: float,
    negative: bool,
    shares: list[float],
    dtype: torch.dtype,
) -> None:
    """Dry, negative and huge means, fields with a zero mean, half precision: finite, A y = x to
    1e-6 of what was added up, finite derivatives, the sign of x or the bounds where promised.
    """
    x = abs(x) if name == "nonnegative" else -x if negative else x
    weights = block(shares) / sum(shares)
    field, mean = block(values).to(dtype), coarse(x).to(dtype)
    got = HARD[name](field, mean, weights)
    # Derivatives by float32 values: some of float16 ones are beyond 65504.
    assert torch.equal(differentiated(HARD[name], field.float(), mean.float(), weights), got)
    wanted = mean.double().item()
    size = max(1e-30, abs(wanted))  # smaller slopes x / m are not normal in float32
    size = 10 * size if name == "mult" else size
    if name in ("add", "scaled_add"):
        size += 2 * field.double().abs().max().item() + HIGH
    found = (got.double() * weights.double()).sum().item()
    assert abs(found - wanted) <= 1e-6 * size
    if name in {"softmax", *GENERAL}:
        assert (got * np.sign(wanted) >= 0).all()
    if name == "nonnegative":
        assert (got >= 0).all()
    if name == "scaled_add":
        assert (got >= min(LOW, wanted)).all()
        assert (got <= max(HIGH, wanted)).all()


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "log cosh": lambda f: f.cosh().log() + 1e-3,
    **POSITIVE,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_general_forms(name: str) -> None:
    """Numerical against analytic ones, in float64, for functions of the caller too."""
    draw = torch.Generator().manual_seed(0)
    field = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=draw, requires_grad=True)
    x = torch.rand(1, 2, 2, 2, dtype=torch.float64, generator=draw, requires_grad=True)
    weights = torch.full((1, 1, 4, 4), 0.25, dtype=torch.float64)
    layer = on_blocks(proportional(SMOOTH[name]))
    assert torch.autograd.gradcheck(lambda f, x: layer(f, x, weights), (field, x))
