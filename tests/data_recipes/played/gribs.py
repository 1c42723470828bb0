"""Makes real GRIB files with eccodes, in a process of its own (`python gribs.py GIVEN.npz OUT`).

GIVEN: `keys`, JSON of each message's, and its values as `0`, `1` and so on; NaN is missing.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LAMBERT = {
    "gridType": "lambert", "shapeOfTheEarth": 6,
    "LaDInDegrees": 50.0, "LoVInDegrees": 8.0, "Latin1InDegrees": 50.0, "Latin2InDegrees": 50.0,
    "iScansNegatively": 0, "jScansPositively": 1, "jPointsAreConsecutive": 0,
}  # fmt: skip
_LONGEST_S = 60


def grib_bytes(keys: Sequence[dict[str, Any]], values: Sequence[Any]) -> bytes:
    """The messages as one file; values may be lists, where None is missing, too."""
    arrays = [v if isinstance(v, np.ndarray) else np.array(v, float) for v in values]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.grib"
        named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
        np.savez(given, keys=json.dumps(keys), **named)
        command = [sys.executable, __file__, str(given), str(made)]
        subprocess.run(command, check=True, timeout=_LONGEST_S)
        return made.read_bytes()


def write_grib(path: Path, grid: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Write one, of messages on one grid: {"keys": {key: value}, "values": [...]} each."""
    keys = [grid | message["keys"] for message in messages]
    path.write_bytes(grib_bytes(keys, [message["values"] for message in messages]))


def _write(given: Path, made: Path) -> None:
    import eccodes

    content = np.load(given)
    with made.open("wb") as file:
        for number, keys in enumerate(json.loads(content["keys"].item())):
            handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in keys.items():
                eccodes.codes_set(handle, key, value)
            values = content[str(number)].astype(np.float64).ravel()
            if np.isnan(values).any():
                eccodes.codes_set(handle, "bitmapPresent", 1)
                missing = eccodes.codes_get(handle, "missingValue", float)
                values = np.where(np.isnan(values), missing, values)
            eccodes.codes_set_values(handle, values)
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
