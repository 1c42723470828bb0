"""GRIB files on CERRA's grid, made by eccodes in a process of its own.

`python cerra_grib.py IN OUT`, IN an .npz of `values`, (message, *points) with NaN for missing, and
`keys`, JSON of each message's.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def grib_bytes(keys: list[dict[str, Any]], values: NDArray[np.float32]) -> bytes:
    """The messages as one file."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.npz", Path(folder) / "out.grib"
        np.savez(given, keys=json.dumps(keys), values=values)
        subprocess.run([sys.executable, __file__, str(given), str(made)], check=True)
        return made.read_bytes()


def _write(given: Path, made: Path) -> None:
    import eccodes

    content = np.load(given)
    with made.open("wb") as file:
        for keys, values in zip(json.loads(content["keys"].item()), content["values"], strict=True):
            handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in ({"bitsPerValue": 16} | keys).items():
                eccodes.codes_set(handle, key, value)
            known = values.astype(np.float64).ravel()
            if np.isnan(known).any():
                eccodes.codes_set(handle, "bitmapPresent", 1)
                missing = eccodes.codes_get(handle, "missingValue", float)
                known = np.where(np.isnan(known), missing, known)
            eccodes.codes_set_values(handle, known)
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
