"""Both engines give the same sums, and every step the same bits whatever slab it is in."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from benchmark.bins import Bins
from benchmark.coarsen import AreaOverlap
from benchmark.families import block_means, conservation, pointwise
from benchmark.families.base import Slab
from benchmark.reduce import reduce_slab

MakeSlab = Callable[..., Slab]
KELVIN = Bins("linear", 180.0, 340.0, 0.125)
SINGLE = ("weighted", "tw_abs_error", "tw_pair_spread")
"""What is float32 at each cell, and float64 in sums."""

KINDS: dict[str, dict[str, Any]] = {
    "one member": {"members": 1},
    "two members, factor 2.5": {"members": 2, "shape": (10, 15), "factor": 2.5},
    "three members, ties": {"members": 3, "ties": True},
    "as many members as rows": {"members": 16, "shape": (16, 20), "factor": 4.0},
    "fewer columns than a vector": {"members": 5, "shape": (20, 5), "factor": 2.5},
    "no multiple of 16": {"members": 8, "shape": (10, 14), "factor": 2.0},
    "nothing missing": {"members": 5, "missing": 0.0},
    "nearly all missing": {"members": 5, "missing": 0.97},
    "nothing there": {"members": 2, "missing": 1.1},
    "one class": {"members": 5, "domain": {"classes": 1, "intensity": (),
                                           "labels": np.zeros((12, 16), np.uint8)}},
    "two bounds": {"members": 3, "domain": {"intensity": (0.0, 2.0)}},
    "thresholds": {"members": 5, "domain": {"thresholds": np.array([np.nan, 0.0, 1e9, -1.0])}},
    "no thresholds": {"members": 5, "domain": {"thresholds": np.array([])}},
    "kelvin": {"members": 8, "bins": KELVIN},
    "more members than a vector of fields": {"members": 16, "shape": (25, 30), "factor": 2.5},
}  # fmt: skip


def slab_of(make_slab: MakeSlab, kind: str) -> Slab:
    """Two steps of one kind."""
    slab = make_slab(1, steps=2, first=3, **KINDS[kind])
    if kind == "kelvin":
        return replace(
            slab, members=slab.members + np.float32(270), truth=slab.truth + np.float32(270)
        )
    return slab


def both(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> tuple[Any, Any]:
    """What numba and numpy give."""
    found = []
    for name in ("numba", "numpy"):
        monkeypatch.setenv("ELSEWHERE_ENGINE", name)
        found.append(function())
    return found[0], found[1]


def close(found: Any, expected: Any, name: str) -> None:
    """Equal to 1e-12 of the largest (sums of signed terms cancel); 1e-7 where cells are float32."""
    assert found.shape == expected.shape, name
    rtol = 1e-7 if name in SINGLE else 1e-12
    atol = rtol * abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_pointwise_classes(make_slab: MakeSlab, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The sums of every class, before they are strata, each part to 1e-12; counts exactly."""
    from benchmark.kernels import pointwise as kernel

    slab = slab_of(make_slab, kind)
    monkeypatch.setenv("ELSEWHERE_ENGINE", "numba")
    found, expected = kernel.reduce(slab), pointwise.reduce_slab(slab)
    for part in fields(expected):
        values = (getattr(one, part.name) for one in (found, expected))
        close(*values, part.name)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.counts.shape == (2, len(slab.domain.bins))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [pointwise, conservation, block_means])
def test_families(
    make_slab: MakeSlab, monkeypatch: pytest.MonkeyPatch, kind: str, family: Any
) -> None:
    """Every statistic that has a kernel, by name."""
    slab = slab_of(make_slab, kind)
    found, expected = both(monkeypatch, lambda: family.reduce(slab))
    pairs = zip(found, expected, strict=True) if family is pointwise else ((found, expected),)
    for one, other in pairs:
        assert set(one) == set(other)
        for name, values in other.items():
            close(one[name], values, name)


@pytest.mark.parametrize("members", [1, 5])
def test_all_dry(make_slab: MakeSlab, monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    """Zeros everywhere, where compiled code takes short cuts: the same tables and counts."""
    slab = make_slab(0, steps=2, members=members)
    dry = replace(slab, members=np.zeros_like(slab.members),
                  truth=np.where(np.isnan(slab.truth), np.nan, np.float32(0)))  # fmt: skip
    found, expected = both(monkeypatch, lambda: pointwise.reduce(dry))
    for one, other in zip(found, expected, strict=True):
        for name, values in other.items():
            close(one[name], values, name)
    np.testing.assert_array_equal(found[1]["bin_p"][1:], 0)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("members", [1, 5])
def test_a_step_has_its_own_bits(make_slab: MakeSlab, members: int) -> None:
    """All statistics of a step in a slab of seven, and of slabs of one or three: the same bits."""
    slab = make_slab(2, steps=7, members=members, missing=0.002, shape=(16, 20))
    assert 0 < np.isnan(slab.truth).any(axis=(1, 2)).sum() < 7
    whole, _ = reduce_slab(slab)
    for start, stop in ((0, 1), (1, 2), (2, 5), (6, 7)):
        cut = {name: getattr(slab, name)[start:stop] for name in
               ("members", "truth", "bilinear", "coarse")}  # fmt: skip
        alone, _ = reduce_slab(replace(slab, first=start, **cut))
        for name, values in alone.items():
            np.testing.assert_array_equal(values, whole[name][start:stop], err_msg=name)


@pytest.mark.usefixtures("engine")
def test_inputs_are_left_as_they_are(make_slab: MakeSlab) -> None:
    """Fields are read only: read-only arrays do, and nothing in them changes."""
    slab = make_slab(3, members=5)
    arrays = [slab.members, slab.truth, slab.bilinear, slab.coarse]
    before = [array.copy() for array in arrays]
    reduce_slab(slab)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("members", [1, 5])
def test_a_margin_counts_nowhere(make_slab: MakeSlab, members: int) -> None:
    """Fields of the whole box with a border that is not scored: the sums of the interior alone.

    Whatever lies in the border: other values, a missing truth, no climatology.
    """
    slab = make_slab(4, steps=2, members=members, missing=0.002, shape=(20, 24))
    inner, border = slab.domain, ((4, 4), (4, 4))
    frame = np.random.default_rng(1)

    def around(field: Any) -> Any:
        whole = frame.normal(0, 1e4, (*field.shape[:-2], 28, 32)).astype(field.dtype)
        whole[..., 4:-4, 4:-4] = field
        return whole

    truth = around(slab.truth)
    truth[:, 0, :7] = np.nan
    overlap = AreaOverlap(
        in_y=np.pad(inner.overlap.in_y, ((0, 0), (4, 4))),
        in_x=np.pad(inner.overlap.in_x, ((0, 0), (4, 4))),
        area=np.pad(inner.area, border, mode="edge"),
    )
    domain = replace(
        inner, margin=4, area=np.pad(inner.area, border), labels=np.pad(inner.labels, border),
        climatology=np.pad(inner.climatology, border, constant_values=np.nan), overlap=overlap,
    )  # fmt: skip
    whole = replace(slab, domain=domain, members=around(slab.members), truth=truth,
                    bilinear=around(slab.bilinear))  # fmt: skip
    found, expected = reduce_slab(whole), reduce_slab(slab)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for name, values in other.items():
            close(one[name], values, name)
    np.testing.assert_array_equal(found[1]["bin_p"], expected[1]["bin_p"])
    assert found[0]["residual_max"].max() < 1e3
