"""Keys and room that a build lacks are said together, before anything is asked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

from data_recipes.pair_recipe import PairRecipe

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairRecipe, "fetch", None)


def test_all_at_once(elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ERA5 needs the key of one provider, IMERG that of another, both need room."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    words = ["build", "rainshift", "--recipe", "earthdata", "--regions", "blacksea"]
    done = elsewhere(*words, "--data", tmp_path)
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    for word in ("1.0 MB free", "~/.ecmwfdatastoresrc", "~/.netrc"):
        assert word in done.stderr


def test_a_key_that_is_there_is_not_asked_for(
    elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of which nothing is to be fetched."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    words = ["build", "rainshift", "--recipe", "earthdata", "--regions", "blacksea"]
    done = elsewhere(*words, "--data", tmp_path, env={"EARTHDATA_TOKEN": "word"})
    assert "2 problems" in done.stderr
    assert ".netrc" not in done.stderr
