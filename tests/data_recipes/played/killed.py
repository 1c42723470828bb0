"""Work in a child that is killed by the server that it asks."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attempts import LIMIT, attempt

from played.http import Answer, PlayedServer, Request


def killed_at(
    server: PlayedServer, dies: Callable[[Request], bool], work: Callable[..., None], *args: Any
) -> None:
    """Work in a child that gets SIGKILL at the first request for which `dies` is true.

    It gets no answer to that. work: of a module that the child can import, too.
    """
    struck, over = threading.Event(), threading.Event()
    true_answer = server.answer

    def answer(request: Request) -> Answer | None:
        if dies(request):
            struck.set()
            over.wait(LIMIT)
        return true_answer(request) if true_answer else None

    server.answer = answer
    try:
        killed = attempt(at_home, dict(os.environ), work, args, until=struck.is_set)
    finally:
        over.set()
        server.answer = true_answer
    assert killed, "it ended before it asked what it was to die of"


def at_home(environment: dict[str, str], work: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In the child: work with these variables, and not with those of when the children began."""
    os.environ.clear()
    os.environ.update(environment)
    work(*args)


def fetch_until_killed(
    server: PlayedServer, dies: Callable[[Request], bool], source: Any, window: Any
) -> None:
    """Fetch a source's window in a child; see `killed_at`."""
    killed_at(server, dies, fetch, source, window)


def fetch(source: Any, window: Any) -> None:
    """In the child."""
    source.fetch(window)


def files(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden, by its path, as bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.parts[len(folder.parts) :])
    }
