"""GRIB to NetCDF, message by message, in a process of its own.

eccodes 2.44 and newer crashes a process that later uses pyproj, so nothing here imports eccodes
but `python -m data_recipes.grib`, and that never imports pyproj.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from data_recipes.extra import require

_EPOCH = np.datetime64(0, "s")
_MISSING = 9.999e20
# A box is cut out of the full domain again and again: tiles spare unpacking the rest.
_TILE = 256
_MEMBER = "number"
_DEGREES = {"latitude": "degrees_north", "longitude": "degrees_east"}


def decode_grib(grib: Path, netcdf: Path) -> None:
    """Write the fields of a GRIB file (edition 1 or 2) as one NetCDF 4 file, whole or not at all.

    Each variable, named as CF does (`t2m`, `si10`), is (valid_time, latitude, longitude) float32,
    or (valid_time, y, x) on a Lambert grid, with `units` and `long_name`, NaN where the message
    has a bitmap. `valid_time` is the end of the step, so that a file may hold many base times and
    lead times; ascending, seconds since 1970. Where any variable has several ensemble members or
    levels, all that have such a thing get the dimension, after the time: `number`, and the kind of
    level by eccodes' name (`isobaricInhPa`), ascending; NaN where there is no message. One member
    or level is a coordinate without a dimension. A Lambert file has `y` and `x`, the centres in
    metres of the map whose PROJ string is the attribute `crs`, and `latitude`, `longitude` (y, x).
    Rows stay in the file's order. One field is held at a time.
    Errors: InputError without the extra, for a damaged file, for a grid of another kind, for a
    field that is there twice or on levels of several kinds.
    """
    require(str(grib), "eccodes", "h5netcdf", "pyproj")
    netcdf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{netcdf.name}.", dir=netcdf.parent) as folder:
        made = Path(folder) / netcdf.name
        command = [sys.executable, "-m", "data_recipes.grib", str(grib), str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise _refused(grib, "a GRIB file of one grid", said[:300], "Fetch the file again.")
        _add_axes(made)
        made.replace(netcdf)


def _refused(grib: Path, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(str(grib), expected, got, fix))


def _add_axes(netcdf: Path) -> None:
    """Map coordinates of a Lambert file, counted from its first point."""
    import h5netcdf

    with h5netcdf.File(netcdf, "a") as file:
        if "crs" not in file.attrs:
            return
        import pyproj

        on_map = pyproj.Proj(file.attrs["crs"])
        first = on_map(file.attrs["first_longitude"], file.attrs["first_latitude"])
        axes = {}
        for name, start in zip(("x", "y"), first, strict=True):
            step = float(file.attrs[f"step_{name}"])
            axes[name] = start + step * np.arange(file.dimensions[name].size)
            axis = file.create_variable(name, (name,), data=axes[name])
            axis.attrs.update(standard_name=f"projection_{name}_coordinate", units="m")
        x, y = np.meshgrid(axes["x"], axes["y"])
        degrees = on_map(x, y, inverse=True)
        for (name, units), values in zip(_DEGREES.items(), reversed(degrees), strict=True):
            made = file.create_variable(name, ("y", "x"), data=values)
            made.attrs.update(units=units, standard_name=name)


def _decode(grib: Path, netcdf: Path) -> None:
    """The child's work. Errors: ValueError with one line for the parent."""
    import eccodes
    import h5netcdf

    with grib.open("rb") as source:
        headers = list(_messages(eccodes, source, _header))
        if not headers:
            raise ValueError("no GRIB message in it")
        if len({header["grid"] for header in headers}) > 1:
            raise ValueError("several grids in one file")
        _check_once(headers)
        times = np.unique(np.array([header["time"] for header in headers], "datetime64[s]"))
        extra, alone = _extra_dims(headers)
        with h5netcdf.File(netcdf, "w") as file:
            source.seek(0)
            dims = _write_grid(file, next(_messages(eccodes, source, _grid)))
            file.dimensions["valid_time"] = len(times)
            axis = file.create_variable(
                "valid_time", ("valid_time",), data=(times - _EPOCH).astype(np.int64)
            )
            axis.attrs.update(units="seconds since 1970-01-01", standard_name="time")
            for dim, known in extra.items():
                file.dimensions[dim] = len(known)
                file.create_variable(dim, (dim,), data=np.array(known))
            for name, value in alone.items():
                file.create_variable(name, (), data=np.array(value))
            source.seek(0)
            shape = tuple(file.dimensions[dim].size for dim in dims)
            for header, values in _messages(eccodes, source, _values):
                name = header["name"]
                mine = tuple(dim for dim in extra if dim in header["at"])
                if name not in file.variables:
                    made = file.create_variable(
                        name, ("valid_time", *mine, *dims), np.float32,
                        fillvalue=np.float32(np.nan),
                        chunks=(1, *(1 for _ in mine), *(min(size, _TILE) for size in shape)),
                        compression="gzip", compression_opts=1, shuffle=True,
                    )  # fmt: skip
                    made.attrs.update({key: header[key] for key in ("units", "long_name")})
                    made.attrs["GRIB_stepType"] = header["step_type"]
                    places = ["latitude", "longitude"] if dims == ("y", "x") else []
                    places += [other for other in alone if other in header["at"]]
                    if places:
                        made.attrs["coordinates"] = " ".join(places)
                at = [int(np.searchsorted(times, header["time"]))]
                at += [extra[dim].index(header["at"][dim]) for dim in mine]
                file[name][tuple(at)] = values.reshape(shape)


