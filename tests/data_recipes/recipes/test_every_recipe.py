"""No recipe that ships is left out of the tests of kills and of clusters."""

import pkgutil
from importlib import import_module

import pytest

import recipes
from recipes.builds import RECIPES


def names_of(test: str) -> set[str]:
    """All that a test of this name, or one that goes on, is parametrised with in this folder."""
    found: set[str] = set()
    for info in pkgutil.iter_modules(recipes.__path__):
        if not info.name.endswith("_builds"):
            continue
        for name, function in vars(import_module(f"recipes.{info.name}")).items():
            marks = getattr(function, "pytestmark", []) if name.startswith(test) else []
            for mark in marks:
                found |= set(mark.args[1]) if mark.args[:1] == ("name",) else set()
    return found


@pytest.mark.parametrize(
    "test",
    [
        "test_killed_twice_and_resumed_it_is_the_same_store",
        "test_a_cluster_builds_the_same_store",
    ],
)
def test_every_recipe_that_ships_is_built_so_from_its_played_provider(test: str) -> None:
    shipped = {file.name.removesuffix(".toml") for file in RECIPES.iterdir()}
    assert len(shipped) >= 20
    assert shipped - names_of(test) == set()
