"""Work in processes of their own, which can be killed -9 and never outlive their time.

Children of a fork server, so that what is imported is imported once, and that no process with
threads forks.
"""

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIMIT = 60.0
"""Seconds that a child may take; it then says where it was."""

_LOOK = 0.001
_GONE = 30.0

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    # The last ones are what xarray and dask look for when they are first used.
    ["benchmark.evaluate", "data_recipes.build", "data_recipes.pair_recipe", "dask.array",
     "cfgrib", "cfmessage"]
)  # fmt: skip


def moment(seconds: float, *, since: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """Whether it is so many seconds since something was first seen to be so."""
    seen: list[float] = []

    def reached() -> bool:
        if not seen and since():
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + seconds

    return reached


def attempt(
    work: Callable[..., None], *args: Any, until: Callable[[], bool] = lambda: False
) -> bool:
    """Do the work in a child; SIGKILL as soon as `until` says so. Whether it was killed.

    work: of a module that the child can import, too. Errors: AssertionError where it fails by
    itself, or takes longer than `LIMIT`; nothing that it started lives on.
    """
    child = FORKS.Process(target=_lead, args=(work, args))
    child.start()
    late = time.monotonic() + LIMIT + 5
    try:
        while child.is_alive() and not until():
            assert time.monotonic() < late, f"{work.__name__} neither ends nor says where it is"
            child.join(_LOOK)
    finally:
        _kill(child)
    assert child.exitcode in (0, -signal.SIGKILL), f"{work.__name__}: exit code {child.exitcode}"
    return child.exitcode != 0


def _lead(work: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In the child: work at the head of a process group."""
    os.setsid()
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    work(*args)


def _kill(child: Any) -> None:
    """The child, if it is there, and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.is_alive():  # it led no group yet
        child.kill()
    child.join(_GONE)
