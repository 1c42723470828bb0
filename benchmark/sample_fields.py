"""One time of the primary variable in every region, kept with a row so that it can be shown."""

import zipfile
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.files import pack_groups, unpack_groups
from benchmark.pair_store import PairStore
from benchmark.prediction_store import expected_regions
from benchmark.scoring import Source

SAMPLE = "sample.zarr.zip"


def sample_step(store: PairStore) -> int:
    """The step in the middle of the test period, counted in the regions' stores."""
    region = expected_regions(store)[0]
    steps = region.steps(store.task.periods.test)
    return int(steps.start + steps.stop) // 2


def write_sample(store: PairStore, source: Source, path: Path) -> None:
    """Write `coarse`, `truth` and `prediction` (the ensemble mean) of every test region.

    (region, y, x) in the variable's units, packed to 16 bits of each field's range: for pictures,
    not for scores.
    """
    step, name = sample_step(store), store.task.primary.variable
    regions, at = expected_regions(store), slice(step, step + 1)
    fields = {
        "coarse": [region.read("coarse", name, at)[0] for region in regions],
        "truth": [region.read("fine", name, at)[0] for region in regions],
        "prediction": [
            fields[name][0].mean(axis=0)
            for region in regions
            for _, fields in source.slabs(region, at, size=1)
        ],
    }
    dims = {"coarse": ("region", "Y", "X")}
    dataset = xr.Dataset(
        {key: (dims.get(key, ("region", "y", "x")), np.stack(f)) for key, f in fields.items()},
        attrs={
            "time": str(regions[0].times[step]),
            "variable": name,
            "units": store.task.variable(name).units,
            "regions": [region.name for region in regions],
        },
    )
    encoding = {key: _packing(dataset[key]) for key in fields}
    pack_groups({"": dataset}, path, encoding=encoding)


def read_sample(path: Path, region: str) -> xr.Dataset:
    """The sample of one region; InputError when the file or the region is absent."""
    try:
        (fields,) = unpack_groups(path, "")
        return fields.isel(region=fields.attrs["regions"].index(region))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(
            Problem(f"{path}: {region}", "sample fields", str(error), "Score the model again.")
        ) from None


def _packing(field: xr.DataArray) -> dict[str, float | str | int]:
    low, high = float(np.nanmin(field)), float(np.nanmax(field))
    return {
        "dtype": "uint16",
        "scale_factor": (high - low) / 65534 or 1.0,
        "add_offset": low,
        "_FillValue": 65535,
    }
