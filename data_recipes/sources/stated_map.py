"""The map that a file says its cells lie on."""

import warnings

import numpy as np
import xarray as xr


def stated_map(dataset: xr.Dataset) -> str:
    """The PROJ string that a file states: what our GRIB decoder wrote, or CF's grid mapping.

    Of a grid mapping only where the PROJ string puts its cells within 1 mm of it; else "".
    """
    if "crs" in dataset.attrs:
        return str(dataset.attrs["crs"])
    names = {str(dataset[name].attrs.get("grid_mapping", "")) for name in dataset.data_vars}
    found = [name for name in names if name in dataset.variables]
    if len(found) != 1:
        return ""
    return _proj_string(dataset, found[0])


def _proj_string(dataset: xr.Dataset, mapping: str) -> str:
    import pyproj  # slow, and most files are on latitudes and longitudes

    try:
        stated = pyproj.CRS.from_cf(dataset[mapping].attrs)
        if not stated.is_projected:
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a PROJ string may lose something
            short = stated.to_proj4()
        x, y = (np.linspace(-3e6, 3e6, 13) for _ in range(2))
        one, other = (pyproj.Proj(crs)(*np.meshgrid(x, y), inverse=True) for crs in (stated, short))
        back = pyproj.Proj(stated)(*other)
        again = pyproj.Proj(stated)(*one)
    except (pyproj.exceptions.ProjError, KeyError, ValueError):
        return ""
    apart = np.abs(np.array(back) - np.array(again))
    return short if np.nanmax(apart) < 1e-3 else ""
