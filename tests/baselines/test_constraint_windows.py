"""The relaxed forms: means over windows of coarse cells, ragged at the edge, and over the field."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.constraints import Layer, nonnegative, on_blocks, on_windows, rules
from baselines.constraints.blocks import Rule

Array = NDArray[np.float64]
FACTOR = 2
SHAPE = (2, 3, 5, 7)
RULES: dict[str, Rule] = {
    "add": rules.add, "mult": rules.mult, "softmax": rules.softmax,
    "scaled_add": rules.scaled_add(-4.0, 6.0), "nonnegative": rules.nonnegative,
    "softplus": rules.proportional(torch.nn.functional.softplus),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", RULES)


def case(seed: int = 0) -> tuple[Array, Array, Array]:
    """(field, coarse > 0, area of every cell and sample), areas within a factor of ten."""
    draw = np.random.default_rng(seed)
    n, c, ny, nx = SHAPE
    field = draw.normal(0, 3, (n, c, FACTOR * ny, FACTOR * nx))
    area = draw.uniform(0.2, 2, (n, 1, FACTOR * ny, FACTOR * nx))
    return field, draw.uniform(0.1, 5, SHAPE), area


def windows(size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of coarse cells, from the first on; the last windows hold what is left."""
    for j in range(0, SHAPE[2], size):
        for i in range(0, SHAPE[3], size):
            yield slice(j, min(j + size, SHAPE[2])), slice(i, min(i + size, SHAPE[3]))


def fine(cells: slice) -> slice:
    return slice(FACTOR * cells.start, FACTOR * cells.stop)


def coarse_area(area: Array) -> Array:
    n, c, ny, nx = area.shape
    blocks = area.reshape(n, c, ny // FACTOR, FACTOR, nx // FACTOR, FACTOR)
    return np.asarray(blocks.sum(axis=(3, 5)))


def run(layer: Layer, field: Array, coarse: Array, area: Array) -> Array:
    return np.asarray(layer(*(torch.from_numpy(array) for array in (field, coarse, area))).numpy())


@EVERY
@pytest.mark.parametrize("size", [2, 3, 4])
def test_window_means_are_those_of_the_coarse_field(name: str, size: int) -> None:
    """Area-weighted on both sides, in whole windows and in the ragged ones of the last rows."""
    field, coarse, area = case()
    got = run(on_windows(RULES[name], size), field, coarse, area)
    blocks = coarse_area(area)
    ragged = 0
    for rows, columns in windows(size):
        at, below = np.s_[:, :, rows, columns], np.s_[:, :, fine(rows), fine(columns)]
        wanted = (blocks[at] * coarse[at]).sum(axis=(2, 3)) / blocks[at].sum(axis=(2, 3))
        found = (area[below] * got[below]).sum(axis=(2, 3)) / area[below].sum(axis=(2, 3))
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        ragged += coarse[at].shape[2:] != (size, size)
    assert ragged
    # And only they are given: single coarse cells are free.
    share = area / coarse_area(area).repeat(FACTOR, 2).repeat(FACTOR, 3)
    assert abs(coarse_area(share * got) - coarse).max() > 0.1


@EVERY
def test_every_window_is_the_rule_of_its_own_cells(name: str) -> None:
    """A ragged window is what the global form makes of a field of that size."""
    field, coarse, area = case(1)
    got = run(on_windows(RULES[name], 3), field, coarse, area)
    for rows, columns in windows(3):
        below = np.s_[:, :, fine(rows), fine(columns)]
        alone = run(
            on_windows(RULES[name], None), field[below], coarse[:, :, rows, columns], area[below]
        )
        np.testing.assert_allclose(got[below], alone, rtol=1e-11, atol=1e-12)


@EVERY
def test_windows_of_one_coarse_cell_are_the_layer(name: str) -> None:
    """Areas in any unit, or weights that sum to 1: the same."""
    field, coarse, area = case(2)
    weights = area / coarse_area(area).repeat(FACTOR, 2).repeat(FACTOR, 3)
    expected = run(on_blocks(RULES[name]), field, coarse, weights)
    got = run(on_windows(RULES[name], 1), field, coarse, 1e8 * area)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


@EVERY
@pytest.mark.parametrize("size", [7, 100, None])
def test_the_global_form_knows_the_mean_only(name: str, size: int | None) -> None:
    """One number over the whole field; a window that is larger is the same."""
    field, coarse, area = case(3)
    got = run(on_windows(RULES[name], size), field, coarse, area)
    blocks = coarse_area(area)
    wanted = (blocks * coarse).sum(axis=(2, 3)) / blocks.sum(axis=(2, 3))
    np.testing.assert_allclose(
        (area * got).sum(axis=(2, 3)) / area.sum(axis=(2, 3)), wanted, rtol=1e-12
    )
    shuffled = np.ascontiguousarray(np.broadcast_to(wanted[:, :, None, None], coarse.shape))
    again = run(on_windows(RULES[name], size), field, shuffled, area)
    np.testing.assert_allclose(got, again, rtol=1e-11, atol=1e-12)


@EVERY
@pytest.mark.parametrize("size", [2, None])
def test_derivatives(name: str, size: int | None) -> None:
    """Numerical against analytic ones, ragged windows included."""
    field, coarse, area = (torch.from_numpy(array[:1, :1]) for array in case(4))
    field, coarse, area = field[..., :6, :6], coarse[..., :3, :3], area[..., :6, :6]
    field.requires_grad_(), coarse.requires_grad_()
    layer = on_windows(RULES[name], size)
    assert torch.autograd.gradcheck(lambda f, x: layer(f, x, area), (field, coarse))


def test_a_dry_window_is_dry() -> None:
    """Every cell of a window without rain is exactly 0, its neighbours are not."""
    field, coarse, area = case(5)
    coarse[:, :, 3:, 6:] = 0
    for rule in (rules.softmax, rules.mult, rules.nonnegative):
        got = run(on_windows(rule, 3), field, coarse, area)
        assert (got[:, :, 6:, 12:] == 0).all()
        assert (abs(got[:, :, 6:, :12]).sum(axis=(2, 3)) > 0).all()


@pytest.mark.parametrize("name", ["softmax", "nonnegative"])
def test_what_lies_beyond_the_edge_is_not_an_extreme(name: str) -> None:
    """Fields far below 0 in a ragged window: a 0 beside them would take all of exp, in float32."""
    field, coarse, area = (torch.from_numpy(array).float() for array in case(7))
    layer = on_windows(RULES[name], 3)
    low = layer(field - 1e4, coarse, area)
    assert torch.isfinite(low).all()
    torch.testing.assert_close(low, layer(field, coarse, area), rtol=0.02, atol=0.02)


def test_half_precision_is_computed_in_float32() -> None:
    """bfloat16 in, float32 out."""
    field, coarse, area = (torch.from_numpy(array) for array in case(6))
    layer = on_windows(rules.add, 2)
    got = layer(field.bfloat16(), coarse.bfloat16(), area.float())
    assert got.dtype == torch.float32
    exact = layer(field.bfloat16().double(), coarse.bfloat16().double(), area)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)


def test_windows_that_make_no_sense_are_refused() -> None:
    """No cells in a window; blocks that are not whole."""
    with pytest.raises(ValueError, match="at least 1"):
        on_windows(rules.add, 0)
    with pytest.raises(ValueError, match="whole blocks"):
        on_windows(rules.add, 2)(
            torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 5, 5)
        )


def test_the_same_rule_serves_every_scope() -> None:
    """A layer keeps its rule's docstring, which states the formula."""
    assert nonnegative.__doc__ == rules.nonnegative.__doc__
