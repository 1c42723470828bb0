"""The vision transformer: patches in their place, attention across the box, positions, heads."""

import pytest
import torch
from torch import Tensor

from baselines.vit import ViT, ViTConfig
from benchmark.errors import InputError


def vit(**changes: int) -> ViT:
    """A small one without interpolation (factor 1)."""
    torch.manual_seed(0)
    values = {"width": 16, "depth": 1, "heads": 2, "patch": 2, **changes}
    return ViT(2, 1, ViTConfig.model_validate(values))


def fields(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_published_configurations() -> None:
    """The ERA5 task's by default: width 128, depth 4, one decoder layer, 4 heads, patches of 2."""
    assert tuple(ViTConfig().model_dump().values()) == (128, 4, 1, 4, 2)
    with torch.device("meta"):
        network = ViT(49, 2, ViTConfig(), outputs=1)
    block = 12 * 128**2 + 13 * 128  # q, k, v, out, two layers of 4 x, biases, two norms
    decoder = 2 * 128 + 128 * 129 + 4 * 129
    expected = 128 * (49 * 4 + 1) + 4 * block + decoder
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_cells_of_a_patch_keep_their_place() -> None:
    """What the last layer says of (output, row, column) stands there, in every patch."""
    network = vit(patch=3)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.arange(18.0))
        got = network(fields(1, 2, 6, 9))
    assert torch.equal(got[0], torch.arange(18.0).view(2, 3, 3).repeat(1, 2, 3))


@pytest.mark.parametrize(("depth", "reach"), [(0, 1), (1, 12)])
def test_only_attention_crosses_patches(depth: int, reach: int) -> None:
    """One cell changes its own patch; with a block, all twelve."""
    network, x = vit(depth=depth), fields(1, 2, 6, 8)
    other = x.clone()
    other[0, 0, 3, 4] += 1
    with torch.no_grad():
        changed = (network(x) != network(other)).any(dim=1)[0]
    patches = changed.unfold(0, 2, 2).unfold(1, 2, 2).any(dim=-1).any(dim=-1)
    assert patches[1, 2]
    assert patches.sum() == reach


def test_patches_know_where_they_are() -> None:
    """Of a constant field each patch gets an answer of its own, the same in a larger box."""
    network = vit(depth=0)
    with torch.no_grad():
        small, large = network(torch.ones(1, 2, 4, 4)), network(torch.ones(1, 2, 8, 6))
    patches = small.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).unbind(2)
    assert len({tuple(patch.flatten().tolist()) for patch in patches}) == 4
    torch.testing.assert_close(large[..., :4, :4], small)


def test_heads_must_divide_the_width() -> None:
    """An InputError that names both."""
    with pytest.raises(InputError, match="width of 16") as caught:
        vit(heads=3)
    assert (caught.value.problems[0].where, caught.value.problems[0].got) == ("vit", "3")
