"""The fractions skill score against loops over windows, pysteps, scores and worked arrays."""

from collections.abc import Sequence

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from pysteps.verification.spatialscores import fss_accum, fss_compute, fss_init
from scores.spatial import fss_2d

from benchmark.errors import InputError
from benchmark.families.neighbourhood import fss, fss_sums

Field = NDArray[np.float32]
Array = NDArray[np.float64]
NAMES = ("fss_numerator", "fss_p", "fss_t")


@pytest.fixture(autouse=True, params=["numba", "numpy"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)


def rain(seed: int, *shape: int) -> Field:
    """Gamma-like rain in steps of 0.25, so that thresholds tie with values."""
    fields = np.random.default_rng(seed).gamma(0.4, 2.0, shape)
    return (np.round(fields * 4) / 4).astype(np.float32)


def pooled(sums: dict[str, Array]) -> Array:
    """(J, S) FSS of all steps."""
    return fss(*(sums[name].sum(axis=0) for name in NAMES))


def loop(
    members: Field, truth: Field, thresholds: Sequence[float], windows: Sequence[int]
) -> dict[str, Array]:
    """The definition, one window after the other."""
    steps, count, ny, nx = members.shape
    shape = (steps, len(thresholds), len(windows))
    sums = {name: np.zeros(shape) for name in NAMES} | {
        "fss_windows": np.zeros((steps, len(windows)))
    }
    for k, s in np.ndindex(steps, len(windows)):
        w = windows[s]
        for i in range(ny - w + 1):
            for j in range(nx - w + 1):
                t = truth[k, i : i + w, j : j + w]
                if any(np.isnan(value) for value in t.flat):
                    continue
                sums["fss_windows"][k, s] += 1
                for h, u in enumerate(thresholds):
                    x = members[k, :, i : i + w, j : j + w]
                    p_f = sum(value >= np.float32(u) for value in x.flat) / (count * w * w)
                    p_o = sum(value >= np.float32(u) for value in t.flat) / (w * w)
                    sums["fss_numerator"][k, h, s] += (p_f - p_o) ** 2
                    sums["fss_p"][k, h, s] += p_f**2
                    sums["fss_t"][k, h, s] += p_o**2
    return sums


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("missing", [0.0, 0.01])
def test_sums_equal_a_loop_over_windows(count: int, missing: float) -> None:
    """Every sum; ny, nx, M all different; ties on thresholds; a hole in some steps only."""
    members, truth = rain(1, 2, count, 11, 14), rain(2, 2, 11, 14)
    truth[1][np.random.default_rng(3).random((11, 14)) < missing] = np.nan
    thresholds, windows = (0.25, 0.7, 3.0, np.nan), (1, 3, 7, 11, 13)
    found = fss_sums(members, truth, thresholds, windows=windows)
    expected = loop(members, truth, thresholds, windows)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, err_msg=name)
    assert (found["fss_windows"][0] == [154, 108, 40, 4, 0]).all()
    assert missing == 0 or (found["fss_windows"][1, :2] < [154, 108]).all()


def test_a_worked_array() -> None:
    """5 x 5 cells, one forecast event at row 1, column 1, one true event at row 1, column 3.

    Windows of 3 x 3 have their centres at rows and columns 1 to 3. The forecast event lies in the
    four windows with a centre in rows 1-2, columns 1-2; the truth in those of rows 1-2, columns
    2-3; two windows hold both. In units of (1/9)^2: numerator 2 + 2 = 4, each square sum 4:
    FSS = 1 - 4 / 8. Single cells never meet: FSS = 0.
    """
    members, truth = np.zeros((1, 1, 5, 5), np.float32), np.zeros((1, 5, 5), np.float32)
    members[0, 0, 1, 1] = truth[0, 1, 3] = 2.0
    sums = fss_sums(members, truth, [2.0], windows=[1, 3, 5])
    np.testing.assert_allclose(sums["fss_numerator"][0, 0], [2, 4 / 81, 0], rtol=1e-15)
    np.testing.assert_allclose(sums["fss_p"][0, 0], [1, 4 / 81, 1 / 625], rtol=1e-15)
    np.testing.assert_allclose(sums["fss_t"][0, 0], [1, 4 / 81, 1 / 625], rtol=1e-15)
    np.testing.assert_allclose(pooled(sums)[0], [0, 0.5, 1], rtol=1e-15)


