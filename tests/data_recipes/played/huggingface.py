"""The Hugging Face Hub with the data set RainShift, and the data set's files.

A file is found through `/api/datasets/...` and answered by `/datasets/.../resolve/...` with a
redirect to a store of blobs, as the Hub does with everything kept in Git LFS.
"""

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from data_recipes.sources.rainshift import REGIONS
from played.http import Answer, PlayedServer, Request, json_answer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATA_SET = "RainShift/rainshift"
INPUTS = ("cape", "cp", "sp", "tclw", "tcw", "tisr", "tp", "u", "v")
STARTS = {"train": np.datetime64("2001-01-01T00", "h"), "test": np.datetime64("2021-01-01T00", "h")}
TIME_CHUNK = 200


class PlayedHub(PlayedServer):
    """The Hub; `contents` are the data set's files by name, `token` what it asks for, if any."""

    def __init__(self, contents: Mapping[str, bytes], *, token: str = "") -> None:
        super().__init__(answer=self._answer_api)
        self.contents = dict(contents)
        self.token = token

    def resolve_path(self, name: str) -> str:
        """Where a file is asked for."""
        return f"/datasets/{DATA_SET}/resolve/{COMMIT}/{name}"

    def blob_path(self, name: str) -> str:
        """Where its bytes are."""
        return f"/blobs/{hashlib.sha256(self.contents[name]).hexdigest()}"

    @property
    def listing_path(self) -> str:
        """Where the branch is looked up."""
        return f"/api/datasets/{DATA_SET}/revision/main"

    def _answer_api(self, request: Request) -> Answer | None:
        if request.path.startswith("/blobs/"):
            digest = request.path.removeprefix("/blobs/")
            for body in self.contents.values():
                if hashlib.sha256(body).hexdigest() == digest:
                    return Answer(body, 200, {"ETag": f'"{digest}"'})
            return None
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return _refused(401, "GatedRepo", "Access to this data set is restricted")
        if request.path.startswith(f"/api/datasets/{DATA_SET}/revision/"):
            if request.path.rpartition("/")[2] not in ("main", COMMIT):
                return _refused(404, "RevisionNotFound", "Invalid rev id")
            return json_answer(self._info(blobs="blobs" in request.query))
        for name, body in self.contents.items():
            if request.path == self.resolve_path(name):
                digest = hashlib.sha256(body).hexdigest()
                return Answer(
                    status=302,
                    headers={
                        "Location": f"{self.url}/blobs/{digest}?X-Amz-Signature=secret",
                        "X-Repo-Commit": COMMIT,
                        "X-Linked-Size": str(len(body)),
                        "X-Linked-ETag": f'"{digest}"',
                    },
                )
        return None

    def _info(self, *, blobs: bool) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = [{"rfilename": name} for name in self.contents]
        if blobs:
            for entry in siblings:
                body = self.contents[entry["rfilename"]]
                entry["size"] = len(body)
                entry["blobId"] = hashlib.sha1(body).hexdigest()
                entry["lfs"] = {
                    "size": len(body),
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "pointerSize": 134,
                }
        return {"id": DATA_SET, "sha": COMMIT, "private": False, "siblings": siblings}


def _refused(status: int, code: str, message: str) -> Answer:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return Answer(json.dumps({"error": message}).encode(), status, headers)


def coordinates(region: str, side: Literal["in", "out"]) -> dict[str, NDArray[np.float64]]:
    """Centres as the stores have them: north to south, longitudes 0 to 360."""
    south, north, west, east = REGIONS[region]
    if side == "in":
        latitude = north - 0.25 * np.arange(80)
        longitude = west + 0.25 * np.arange(80)
    else:
        latitude = np.linspace(north - 0.05, south + 0.05, 200)
        longitude = np.linspace(west + 0.05, east - 0.05, 200)
    return {"latitude": latitude, "longitude": longitude % 360.0}


def inputs(region: str, split: str, hours: int, names: tuple[str, ...] = INPUTS) -> xr.Dataset:
    """ERA5 as one side of a split has it, decoded and float32; different in each cell and hour."""
    generator = np.random.default_rng(list(f"{region} {split} in".encode()))
    fields = {}
    for number, name in enumerate(names):
        values = 10.0**number * generator.random((hours, 80, 80))
        fields[name] = (("time", "latitude", "longitude"), values, {"units": f"unit of {name}"})
    time = STARTS[split] + np.arange(hours).astype("timedelta64[h]")
    return xr.Dataset(
        fields, coords={"time": time.astype("datetime64[ns]"), **coordinates(region, "in")}
    )


def targets(region: str, split: str, hours: int) -> xr.Dataset:
    """IMERG without a time coordinate, float32, with a gap of NaN in one hour."""
    generator = np.random.default_rng(list(f"{region} {split} out".encode()))
    values = generator.gamma(0.1, 3.0, (hours, 200, 200)).astype(np.float32)
    values[min(7, hours - 1), 20:23, 30:35] = np.nan
    dims = ("time", "latitude", "longitude")
    return xr.Dataset({"precipitation": (dims, values)}, coords=coordinates(region, "out"))


def zipped(data: xr.Dataset, *, packed: bool = False, version: int = 2, folder: str = "") -> bytes:
    """A zipped Zarr store; `packed`: int16 with scale, offset and fill value."""
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in data.data_vars.items():
        chunks = (min(TIME_CHUNK, variable.shape[0]), *variable.shape[1:])
        encoding[str(name)] = {"chunks": chunks}
        if packed:
            low, high = float(variable.min()), float(variable.max())
            encoding[str(name)] |= {
                "dtype": "int16", "scale_factor": (high - low) / 65000.0,
                "add_offset": (high + low) / 2.0, "_FillValue": -32767,
            }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, zarr.config.set({"async.concurrency": 1}):
        store = Path(scratch) / "store.zarr"
        data.to_zarr(
            store, encoding=encoding, zarr_format=version, consolidated=False  # type: ignore[call-overload]
        )  # fmt: skip
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(p for p in store.rglob("*") if p.is_file()):
                archive.write(path, folder + path.relative_to(store).as_posix())
    return buffer.getvalue()


def statics(region: str) -> xr.Dataset:
    """Land-sea mask and geopotential on the fine grid."""
    generator = np.random.default_rng(list(f"{region} static".encode()))
    dims = ("latitude", "longitude")
    return xr.Dataset(
        {name: (dims, generator.random((200, 200)).astype(np.float32)) for name in ("lsm", "z")},
        coords=coordinates(region, "out"),
    )


def netcdf(data: xr.Dataset) -> bytes:
    """A NetCDF-4 file."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file.nc"
        data.to_netcdf(path, engine="netcdf4")
        return path.read_bytes()
