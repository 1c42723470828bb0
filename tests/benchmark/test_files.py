"""Files and folders that are there whole or not at all."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from zarr.storage import ZipStore

from benchmark.files import new_folder, pack_groups, unpack_groups, write_atomically


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden entries too."""
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_are_written(tmp_path: Path) -> None:
    """Parents are made, text is UTF-8, others may read, nothing else is left."""
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "Größe")
    assert path.read_bytes() == "Größe".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    """Whether writing or renaming fails or is interrupted: old content, no remains."""
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def fail(*_: object, **__: object) -> None:
        raise error

    if step == "fdopen":
        original = os.fdopen

        class Failing:
            """A file whose write fails half-way."""

            def __init__(self, handle: int, mode: str) -> None:
                self.file = original(handle, mode)

            def __enter__(self) -> "Failing":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def write(self, data: bytes) -> None:
                self.file.write(data[:1])
                raise error

        monkeypatch.setattr("benchmark.files.os.fdopen", Failing)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error):
        write_atomically(path, "new content")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_no_reader_ever_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of renaming, the old file is whole and the new one is whole beside it."""
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    seen = []
    original = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((self.parent, self.read_text(), Path(target).read_text()))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_atomically(path, "new")
    assert seen == [(tmp_path, "new", "old")]
    assert path.read_text() == "new"


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    """While it is filled the target is not there; afterwards it is all there."""
    target = tmp_path / "deep" / "store"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent, "on the same file system"
    assert (target / "a").read_text() == "1"
    assert names(target.parent) == ["store"]
    assert target.stat().st_mode & 0o777 == 0o755


def fill_and_fail(target: Path, error: type[BaseException]) -> None:
    """Begin a folder, and fail half-way."""
    with new_folder(target) as folder:
        (folder / "a").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_vanishes_on_error(tmp_path: Path, error: type[BaseException]) -> None:
    """An error or interrupt leaves nothing, and an older folder as it was."""
    target = tmp_path / "store"
    with pytest.raises(error):
        fill_and_fail(target, error)
    assert names(tmp_path) == []
    with new_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(error):
        fill_and_fail(target, error)
    assert names(tmp_path) == ["store"]
    assert (target / "a").read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the old content stays behind."""
    target = tmp_path / "store"
    for content in ("a", "b"):
        with new_folder(target) as folder:
            (folder / content).write_text(content)
    assert names(target) == ["b"]
    assert names(tmp_path) == ["store"]


def test_packing_is_deterministic(tmp_path: Path) -> None:
    """The same bytes each time, atomic; any reader of zipped Zarr finds the groups."""
    noise = np.random.default_rng(0).normal(size=(3, 4))
    groups = {
        "b": xr.Dataset({"two": (("y", "x"), noise), "one": (("y",), noise[:, 0])}),
        "": xr.Dataset(attrs={"said": "by the root"}),
        "a": xr.Dataset({"count": (("x",), np.arange(4, dtype=np.int64))}),
    }
    archives = [tmp_path / f"{k}.zip" for k in range(2)]
    for archive in archives:
        pack_groups(groups, archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with zipfile.ZipFile(archives[0]) as zipped:
        entries = zipped.infolist()
    found = [entry.filename for entry in entries]
    assert found == sorted(found)
    assert {"zarr.json", "a/zarr.json", "b/one/zarr.json", "b/two/c/0/0"} <= set(found)
    kinds = {(Path(entry.filename).suffix, entry.compress_type) for entry in entries}
    assert kinds == {(".json", zipfile.ZIP_DEFLATED), ("", zipfile.ZIP_STORED)}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    with ZipStore(archives[0], mode="r") as store:
        for name, group in groups.items():
            read = xr.open_zarr(store, group=name or None, consolidated=False, chunks=None)
            xr.testing.assert_identical(read.load(), group)
    for mine, group in zip(unpack_groups(archives[0], *groups), groups.values(), strict=True):
        xr.testing.assert_identical(mine, group)
    assert names(tmp_path) == ["0.zip", "1.zip"], "no remains"