@pytest.mark.parametrize("shift", [1, 2, 5, 9])
def test_displaced_rain(shift: int) -> None:
    """A front of infinite length, one cell wide, displaced by d: FSS = 1 - d / w for d < w.

    Of the windows that meet a front, w along x, d hold one front only, so the numerator is 2 d
    and the squares are 2 w. (Roberts and Lean 2008, eq. 8 and their idealised case.)
    """
    members, truth = np.zeros((1, 1, 12, 70), np.float32), np.zeros((1, 12, 70), np.float32)
    members[..., 30], truth[..., 30 + shift] = 1.0, 1.0
    windows = [1, 3, 7, 11]
    expected = [max(1 - shift / w, 0) for w in windows]
    found = pooled(fss_sums(members, truth, [1.0], windows=windows))[0]
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_agrees_with_scores() -> None:
    """scores: full windows, >; a threshold one float below makes its > our >=."""
    x, t = rain(4, 3, 1, 40, 31), rain(5, 3, 40, 31)
    windows, thresholds = (1, 5, 9), (0.25, 1.0, 4.0)
    sums = fss_sums(x, t, thresholds, windows=windows)
    arrays = [xr.DataArray(field, dims=("time", "y", "x")) for field in (x[:, 0], t)]
    for j, u in enumerate(thresholds):
        for s, w in enumerate(windows):
            peer = fss_2d(
                *arrays,
                event_threshold=float(np.nextafter(np.float32(u), np.float32(0))),
                window_size=(w, w),
                spatial_dims=("y", "x"),
            )
            assert pooled(sums)[j, s] == pytest.approx(float(peer), rel=1e-12)


def test_agrees_with_pysteps() -> None:
    """pysteps pads with zeros: a dry border as wide as the window makes both definitions one."""
    x, t = (np.pad(rain(seed, 4, 20, 26), [(0, 0), (9, 9), (9, 9)]) for seed in (6, 7))
    windows, thresholds = (1, 3, 9), (0.25, 2.0)
    sums = fss_sums(x[:, None], t, thresholds, windows=windows)
    for j, u in enumerate(thresholds):
        for s, w in enumerate(windows):
            peer = fss_init(u, w)
            for forecast, observed in zip(x, t, strict=True):
                fss_accum(peer, forecast.astype(np.float64), observed.astype(np.float64))
            assert pooled(sums)[j, s] == pytest.approx(fss_compute(peer), rel=1e-11)


def test_a_perfect_forecast_has_exactly_one() -> None:
    """p = t for every member: no rounding is left in the numerator."""
    truth = rain(8, 2, 30, 33)
    members = np.repeat(truth[:, None], 7, axis=1)
    sums = fss_sums(members, truth, [0.25, 2.0], windows=[3, 9, 29])
    assert not sums["fss_numerator"].any()
    np.testing.assert_array_equal(pooled(sums), 1.0)


def test_members_are_pooled_before_the_score() -> None:
    """Two members, one event cell each, share the truth's: P_f = 1/2, so (1/4 + 1/4) / (1/2 + 1).

    Window 1; a mean of the members' own scores would be (1 + 0) / 2.
    """
    members, truth = np.zeros((1, 2, 3, 3), np.float32), np.zeros((1, 3, 3), np.float32)
    truth[0, 1, 1] = members[0, 0, 1, 1] = members[0, 1, 2, 2] = 1.0
    sums = fss_sums(members, truth, [1.0], windows=[1])
    assert float(pooled(sums)[0, 0]) == pytest.approx(1 - 0.5 / 1.5, rel=1e-15)


