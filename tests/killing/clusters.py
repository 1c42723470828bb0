"""A dask scheduler and its workers in processes of their own, as a user starts them.

They are killed at the end: closing a `LocalCluster` waits for a nanny that was disturbed, and with
distributed 2026.8 raises KeyError or never returns.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

WORKERS = 2
"""Processes of one thread; each has a nanny that starts it again when it dies."""

_LONGEST_S = 60


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of a new scheduler whose workers are there."""
    file = folder / "scheduler.json"
    at = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    workers = ["--nworkers", str(WORKERS), "--nthreads", "1", "--local-directory", str(folder)]
    # What is sent to workers is of modules that tests find.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command], cwd=folder, env=environment,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
        for command in (["scheduler", "--port", "0", *at], ["worker", *workers, *at])
    ]  # fmt: skip
    try:
        with Client(  # type: ignore[no-untyped-call]
            scheduler_file=str(file), set_as_default=False, timeout=_LONGEST_S
        ) as client:
            client.wait_for_workers(WORKERS, timeout=_LONGEST_S)
            address: str = client.scheduler.address
        yield address
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=_LONGEST_S)
