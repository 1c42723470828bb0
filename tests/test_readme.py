"""The README's own commands, run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

README = Path(__file__).parents[1] / "README.md"
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

    known = {command.name for command in app.registered_commands}
    section = README.read_text(encoding="utf-8").split("## The command line\n")[1]
    named = set(re.findall(r"`elsewhere ([a-z]+)", section.split("\n## ")[0]))
    assert named == known
