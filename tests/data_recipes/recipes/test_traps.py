"""What whole recipes refuse, and what they record: units, places, turned axes, hours."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played.huggingface import PlayedHub

from benchmark.errors import InputError
from recipes import builds, providers
from recipes.builds import Job, blocks_of, made, stored
from recipes.providers import PERIODS, THREE, TIMES

EUROPE = "europe_west"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    blocks_of(24, monkeypatch.setattr)
    with PlayedHub({}) as played:
        monkeypatch.setenv("HF_ENDPOINT", played.url)
        yield played


@cache
def files(**wrong: Any) -> dict[str, bytes]:
    """The region's files, wrong in what is said."""
    return providers.region_files(EUROPE, TIMES, **wrong)


def job(name: str, folder: Path) -> Job:
    task = builds.small(name, THREE, *PERIODS)
    return Job(task, builds.shipped_table(name), folder, steps=24, regions=(EUROPE,))


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("rainshift", {"tp_factor": 1000}, "coarse precipitation.* mm taken for m"),
        ("gap-era5-perfect", {"tp_factor": 1000}, "fine precipitation.* mm taken for m"),
        ("rainshift", {"tp_factor": 0.001}, "coarse precipitation.* m taken for mm"),
        ("rainshift", {"turned": "out"}, "flipped latitude"),
        ("rainshift", {"turned": "in"}, "flipped latitude"),
        ("gap-era5-imerg", {"turned": "out"}, "flipped latitude"),
        ("rainshift2025", {"turned": "out"}, "flipped latitude"),
        ("rainshift", {"off": 0.125}, "0.[345]. cells north and 0.[345]. cells west"),
        ("gap-era5-perfect", {"labels_off": 0.125}, "Half a cell"),
        ("rainshift", {"twice": TIMES[5]}, "time once; got 2001-01-09T05:00:00 twice"),
        ("gap-imerg-perfect", {"twice": TIMES[5]}, "time once; got 2001-01-09T05:00:00 twice"),
        ("rainshift", {"without": TIMES[14]}, "got 23; none from 2001-01-20.02:00:00"),
        ("gap-era5-perfect", {"without": TIMES[14]}, "got 23; none from 2001-01-20.02:00:00"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(
    name: str, wrong: dict[str, Any], said: str, hub: PlayedHub, tmp_path: Path
) -> None:
    hub.contents = files(**wrong)
    with pytest.raises(InputError, match=said):
        made(job(name, tmp_path))
    assert builds.manifests(job(name, tmp_path)) == {}


def test_an_hour_that_a_product_with_gaps_lacks_is_recorded(hub: PlayedHub, tmp_path: Path) -> None:
    """Of two consecutive hours and one alone: two intervals, and nothing in their place."""
    lost = TIMES[[2, 3, 14]]
    hub.contents = files()
    whole = job("gap-imerg-perfect", tmp_path / "whole")
    made(whole)
    hub.contents = providers.region_files(EUROPE, np.setdiff1d(TIMES, lost))
    gappy = job("gap-imerg-perfect", tmp_path / "gappy")
    found = made(gappy)[EUROPE].missing_intervals
    assert [(str(run.first), str(run.last)) for run in found] == [
        ("2001-01-09 02:00:00", "2001-01-09 03:00:00"), ("2001-01-20 02:00:00",) * 2,
    ]  # fmt: skip
    for side in ("coarse", "fine"):
        expected = stored(whole, EUROPE, side).isel(time=~np.isin(TIMES, lost))
        assert stored(gappy, EUROPE, side).equals(expected)
