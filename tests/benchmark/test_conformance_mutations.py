"""A harness that is broken on purpose must miss answers of the kit, in the right family.

Each test breaks one thing at the place where it would be broken by hand, and scores the
pseudo-models that should notice. With numpy: a patched function reaches no compiled kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmark import metric_table, scoring
from benchmark.conformance import Kit, Outcome, score_kit, write_kit
from benchmark.engine import Engine
from benchmark.families import block_means, ensemble, pointwise, whole_field
from benchmark.families.base import Domain, Slab
from benchmark.metrics import METRICS, distribution
from benchmark.metrics.base import plain
from benchmark.metrics.ensemble import crps
from benchmark.pair_store import PairStore
from benchmark.skill import Contrast

Patch = pytest.MonkeyPatch
MODELS = ("shifted", "drawn", "offset", "ladder", "by-surface", "scaled-bilinear")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """The kit of the pseudo-models that are needed here."""
    return write_kit(tmp_path_factory.mktemp("conformance"), models=MODELS)


def misses(kit: Kit, *models: str, engine: Engine = "numpy") -> list[Outcome]:
    """What the harness, as it is now, does not get right."""
    fresh = replace(kit, store=PairStore(kit.world.task, kit.store.folder))
    return [outcome for outcome in score_kit(fresh, engine, models=models) if not outcome.met]


def test_a_sound_harness_misses_nothing(kit: Kit) -> None:
    """Without a mutation every answer comes out (of all pseudo-models: tests/cli)."""
    assert misses(kit, "shifted", "ladder") == []


@dataclass(frozen=True)
class Mutation:
    """How to break the harness, who notices, and what must be among the misses."""

    name: str
    apply: Callable[[Patch], None]
    model: str
    metric: str
    family: str
    wrong: float | None = None
    """What the mistake makes of the temperature's `metric` at home, on paper."""


def _wrap(patch: Patch, place: Any, name: str, change: Callable[..., Any]) -> None:
    """Replace a function by change(its result, *its arguments)."""
    original = getattr(place, name)
    patch.setattr(
        place, name, lambda *args, **options: change(original(*args, **options), *args, **options)
    )


def _compute(patch: Patch, name: str, compute: Callable[[xr.Dataset], xr.DataArray]) -> None:
    patch.setitem(METRICS, name, replace(METRICS[name], compute=compute))


def _mean_of_rmse(patch: Patch) -> None:
    """The RMSE of each case is kept, and the mean over cases shown."""

    def keep_rmse(table: xr.Dataset, *_: Any, **__: Any) -> xr.Dataset:
        weight = table["weight"]
        squared = table["squared_error"] / weight.where(weight > 0)
        return table.assign(squared_error=weight * squared.fillna(0.0) ** 0.5)

    _wrap(patch, scoring, "assemble", keep_rmse)
    _compute(patch, "rmse", plain("squared_error"))


