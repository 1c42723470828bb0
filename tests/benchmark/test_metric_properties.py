"""Properties of metrics: units, splits, missing values, and what every metric says of itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.case_table import total
from benchmark.errors import InputError
from benchmark.families.base import Slab
from benchmark.metrics import BOARDS, METRICS, board_score, entries, metric
from benchmark.statistics import STATISTICS, WEIGHTS, weight_of
from benchmark.step_sums import kind_of

MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
SCALED = ("bias", "mae", "rmse", "crps_fair", "crps_ecdf", "residual", "residual_rms",
          "truth_residual", "mismatch", "block_crps")  # fmt: skip
FREE = ("variance_ratio", "increment_correlation", "r2", "r2_anomaly", "spread_skill",
        "outer_ranks", "residual_ulps", "coherence", "log_spectral_distance",
        "structure_ratio")  # fmt: skip
STATIC = ["all", "land", "sea", "lowland", "upland", "mountain"]
INPUT_ONLY = ("residual", "residual_rms", "residual_ulps")
"""Against the coarse input, whatever the truth."""

of_fixtures = settings(
    max_examples=6, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("engine")


def scaled(slab: Slab, c: float) -> Slab:
    """The slab in other units; by a power of two, so that float32 fields lose no digit."""
    domain = replace(slab.domain, climatology=c * slab.domain.climatology)
    fields = {name: (c * getattr(slab, name)).astype(getattr(slab, name).dtype)
              for name in ("members", "truth", "bilinear", "coarse")}  # fmt: skip
    return replace(slab, domain=domain, **fields)


def static(values: xr.DataArray) -> xr.DataArray:
    """Without the strata of intensity, whose bounds have a unit."""
    return values.sel(stratum=STATIC) if "stratum" in values.dims else values


@of_fixtures
@given(
    power=st.integers(-8, 8), sign=st.sampled_from((1.0, -1.0)), seed=st.integers(0, 99),
    members=st.sampled_from((1, 2, 5)), ties=st.booleans(),
)  # fmt: skip
def test_scores_carry_the_unit(
    make_slab: MakeSlab, make_totals: MakeTotals, power: int, sign: float, seed: int,
    members: int, ties: bool,
) -> None:  # fmt: skip
    """Scaling every field by c scales errors by |c| (the bias by c) and leaves ratios alone."""
    slab, c = make_slab(seed, members=members, ties=ties, missing=0.0), 2.0**power
    before, after = make_totals(slab), make_totals(scaled(slab, sign * c))
    for name in SCALED:
        factor = sign * c if name == "bias" else c
        expected = factor * static(METRICS[name](before))
        np.testing.assert_allclose(static(METRICS[name](after)), expected, rtol=1e-9, err_msg=name)
    for name in FREE:
        np.testing.assert_allclose(
            static(METRICS[name](after)), static(METRICS[name](before)), rtol=1e-5, err_msg=name
        )


@of_fixtures
@given(count=st.integers(2, 6), cut=st.integers(1, 5), members=st.sampled_from((1, 5)))
def test_split_and_added_equals_the_whole(
    make_slab: MakeSlab, make_table: MakeTotals, count: int, cut: int, members: int
) -> None:
    """Totals of two parts of the cases, folded, are the totals of all: only sums are kept."""
    slabs = [make_slab(k, members=members, first=k) for k in range(count)]
    slabs = [replace(slab, domain=slabs[0].domain) for slab in slabs]
    cut = min(cut, count - 1)
    parts = [total(make_table(*some)) for some in (slabs[:cut], slabs[cut:])]
    joined = total(xr.concat(parts, dim="case", data_vars="all", coords="minimal",
                             compat="override"))  # fmt: skip
    whole = total(make_table(*slabs))
    for name in whole.data_vars:
        scale = 1e-12 * float(abs(whole[name]).max()) if whole[name].size else 0.0
        np.testing.assert_allclose(
            joined[name].transpose(*whole[name].dims), whole[name], rtol=1e-12, atol=scale,
            err_msg=str(name),
        )  # fmt: skip
    for name, one in METRICS.items():
        found, expected = one(joined), one(whole)
        np.testing.assert_allclose(
            found.transpose(*expected.dims), expected, rtol=1e-8, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("members", [1, 5])
def test_what_a_metric_needs_is_all_that_it_reads(
    make_slab: MakeSlab, make_totals: MakeTotals, members: int
) -> None:
    """Computed from its declared statistics and weights alone, every metric is the same."""
    totals = make_totals(make_slab(1, steps=3, members=members, missing=0.0, shape=(48, 44)))
    finite = 0
    for name, one in METRICS.items():
        alone = totals[[*one.needs, *one.weights]]
        found, expected = one(alone), one(totals)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert set(one.over) <= set(found.dims), name
        assert ("stratum" in found.dims) == one.stratified, name
        assert set(found.dims) <= {"stratum", *one.over}, name
        finite += int(np.isfinite(found).any())
    assert finite >= len(METRICS) - 6, "nearly every metric has a value here"


def test_a_stratum_without_truth_is_missing(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Every metric of a stratum without weight is NaN, never 0; the others stand."""
    slab = make_slab(0)
    labels = np.where(slab.domain.labels == 2, 1, slab.domain.labels).astype(np.uint8)
    totals = make_totals(replace(slab, domain=replace(slab.domain, labels=labels)))
    for name, one in METRICS.items():
        value = one(totals)
        if "stratum" in value.dims:
            assert np.isnan(value.sel(stratum="upland")).all(), name
            assert np.isfinite(value.sel(stratum="lowland")).all(), name


