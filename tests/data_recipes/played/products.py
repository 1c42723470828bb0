"""Files of the precipitation products in their providers' exact layout, cut to a part of the grid.

Values are what a test puts in; missing ones are given as NaN and written as the provider does.
"""

import gzip
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from played.gribs import grib_bytes

Floats = NDArray[np.float64]

_MRMS = {
    "discipline": 209, "parameterCategory": 6, "parameterNumber": 37, "centre": 161,
    "productDefinitionTemplateNumber": 0, "forecastTime": 0, "typeOfFirstFixedSurface": 102,
    "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01,
    "jScansPositively": 0, "bitsPerValue": 16, "decimalScaleFactor": 1,
}  # fmt: skip


def mrms(stamp: str, y: Floats, x: Floats, values: Floats) -> bytes:
    """A gzipped GRIB2 message: rows from the north, longitudes 0 to 360, tenths of a mm, no bitmap.

    Discipline 209 is MRMS's own, of which eccodes knows no names.
    """
    own = {
        "dataDate": int(stamp[:10].replace("-", "")), "dataTime": 100 * int(stamp[11:13]),
        "Ni": x.size, "Nj": y.size,
        "latitudeOfFirstGridPointInDegrees": float(y[0]),
        "latitudeOfLastGridPointInDegrees": float(y[-1]),
        "longitudeOfFirstGridPointInDegrees": float(x[0]),
        "longitudeOfLastGridPointInDegrees": float(x[-1]),
    }  # fmt: skip
    return gzip.compress(grib_bytes([_MRMS | own], [values]))


def _netcdf(
    axes: dict[str, tuple[Any, str, dict[str, str]]],
    name: str,
    values: Floats,
    fill: float,
    attributes: dict[str, Any],
    *,
    data_model: str = "NETCDF4_CLASSIC",
) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file.nc"
        with netCDF4.Dataset(path, "w", format=data_model) as file:
            for axis, (centres, kind, own) in axes.items():
                file.createDimension(axis, None if axis == "time" else len(centres))
                made = file.createVariable(axis, kind, (axis,))
                made[:] = centres
                made.setncatts(own)
            field = file.createVariable(name, "f4", tuple(axes), zlib=True, fill_value=fill)
            field.setncatts({"missing_value": np.float32(fill), **attributes})
            field[:] = np.where(np.isnan(values), fill, values)
        return path.read_bytes()


def cpc(days: NDArray[np.datetime64], y: Floats, x: Floats, values: Floats) -> bytes:
    """CPC as PSL serves it: hours since 1900, float32 centres, longitudes 0 to 360."""
    hours = (days - np.datetime64("1900-01-01", "h")) / np.timedelta64(1, "h")
    return _netcdf(
        {
            "time": (hours, "f8", {"units": "hours since 1900-01-01 00:00:00", "axis": "T"}),
            "lat": (y, "f4", {"units": "degrees_north"}),
            "lon": (x, "f4", {"units": "degrees_east"}),
        },
        "precip", values, -9.96921e36,
        {"units": "mm", "long_name": "Daily total of precipitation", "statistic": "Total"},
    )  # fmt: skip


def chirps(days: NDArray[np.datetime64], y: Floats, x: Floats, values: Floats) -> bytes:
    """CHIRPS: days since 1980, float32 centres from the south, longitudes -180 to 180."""
    since = (days - np.datetime64("1980-01-01", "h")) / np.timedelta64(24, "h")
    return _netcdf(
        {
            "time": (since, "f4", {"units": "days since 1980-1-1 0:0:0", "calendar": "gregorian"}),
            "latitude": (y, "f4", {"units": "degrees_north"}),
            "longitude": (x, "f4", {"units": "degrees_east"}),
        },
        "precip", values, -9999.0,
        {"units": "mm/day", "standard_name": "convective precipitation rate"},
    )  # fmt: skip


def prism(day: str, y: Floats, x: Floats, values: Floats) -> bytes:
    """A zip with a NetCDF file as GDAL writes it: `Band1` from the south, `crs`, and companions."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file.nc"
        with netCDF4.Dataset(path, "w") as file:
            for axis, centres in (("lat", y), ("lon", x)):
                file.createDimension(axis, len(centres))
                file.createVariable(axis, "f8", (axis,))[:] = centres
            file.createVariable("crs", "S1", ()).setncatts(
                {"grid_mapping_name": "latitude_longitude"}
            )
            band = file.createVariable("Band1", "f4", ("lat", "lon"), fill_value=-9999.0)
            band.setncatts({"grid_mapping": "crs", "long_name": "GDAL Band Number 1"})
            band[:] = np.where(np.isnan(values), -9999.0, values)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            stem = f"prism_ppt_us_25m_{day}"
            archive.writestr(f"{stem}.nc", path.read_bytes())
            archive.writestr(f"{stem}.prj", "GEOGCS[]")
            archive.writestr(f"{stem}.info.txt", "PRISM_DATASET_TYPE: an81/r1503\n")
    return buffer.getvalue()
