"""LOAN: the published formula, and the same network without conditions where it starts."""

import torch
from torch import Tensor
from torch.nn import functional

from baselines.context import Context
from baselines.loan import LOAN, LOANConfig, Modulation
from baselines.upsampling import upsample


def fields(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def context(seed: int, *shape: int) -> Context:
    count, rows, columns = shape
    return Context(
        static=fields(count, 2, rows, columns, seed=seed),
        place=fields(count, 2, rows, columns, seed=seed + 1),
        clock=fields(count, 4, 1, 1, seed=seed + 2),
    )


def test_modulation_is_the_published_formula() -> None:
    """norm(h) (1 + gamma) + beta, cell by cell, with mean 0 and variance 1 over the channels."""
    layer, h, conditions = Modulation(6, 3), fields(2, 6, 4, 5), fields(2, 3, 4, 5, seed=1)
    with torch.no_grad():
        for maps in (layer.gamma, layer.beta):
            maps.weight.copy_(fields(6, 3, 3, 3, seed=2 + (maps is layer.beta)))
            maps.bias.fill_(0.5 if maps is layer.gamma else -2.0)
        got = layer(h, conditions)
        gamma, beta = (
            functional.conv2d(conditions, maps.weight, maps.bias, padding=1)
            for maps in (layer.gamma, layer.beta)
        )
        centred = h - h.mean(dim=1, keepdim=True)
        normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(got, normed * (1 + gamma) + beta, rtol=1e-4, atol=1e-5)


def test_an_untrained_network_has_no_conditions() -> None:
    """The plain residual network with normalised branches, whatever the context says."""
    network, x = LOAN(3, 2.5, LOANConfig(width=8, blocks=2, conditions=4)), fields(2, 3, 4, 6)
    with torch.no_grad():
        got = network(x, context(10, 2, 10, 15))
        assert torch.equal(got, network(x, context(20, 2, 10, 15)))
        h = network.stem(upsample(x, 2.5, "bilinear")).relu()
        for block in network.blocks:
            branch = block.first(h).movedim(1, -1)  # type: ignore[operator]
            branch = functional.layer_norm(branch, (8,)).movedim(-1, 1).relu()
            h = (h + block.second(branch)).relu()  # type: ignore[operator]
        torch.testing.assert_close(got, network.head(network.last(h).relu()))


def test_conditions_act_where_they_are() -> None:
    """A changed hill changes its surroundings (7 cells: 2 + 1 of the maps, 4 after), no more."""
    network = LOAN(1, 1, LOANConfig(width=8, blocks=2, conditions=4))
    x, known = fields(1, 1, 24, 24), context(0, 1, 24, 24)
    static = known.static.clone()
    static[0, 1, 12, 12] += 1
    other = Context(static, known.place, known.clock)
    with torch.no_grad():
        for block in network.blocks:
            block.modulation.gamma.weight.normal_()  # type: ignore[union-attr,operator]
        changed = (network(x, known) != network(x, other))[0, 0].nonzero()
    assert (changed - 12).abs().max() <= 7
    assert len(changed) > 1
