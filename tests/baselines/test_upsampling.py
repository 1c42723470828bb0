"""Interpolation by any factor, and the Fourier operator that follows it in DFNO."""

import numpy as np
import pytest
import torch

from baselines.dfno import DFNO, DFNOConfig, SpectralConvolution
from baselines.interpolation import KERNELS
from baselines.upsampling import fine_shape, prime_stages, upsample
from benchmark.errors import InputError

SMALL = DFNOConfig(width=6, blocks=1, layers=2, modes=3, projection=8, rim=1)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [2, 4, 5, 2.5])
def test_as_between_cell_centres_with_clamped_edges(mode: str, factor: float) -> None:
    """The weights of `interpolation`, which know coordinates, on an equally spaced grid."""
    rows, columns = 8, 6
    x = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))
    weights = []
    for cells in (rows, columns):
        fine = (np.arange(round(cells * factor), dtype=np.float64) + 0.5) / factor
        weights.append(KERNELS[mode](np.arange(cells, dtype=np.float64) + 0.5, fine))
    expected = weights[0] @ x.double().numpy() @ weights[1].T
    got = upsample(x, factor, mode)  # type: ignore[arg-type]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_fine_sizes() -> None:
    """A factor out of a text file may miss by rounding; half a cell is an error."""
    assert fine_shape(80, 80, 2.5) == (200, 200)
    assert fine_shape(30, 60, 0.1 * 3 / 0.1) == (90, 180)
    with pytest.raises(InputError, match="2\\.5"):
        fine_shape(8, 7, 2.5)


@pytest.mark.parametrize(
    ("factor", "stages"),
    [(1, []), (2, [2]), (5, [5]), (12, [2, 2, 3]), (16, [2] * 4), (49, [7, 7])],
)
def test_stages_multiply_to_the_factor(factor: int, stages: list[int]) -> None:
    """As many doublings as there are, other primes once each time."""
    assert prime_stages(factor) == stages


def waves(cells: int) -> torch.Tensor:
    """A field of at most two waves a box, sampled on cells x cells points."""
    t = torch.arange(cells) / cells * 2 * torch.pi
    y, x = t[:, None], t[None]
    return 0.3 + (2 * y + x).sin() + 0.5 * (y - 2 * x).cos() + 0.2 * (2 * x).sin()


