"""Makes real GRIB files with eccodes, in a process of its own (`python gribs.py SPEC.json OUT`).

SPEC: {"grid": {key: value}, "messages": [{"keys": {key: value}, "values": [...]}]}; a null among
the values is missing.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LAMBERT = {
    "gridType": "lambert", "shapeOfTheEarth": 6,
    "LaDInDegrees": 50.0, "LoVInDegrees": 8.0, "Latin1InDegrees": 50.0, "Latin2InDegrees": 50.0,
    "iScansNegatively": 0, "jScansPositively": 1, "jPointsAreConsecutive": 0,
}  # fmt: skip


def write_grib(path: Path, grid: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Write one; see the module."""
    spec = path.with_name(f"{path.name}.spec.json")
    spec.write_text(json.dumps({"grid": grid, "messages": messages}))
    subprocess.run([sys.executable, __file__, str(spec), str(path)], check=True)
    spec.unlink()


def _write(spec: dict[str, Any], path: Path) -> None:
    import eccodes
    import numpy as np

    with path.open("wb") as file:
        for message in spec["messages"]:
            handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in (spec["grid"] | message["keys"]).items():
                eccodes.codes_set(handle, key, value)
            values = np.array(message["values"], dtype=float)
            if np.isnan(values).any():
                eccodes.codes_set(handle, "bitmapPresent", 1)
                missing = eccodes.codes_get(handle, "missingValue", float)
                values = np.where(np.isnan(values), missing, values)
            eccodes.codes_set_values(handle, values)
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)


if __name__ == "__main__":
    _write(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
