"""kill -9 at a random moment of scoring, then the same command again: the same bytes."""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDERS = 10
REGIONS = ("andes-south", "europe-west", "japan-okhotsk", "tibetan-plateau")


def test_twenty_kills_change_no_byte(
    data: Path, bilinear_predictions: Path, tmp_path: Path
) -> None:
    """Ten scores, each killed twice and then resumed, are the unbroken one; of a few regions, so
    that blocks are a part of the time that kills can hit; half of the kills are aimed at them.
    """
    (pairs,) = data.glob("era5-sample@*")
    some = tmp_path / "predictions"
    for region in REGIONS:
        shutil.copytree(bilinear_predictions / f"{region}.zarr", some / f"{region}.zarr")
    shutil.copy(bilinear_predictions / "model.toml", some)
    script = Path(__file__).with_name("killed.py")
    words = [pairs, some, tmp_path / "scores", FOLDERS, 7]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == FOLDERS
    assert all(same for *_, same in lines)
    kills = [pair for a, b, c, d, _ in lines for pair in ((a, b), (c, d))]
    assert len(kills) == 20
    assert sum(killed for killed, _ in kills) >= 15
    assert len({blocks for killed, blocks in kills if killed}) > 3