def _averaged_fss(patch: Patch) -> None:
    """The FSS of each image is kept, and the mean over images with an event shown."""

    def keep_fss(sums: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        total = sums["fss_p"] + sums["fss_t"]
        share = np.divide(sums["fss_numerator"], total, where=total > 0, out=np.zeros_like(total))
        half = np.where(total > 0, 0.5, 0.0)
        return sums | {"fss_numerator": share, "fss_p": half, "fss_t": half}

    _wrap(patch, whole_field, "fss_sums", keep_fss)


def _unfair_crps(patch: Patch) -> None:
    _compute(patch, "crps_fair", crps("member_abs_error", "pair_spread", fair=False))


def _zero_for_empty(patch: Patch) -> None:
    patch.setattr(metric_table, "value", lambda x: float(np.nan_to_num(x)))


def _shifted_grid(patch: Patch) -> None:
    """Predictions meet the truth of the next column."""
    _wrap(patch, scoring, "make_slab",
          lambda slab, *_: replace(slab, members=np.roll(slab.members, 1, axis=-1)))  # fmt: skip


def _cosine_of_index(patch: Patch) -> None:
    """Areas from the number of a row, as though it were its latitude."""

    def area(lat_edges: Any, lon_edges: Any) -> Any:
        rows = np.cos(np.deg2rad(np.arange(len(lat_edges) - 1)))
        return rows[:, None] * np.ones(len(lon_edges) - 1)

    patch.setattr("benchmark.projection.cell_area", area)


def _equal_areas(patch: Patch) -> None:
    patch.setattr("benchmark.projection.cell_area", lambda y, x: np.ones((len(y) - 1, len(x) - 1)))


def _biased_variance(patch: Patch) -> None:
    """The members' variance over M in place of M - 1."""

    def shrink(values: dict[str, Any], members: Any, *_: Any) -> dict[str, Any]:
        count = len(members)
        return values | {"member_variance": values["member_variance"] * (count - 1) / count}

    _wrap(patch, ensemble, "ensemble", shrink)


def _spread_without_factor(patch: Patch) -> None:
    """Spread-skill without (M + 1) / M."""
    compute = METRICS["spread_skill"].compute
    _compute(patch, "spread_skill", lambda totals: compute(totals) * (5 / 6) ** 0.5)


def _strict_thresholds(patch: Patch) -> None:
    """Events are x > u."""
    original = pointwise._reliability

    def strict(domain: Domain, *rest: Any) -> Any:
        above = np.nextafter(domain.thresholds.astype(np.float32), np.float32(np.inf))
        return original(replace(domain, thresholds=above.astype(np.float64)), *rest)

    patch.setattr(pointwise, "_reliability", strict)


def _ties_below(patch: Patch) -> None:
    """A truth that equals members takes the lowest of its ranks."""

    def shares(size: int) -> Any:
        table = np.zeros((size + 1, size + 1, size + 1))
        for below in range(size + 1):
            table[below, :, below] = 1.0
        return table.reshape(-1, size + 1)

    patch.setattr(pointwise, "rank_shares", shares)


def _higher_ground(patch: Patch) -> None:
    """What lies at exactly 500 m counts as lowland."""
    original = scoring.region_domain.__globals__["static_labels"]
    patch.setattr(
        "benchmark.domain.static_labels",
        lambda land, height: original(land, np.nextafter(height, np.float32(-1))),
    )


def _land_is_sea(patch: Patch) -> None:
    """Land is where its fraction is above one half, not at it."""
    original = scoring.region_domain.__globals__["static_labels"]
    patch.setattr(
        "benchmark.domain.static_labels", lambda land, height: original(land - 1e-3, height)
    )


def _scored_margin(patch: Patch) -> None:
    """The border counts too."""
    _wrap(patch, scoring, "region_domain",
          lambda domain, _, region, __: replace(domain, area=region.grid.fine.area))  # fmt: skip


def _mean_before_crps(patch: Patch) -> None:
    """The members are averaged before anything else."""

    def average(slab: Slab, *_: Any) -> Slab:
        mean = slab.members.mean(axis=1, keepdims=True)
        return replace(slab, members=np.repeat(mean, slab.members.shape[1], axis=1))

    _wrap(patch, scoring, "make_slab", average)


def _spectra_of_the_mean(patch: Patch) -> None:
    patch.setattr(Slab, "one_member", property(lambda slab: slab.members.mean(axis=1)))


def _gaps_are_zero(patch: Patch) -> None:
    """A missing truth is taken for 0."""
    _wrap(patch, scoring, "make_slab",
          lambda slab, *_: replace(slab, truth=np.nan_to_num(slab.truth)))  # fmt: skip


def _northern_seasons(patch: Patch) -> None:
    """Seasons of the north everywhere."""
    original = metric_table.seasons
    patch.setattr(
        metric_table, "seasons", lambda cases, *, latitude: original(cases, latitude=abs(latitude))
    )


def _mean_of_skills(patch: Patch) -> None:
    """The mean over regions of ratios, not of their logarithms."""
    patch.setattr(
        Contrast, "mean", property(lambda found: float(np.log(np.exp(found.log_ratios).mean())))
    )


def _blocks_from_the_edge(patch: Patch) -> None:
    """Block means on the coarse cells, where a constrained model has them for free."""
    patch.setattr(block_means, "block_offset", lambda _: 0)


def _plain_block_means(patch: Patch) -> None:
    """A without areas."""
    _wrap(patch, scoring, "region_domain", lambda domain, *_: replace(
        domain, overlap=replace(domain.overlap, area=np.ones(domain.area.shape))))  # fmt: skip


def _range_of_the_image(patch: Patch) -> None:
    """SSIM with each truth's own range."""
    original = whole_field.ssim_sums
    patch.setattr(whole_field, "ssim_sums", lambda p, t, **_: original(
        p, t, low=float(np.nanmin(t, initial=0)), high=float(np.nanmax(t, initial=1))))  # fmt: skip


def _quantiles_of_few(patch: Patch) -> None:
    """A quantile is shown however few cells exceed it."""
    patch.setattr(distribution.of, "enough", lambda _, days: np.ones(np.shape(days), bool))


def _bins_without_areas(patch: Patch) -> None:
    patch.setattr(Domain, "whole_weights", property(lambda domain: (domain.area > 0) * 1.0))


def _increment_over_nearest(patch: Patch) -> None:
    """The increment is over the nearest coarse value."""
    patch.setattr(
        scoring, "interpolate",
        lambda coarse, _: coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.float64),
    )  # fmt: skip


