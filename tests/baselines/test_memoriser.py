"""The control: waves of a place, and a memory that is right at home and wrong elsewhere."""

import math

import pytest
import torch
from torch import Tensor

from baselines.context import Context
from baselines.memoriser import EARTH_KM, Memoriser, MemoriserConfig, Waves

SMALL = MemoriserConfig(width=8, blocks=0, experts=2, waves=32, hidden=32)


def box(south: float, west: float, *, cells: int = 16) -> Tensor:
    """(1, 2, cells, cells) places a degree apart, in radians."""
    lat = south + torch.arange(cells, dtype=torch.float32).flip(0)
    lon = west + torch.arange(cells, dtype=torch.float32)
    grid = torch.meshgrid(lat, lon, indexing="ij")
    return torch.stack(grid)[None].deg2rad()


def known(place: Tensor) -> Context:
    count, _, rows, columns = place.shape
    return Context(torch.zeros(count, 2, rows, columns), place, torch.zeros(count, 4, 1, 1))


def test_waves_are_the_same_in_every_run() -> None:
    """Whatever the seed of the run; saved with the weights, never learned."""
    torch.manual_seed(1)
    first = Waves((1000.0,), 8)
    torch.manual_seed(2)
    again = Waves((1000.0,), 8)
    assert torch.equal(first.frequencies, again.frequencies)
    assert set(first.state_dict()) == {"frequencies"}
    assert not list(first.parameters())


def test_waves_know_no_date_line_and_no_pole() -> None:
    """180 E is 180 W, and all longitudes meet at 90 N."""
    waves = Waves((2000.0, 500.0), 16)
    for one, other in (((10.0, 180.0), (10.0, -180.0)), ((90.0, 0.0), (90.0, 77.0))):
        here, there = (
            waves(torch.tensor(place, dtype=torch.float64).deg2rad().view(1, 2, 1, 1))
            for place in (one, other)
        )
        torch.testing.assert_close(here, there, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wavelength", [4000.0, 400.0])
def test_waves_are_of_their_wavelength(wavelength: float) -> None:
    """Likeness of two places, mean cos(w d) = exp(-(2 pi d / wavelength)^2 / 2): at an eighth."""
    waves = Waves((wavelength,), 8192)
    places = box(40, 10, cells=1).expand(1, 2, 1, 2).clone()
    places[0, 0, 0, 1] += wavelength / 8 / EARTH_KM
    here, there = waves(places)[0, :, 0].unbind(-1)
    likeness = (here * there).sum() / 8192
    assert likeness.item() == pytest.approx(math.exp(-((math.pi / 4) ** 2) / 2), abs=0.02)


def test_places_are_exact_under_bf16() -> None:
    """Half precision would move a place by hundreds of kilometres."""
    waves, place = Waves((400.0,), 16), box(40, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = waves(place)
    assert torch.equal(got, waves(place))
    assert not torch.equal(got, got.bfloat16().float())


def test_experts_are_mixed_by_place() -> None:
    """sum_e gate_e expert_e + local, with the gate a softmax of the place's own numbers."""
    torch.manual_seed(0)
    network, x, here = Memoriser(2, 2, SMALL), torch.randn(1, 2, 4, 4), known(box(40, 10, cells=8))
    with torch.no_grad():
        features = network.body(torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"))
        said = network.recall(network.memory(network.waves(here.place)))
        share = 1 / (1 + (said[:, 1:2] - said[:, :1]).exp())
        experts = network.heads(features)
        expected = share * experts[:, :2] + (1 - share) * experts[:, 2:] + said[:, 2:]
        torch.testing.assert_close(network(x, here), expected)


def test_it_remembers_home_and_fails_elsewhere() -> None:
    """Noise is learned by heart at home; what is said of four far boxes is worse than 0."""
    torch.manual_seed(0)
    network, x = Memoriser(1, 4, SMALL), torch.zeros(1, 1, 4, 4)
    truth = torch.nn.functional.interpolate(torch.randn(1, 1, 5, 5), size=(16, 16), mode="bilinear")
    truth = truth / truth.square().mean().sqrt()
    home = known(box(40, 10))
    far = torch.cat([box(*corner) for corner in ((-30, 140), (10, 100), (-20, 20), (0, -80))])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        error = (network(x, home) - truth).square().mean()
        error.backward()
        optimiser.step()
    with torch.no_grad():
        there = (network(x.expand(4, -1, -1, -1), known(far)) - truth).square().mean()
    assert error.item() < 0.1
    assert there.item() > 1.1
