"""One writer at a time, told from the dead: a lock that the system drops with its process."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import InputError, Problem

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def only_writer(path: Path, *, of: str) -> Iterator[None]:
    """Hold the lock file `path` during the block; it is gone afterwards.

    A file that a killed process has left locks nothing: what counts is the system's own lock
    (flock, on NFS too), which ends with its process. A file system without locks goes without.
    Errors: InputError where another process holds it; of: what it writes.
    """
    import fcntl  # not on every system, and reading stores must work there

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            fix = "Wait until it has ended, or stop it; then repeat the command."
            got = f"another one at work: {who}"
            raise InputError(Problem(of, "one build at a time", got, fix)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
        if _is_at(handle, path):
            break
        os.close(handle)  # its last holder has just removed it
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