@pytest.mark.parametrize("cells", [24, 15, 9])
def test_a_fourier_layer_is_the_same_operator_on_any_grid(cells: int) -> None:
    """Even or odd: equal where the points of 12 x 12 and of the other grid meet."""
    torch.manual_seed(0)
    layer = SpectralConvolution(1, 3)
    with torch.no_grad():
        small, large = (layer(waves(n)[None, None])[0, 0] for n in (12, cells))
    meet = np.gcd(12, cells)
    a, b = small[:: 12 // meet, :: 12 // meet], large[:: cells // meet, :: cells // meet]
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert a.std() > 0.01


def test_a_fourier_layer_cuts_what_its_modes_do_not_reach() -> None:
    """Three modes: zero, one and two waves pass, three do not; a shift commutes with it."""
    torch.manual_seed(0)
    layer = SpectralConvolution(1, 3)
    t = torch.arange(16) / 16 * 2 * torch.pi
    with torch.no_grad():
        short = layer((3 * t).sin()[None, None, None].expand(1, 1, 16, 16))
        assert short.abs().max() < 1e-5
        x = torch.randn(1, 1, 16, 16)
        shifted = layer(x.roll((3, 5), (-2, -1)))
        torch.testing.assert_close(shifted, layer(x).roll((3, 5), (-2, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cells", [12, 15])
def test_a_fourier_layer_has_a_weight_for_each_mode(cells: int) -> None:
    """All 1: nothing changes. One at (-1, 1): of four waves, the one that runs this way passes."""
    layer = SpectralConvolution(1, 3)
    t = torch.arange(cells) / cells * 2 * torch.pi
    y, x = t[:, None], t[None]
    with torch.no_grad():
        layer.real.fill_(1)
        layer.imaginary.zero_()
        field = waves(cells)[None, None]
        torch.testing.assert_close(layer(field), field, rtol=1e-4, atol=1e-5)
        layer.real.zero_()
        layer.real[0, 0, -1, 1] = 1
        kept, *cut = (
            layer((kx * x + ky * y).sin()[None, None])
            for ky, kx in ((-1, 1), (-2, 1), (1, 1), (-1, 2))
        )
    torch.testing.assert_close(kept[0, 0], (x - y).sin(), rtol=1e-4, atol=1e-5)
    assert max(float(field.abs().max()) for field in cut) < 1e-5


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
def test_a_grid_too_small_for_the_modes_uses_those_it_has(cells: int) -> None:
    """Finite, of the same shape, and its mean still goes through."""
    torch.manual_seed(0)
    layer = SpectralConvolution(1, 12)
    with torch.no_grad():
        got = layer(torch.full((1, 1, cells, cells + 1), 2.0))
    torch.testing.assert_close(got, torch.full_like(got, 2.0) * layer.real[0, 0, 0, 0])


def test_a_network_fitted_at_one_factor_answers_at_another() -> None:
    """4 to 2.5: the same weights in a new network, or the factor in the call; bad ones refused."""
    torch.manual_seed(0)
    fitted, other = DFNO(2, 4, SMALL), DFNO(2, 2.5, SMALL)
    other.load_state_dict(fitted.state_dict())
    x = torch.randn(1, 2, 8, 6)
    with torch.no_grad():
        assert torch.equal(other(x), fitted(x, factor=2.5))
        assert other(x).shape == (1, 2, 20, 15)
        assert fitted(x, factor=1).shape == x.shape
        # A smooth field: coarser answers are near the block means of finer ones.
        smooth = upsample(torch.randn(1, 2, 3, 3), 4, "bicubic")
        fine, finer = fitted(smooth, factor=2), fitted(smooth, factor=6)
    means = torch.nn.functional.avg_pool2d(finer, 3)
    assert (means - fine).std() < 0.05 * fine.std()
    with pytest.raises(InputError, match="at least 1"):
        fitted(x, factor=0.5)


def low_pass(rim: int, *, gain: float) -> DFNO:
    """A network whose one Fourier layer passes its modes unmixed (gain 1), or nothing (0)."""
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"rim": rim, "layers": 1, "modes": 5})
    network = DFNO(1, 2, config)
    with torch.no_grad():
        (layer,), (local,) = network.spectral, network.local
        assert isinstance(layer, SpectralConvolution)
        assert isinstance(local, torch.nn.Conv2d)
        layer.real.copy_(gain * torch.eye(6)[:, :, None, None].expand(6, 6, 10, 5))
        layer.imaginary.zero_()
        local.weight.mul_(1 - gain)
    return network


def test_the_rim_keeps_opposite_edges_apart() -> None:
    """Without it the Fourier layers see a box as periodic: one edge answers for the other."""
    x = torch.zeros(1, 1, 8, 8)
    other = x.clone()
    other[..., 0] = 1
    across = []
    for rim in (0, 2):
        network = low_pass(rim, gain=1.0)
        with torch.no_grad():
            change = (network(other) - network(x)).abs().mean((0, 1, 2))
        across.append(float(change[-1] / change[0]))
    assert across[0] > 5 * across[1]


def test_the_rim_is_cut_where_it_was_put() -> None:
    """Without Fourier modes nothing is left of it: only bicubic features and 1 x 1 layers."""
    x = torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    network = low_pass(3, gain=0.0)
    with torch.no_grad():
        features = network.local[0](upsample(network.encoder(x), 2, "bicubic"))
        expected = network.head(torch.nn.functional.gelu(network.projection(features)))
        torch.testing.assert_close(network(x), expected)
        assert torch.equal(low_pass(0, gain=0.0)(x), network(x))