def _check_once(headers: list[dict[str, Any]]) -> None:
    """Each field is there once, and all of a name are on levels of one kind."""
    seen = set()
    kinds: dict[str, tuple[str, ...]] = {}
    for header in headers:
        name, at = header["name"], header["at"]
        kind = tuple(key for key in at if key != _MEMBER)
        if kinds.setdefault(name, kind) != kind:
            both = " and ".join(map(str, kinds[name] + kind))
            raise ValueError(f"{name} on levels of several kinds ({both}); split the file")
        field = (name, str(header["time"]), *at.items())
        if field in seen:
            where = "".join(f", {key} {value:g}" for key, value in at.items())
            raise ValueError(f"{name} at {header['time']}{where} twice")
        seen.add(field)


def _extra_dims(
    headers: list[dict[str, Any]],
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The values of what is a dimension, and those of what all fields have one and the same of."""
    found: dict[str, dict[str, set[float]]] = {}
    for header in headers:
        for key, value in header["at"].items():
            found.setdefault(key, {}).setdefault(header["name"], set()).add(value)
    extra, alone = {}, {}
    for key, by_name in found.items():
        every = sorted(set().union(*by_name.values()))
        if max(map(len, by_name.values())) > 1:
            extra[key] = every
        elif len(every) == 1:
            alone[key] = every[0]
    return extra, alone


def _messages(eccodes: Any, source: Any, read: Any) -> Any:
    """`read` of every message, in order, each released before the next."""
    while (handle := eccodes.codes_grib_new_from_file(source)) is not None:
        try:
            yield read(eccodes, handle)
        finally:
            eccodes.codes_release(handle)


def _header(eccodes: Any, handle: Any) -> dict[str, Any]:
    def get(key: str, kind: Any = None) -> Any:
        return eccodes.codes_get(handle, key, kind)

    day, clock = get("validityDate", int), get("validityTime", int)
    text = f"{day // 10000:04}-{day // 100 % 100:02}-{day % 100:02}"
    time = np.datetime64(f"{text}T{clock // 100:02}:{clock % 100:02}", "s")
    if get("stepUnits", str) in ("s", "13"):
        raise ValueError("lead times in seconds, which are not supported")
    at: dict[str, float] = {}
    if eccodes.codes_is_defined(handle, _MEMBER):
        at[_MEMBER] = get(_MEMBER, int)
    at[get("typeOfLevel", str)] = get("level", float)
    return {
        "name": get("cfVarName", str),
        "time": time,
        "at": at,
        "units": get("units", str),
        "long_name": get("name", str),
        "step_type": get("stepType", str),
        "grid": get("md5GridSection", str),
    }


def _values(eccodes: Any, handle: Any) -> tuple[dict[str, Any], NDArray[np.float32]]:
    eccodes.codes_set(handle, "missingValue", _MISSING)
    values = eccodes.codes_get_values(handle)
    if eccodes.codes_get(handle, "bitmapPresent", int):
        values = np.where(values == _MISSING, np.nan, values)
    return _header(eccodes, handle), values.astype(np.float32)


def _write_grid(file: Any, grid: dict[str, Any]) -> tuple[str, str]:
    """Dimensions, and coordinates or what the parent makes them of; the two dimensions' names."""
    file.attrs.update(grid["map"])
    for name, size in zip(grid["dims"], grid["shape"], strict=True):
        file.dimensions[name] = size
    for name, values in grid["axes"].items():
        made = file.create_variable(name, (name,), data=values)
        made.attrs.update(units=_DEGREES[name], standard_name=name)
    dims: tuple[str, str] = grid["dims"]
    return dims


def _grid(eccodes: Any, handle: Any) -> dict[str, Any]:
    """dims, shape; `axes` in degrees of a regular grid; `map`: what a Lambert grid is made of."""

    def get(key: str, kind: Any = float) -> Any:
        return eccodes.codes_get(handle, key, kind)

    kind = get("gridType", str)
    if kind not in ("regular_ll", "lambert"):
        raise ValueError(f"a grid of the kind {kind}; regular_ll and lambert can be read")
    if get("jPointsAreConsecutive", int) or get("alternativeRowScanning", int):
        raise ValueError("points that do not run row by row")
    if kind == "regular_ll":
        shape = (get("Nj", int), get("Ni", int))
        latitudes = eccodes.codes_get_array(handle, "latitudes").reshape(shape)
        longitudes = eccodes.codes_get_array(handle, "longitudes").reshape(shape)
        axes = {"latitude": latitudes[:, 0], "longitude": longitudes[0]}
        return {"dims": ("latitude", "longitude"), "shape": shape, "axes": axes, "map": {}}
    if get("earthIsOblate", int):
        earth = f"+a={get('earthMajorAxisInMetres')} +b={get('earthMinorAxisInMetres')}"
    else:
        earth = f"+R={get('radius'):.10g}"
    central = (get("LoVInDegrees") + 180) % 360 - 180
    parallels = [get(key) for key in ("LaDInDegrees", "Latin1InDegrees", "Latin2InDegrees")]
    crs = "+proj=lcc +lat_0={:.10g} +lat_1={:.10g} +lat_2={:.10g}".format(*parallels)
    return {
        "dims": ("y", "x"),
        "shape": (get("Ny", int), get("Nx", int)),
        "axes": {},
        # Not eccodes' own latitudes: for Lambert they disregard a file that has north first.
        "map": {
            "crs": f"{crs} +lon_0={central:.10g} {earth} +units=m",
            "first_latitude": get("latitudeOfFirstGridPointInDegrees"),
            "first_longitude": get("longitudeOfFirstGridPointInDegrees"),
            "step_x": get("DxInMetres") * (-1 if get("iScansNegatively", int) else 1),
            "step_y": get("DyInMetres") * (1 if get("jScansPositively", int) else -1),
        },
    }


if __name__ == "__main__":
    try:
        _decode(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # one line, for the parent to show
        sys.exit(f"{type(error).__name__}: {error}".removeprefix("ValueError: "))