def _wrapped_steps(patch: Patch) -> None:
    """Predictions are read one step late."""
    _wrap(patch, scoring, "make_slab",
          lambda slab, *_: replace(slab, members=np.roll(slab.members, 1, axis=0)))  # fmt: skip


MUTATIONS = [
    Mutation("mean of RMSE", _mean_of_rmse, "offset", "rmse", "moments", wrong=4.0),
    Mutation("averaged FSS", _averaged_fss, "shifted", "fss", "neighbourhood"),
    Mutation("unfair CRPS", _unfair_crps, "ladder", "crps_fair", "ensemble", wrong=0.6),
    Mutation("zero for an empty group", _zero_for_empty, "shifted", "csi", "events"),
    Mutation("shifted grid", _shifted_grid, "by-surface", "rmse", "moments"),
    Mutation("cos-latitude by index", _cosine_of_index, "shifted", "rmse", "moments"),
    Mutation("equal areas", _equal_areas, "shifted", "mae", "moments"),
    Mutation("variance over M", _biased_variance, "ladder", "spread_skill", "ensemble",
             wrong=2.4**0.5),
    Mutation("no (M + 1) / M", _spread_without_factor, "ladder", "spread_skill", "ensemble",
             wrong=2.5**0.5),
    Mutation("x > u", _strict_thresholds, "shifted", "frequency_bias", "events"),
    Mutation("ties below", _ties_below, "ladder", "rank_histogram", "ensemble"),
    Mutation("500 m is low", _higher_ground, "by-surface", "rmse", "moments"),
    Mutation("half land is sea", _land_is_sea, "by-surface", "bias", "moments"),
    Mutation("margin scored", _scored_margin, "shifted", "rmse", "moments"),
    Mutation("mean before CRPS", _mean_before_crps, "ladder", "crps_fair", "ensemble", wrong=1.0),
    Mutation("spectra of the mean", _spectra_of_the_mean, "drawn", "log_spectral_distance",
             "spectrum"),
    Mutation("gaps are zero", _gaps_are_zero, "by-surface", "rmse", "moments"),
    Mutation("northern seasons", _northern_seasons, "offset", "rmse", "moments"),
    Mutation("mean of skills", _mean_of_skills, "scaled-bilinear", "skill", "headline"),
    Mutation("blocks from the edge", _blocks_from_the_edge, "shifted", "block_crps", "ensemble"),
    Mutation("A without areas", _plain_block_means, "shifted", "residual", "conservation"),
    Mutation("range of the image", _range_of_the_image, "shifted", "ssim", "structure"),
    Mutation("quantiles of few", _quantiles_of_few, "shifted", "p99_9_error", "distribution"),
    Mutation("bins without areas", _bins_without_areas, "shifted", "perkins", "distribution"),
    Mutation("nearest for bilinear", _increment_over_nearest, "shifted", "increment_correlation",
             "moments"),
    Mutation("one step late", _wrapped_steps, "by-surface", "brier", "events"),
]  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_harness_is_caught(
    kit: Kit, mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pseudo-model misses answers, and the metric that was broken is among them."""
    mutation.apply(monkeypatch)
    found = misses(kit, mutation.model)
    assert not any(outcome.problem.startswith("refused") for outcome in found)
    missed = {(o.answer.family, o.answer.metric.partition("[")[0]) for o in found}
    assert (mutation.family, mutation.metric) in missed
    if mutation.wrong is not None:
        place = (mutation.model, "t2m", mutation.metric, "home", "all")
        (value,) = {outcome.got for outcome in found if outcome.answer.place == place}
        assert value == pytest.approx(mutation.wrong, rel=1e-6)


def test_a_broken_kernel_is_caught_with_the_engine_that_has_it(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled block means that begin a cell too late: missed with numba, not with numpy."""
    kernel = pytest.importorskip("benchmark.kernels.block_means", exc_type=ImportError)
    original = kernel.block_means

    def late(fields: Any, area: Any, areas: Any, ends: Any, offset: int, margin: int) -> Any:
        return original(np.roll(fields, -1, axis=-1), area, areas, ends, offset, margin)

    monkeypatch.setattr(kernel, "block_means", late)
    families = {outcome.answer.metric[:10] for outcome in misses(kit, "shifted", engine="numba")}
    assert families == {"block_crps"}
    assert misses(kit, "shifted", engine="numpy") == []
