"""TILES: tiles cover a field once, and give the whole field's answer within their halo."""

import pytest
import torch
from torch import Tensor, nn

from baselines import reslim
from baselines.edsr import EDSR, EDSRConfig
from baselines.reslim import PATCH, Reslim, ReslimConfig, positions
from baselines.tiling import tiled, tiles
from benchmark.errors import InputError

SMALL = ReslimConfig(width=16, depth=2, decoder_depth=1, heads=2)
TABLE = 90 * 180
"""Positions of the globe at 1 degree, in patches of two cells."""


def randomised(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def small(**changes: object) -> Reslim:
    """The same weights whatever the tiles."""
    network = Reslim(3, 4, SMALL.model_copy(update=changes))
    randomised(network)
    return network


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, in units of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def fields(rows: int, columns: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, rows, columns, generator=generator)


@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("halo", [0, 2, 6, 40])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("cells", [2, 8, 22, 80])
def test_tiles_cover_an_axis_once(cells: int, count: int, halo: int, unit: int) -> None:
    """Cores side by side, in tiles of one size within the field, as much halo as fits in it."""
    found = tiles(cells, count, halo, unit=unit)
    assert len(found) == min(count, cells // unit)
    assert [cell for tile in found for cell in range(*tile.core)] == list(range(cells))
    assert len({tile.whole[1] - tile.whole[0] for tile in found}) == 1
    for tile in found:
        assert tile.whole[0] <= max(tile.core[0] - halo, 0)
        assert tile.whole[1] >= min(tile.core[1] + halo, cells)
        assert 0 <= tile.whole[0] <= tile.core[0] < tile.core[1] <= tile.whole[1] <= cells
        assert all(edge % unit == 0 for edge in (*tile.core, *tile.whole))


def test_tiled_is_untiled_where_the_halo_is_the_receptive_field() -> None:
    """A small EDSR looks 6 coarse cells far, 1 in the first and last two layers each, 2 in the
    block: with a halo of 6 nothing is lost, with 5 it is.
    """
    network = randomised(EDSR(3, 2, EDSRConfig(width=6, blocks=1, kernel=3)))
    x = fields(23, 19)
    with torch.no_grad():
        whole = network(x)
        same, short = (tiled(network, x, factor=2, count=3, halo=halo) for halo in (6, 5))
    assert apart(same, whole) < 1e-5
    assert apart(short, whole) > 1e-3


def without_attention(network: Reslim, monkeypatch: pytest.MonkeyPatch) -> Reslim:
    """What is left looks one token and two cells far, and not at positions."""
    with torch.no_grad():
        for block in network.blocks:
            block.attention.out.weight.zero_()  # type: ignore[union-attr, operator]
    monkeypatch.setattr(reslim, "positions", lambda *grid: torch.zeros(1, 1, grid[-1]))
    return network


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (22, 13)])
def test_reslim_tiled_is_untiled_apart_from_attention(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other parts see no further than a halo of two cells; with none, seams show."""
    x = fields(rows, columns)
    with torch.no_grad():
        whole = without_attention(small(), monkeypatch)(x)
        for tile_count in (2, 3):
            same = without_attention(small(tiles=tile_count, halo=2), monkeypatch)(x)
            assert apart(same, whole) < 1e-5
        seams = without_attention(small(tiles=2, halo=0), monkeypatch)(x)
    assert apart(seams, whole) > 1e-2


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_halo_over_the_whole_box_is_no_tiling(count: int) -> None:
    """Attention and positions included."""
    x = fields(12, 9)
    with torch.no_grad():
        assert apart(small(tiles=count, halo=12)(x), small()(x)) < 1e-5


def test_a_core_is_what_the_network_makes_of_its_tile_alone() -> None:
    """16 x 16 cells in 2 x 2 tiles with a halo of 2: all are 12 wide, those at the border too."""
    network, x = small(tiles=2, halo=2), fields(16, 16)
    far, near = x.clone(), x.clone()
    far[..., 12:, :] += 3  # beyond the northern tiles
    near[..., 11, :] += 3  # in their halo
    with torch.no_grad():
        north = network(x)[..., :32, :]
        alone = small()(x[..., :12, 4:])[..., :32, 16:]
        assert apart(north[..., 32:], alone) < 1e-5
        assert apart(network(far)[..., :32, :], north) == 0
        assert apart(network(near)[..., :32, :], north) > 1e-3
        assert apart(small()(far)[..., :32, :], small()(x)[..., :32, :]) > 1e-3


@pytest.mark.parametrize(
    ("changes", "trainable", "published"),
    [({}, 5_354_371, "9.5"), ({"width": 1024, "depth": 8, "heads": 16}, 109_511_043, "126.1")],
)
def test_reslim_has_the_published_size(
    changes: dict[str, int], trainable: int, published: str
) -> None:
    """23 inputs, three outputs, four statics: with the table of positions "9.5 M" and "126 M"."""
    config = ReslimConfig(**changes)
    with torch.device("meta"):
        network = Reslim(23, 4, config, outputs=3, statics=4)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == trainable
    assert f"{(count + TABLE * config.width) / 1e6:.1f}" == published


def test_patches_land_where_they_come_from() -> None:
    """Positions and attention off: a cell moves its own patch's fine cells and their neighbours."""
    network = Reslim(3, 4, SMALL.model_copy(update={"depth": 0}))
    randomised(network)
    with torch.no_grad():
        network.light_head.weight.zero_()
        x = fields(8, 12)
        other = x.clone()
        other[..., 4, 7] += 1  # patch (2, 3): fine rows 16 to 24, columns 24 to 32
        change = (network(other) - network(x)).abs().amax((0, 1)) > 1e-6
    inside = torch.zeros_like(change)
    inside[15:25, 23:33] = True
    assert change[16:24, 24:32].all()
    assert not change[~inside].any()


def test_positions_are_all_different() -> None:
    """(rows columns, width), row by row: x in the first half of the channels, y in the second."""
    table = positions(3, 5, 8)
    assert table.shape == (15, 8)
    assert torch.equal(table[0], torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1]))
    assert len(torch.unique(table, dim=0)) == 15
    assert torch.equal(table[1, 4:], table[0, 4:])
    assert torch.equal(table[5, :4], table[0, :4])
    assert table[1, 0] == pytest.approx(0.8414709848)  # sin(1)


