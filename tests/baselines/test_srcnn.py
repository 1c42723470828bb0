"""The published SR-CNN: its size, its shapes, its upsampling, its precision."""

import pytest
import torch
from torch import nn

from baselines.srcnn import SRCNN, SRCNNConfig
from benchmark.errors import InputError

SMALL = SRCNNConfig(width=4, blocks=1)


def upsampling(network: SRCNN) -> list[tuple[int, ...]]:
    """(kernel, stride) of every transposed convolution."""
    return [
        (*layer.kernel_size, *layer.stride)
        for layer in network.modules()
        if isinstance(layer, nn.ConvTranspose2d)
    ]


def test_has_the_published_number_of_parameters() -> None:
    """100,833 with one channel at 4x (Harder et al. 2023)."""
    network = SRCNN(1, 4, SRCNNConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == 100_833


@pytest.mark.parametrize(("factor", "times"), [(2, 1), (4, 2), (8, 3), (16, 4)])
def test_doubles_as_often_as_it_must(factor: int, times: int) -> None:
    """Transposed convolutions of 2 with stride 2; shape (batch, channels, factor Ny, factor Nx)."""
    network = SRCNN(3, factor, SMALL)
    assert upsampling(network) == [(2, 2, 2, 2)] * times
    assert network(torch.zeros(2, 3, 3, 5)).shape == (2, 3, 3 * factor, 5 * factor)


def test_factor_three_is_one_transposed_convolution() -> None:
    """The paper's WRF case."""
    network = SRCNN(1, 3, SMALL)
    assert upsampling(network) == [(3, 3, 3, 3)]
    assert network(torch.zeros(2, 1, 5, 4)).shape == (2, 1, 15, 12)


@pytest.mark.parametrize("factor", [2.5, 5, 6])
def test_other_factors_are_refused(factor: float) -> None:
    """With an InputError that says which it can and what to do; never a silent rounding."""
    with pytest.raises(InputError, match="a power of 2, or 3") as caught:
        SRCNN(1, factor, SMALL)
    assert f"{factor:g}" in caught.value.problems[0].got


def test_no_normalisation_layers_and_no_activation_in_the_upsampling() -> None:
    """As published: what follows a transposed convolution is another one, or a convolution."""
    layers = list(SRCNN(1, 4, SMALL).body)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds[:6] == ["Conv2d", "ReLU", "ConvTranspose2d", "ConvTranspose2d", "Conv2d", "ReLU"]
    assert kinds[-3:] == ["ResidualBlock", "Conv2d", "ReLU"]
    assert not any("Norm" in type(layer).__name__ for layer in SRCNN(1, 4, SMALL).modules())


def test_blocks_have_no_bias_and_add_their_input() -> None:
    """With zero weights a residual block is relu(x)."""
    block = next(m for m in SRCNN(1, 2, SMALL).modules() if type(m).__name__ == "ResidualBlock")
    assert all("bias" not in name for name, _ in block.named_parameters())
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(block(x), x.relu())


def test_the_head_stays_in_single_precision_under_bf16_autocast() -> None:
    """Its output is float32 and not a bfloat16 number in disguise."""
    torch.manual_seed(0)
    network = SRCNN(3, 4, SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = network(torch.randn(2, 3, 4, 4))
    assert got.dtype == torch.float32
    assert not torch.equal(got, got.bfloat16().float())
