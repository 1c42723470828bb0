"""The README's own commands, run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.task_files import load_task
from data_recipes.build import size_of
from data_recipes.shipped import shipped_recipe

README = Path(__file__).parents[1] / "README.md"
SHARED = README.parent.parent / "shared" / "data"
COMMAND = Path(sys.executable).parent / "elsewhere"


def blocks(section: str, language: str) -> list[str]:
    """The fenced blocks of one language in one section of the README."""
    text = README.read_text(encoding="utf-8")
    body = text.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", body, flags=re.DOTALL)


def enlarge(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """A model that a reader might start with."""
    return coarse.repeat(4, axis=-2).repeat(4, axis=-1)


def test_scoring_your_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build, template, fill, validate, score: as the README says, but for the last comparison."""
    section = "Score your own model in ten lines"
    before, after = blocks(section, "sh")
    (fill,) = blocks(section, "python")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}

    def shell(script: str) -> None:
        subprocess.run(["bash", "-ec", script], check=True, env=environment)

    shell(before)
    exec(fill, {"my_model": enlarge})
    scoring = [line for line in after.splitlines() if "compare" not in line]
    shell("export ELSEWHERE_DATA=./data\n" + "\n".join(scoring))
    shell("elsewhere compare scores/mine scores/mine --fail-on worse")
    assert (tmp_path / "scores" / "mine" / "scores.json").is_file()


def test_every_verb_of_the_readme_exists() -> None:
    """The table of verbs names what the command line has, and all of it."""
    from benchmark.cli.main import app

    known = {entry.name for entry in (*app.registered_commands, *app.registered_groups)}
    section = README.read_text(encoding="utf-8").split("## The command line\n")[1]
    named = set(re.findall(r"`elsewhere ([a-z]+)", section.split("\n## ")[0]))
    assert named == known


def test_your_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of the README, of at most 25 lines, is checked, built and scored as it says."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    (recipe,) = blocks("Your own files", "toml")
    (commands,) = blocks("Your own files", "sh")
    assert len(recipe.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    Path("uk-t2m.toml").write_text(recipe)
    for file in SHARED.glob("era5_t2m_uk_*.nc"):
        Path(file.name).symlink_to(file.resolve())
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    script = "export ELSEWHERE_DATA=./data\n" + commands
    subprocess.run(["bash", "-ec", script], check=True, env=environment)
    assert Path("scores/bicubic/scores.json").is_file()


@pytest.mark.parametrize(
    ("task", "pairs", "fetched"),
    [("cerra-wind", 74, 107), ("cerra-t2m", 74, 104), ("cerra-precip", 9, 23),
     ("merizzi-wind", 81, 77), ("tcw-2", 31, 32), ("tcw-16", 25, 32)],
)  # fmt: skip
def test_sizes_of_real_data(task: str, pairs: int, fetched: int, tmp_path: Path) -> None:
    """The table's gigabytes are those of `--estimate`."""
    contract = load_task(task)
    size = size_of(contract, contract.regions, shipped_recipe(contract, tmp_path))
    assert (round(size.written / 1e9), round(size.fetched / 1e9)) == (pairs, fetched)
    section = README.read_text(encoding="utf-8").split("## Real data\n")[1].split("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("|") and f"`{task}`" in line]
    assert str(pairs) in row
    assert str(fetched) in row
