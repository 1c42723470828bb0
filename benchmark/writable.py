"""Whether a folder can be written, asked before anything long is begun."""

import os
import tempfile
from pathlib import Path

from benchmark.errors import InputError, Problem


def check_writable(folder: Path, *, where: str) -> None:
    """Refuse a folder that cannot be made, or not written; leaves nothing behind.

    where: what the user gave it as, such as "--out". Errors: InputError.
    """
    at = folder.absolute()
    while not os.path.lexists(at):
        at = at.parent
    try:
        with tempfile.TemporaryFile(dir=at):
            pass
    except OSError as error:
        got = f"{error.strerror}: {at}"
        fix = "Choose another place, or make this one a folder that you may write to."
        raise InputError(
            Problem(f"{where} {folder}", "a folder that can be written", got, fix)
        ) from None
