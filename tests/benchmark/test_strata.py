"""Strata are unions of classes; seasons are local."""

import numpy as np
import pytest

from benchmark.strata import (
    INTENSITY_CLASSES,
    SEASONS,
    STATIC_CLASSES,
    STRATA,
    over_strata,
    seasons,
    static_labels,
)


def test_static_classes_and_their_bounds() -> None:
    """Land from a fraction of 0.5 on; lowland below 500 m, mountain from 1500 m on."""
    land = np.array([0.0, 0.49, 0.5, 1.0, 1.0, 1.0, 1.0, 0.2], np.float32)
    height = np.array([0.0, 900.0, -3.0, 499.9, 500.0, 1499.9, 1500.0, 3000.0], np.float32)
    labels = static_labels(land, height)
    assert labels.dtype == np.uint8
    names = [STATIC_CLASSES[label] for label in labels]
    assert names == ["sea", "sea", "lowland", "lowland", "upland", "upland", "mountain", "sea"]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("bounds", [0, 1, 3])
def test_unions(steps: int, classes: int, bounds: int) -> None:
    """Each class (static, intensity) is a power of two: a stratum shows which ones it holds."""
    levels = bounds + 1
    sums = 2.0 ** np.arange(classes * levels)
    found = over_strata(np.broadcast_to(sums, (steps, len(sums))), classes, levels)
    assert found.shape == (steps, len(STRATA))
    table = sums.reshape(classes, levels)
    for step in found:
        by_name = dict(zip(STRATA, step, strict=True))
        assert by_name["all"] == table.sum()
        assert by_name["land"] == table[1:].sum()
        for k, name in enumerate(STATIC_CLASSES):
            # Where no statics are known, all cells are of one class: no surface, not the sea.
            assert by_name[name] == (table[k].sum() if classes > 1 else 0)
        for k, name in enumerate(INTENSITY_CLASSES):
            expected = table[:, k].sum() if bounds and k < levels else 0
            assert by_name[name] == expected, name
        if classes > 1:
            assert by_name["sea"] + by_name["land"] == by_name["all"]


def test_axes_behind_the_classes_are_kept() -> None:
    """(T, C, ranks) gives (T, strata, ranks), each place alone."""
    sums = np.random.default_rng(0).random((2, 16, 5))
    found = over_strata(sums, 4, 4)
    assert found.shape == (2, len(STRATA), 5)
    for k in range(5):
        np.testing.assert_allclose(found[..., k], over_strata(sums[..., k], 4, 4), rtol=1e-14)


def test_one_step_has_the_bits_of_many() -> None:
    """The order of additions does not depend on how many steps are folded together."""
    sums = np.random.default_rng(1).normal(size=(9, 16, 3)) * 10.0 ** np.arange(-8, 8)[:, None]
    whole = over_strata(sums, 4, 4)
    for k in range(9):
        np.testing.assert_array_equal(over_strata(sums[k : k + 1], 4, 4)[0], whole[k])


def test_every_month_of_both_hemispheres() -> None:
    """December to February is winter in the north (equator included) and summer in the south."""
    months = np.arange("1999-12", "2001-01", dtype="datetime64[M]").astype("datetime64[s]")
    north = ["winter"] * 3 + ["spring"] * 3 + ["summer"] * 3 + ["autumn"] * 3 + ["winter"]
    turned = {"winter": "summer", "spring": "autumn", "summer": "winter", "autumn": "spring"}
    for latitude in (50.0, 0.0):
        assert list(seasons(months, latitude=latitude)) == north
    assert list(seasons(months, latitude=-0.5)) == [turned[name] for name in north]


def test_last_and_first_hours_of_a_season() -> None:
    """The change is at midnight UTC of the first of March, also before 1970."""
    hours = np.array(["1968-02-29T23:59:59", "1968-03-01T00:00:00"], "datetime64[s]")
    assert list(seasons(hours, latitude=10)) == ["winter", "spring"]
    assert SEASONS == ("winter", "spring", "summer", "autumn")
