"""What a skip and a layer make of a network's output, with networks whose output is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.constraints import Projection
from baselines.downscaler import Downscaler, Scaling, physical_bounds
from baselines.nulls import null
from baselines.srcnn import SRCNN, SRCNNConfig
from benchmark.errors import InputError
from benchmark.grid import Axis, Grid, RegionGrid
from benchmark.model_card import HARD_CONSTRAINTS
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Task

Array = NDArray[np.float64]
Weights = Callable[[str], Array]
Fields = tuple[Array, Array]
STEPS = slice(0, 6)
TRAINED = [name for name in HARD_CONSTRAINTS if name != "post_hoc"]
EPS = float(np.finfo(np.float32).eps)
SCALING = Scaling(
    mean=np.array([280.0, 5.0, 0.1]), sd=np.array([11.0, 3.0, 0.4]),
    increment=np.array([2.0, 1.5, 0.25]),
)  # fmt: skip


class Given(nn.Module):
    """A network whose output is given; it remembers what it was asked."""

    def __init__(self, output: Array | float) -> None:
        super().__init__()
        self.output = output
        self.asked = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.asked = x
        shape = (*x.shape[:2], 4 * x.shape[-2], 4 * x.shape[-1])
        return torch.as_tensor(self.output, dtype=torch.float32).expand(shape)


def coarse_of(region: RegionStore) -> Array:
    names = region.task.variable_names
    return np.stack([region.read("coarse", n, STEPS) for n in names], axis=1).astype(np.float64)


def stacked(name: str, store: PairStore, region: RegionStore) -> Array:
    """A null's fields as (time, V, ny, nx)."""
    fields = null(name, store).predict(region, STEPS)
    return np.concatenate([fields[n] for n in store.task.variable_names], axis=1).astype(np.float64)


def enlarged(coarse: Array) -> Array:
    return coarse.repeat(4, axis=-2).repeat(4, axis=-1)


def blockwise(coarse: Array, weights: Array, field: Array) -> Array:
    """field scaled in each block so that its weighted mean is x; 0 where x is 0. A loop."""
    out = np.zeros_like(field)
    for j in range(coarse.shape[-2]):
        for i in range(coarse.shape[-1]):
            at = np.s_[..., 4 * j : 4 * j + 4, 4 * i : 4 * i + 4]
            mean = (field[at] * weights[at]).sum(axis=(-2, -1))
            share = np.divide(coarse[..., j, i], mean, out=np.zeros_like(mean), where=mean > 0)
            out[at] = field[at] * share[..., None, None]
    return out


def downscaler(
    region: RegionStore, network: nn.Module, *, skip: bool, constraint: str,
    scaling: Scaling = SCALING,
) -> Downscaler:  # fmt: skip
    return Downscaler(
        network, scaling, region.grid, skip=skip, constraint=constraint,
        bounds=physical_bounds(region.task),
    )  # fmt: skip


def downscale(
    region: RegionStore, weights: Array, output: Array | float, *, skip: bool, constraint: str,
    scaling: Scaling = SCALING,
) -> Array:  # fmt: skip
    """The downscaler's fields of STEPS, the skip and the layer in float64."""
    model = downscaler(region, Given(output), skip=skip, constraint=constraint, scaling=scaling)
    coarse = torch.from_numpy(coarse_of(region))
    area = torch.from_numpy(weights)[None, None]
    return np.asarray(model(coarse, area).numpy())


@pytest.fixture(params=["europe-west", "andes-south"])
def region(request: pytest.FixtureRequest, store: PairStore) -> RegionStore:
    """A region with dry blocks, on either hemisphere."""
    chosen = store.region(request.param)
    assert (coarse_of(chosen)[:, 2] == 0).any()
    return chosen


@pytest.fixture
def weights(region: RegionStore, latitude_weights: Weights) -> Array:
    """The area weights in each block, from sin(latitude)."""
    return latitude_weights(region.name)


def test_skip_without_a_layer_starts_as_bilinear(
    region: RegionStore, weights: Array, store: PairStore
) -> None:
    """Zeros from the network give the null `bilinear`."""
    got = downscale(region, weights, 0.0, skip=True, constraint="none")
    np.testing.assert_allclose(got, stacked("bilinear", store, region), rtol=1e-6, atol=1e-7)


def test_skip_with_add_starts_as_bilinear_projected(
    region: RegionStore, weights: Array, store: PairStore
) -> None:
    """Zeros from the network give the null `bilinear-projected`, to float32 rounding."""
    got = downscale(region, weights, 0.0, skip=True, constraint="add")
    expected = stacked("bilinear-projected", store, region)
    scale = abs(expected).max(axis=(0, 2, 3), keepdims=True)
    assert (abs(got - expected) <= 2.0**-23 * scale).all()
    bilinear = downscale(region, weights, 0.0, skip=True, constraint="none")
    assert (abs(got - bilinear).max(axis=(0, 2, 3)) > 0.01).all()


