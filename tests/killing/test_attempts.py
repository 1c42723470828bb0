"""What tests of kills stand on: nothing outlives an attempt, and none waits for ever."""

import operator
import subprocess
from pathlib import Path

import attempts
import pytest
from attempts import attempt, moment


def lives(process: str) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_kill_takes_what_the_child_has_started(tmp_path: Path) -> None:
    """A grandchild would hold pipes that somebody waits for."""
    noted = tmp_path / "process"
    script = f"echo $$ > {noted}.new; mv {noted}.new {noted}; exec sleep 300"
    assert attempt(subprocess.run, ["sh", "-c", script], until=moment(0, since=noted.exists))
    assert not lives(noted.read_text().strip())


def test_work_that_ends_by_itself() -> None:
    """Well or not."""
    assert not attempt(abs, 1)
    with pytest.raises(AssertionError, match="truediv: exit code 1"):
        attempt(operator.truediv, 1, 0)


def test_work_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is killed, and fails the test."""
    monkeypatch.setattr(attempts, "LIMIT", -4.8)  # 5 s before that of the child
    with pytest.raises(AssertionError, match="run neither ends nor"):
        attempt(subprocess.run, ["sleep", "300"])
