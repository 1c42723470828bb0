"""The mismatch of two products against plain sums over everything at once."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn

from benchmark import mismatch as module
from benchmark.errors import InputError
from benchmark.grid import overlap
from benchmark.kept_mismatch import mismatches
from benchmark.mismatch import Mismatch, region_mismatch
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import Steps, write_region

Array = NDArray[np.float64]
NAME = "t2m"


def spoiled(store: PairStore, folder: Path, region: RegionStore, *, holes: bool) -> RegionStore:
    """The region again, of a coarse product that differs, with missing cells in the fine one."""
    draws = np.random.default_rng(4)
    coarse, fine = (
        {name: region.read(side, name, slice(None)) for name in store.task.variable_names}
        for side in ("coarse", "fine")
    )
    shape = coarse[NAME].shape
    coarse[NAME] = (1.1 * coarse[NAME] - 26 + 3 * draws.normal(size=shape)).astype(np.float32)
    if holes:
        fine[NAME] = fine[NAME].copy()
        fine[NAME][2:6, 5:9, 12:20] = np.nan
        fine[NAME][9] = np.nan
    write_region(
        store.task, region.name, folder, times=region.times,
        static={name: region.static(name) for name in store.task.static},
        blocks=[(0, Steps(coarse=coarse, fine=fine))], source_ids={}, recipe={},
    )  # fmt: skip
    return PairStore(store.task, folder).region(region.name)


def fields(region: RegionStore) -> tuple[Array, Array]:
    """Coarse and coarsened fine fields of the scored cells in the training period."""
    scored, steps = region.grid.scored.coarse, region.steps(region.task.periods.train)
    m = region.grid.margin
    coarse = region.read("coarse", NAME, steps)[:, m:-m, m:-m].astype(np.float64)
    return coarse, overlap(region.grid.fine, scored)(region.read("fine", NAME, steps))


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "holes"])
def pair(
    request: pytest.FixtureRequest, store: PairStore, tmp_path_factory: pytest.TempPathFactory
) -> RegionStore:
    region = store.regions("test_ood")[0]
    return spoiled(store, tmp_path_factory.mktemp("pair"), region, holes=request.param)


def test_moments_of_both_products(pair: RegionStore) -> None:
    found = region_mismatch(pair, NAME)
    x, y = fields(pair)
    known = np.isfinite(y)
    weights = np.broadcast_to(pair.grid.scored.coarse.area, y.shape)[known]
    x, y = x[known], y[known]
    cov = np.cov(x, y, aweights=weights, ddof=0)
    assert found.values == known.sum()
    assert found.units == "K"
    assert found.bias == pytest.approx(np.average(x - y, weights=weights), rel=1e-9)
    assert found.correlation == pytest.approx(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]), rel=1e-9)
    assert found.variance_ratio == pytest.approx(cov[0, 0] / cov[1, 1], rel=1e-9)
    assert found.correlation is not None
    assert 0.3 < found.correlation < 0.99


def test_coherence_by_octaves(pair: RegionStore) -> None:
    """A cosine transform of each whole step, summed coefficient by coefficient."""
    found = region_mismatch(pair, NAME)
    x, y = fields(pair)
    whole = np.isfinite(y).all(axis=(1, 2))
    assert found.whole_steps == whole.sum()
    ny, nx = y.shape[1:]
    dy, dx = pair.grid.scored.coarse.cell_km
    width = 1 / (2 * max(ny * dy, nx * dx))
    a, b = (dctn(field[whole], axes=(1, 2), norm="ortho") for field in (x, y))
    rings: dict[int, Array] = {}
    for i, j in np.ndindex(ny, nx):
        k = np.hypot(i / (2 * ny * dy), j / (2 * nx * dx))
        if (i or j) and k <= min(1 / (2 * dy), 1 / (2 * dx)) * (1 + 1e-9):
            terms = [(a * b)[:, i, j].sum(), (a * a)[:, i, j].sum(), (b * b)[:, i, j].sum()]
            ring = int(np.floor(k / width + 0.5 + 1e-9))
            rings[ring] = rings.get(ring, np.zeros(3)) + terms
    finest = 2 * max(dy, dx)
    octaves: dict[int, Array] = {}
    for ring, (cross, p, t) in rings.items():
        octave = max(int(np.floor(np.log2(1 / (ring * width) / finest) + 1e-9)), 0)
        octaves[octave] = octaves.get(octave, np.zeros(2)) + np.array([cross, np.sqrt(p * t)])
    assert [round(octave.shortest_km / finest, 6) for octave in found.coherence] == [
        2.0**k for k in sorted(octaves)
    ]
    expected = [octaves[k][0] / octaves[k][1] for k in sorted(octaves)]
    values = [octave.coherence for octave in found.coherence]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert values == sorted(values)  # noise spoils the short waves first


def test_blocks_change_nothing(pair: RegionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = region_mismatch(pair, NAME)
    monkeypatch.setattr(module, "steps_per_shard", lambda *_: 7)
    assert region_mismatch(pair, NAME) == whole


def test_a_perfect_pair_has_none(store: PairStore) -> None:
    found = mismatches(store)
    names = sorted(region.name for region in store.task.regions)
    assert [(one.region, one.variable) for one in found] == [
        (region, variable) for region in names for variable in store.task.variable_names
    ]
    for one in found:
        assert one.bias == pytest.approx(0, abs=1e-4)
        assert one.correlation == pytest.approx(1, abs=1e-6)
        assert one.variance_ratio == pytest.approx(1, abs=1e-5)
        assert all(octave.coherence == pytest.approx(1, abs=1e-5) for octave in one.coherence)
        assert len(one.coherence) >= 2


def test_chosen_variables_only(store: PairStore) -> None:
    found = mismatches(store, ["wind_speed"])
    assert {one.variable for one in found} == {"wind_speed"}
    with pytest.raises(InputError, match="an unknown one"):
        mismatches(store, ["wind"])


def test_nothing_left_is_missing(store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    region = store.regions("test_ood")[0]
    monkeypatch.setattr(
        RegionStore, "read", lambda *_: np.full((1, *region.grid.coarse.shape), np.nan, np.float32)
    )
    monkeypatch.setattr(module, "overlap", lambda *_: region.grid.crop_coarse)
    found = region_mismatch(region, NAME)
    assert (found.bias, found.correlation, found.variance_ratio) == (None, None, None)
    assert (found.values, found.whole_steps) == (0, 0)
    assert found.coherence
    assert all(octave.coherence is None for octave in found.coherence)
    assert Mismatch.model_validate_json(found.model_dump_json()) == found
