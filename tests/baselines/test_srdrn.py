"""SRDRN: the reported size, the order of the layers, normalisation in full precision."""

import torch
from torch import Tensor, nn

from baselines.srdrn import SRDRN, Norm, SRDRNConfig

TINY = SRDRNConfig(width=8, blocks=2, wide=8)


def fields(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_reported_size() -> None:
    """About 6.29 M (second-hand) with the biases before each norm and its running statistics."""
    with torch.device("meta"):
        network = SRDRN(6, 12, SRDRNConfig(), outputs=1)
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    assert len(norms) == 33
    trained = sum(parameter.numel() for parameter in network.parameters())
    theirs = trained + sum(3 * norm.num_features for norm in norms)
    assert (trained, theirs) == (6_283_393, 6_289_729)


def test_the_long_skip_goes_round_the_blocks() -> None:
    """With all weights of the body at 0 the first layer's output goes on alone."""
    network, x = SRDRN(3, 4, TINY).eval(), fields(2, 3, 5, 6)
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.zero_()
        expected = network.head(network.upsampling(network.stem(x)))
        torch.testing.assert_close(network(x), expected)


def test_a_block_adds_its_input() -> None:
    """x + norm(conv(prelu(norm(conv(x))))) from torch's own functions, for fixed statistics."""
    block = SRDRN(3, 2, TINY).eval().body[0]
    first, norm, prelu, second, last = block.body.children()  # type: ignore[union-attr]
    x = fields(2, 8, 5, 6)
    with torch.no_grad():
        for each in (norm, last):
            each.running_mean.uniform_(-1, 1)
            each.running_var.uniform_(0.5, 2)
        prelu.weight.fill_(0.3)

        def normed(h: Tensor, norm: nn.Module) -> Tensor:
            mean, var = (v[:, None, None] for v in (norm.running_mean, norm.running_var))
            return (h - mean) / (var + norm.eps) ** 0.5

        h = normed(nn.functional.conv2d(x, first.weight, padding=1), norm)
        h = torch.where(h > 0, h, 0.3 * h)
        expected = x + normed(nn.functional.conv2d(h, second.weight, padding=1), last)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_stages_repeat_cells() -> None:
    """Factor 6 is a stage of 2 and one of 3; what leaves the last is equal in blocks of 3."""
    network, x = SRDRN(3, 6, TINY).eval(), fields(1, 3, 4, 5)
    with torch.no_grad():
        features = network.upsampling(network.stem(x))
    assert features.shape == (1, 8, 24, 30)
    whole = features[..., ::3, ::3]
    assert torch.equal(features, whole.repeat_interleave(3, -2).repeat_interleave(3, -1))
    assert not torch.equal(whole[..., ::2], whole[..., 1::2])


def test_norms_are_in_full_precision() -> None:
    """Under bf16 they take and give float32, and the running statistics are float32 ones."""
    network = SRDRN(3, 2, TINY).train()
    seen: list[torch.dtype] = []
    for module in network.modules():
        if isinstance(module, Norm):
            module.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(fields(4, 3, 6, 6))
    assert seen == [torch.float32] * 5
    mean = network.get_buffer("body.0.body.1.running_mean")
    assert not torch.equal(mean, mean.bfloat16().float())