@pytest.mark.parametrize("constraint", ["softmax", "mult"])
def test_skip_with_softmax_or_mult_starts_as_scaled_bilinear(
    region: RegionStore, weights: Array, store: PairStore, constraint: str
) -> None:
    """Zeros from the network give bilinear times one number a block; dry blocks exactly 0."""
    got = downscale(region, weights, 0.0, skip=True, constraint=constraint)
    coarse = coarse_of(region)
    expected = blockwise(coarse, weights, stacked("bilinear", store, region))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    assert (got[enlarged(coarse) == 0] == 0).all()
    assert (got >= 0).all()


def test_no_skip_without_a_layer_starts_as_the_mean(region: RegionStore, weights: Array) -> None:
    """Zeros give each variable's training mean everywhere, as published after normalisation."""
    got = downscale(region, weights, 0.0, skip=False, constraint="none")
    expected = np.broadcast_to(SCALING.mean[:, None, None], (6, 3, 32, 32))
    np.testing.assert_allclose(np.broadcast_to(got, (6, 3, 32, 32)), expected, rtol=1e-6)


@pytest.mark.parametrize("constraint", TRAINED)
def test_no_skip_with_a_layer_starts_as_enlarge(
    region: RegionStore, weights: Array, constraint: str
) -> None:
    """Zeros give each coarse cell repeated over its block."""
    got = downscale(region, weights, 0.0, skip=False, constraint=constraint)
    np.testing.assert_allclose(got, enlarged(coarse_of(region)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("constraint", ["post_hoc", "soft"])
def test_post_hoc_and_soft_have_no_layer_in_the_network(
    region: RegionStore, weights: Array, constraint: str, skip: bool
) -> None:
    """The one comes with the predictions, the other is in the loss."""
    z = np.random.default_rng(0).normal(0, 1, (6, 3, 32, 32))
    none = downscale(region, weights, z, skip=skip, constraint="none")
    other = downscale(region, weights, z, skip=skip, constraint=constraint)
    np.testing.assert_array_equal(none, other)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("constraint", TRAINED)
def test_any_weights_and_any_weather_are_conserved(
    region: RegionStore, weights: Array, constraint: str, skip: bool
) -> None:
    """max |A y - x| <= 4 eps32 max |x| of each variable in the float32 answer, for networks with
    random weights: in range, 60 K warmer with a hundred times the rain, without a drop of it,
    and (where the layer takes them) of changed sign.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = SRCNN(3, 4, SRCNNConfig(width=8, blocks=1))
    model = downscaler(region, network, skip=skip, constraint=constraint).eval()
    seen = coarse_of(region)
    weather = [seen, seen * [[[1.2]], [[3]], [[100]]], seen * [[[1]], [[1]], [[0]]]]
    if constraint != "softmax":
        weather.append(-seen)
    share = torch.from_numpy(weights)[None, None]
    for coarse in weather:
        with torch.no_grad():
            z = model.network((torch.from_numpy(coarse).float() - model.mean) / model.sd)
            assert z.std() > 0.01
            got = model.finish(z, torch.from_numpy(coarse), share).float().double().numpy()
        means = (got * weights).reshape(6, 3, 8, 4, 8, 4).sum(axis=(3, 5))
        worst = abs(means - coarse).max(axis=(0, 2, 3))
        largest = np.maximum(abs(coarse), 1e-3).max(axis=(0, 2, 3))
        assert (worst <= 4 * EPS * largest).all()
        if constraint in ("softmax", "mult"):
            assert (got[enlarged(coarse) == 0] == 0).all()


@pytest.mark.parametrize("skip", [True, False])
def test_scaled_add_keeps_to_the_bounds_of_the_task(
    region: RegionStore, weights: Array, task: Task, skip: bool
) -> None:
    """However far the network goes: no rain below 0, no wind above 64 m s-1."""
    bounds = physical_bounds(task)
    assert bounds.low.tolist() == [180, 0, 0]
    assert bounds.high.tolist() == [340, 64, 256]
    z = np.random.default_rng(0).normal(0, 200, (6, 3, 32, 32))
    got = downscale(region, weights, z, skip=skip, constraint="scaled_add")
    low, high = (b.numpy()[:, None, None] for b in (bounds.low, bounds.high))
    assert (got >= low).all()
    assert (got <= high).all()
    free = downscale(region, weights, z, skip=skip, constraint="add")
    assert (free < low).any(axis=(0, 2, 3)).all()


def test_scaled_add_without_bounds_is_refused(region: RegionStore) -> None:
    """There is no default that would be right for every variable."""
    with pytest.raises(ValueError, match="bounds"):
        Downscaler(Given(0.0), SCALING, region.grid, skip=True, constraint="scaled_add")


@pytest.mark.parametrize("skip", [True, False])
def test_projection_at_factor_two_and_a_half(skip: bool) -> None:
    """With the region's own operator instead of block weights: A y = x. No other layer can."""
    sides = [Axis(50, 30, 20), Axis(0, 20, 20), Axis(50, 30, 8), Axis(0, 20, 8)]
    grid = RegionGrid(Grid(*sides[:2]), Grid(*sides[2:]), margin=1)
    draw = np.random.default_rng(0)
    coarse = draw.normal(280, 10, (2, 3, 8, 8))
    z = torch.from_numpy(draw.normal(0, 1, (2, 3, 20, 20)))
    operator = Projection(grid.overlap)
    found = {}
    for name in ("projection", "none"):
        model = Downscaler(Given(0.0), SCALING, grid, skip=skip, constraint=name)
        found[name] = model.finish(z, torch.from_numpy(coarse), operator).numpy()
    np.testing.assert_allclose(grid.overlap(found["projection"]), coarse, rtol=1e-12)
    expected = grid.overlap.projector()(found["none"], coarse)
    np.testing.assert_allclose(found["projection"], expected, rtol=1e-12)
    model = Downscaler(Given(0.0), SCALING, grid, skip=skip, constraint="add")
    with pytest.raises(ValueError, match="whole blocks"):
        model.finish(z, torch.from_numpy(coarse), operator)


def test_output_is_scaled_before_the_layer(
    region: RegionStore, weights: Array, store: PairStore
) -> None:
    """A unit of z is one increment with a skip, one standard deviation without."""
    z = np.random.default_rng(1).normal(0, 1, (6, 3, 32, 32)).astype(np.float32)
    mean, sd, increment = (
        values[:, None, None] for values in (SCALING.mean, SCALING.sd, SCALING.increment)
    )
    bilinear = stacked("bilinear", store, region)
    for skip, expected in ((False, mean + sd * z), (True, bilinear + increment * z)):
        got = downscale(region, weights, z, skip=skip, constraint="none")
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("skip", [True, False])
def test_softmax_scales_its_logits_by_the_mean_and_at_most_one(
    region: RegionStore, weights: Array, store: PairStore, skip: bool
) -> None:
    """Logits z min(s / mean, 1), after log B with a skip; s the increment or the deviation."""
    z = np.random.default_rng(2).normal(0, 1, (6, 3, 32, 32)).astype(np.float32)
    scale = (SCALING.increment if skip else SCALING.sd) / SCALING.mean
    assert scale[2] > 1, "precipitation is to reach the cap"
    power = np.exp(z * np.minimum(scale, 1)[:, None, None])
    # Exact where the bilinear field is 0 in a wet block: log(1e-12) stands for it.
    base = stacked("bilinear", store, region) + 1e-12 if skip else 1.0
    got = downscale(region, weights, z, skip=skip, constraint="softmax")
    expected = blockwise(coarse_of(region), weights, base * power)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("value", [-1e-6, -40.0])
def test_softmax_refuses_a_negative_coarse_field(
    region: RegionStore, weights: Array, skip: bool, value: float
) -> None:
    """One cell below 0 is an InputError that names the way out, not a field with flipped signs."""
    model = Downscaler(Given(0.0), SCALING, region.grid, skip=skip, constraint="softmax")
    coarse = torch.from_numpy(coarse_of(region))
    coarse[3, 1, 4, 4] = value
    with pytest.raises(InputError, match="--constraint add"):
        model(coarse, torch.from_numpy(weights)[None, None])


def test_add_takes_fields_that_change_sign(region: RegionStore, weights: Array) -> None:
    """A negative coarse field is conserved like any other."""
    model = Downscaler(Given(0.0), SCALING, region.grid, skip=True, constraint="add")
    coarse = torch.from_numpy(coarse_of(region)) - 10
    got = model(coarse, torch.from_numpy(weights)[None, None]).numpy()
    shares = (got * weights).reshape(6, 3, 8, 4, 8, 4).sum(axis=(3, 5))
    np.testing.assert_allclose(shares, coarse.numpy(), rtol=1e-12, atol=1e-10)


def test_the_network_sees_normalised_fields_only(region: RegionStore, weights: Array) -> None:
    """(coarse - mean) / sd of each variable, whatever the skip and the layer."""
    network = Given(0.0)
    model = Downscaler(network, SCALING, region.grid, skip=True, constraint="add")
    coarse = torch.from_numpy(coarse_of(region)).float()
    model(coarse, torch.from_numpy(weights)[None, None].float())
    expected = (coarse_of(region) - SCALING.mean[:, None, None]) / SCALING.sd[:, None, None]
    np.testing.assert_allclose(network.asked.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_constants_are_buffers_and_not_weights(region: RegionStore) -> None:
    """They move with the module and are neither trained nor counted."""
    model = Downscaler(nn.Identity(), SCALING, region.grid, skip=True, constraint="add")
    assert not list(model.parameters())
    assert {"mean", "sd", "scale", "in_y", "in_x"} <= {name for name, _ in model.named_buffers()}


def test_one_grid_serves_every_region(task: Task, store: PairStore) -> None:
    """The interpolation weights of the first region are those of all others, exactly."""
    first = Downscaler(
        nn.Identity(), SCALING, store.region(task.regions[0].name).grid, skip=True,
        constraint="none",
    )  # fmt: skip
    for entry in task.regions:
        other = Downscaler(
            nn.Identity(), SCALING, store.region(entry.name).grid, skip=True, constraint="none"
        )
        assert torch.equal(first.in_y, other.in_y)
        assert torch.equal(first.in_x, other.in_x)
