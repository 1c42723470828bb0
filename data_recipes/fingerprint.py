"""What a file was when it was read: its BLAKE3, computed once while it stays as it is."""

import json
from pathlib import Path

from blake3 import blake3

from benchmark.files import write_atomically
from benchmark.hashing import text_digest


def fingerprint(path: Path, *, kept: Path) -> str:
    """`blake3:...` of a file's bytes, or of the names and bytes of all files in a folder.

    kept: a JSON file of what is known, by path, size and time of change.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        state = text_digest("\n".join(f"{p.relative_to(path)} {_state(p)}" for p in files))
        key = f"{path.absolute()} {state}"
    else:
        files = [path]
        key = f"{path.absolute()} {_state(path)}"
    known = _read(kept)
    if key not in known:
        digests = [blake3(max_threads=blake3.AUTO).update_mmap(p).hexdigest() for p in files]
        if path.is_dir():
            names = [p.relative_to(path).as_posix() for p in files]
            lines = [" ".join(line) for line in zip(names, digests, strict=True)]
            digests = [text_digest("\n".join(lines))]
        known[key] = f"blake3:{digests[0]}"
        write_atomically(kept, json.dumps(known, indent=1))
    return known[key]


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _read(kept: Path) -> dict[str, str]:
    """What is known; nothing where the file is absent or damaged: it can be computed again."""
    try:
        found = json.loads(kept.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