def test_no_event_is_missing_not_zero() -> None:
    """All dry, a threshold that is not defined, a window larger than the field: NaN."""
    dry = np.zeros((2, 3, 9, 12), np.float32)
    with np.errstate(all="raise"):
        assert np.isnan(pooled(fss_sums(dry, dry[:, 0], [1.0], windows=[3]))).all()
    wet = fss_sums(dry + 1, dry[:, 0] + 1, [1.0, np.nan], windows=[9, 11, 999])
    np.testing.assert_array_equal(pooled(wet), [[1, np.nan, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(wet["fss_windows"], [[4, 0, 0], [4, 0, 0]])


def test_a_tie_is_an_event_in_the_precision_of_the_fields() -> None:
    """0.7 stored in float32 is 0.69999999; the threshold 0.7 is the same number, so it ties."""
    tie = np.full((1, 1, 5, 5), 0.7, np.float32)
    below = np.nextafter(tie, np.float32(0))
    sums = fss_sums(tie, below[:, 0], [0.7], windows=[3])
    assert sums["fss_p"][0, 0, 0] == 9
    assert sums["fss_t"][0, 0, 0] == 0


def test_false_alarms_alone_score_zero() -> None:
    """Rain where the truth is dry: no overlap, 0 and not missing."""
    wet = np.ones((1, 1, 9, 9), np.float32)
    assert float(pooled(fss_sums(wet, wet[:, 0] * 0, [1.0], windows=[3]))[0, 0]) == 0


def test_the_score_is_a_ratio_of_sums() -> None:
    """Pooled over steps; the mean of each step's FSS is another number."""
    members, truth = rain(9, 2, 1, 20, 20), rain(10, 2, 20, 20)
    members[1] *= 10
    sums = fss_sums(members, truth, [2.0], windows=[5])
    each = fss(*(sums[name] for name in NAMES))
    assert abs(float(pooled(sums)[0, 0]) - each.mean()) > 0.01


def test_a_missing_truth_is_never_looked_at() -> None:
    """No member value under a hole, or in a window with one, changes a sum."""
    members, truth = rain(11, 1, 3, 20, 24), rain(12, 1, 20, 24)
    truth[0, 8, 10] = np.nan
    changed = members.copy()
    changed[..., 8, 10] = 100.0
    expected = fss_sums(members, truth, [0.25], windows=[1, 5])
    found = fss_sums(changed, truth, [0.25], windows=[1, 5])
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    np.testing.assert_array_equal(found["fss_windows"], [[479, 16 * 20 - 25]])


def test_steps_do_not_know_each_other() -> None:
    """Each step alone gives the same bits as among others, holes before and after included."""
    members, truth = rain(13, 3, 2, 20, 37), rain(14, 3, 20, 37)
    truth[1, :3, 5:9] = np.nan
    together = fss_sums(members, truth, [0.5, 2.0], windows=[3, 9])
    for k in range(3):
        alone = fss_sums(members[k : k + 1], truth[k : k + 1], [0.5, 2.0], windows=[3, 9])
        for name in together:
            np.testing.assert_array_equal(alone[name][0], together[name][k], err_msg=name)


def test_counts_beyond_half_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty members in 41 x 41 cells, up to 79,950 events: more than 16 bits; engines agree."""
    members, truth = np.ones((1, 50, 41, 43), np.float32), rain(15, 1, 41, 43)
    members[:, ::2, :4] = 0
    found = fss_sums(members, truth, [0.5], windows=[37, 41])
    monkeypatch.setenv("ELSEWHERE_ENGINE", "numpy")
    expected = fss_sums(members, truth, [0.5], windows=[37, 41])
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert found["fss_p"][0, 0, 1] == pytest.approx(3 * (79950 / 84050) ** 2, rel=1e-15)


def test_useful_scales_grow_with_the_window() -> None:
    """Noise-like rain: the FSS rises with the window, and more rain than observed costs."""
    members, truth = rain(16, 5, 4, 60, 60), rain(17, 5, 60, 60)
    score = pooled(fss_sums(members, truth, [1.0], windows=[1, 5, 15, 31]))[0]
    assert (np.diff(score) > 0).all()
    biased = pooled(fss_sums(members * 3, truth, [1.0], windows=[1, 5, 15, 31]))[0]
    assert biased[-1] < score[-1]


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Even windows, a truth of other shape, thresholds without a dimension."""
    members = rain(18, 2, 3, 9, 9)
    with pytest.raises(InputError) as caught:
        fss_sums(members, members[:1, 0], 0.5, windows=[3, 4])
    assert [problem.where for problem in caught.value.problems] == [
        "FSS",
        "FSS thresholds",
        "FSS windows",
    ]
    for windows in ([], [0], [-3]):
        with pytest.raises(InputError):
            fss_sums(members, members[:, 0], [0.5], windows=windows)
