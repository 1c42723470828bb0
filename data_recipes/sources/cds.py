"""The Climate Data Store: ERA5, its daily statistics, CERRA, CERRA-Land, E-OBS."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmark.errors import InputError, Problem
from data_recipes.extra import require
from data_recipes.retries import PATIENT, Retries
from data_recipes.source import Advance, Load, Times, Window, no_report
from data_recipes.sources.cds_files import check_cerra_grid, opened, read_field, valid_times
from data_recipes.sources.cds_requests import (
    CERRA_CRS,
    CdsOptions,
    Piece,
    options_digest,
    pieces,
)

__all__ = ["CdsOptions", "CdsSource", "open_source"]

_DECODED = 1.3
_NEEDED = ("ecmwf.datastores", "requests", "h5netcdf", "pyproj")


def open_source(options: CdsOptions, *, cache: Path, retries: Retries = PATIENT) -> "CdsSource":
    """The source that these options describe; its files lie under `cache/cds/DATASET`."""
    return CdsSource(options, cache, retries)


@dataclass(frozen=True)
class CdsSource:
    """A `Source` of one data set. No network but in `fetch`; see `data_recipes.source`."""

    options: CdsOptions
    cache: Path
    retries: Retries = PATIENT

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The data set with its DOI, if known, and a digest of what is fixed in its requests."""
        doi = f"doi:{self.options.doi} " if self.options.doi else ""
        return {f"cds:{self.options.dataset}": f"{doi}request:{options_digest(self.options)}"}

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """Requests that are not here: points x times x `bytes_per_value`.

        GRIB stays as NetCDF, float32 and deflated: some 30 % more, as measured on played wind.
        """
        each = self.options.bytes_per_value
        stays = each * _DECODED if self.options.grib else each
        return {
            piece.digest: Load(round(piece.values * each), round(piece.values * stays))
            for piece in self._missing(window)
        }

    def check_key(self) -> None:
        """Refuse where the client or the key is missing; see `source.KeyedSource`."""
        require(self.options.dataset, *_NEEDED, *(("eccodes",) if self.options.grib else ()))
        # Here, so that reading needs no client.
        from data_recipes.sources.cds_jobs import url_and_key

        url_and_key()

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Submit, wait for and bring the window's requests; see `cds_jobs.bring`."""
        todo = self._missing(window)
        if todo:
            self.check_key()
            from data_recipes.sources.cds_jobs import bring

            bring(todo, self.cache, check=self._check, advance=advance, retries=self.retries)

    def times(self, window: Window) -> Times:
        """Valid times within the window's first and last, of which every variable has a field."""
        if not len(window.times):
            return np.array([], "datetime64[s]")
        first, last = window.times[0], window.times[-1]
        counted = []
        for name in window.names:
            found = [
                times for parts in self._parts(window) for times in parts.get(name, {}).values()
            ]
            every = np.concatenate([np.array([], "datetime64[s]"), *found])
            counted.append(np.unique(every[(every >= first) & (every <= last)], return_counts=True))
        common = counted[0][0]
        for times, _ in counted[1:]:
            common = np.intersect1d(common, times)
        # Two boxes side by side have each time once.
        repeats = np.max([counts[np.isin(times, common)] for times, counts in counted], axis=0)
        return np.repeat(common, np.maximum(1, repeats // self._boxes(window)))

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window at `times`; attribute `crs`, and `expver`: "0001" is ERA5, "0005" ERA5T."""
        fields = {name: self._read_one(window, name, times) for name in window.names}
        data = xr.Dataset(fields)
        data.attrs["crs"] = CERRA_CRS if self.options.grid == "cerra" else ""
        streams = {field.attrs.pop("expver", "") for field in data.data_vars.values()}
        data.attrs["expver"] = ",".join(sorted({e for s in streams for e in s.split(",") if e}))
        return data

    def _read_one(self, window: Window, name: str, times: Times) -> xr.DataArray:
        wanted = times.astype("datetime64[s]")
        sides: dict[float, list[xr.DataArray]] = {}
        asked = replace(window, times=wanted)  # the other periods need not be looked at
        for parts in self._parts(asked):
            for path, there in parts.get(name, {}).items():
                steps = np.flatnonzero(np.isin(there, wanted)) if len(wanted) else np.array([0])
                if not len(steps):
                    continue
                with opened(path) as data:
                    field = read_field(
                        data, name, steps, where=path, options=self.options, window=window
                    )
                if not field.size:
                    continue  # the other box has all the columns
                if len(wanted):
                    field = field.assign_coords(time=there[steps])
                else:
                    field = field.isel(time=0)
                sides.setdefault(float(field.x[0]), []).append(field)
        if not sides:
            raise self._absent(name, wanted)
        if not len(wanted):
            return xr.concat(
                [sides[west][0] for west in sorted(sides)], "x", combine_attrs="override"
            )
        joined = []
        for west in sorted(sides):
            side = xr.concat(sides[west], "time", combine_attrs="override")
            side.attrs["expver"] = ",".join(
                sorted({f.attrs.get("expver", "") for f in sides[west]})
            )
            _, first = np.unique(side.time.values, return_index=True)
            side = side.isel(time=first)
            if not np.isin(wanted, side.time.values).all():
                raise self._absent(name, wanted[~np.isin(wanted, side.time.values)])
            joined.append(side.sel(time=wanted))
        return xr.concat(joined, "x", combine_attrs="override") if len(joined) > 1 else joined[0]

    def _absent(self, name: str, times: Times) -> InputError:
        got = f"none at {', '.join(str(time) for time in times[:3])}" if len(times) else "none"
        return InputError(
            Problem(
                f"{self.options.dataset}: {name}", "a field in what was fetched", got,
                "Fetch first, or record these times as missing.",
            )
        )  # fmt: skip

    def _parts(self, window: Window) -> list[dict[str, dict[Path, Times]]]:
        """For each request of the window, {variable: {file: its times}}."""
        found = []
        for piece in pieces(self.options, window):
            held: dict[str, dict[Path, Times]] = {}
            note = self._folder(piece) / "arrived.json"
            files = json.loads(note.read_text(encoding="utf-8"))["files"] if note.exists() else {}
            for file, entry in files.items():
                times = np.array(entry["times"], "datetime64[s]")
                for name in entry["names"]:
                    held.setdefault(name, {})[note.with_name(file)] = times
            found.append(held)
        return found

    def _boxes(self, window: Window) -> int:
        """In how many boxes side by side the window comes."""
        requested = [piece.keys.get("area") for piece in pieces(self.options, window)]
        return len({tuple(area) for area in requested if area}) or 1

    def _missing(self, window: Window) -> list[Piece]:
        return [p for p in pieces(self.options, window) if not self._folder(p).is_dir()]

    def _folder(self, piece: Piece) -> Path:
        return self.cache / "cds" / piece.dataset / piece.digest / "data"

    def _check(self, path: Path) -> dict[str, Any]:
        """Refuse a file that cannot be read, or is on another grid; names and times of the rest."""
        with opened(path) as data:
            if self.options.grid == "cerra":
                check_cerra_grid(data, path, self.options)
            names = sorted(str(name) for name in data.data_vars if data[name].ndim >= 2)
            for name in names:
                data[name].isel(dict.fromkeys(data[name].dims[:-2], 0)).load()
            return {"names": names, "times": valid_times(data).astype(str).tolist()}
