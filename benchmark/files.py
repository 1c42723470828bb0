"""Files that are there whole or not at all."""

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu
from zarr.storage import MemoryStore

# The earliest time a zip entry can carry: packing twice then gives the same bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes otherwise.

    An existing `path` is replaced only then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        folder.chmod(0o755)
        yield folder
        if path.exists():
            old = folder.with_name(f"{folder.name}.old")
            path.rename(old)
            folder.rename(path)
            shutil.rmtree(old)
        else:
            folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def pack_groups(
    groups: Mapping[str, xr.Dataset],
    archive: Path,
    *,
    encoding: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Store datasets as one zip of Zarr v3, a group each ("": the root); atomic.

    The same datasets are the same bytes: sorted names, fixed times; only metadata is deflated,
    chunks are compressed already. encoding: of the arrays, as xarray's `to_zarr` takes it.
    Memory: the archive, twice. Files for each chunk would take far longer than compressing them.
    """
    held: dict[str, Buffer] = {}
    for group, dataset in groups.items():
        dataset.to_zarr(
            MemoryStore(held), group=group or None, zarr_format=3, consolidated=False, mode="a",
            encoding=encoding,
        )  # fmt: skip
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
        for name in sorted(held):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.external_attr = 0o644 << 16
            if name.endswith(".json"):
                entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, held[name].to_bytes())
    write_atomically(archive, packed.getvalue())


def unpack_groups(archive: Path, *groups: str) -> tuple[xr.Dataset, ...]:
    """These groups of a zipped Zarr store ("": its root), in memory.

    Errors: OSError, zipfile.BadZipFile, KeyError or ValueError where one is absent or damaged.
    """
    with zipfile.ZipFile(archive) as zipped:
        held: dict[str, Buffer] = {
            name: cpu.Buffer.from_bytes(zipped.read(name)) for name in zipped.namelist()
        }
    store = MemoryStore(held, read_only=True)
    return tuple(
        xr.open_zarr(store, group=group or None, consolidated=False, chunks=None).load()
        for group in groups
    )