def test_a_case_without_any_truth_is_missing(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """All metrics against an entirely missing truth are NaN; those of the input alone stand."""
    totals = make_totals(make_slab(0, missing=1.1))
    for name, one in METRICS.items():
        found = one(totals).values
        if name in INPUT_ONLY:
            assert np.isfinite(found).all(), name
        else:
            assert np.isnan(found).all(), name


def test_all_dry_fields(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """No rain anywhere, none predicted: errors 0; ratios to a zero variance missing, not 0."""
    slab = scaled(make_slab(0, members=5, missing=0.0), 0.0)
    totals = make_totals(slab)
    for name in ("bias", "mae", "rmse", "crps_fair", "crps_ecdf", "residual", "negatives",
                 "mismatch", "wasserstein_1", "wet_fraction_error"):  # fmt: skip
        found = METRICS[name](totals)
        known = found.sel(stratum="all") if "stratum" in found.dims else found
        np.testing.assert_array_equal(known, 0.0, err_msg=name)
    for name in ("variance_ratio", "increment_correlation", "spread_skill", "r2", "csi",
                 "frequency_bias", "fss", "residual_ulps"):  # fmt: skip
        assert np.isnan(METRICS[name](totals).values).all(), name


def test_a_rainy_prediction_of_a_dry_truth(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Errors are counted; the variance ratio to a truth without variance is missing."""
    slab = make_slab(1)
    totals = make_totals(replace(slab, truth=slab.truth * 0))
    assert float(METRICS["rmse"](totals).sel(stratum="all")) > 1
    assert np.isnan(METRICS["variance_ratio"](totals).values).all()


def test_every_statistic_is_declared_and_every_fold_known() -> None:
    """Names are unique over families; weights exist; only the three maxima fold by maximum."""
    for name, statistic in STATISTICS.items():
        assert statistic.name == name
        assert statistic.weight == "none" or statistic.weight in WEIGHTS, name
        assert statistic.weight == "none" or weight_of(name) in STATISTICS, name
    maxima = {name for name in STATISTICS if kind_of(name) == "max"}
    assert maxima == {"residual_max", "coarse_max", "t_max"}
    assert all(kind_of(weight.name) != "max" for weight in WEIGHTS.values())


def test_every_declared_statistic_is_kept_with_its_dims(
    make_slab: MakeSlab, make_table: MakeTotals
) -> None:
    """A case table has them all and nothing else; what is kept for the period has no cases."""
    table = make_table(make_slab(0, steps=2))
    assert set(map(str, table.data_vars)) == set(STATISTICS)
    for name, statistic in STATISTICS.items():
        expected = ("variable", "region") + (("case",) if kind_of(name) != "period" else ())
        expected += (("stratum",) if statistic.strata else ()) + statistic.dims
        assert table[name].dims == expected, name
        assert table[name].dtype == np.float64, name


def test_metrics_own_their_names() -> None:
    """Each metric carries name, title, formula and reference; an unknown one names the nearest."""
    for name, one in METRICS.items():
        assert one.name == name
        assert one.title
        assert one.formula
        assert one.reference
        assert set(one.needs) <= set(STATISTICS), name
    with pytest.raises(InputError, match="'rmse'"):
        metric("rsme")
    assert metric("csi[>= 1 mm h-1]") is METRICS["csi"]


def test_entries_name_every_place() -> None:
    """`fss[>= 1 mm, 3 cells]`: thresholds by their labels, other dims by their values; no more."""
    values = xr.DataArray(
        np.arange(12.0).reshape(2, 3, 2), dims=("region", "threshold", "window"),
        coords={"window": [1, 3]},
    )  # fmt: skip
    found = entries(METRICS["fss"], values, ["a", "b"])
    assert list(found) == ["fss[a, 1 cells]", "fss[a, 3 cells]", "fss[b, 1 cells]",
                           "fss[b, 3 cells]"]  # fmt: skip
    for k, part in enumerate(found.values()):
        np.testing.assert_array_equal(part, [k, 6 + k])
    plain = entries(METRICS["rmse"], values[:, 0, 0], [])
    assert list(plain) == ["rmse"]
    assert entries(METRICS["csi"], values[:, :, 0], []) == {}


def test_stratified_members_never_take_the_fair_form() -> None:
    """Boards rank by RMSE and fair CRPS; quantile members by the ecdf form only."""
    assert BOARDS == {
        "deterministic": ("rmse", "bilinear"),
        "probabilistic": ("crps_fair", "bilinear-dressed"),
    }
    assert board_score("probabilistic", "exchangeable") == "crps_fair"
    assert board_score("probabilistic", "single") == "crps_fair"
    assert board_score("probabilistic", "stratified") == "crps_ecdf"
    assert board_score("deterministic", "stratified") == "rmse"