def test_tokens_know_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a constant field, two patches away from the edges are answered differently."""
    network, x = small(), torch.ones(1, 3, 12, 12)
    with torch.no_grad():
        known = network(x)
        monkeypatch.setattr(reslim, "positions", lambda *grid: torch.zeros(1, 1, grid[-1]))
        unknown = network(x)
    for answer, differ in ((known, True), (unknown, False)):
        here, there = answer[..., 16:24, 16:24], answer[..., 24:32, 24:32]
        assert (apart(here, there) > 1e-3) is differ


def test_statics_are_seen_by_the_light_path() -> None:
    """The first channels are the outputs, those after them statics, the rest inputs only."""
    network = Reslim(6, 2, SMALL, outputs=2, statics=1)
    randomised(network)
    x = fields(4, 4, channels=6)
    with torch.no_grad():
        assert network(x).shape == (2, 2, 8, 8)
        network.head.weight.zero_()
        before = network(x)
        for channel in range(6):
            other = x.clone()
            other[:, channel] += 1
            assert (apart(network(other), before) > 1e-3) is (channel < 3)


def test_heads_have_to_divide_the_width() -> None:
    """An InputError that names both keys; patches are two cells wide."""
    with pytest.raises(InputError, match=r"network\.heads"):
        Reslim(3, 4, SMALL.model_copy(update={"heads": 3}))
    assert PATCH == 2
