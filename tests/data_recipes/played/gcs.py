"""Google Cloud Storage's JSON API over a folder, as gcsfs asks it; and ARCO-ERA5 in that folder.

with PlayedServer(answer=Bucket("gcp-public-data-arco-era5", folder)) as server:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from played.http import Answer, Request, json_answer

BUCKET = "gcp-public-data-arco-era5"
STORE = "ar/full_37-1h-0p25deg-chunk-1.zarr-v3"
STEP = 2.5
LATITUDE = np.arange(90.0, -90.1, -STEP, dtype=np.float32)
LONGITUDE = np.arange(0.0, 360.0, STEP, dtype=np.float32)
FIRST, VALID_STOP, AXIS_STOP = "2019-12-30T00", "2020-01-02", "2020-01-03T23"


@dataclass(frozen=True)
class Bucket:
    """Answers of a bucket that anyone may read: listing, metadata, content."""

    name: str
    folder: Path

    def __call__(self, request: Request) -> Answer | None:
        """The answer, or None for what is not of this bucket."""
        listing = f"/storage/v1/b/{self.name}/o"
        if request.path == listing:
            return self._list(request)
        for root in (f"/download{listing}/", f"{listing}/"):
            if request.path.startswith(root):
                key = unquote(request.path.removeprefix(root))
                path = self.folder / key
                if not path.is_file():
                    message = f"No such object: {self.name}/{key}"
                    return json_answer({"error": {"code": 404, "message": message}}, 404)
                if request.query.get("alt") == ["media"]:
                    return Answer(path.read_bytes())
                return json_answer(self._metadata(path))
        return None

    def _list(self, request: Request) -> Answer:
        prefix = request.query.get("prefix", [""])[0]
        delimiter = request.query.get("delimiter", [""])[0]
        items, prefixes = [], set()
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            key = path.relative_to(self.folder).as_posix()
            if not key.startswith(prefix):
                continue
            head, found, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            if found:
                prefixes.add(prefix + head + delimiter)
            else:
                items.append(self._metadata(path))
        return json_answer({"items": items, "prefixes": sorted(prefixes)})

    def _metadata(self, path: Path) -> dict[str, str]:
        content = path.read_bytes()
        return {
            "kind": "storage#object",
            "name": path.relative_to(self.folder).as_posix(),
            "bucket": self.name,
            "generation": "1",
            "metageneration": "1",
            "size": str(len(content)),
            "etag": hashlib.md5(content).hexdigest(),
            "updated": "2025-01-01T00:00:00.000Z",
            "timeCreated": "2025-01-01T00:00:00.000Z",
        }


def media(key: str) -> str:
    """The path of a content request for one object of the store, for faults and counts."""
    return f"/download/storage/v1/b/{BUCKET}/o/{quote(f'{STORE}/{key}', safe='')}"


def t2m(
    hours: NDArray[np.float64], lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Made-up temperature [K] at hours since 1900 and points; longitude of any turn."""
    wave = np.cos(np.radians(lon)) + 0.5 * np.sin(np.radians(2 * lon))
    return (280 + 10 * wave * np.cos(np.radians(lat)) + 0.01 * (hours % 100)).astype(np.float32)


def make_arco(folder: Path) -> Path:
    """A store with the names, chunks, packing and attributes of the real one, on 2.5 degrees.

    As there, preliminary data go on after `valid_time_stop`, and the time axis after those, where
    chunks are absent.
    """
    times = np.arange(FIRST, np.datetime64(AXIS_STOP, "h") + 1, dtype="datetime64[h]")
    hours = (times - np.datetime64("1900-01-01T00", "h")).astype(np.int64)
    t, lat, lon = np.meshgrid(
        hours.astype(float), LATITUDE.astype(float), LONGITUDE.astype(float), indexing="ij"
    )
    temperature = t2m(t, lat, lon)
    rain = np.float32(1e-3) * (temperature - np.float32(250)) / np.float32(40)
    land = (np.sin(np.radians(lon[0])) > 0).astype(np.float32)
    dims = ("time", "latitude", "longitude")
    valid = times < np.datetime64(VALID_STOP, "h") + 36
    for values in (temperature, rain):
        values[~valid] = np.nan
    data = xr.Dataset(
        {
            "2m_temperature": (dims, temperature, {"units": "K", "short_name": "t2m"}),
            "total_precipitation": (dims, rain, {"units": "m", "short_name": "tp"}),
            "land_sea_mask": (dims[1:], land, {"units": "(0 - 1)", "short_name": "lsm"}),
        },
        {
            "time": ("time", hours, {"units": "hours since 1900-01-01"}),
            "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
            "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        },
        {
            "valid_time_start": "1940-01-01",
            "valid_time_stop": VALID_STOP,
            "valid_time_stop_era5t": "2020-01-03",
            "last_updated": "2025-10-21 02:18:01.385142+00:00",
        },
    )
    encoding = {
        name: {"chunks": (1, len(LATITUDE), len(LONGITUDE))}
        for name in data
        if "time" in data[name].dims
    }
    path = folder / STORE
    data.to_zarr(
        path, zarr_format=2, consolidated=True, encoding=encoding, write_empty_chunks=False
    )
    return path
