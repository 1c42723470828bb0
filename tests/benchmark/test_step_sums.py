"""Blocks of sums: packed, saved, loaded, folded; no cut between blocks changes a bit."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.step_sums import KINDS, RegionSums, StepSums, fold, kind_of, load, pack, save

STEPS, SHAPES = 12, {"squared_error": (3,), "rank_weight": (3, 4), "cells": (),
                     "power_p": (5,), "fss_p": (2, 2), "t_max": (), "residual_max": ()}  # fmt: skip
LABELS = np.repeat(np.array(["2001-01-01", "2001-01-03", "2001-01-09"], "datetime64[s]"), (5, 1, 6))
GENERATOR = np.random.default_rng(0)
SERIES = [
    {name: GENERATOR.normal(size=(STEPS, *shape)) * 10.0 ** GENERATOR.integers(-9, 9, STEPS)
     .reshape(-1, *(1 for _ in shape)) for name, shape in SHAPES.items()}
    for _ in range(2)
]  # fmt: skip
"""Sums of two variables whose sizes differ so much that any other order of additions shows."""
COUNTS = GENERATOR.integers(0, 2**40, (2, STEPS, 6)).astype(np.float64)
DIGESTS = GENERATOR.integers(0, 256, (STEPS, 32)).astype(np.uint8)


def slab(start: int, stop: int) -> tuple[Any, Any, Any]:
    """What reducing the steps from `start` on would give."""
    sums = [{name: values[start:stop] for name, values in one.items()} for one in SERIES]
    counts = [{"bin_p": COUNTS[v, start:stop].sum(axis=0)} for v in range(2)]
    return sums, counts, {"v": DIGESTS[start:stop]}


def block(cuts: list[int]) -> StepSums:
    """One block of the slabs between ascending cuts."""
    return pack([slab(a, b) for a, b in pairwise(cuts)])


def assert_same(found: RegionSums, expected: RegionSums) -> None:
    """The same bits in every part."""
    np.testing.assert_array_equal(found.cases, expected.cases)
    for part in ("by_case", "period", "digests"):
        one, other = getattr(found, part), getattr(expected, part)
        assert set(one) == set(other)
        for name in other:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_folding_equals_loops_in_time_order() -> None:
    """By case, over the period, and maxima: running sums, bit for bit."""
    found = fold([block([0, STEPS])], LABELS)
    np.testing.assert_array_equal(found.cases, np.unique(LABELS))
    assert set(found.by_case) == {"squared_error", "rank_weight", "cells", "t_max", "residual_max"}
    assert set(found.period) == {"power_p", "fss_p", "bin_p"}
    for v, series in enumerate(SERIES):
        for name, values in series.items():
            if kind_of(name) == "period":
                running = np.zeros(values.shape[1:])
                for value in values:
                    running = running + value
                np.testing.assert_array_equal(found.period[name][v], running, err_msg=name)
                continue
            for c, (start, stop) in enumerate(((0, 5), (5, 6), (6, 12))):
                running = np.zeros(values.shape[1:])
                for value in values[start:stop]:
                    running = running + value
                if kind_of(name) == "max":
                    running = values[start:stop].max(axis=0)
                np.testing.assert_array_equal(found.by_case[name][c, v], running, err_msg=name)
        np.testing.assert_array_equal(found.period["bin_p"][v], COUNTS[v].sum(axis=0))
    np.testing.assert_array_equal(found.digests["v"], DIGESTS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    blocks=st.sets(st.integers(1, STEPS - 1)), slabs=st.sets(st.integers(1, STEPS - 1))
)  # fmt: skip
def test_no_cut_changes_a_bit(blocks: set[int], slabs: set[int]) -> None:
    """Any cuts into blocks, and of blocks into slabs, give the sums of one block of one slab."""
    ends = [0, *sorted(blocks), STEPS]
    parts = [
        block([start, *sorted(s for s in slabs if start < s < stop), stop])
        for start, stop in pairwise(ends)
    ]
    assert_same(fold(iter(parts), LABELS), fold([block([0, STEPS])], LABELS))


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    """Every array bit for bit, with its type; layouts too; the same bytes each time."""
    written = block([0, 4, STEPS])
    save(tmp_path / "a.npz", written)
    save(tmp_path / "b.npz", written)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"], "no remains"
    found = load(tmp_path / "a.npz")
    assert found is not None
    assert found.layouts == written.layouts
    assert [list(layout) for layout in found.layouts.values()] == [
        list(layout) for layout in written.layouts.values()
    ]
    assert set(found.columns) == set(KINDS)
    for part in ("columns", "counts", "digests"):
        one, other = getattr(found, part), getattr(written, part)
        assert set(one) == set(other)
        for name in other:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])
    assert_same(fold([found], LABELS), fold([written], LABELS))


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    """Absent, empty, cut anywhere, foreign, or with flipped bytes: no block, never an error."""
    path = tmp_path / "block.npz"
    assert load(path) is None
    save(path, block([0, STEPS]))
    whole = path.read_bytes()
    damaged = [b"", b"not a zip", whole[:-1], whole[: len(whole) // 2], whole[:30]]
    # Inside the values of an array: the zip's own check sum tells.
    place = whole.index(np.ascontiguousarray(DIGESTS).tobytes()) + 40
    damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert load(path) is None, content[:20]
    np.savez(path, other=np.zeros(3))
    assert load(path) is None
    path.unlink()
    path.mkdir()
    assert load(path) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_statistic_has_one_kind(kind: str) -> None:
    """Sums of cases, sums of the period, maxima: named by what `Statistic` says."""
    names: dict[str, set[str]] = {
        "case": {"weight", "squared_error", "event_p", "ssim", "cells"},
        "period": {"reliability", "power_p", "fss_numerator", "bin_p", "structure_pairs"},
        "max": {"residual_max", "coarse_max", "t_max"},
    }
    for name in names[kind]:
        assert kind_of(name) == kind


def test_an_empty_last_axis_is_kept() -> None:
    """A task without thresholds has statistics of no numbers: shapes come through."""
    sums: list[dict[str, NDArray[np.float64]]] = [
        {"event_p": np.zeros((2, 0)), "squared_error": np.ones((2, 3)),
         "t_max": np.zeros(2), "power_p": np.ones((2, 4))}
    ]  # fmt: skip
    packed = pack([(sums, [{"bin_p": np.zeros(3)}], {"v": np.zeros((2, 32), np.uint8)})])
    found = fold([packed], np.array(["2001-01-01", "2001-01-02"], "datetime64[s]"))
    assert found.by_case["event_p"].shape == (2, 1, 0)
    np.testing.assert_array_equal(found.by_case["squared_error"], 1)
