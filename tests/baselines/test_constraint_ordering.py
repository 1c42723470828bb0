"""Ordered variables: the published formulas, order after rounding, derivatives, what is refused."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.constraints.ordering import disorder, ordered_add, ordered_mult

VALUES = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, -0.0, 1e-42, -1e-30, 6e4, -6e4])
)


def cell(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, variables, 1, 1)."""
    return torch.tensor(values, dtype=dtype).reshape(1, -1, 1, 1)


def test_additive_form_by_hand() -> None:
    """a = (-1, 2, -3): the bound, two above it, and no further; without a bound from -1."""
    assert torch.equal(ordered_add(cell(-1, 2, -3)), cell(0, 2, 2))
    assert torch.equal(ordered_add(cell(-1, 2, -3), lowest=None), cell(-1, 1, 1))
    assert torch.equal(ordered_add(cell(-9, 2, 3), lowest=-4), cell(-4, -2, 1))


def test_multiplicative_form_by_hand() -> None:
    """2, then twice as much, then no more; from 0 nothing grows."""
    assert torch.equal(ordered_mult(cell(2, 1, -3)), cell(2, 4, 4))
    assert torch.equal(ordered_mult(cell(-2, 1, 3)), cell(0, 0, 0))


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(VALUES, min_size=3, max_size=3),
    lowest=st.sampled_from([None, 0.0, -5.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_any_values_come_out_in_order(
    values: list[float], lowest: float | None, dtype: torch.dtype
) -> None:
    """After rounding too, in the dtype that came in; never below the bound."""
    raw = cell(*values, dtype=dtype)
    assume(bool(raw.isfinite().all()))
    for got in (ordered_add(raw, lowest=lowest), ordered_mult(raw)):
        assert got.dtype == dtype
        assert got.shape == raw.shape
        assert not disorder(got).any()
    assert (ordered_mult(raw) >= 0).all()
    if lowest is not None:
        assert (ordered_add(raw, lowest=lowest) >= lowest).all()


@given(values=st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_every_order_can_be_reached(values: list[int]) -> None:
    """The additive form of the differences is the field itself."""
    ordered = cell(*sorted(values))
    steps = torch.cat([ordered[:, :1], ordered.diff(dim=1)], dim=1)
    assert torch.equal(ordered_add(steps), ordered)


def test_disorder_is_counted_by_cell() -> None:
    """Equal values are in order, as is a cell with NaN, which is not to be counted at all."""
    fields = torch.stack([cell(1, 2, 3), cell(1, 1, 1), cell(2, 1, 3), cell(1, 3, 2)], dim=-1)
    assert disorder(fields[..., 0, :]).flatten().tolist() == [False, False, True, True]
    assert not disorder(cell(1, float("nan"), 0)).any()


def test_a_missing_value_stays_missing() -> None:
    """It is not taken for 0, and what stands on it is missing too."""
    for form in (ordered_add, ordered_mult):
        got = form(cell(1, float("nan"), 2)).flatten()
        assert got[0] == 1
        assert got[1:].isnan().all()


@pytest.mark.parametrize("form", [ordered_add, ordered_mult])
def test_derivatives(form: object) -> None:
    """Numerical against analytic ones, in float64, away from the kinks."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 3, 3, 2, dtype=torch.float64, generator=generator)
    raw = (raw + 0.1 * raw.sign()).requires_grad_()
    assert torch.autograd.gradcheck(form, (raw,))  # type: ignore[arg-type]
