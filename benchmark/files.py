"""Files that are there whole or not at all."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr
from zarr.storage import ZipStore

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


def pack_folder(folder: Path, archive: Path) -> None:
    """Store `folder` as one zip file: sorted names, fixed times; only metadata is deflated.

    Chunks are compressed already.
    """
    with tempfile.NamedTemporaryFile(dir=archive.parent, prefix=f".{archive.name}.") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_EPOCH)
                entry.external_attr = 0o644 << 16
                if path.suffix == ".json":
                    entry.compress_type = zipfile.ZIP_DEFLATED
                zipped.writestr(entry, path.read_bytes())
        file.flush()
        write_atomically(archive, Path(file.name).read_bytes())


def unpack_group(archive: Path, group: str = "") -> xr.Dataset:
    """One group of a zipped Zarr store, in memory.

    Errors: OSError, zipfile.BadZipFile, KeyError or ValueError where it is absent or damaged.
    """
    # Opened here first: zarr's own store fails in closing what it could not open.
    with zipfile.ZipFile(archive):
        pass
    with ZipStore(archive, mode="r") as store:
        opened: xr.Dataset = xr.open_zarr(store, group=group, consolidated=False, chunks=None)
        return opened.load()
