"""A process that fetches a pickled source's window, to be killed by the server that it asks."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from played.http import Answer, PlayedServer, Request

_FETCH = "import pickle, sys; s, w = pickle.load(open(sys.argv[1], 'rb')); s.fetch(w)"


def fetch_until_killed(
    server: PlayedServer, dies: Callable[[Request], bool], source: Any, window: Any, folder: Path
) -> None:
    """Fetch in a process of its own, killed at the first request for which `dies` is true."""
    pickled = folder / "asked.pickle"
    pickled.write_bytes(pickle.dumps((source, window)))
    child: list[subprocess.Popen[bytes]] = []
    true_answer = server.answer

    def answer(request: Request) -> Answer | None:
        if dies(request):
            os.kill(child[0].pid, signal.SIGKILL)
        return true_answer(request) if true_answer else None

    server.answer = answer
    try:
        child.append(subprocess.Popen([sys.executable, "-c", _FETCH, str(pickled)]))
        code = child[0].wait(timeout=120)
    finally:
        server.answer = true_answer
    assert code == -signal.SIGKILL


def files(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden, by its path, as bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.parts[len(folder.parts) :])
    }
