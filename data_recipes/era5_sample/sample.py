"""Open the embedded ERA5 sample that ships inside the package."""

import hashlib
import zipfile
from importlib.resources import files
from io import BytesIO

import numpy as np
import xarray as xr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from benchmark.errors import InputError, Problem

SAMPLE_FILE = "era5_sample.zarr.zip"
VARIABLES = ("t2m", "wind_speed", "precipitation", "orography", "land_fraction")
SAMPLE_SHA256 = "3f8e8f0ec415a683a5cbda742c05295bf12e459fbfebb9f9300a2a26967bcf82"


def open_sample() -> xr.Dataset:
    """Return the embedded sample, decoded to float32 and loaded in memory.

    Dimensions: time 24 (UTC, every 7 or 8 hours, 2026-03-25T00 to 2026-03-31T23), lat 117
    (-56 to 60, ascending), lon 360 (-180 to 179, ascending), whole degrees.

    ================ ================ ======== ============== ====================================
    variable         dimensions       units    error at most  what
    ================ ================ ======== ============== ====================================
    t2m              time, lat, lon   K        2^-10          2 m temperature, instantaneous
    wind_speed       time, lat, lon   m s-1    2^-11          sqrt(u10^2 + v10^2), instantaneous
    precipitation    time, lat, lon   mm h-1   0.000477       mean over the hour ending at `time`
    orography        lat, lon         m        2^-4           area mean of the surface height
    land_fraction    lat, lon         1        2^-16          area mean of land (lakes are land)
    ================ ================ ======== ============== ====================================

    The error is half a quantisation step against the source; every packed value is exact in
    float32. The meteorology is point-sampled (every fourth native 0.25 degree point, so aliased);
    the two static fields are area means over lat +- 0.5, lon +- 0.5 degrees. Orography comes from
    28 m height classes (error up to 28 m), the sea and the Caspian count as 0 m.

    Missing data: none; a packed 65535 would decode to NaN. Encodings are dropped, so writing the
    dataset elsewhere does not pack it again.

    Raises InputError if the file is not in the installation or its sha256 is not
    `SAMPLE_SHA256`.

    Source: ERA5 (Hersbach et al. 2020, doi 10.24381/cds.adbb2d47, CC-BY 4.0), pvlib's altitude
    map and global-land-mask; the attributes `attribution` and `caveats` say all of it.
    """
    resource = files("data_recipes.era5_sample") / "data" / SAMPLE_FILE
    if not resource.is_file():
        fix = "Reinstall the package, or run `python -m data_recipes.era5_sample.pack`."
        raise InputError(Problem(str(resource), "the embedded ERA5 sample", "no file", fix))
    content = resource.read_bytes()
    came = hashlib.sha256(content).hexdigest()
    if came != SAMPLE_SHA256:
        fix = "Restore the committed file; after packing anew on purpose, change SAMPLE_SHA256."
        expected = f"the embedded ERA5 sample with sha256 {SAMPLE_SHA256}"
        raise InputError(Problem(str(resource), expected, f"sha256 {came}", fix))
    return decode_sample(content)


def decode_sample(content: bytes) -> xr.Dataset:
    """Decode the bytes of a packed sample into float32 fields in memory (no hash is checked)."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        store = memory_store(archive, prefix="")
    dataset: xr.Dataset = xr.open_zarr(store, consolidated=False, zarr_format=3, chunks=None)
    dataset = dataset.load().drop_encoding()
    # By name, since a store lists its members in no fixed order.
    fields = {name: dataset[name].astype(np.float32, keep_attrs=True) for name in VARIABLES}
    return xr.Dataset(fields, attrs=dataset.attrs)


def memory_store(archive: zipfile.ZipFile, *, prefix: str) -> MemoryStore:
    """Return the members of `archive` below `prefix` as a read-only Zarr store in memory.

    Nothing is unpacked to disk, so the bytes that were hashed are the bytes that are read.
    """
    buffer = default_buffer_prototype().buffer
    members = {
        name.removeprefix(prefix): buffer.from_bytes(archive.read(name))
        for name in archive.namelist()
        if name.startswith(prefix) and not name.endswith("/")
    }
    return MemoryStore(members, read_only=True)
