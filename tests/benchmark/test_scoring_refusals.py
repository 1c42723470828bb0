"""What scoring refuses: damaged truths, predictions that are not finite, wrong shapes."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.evaluate import score
from benchmark.pair_store import PairStore, RegionStore
from benchmark.references import BilinearReference
from benchmark.scoring import score_cases
from benchmark.sources import StreamedPredictions

REGION = "andes-south"


@pytest.fixture
def copied(small: PairStore, tmp_path: Path) -> PairStore:
    """A copy of the small pair store, to be damaged."""
    folder = tmp_path / small.folder.name
    folder.mkdir()
    for region in small.task.regions:
        shutil.copytree(small.folder / f"{region.name}.zarr", folder / f"{region.name}.zarr")
        shutil.copy(small.folder / f"{region.name}.json", folder)
    return PairStore(small.task, folder)


@dataclass(frozen=True)
class Broken:
    """Bilinear, with one field changed by `change` in one region."""

    inner: BilinearReference
    change: Any
    member_count: int = 1

    @property
    def card(self) -> Any:
        return self.inner.card

    def predict(self, region: RegionStore, steps: slice) -> dict[str, NDArray[Any]]:
        fields = dict(self.inner.predict(region, steps))
        if region.name == REGION:
            fields["wind_speed"] = self.change(fields["wind_speed"].copy())
        return fields


def bilinear(store: PairStore) -> StreamedPredictions:
    """The reference as a source."""
    return StreamedPredictions(BilinearReference(store), identity="bilinear")


def chunk_of(store: PairStore, array: str) -> Path:
    """The one file that holds an array's values."""
    folder = store.folder / f"{REGION}.zarr" / array / "c"
    (chunk,) = [path for path in folder.rglob("*") if path.is_file()]
    return chunk


@pytest.mark.parametrize("array", ["fine/t2m", "coarse/precipitation"])
def test_a_rewritten_value_is_found_by_its_digest(
    copied: PairStore, tmp_path: Path, array: str
) -> None:
    """One value changed by one unit in the last place stops scoring and names the array."""
    group = zarr.open_group(copied.folder / f"{REGION}.zarr", mode="r+")
    values: Any = group[array]
    values[18, 3, 4] = np.nextafter(np.float32(values[18, 3, 4]), np.float32(1e9))
    with pytest.raises(InputError) as caught:
        score_cases(copied, bilinear(copied), work=tmp_path / "work")
    (problem,) = caught.value.problems
    assert "digest" in str(problem)
    assert f"{REGION}.zarr: {array}" in str(problem)
    assert "elsewhere build era5-sample" in problem.fix


def test_damage_of_steps_that_no_score_needs_is_not_read(copied: PairStore, tmp_path: Path) -> None:
    """Digests are checked where steps are read: a validation step's damage is found by training."""
    group = zarr.open_group(copied.folder / f"{REGION}.zarr", mode="r+")
    values: Any = group["fine/t2m"]
    steps = copied.region(REGION).steps(copied.task.periods.val)
    values[steps.start, 3, 4] = 0.0
    score_cases(copied, bilinear(copied), work=tmp_path / "work")
    with pytest.raises(InputError, match="digest"):
        copied.region(REGION).read("fine", "t2m", steps)


def test_damage_of_the_training_truth_is_found(copied: PairStore, tmp_path: Path) -> None:
    """Percentiles and climatologies come from it, so it is checked as the scored steps are."""
    group = zarr.open_group(copied.folder / f"{REGION}.zarr", mode="r+")
    values: Any = group["fine/t2m"]
    values[2, 10, 10] = 0.0
    with pytest.raises(InputError, match=f"{REGION}.zarr: fine/t2m"):
        score_cases(copied, bilinear(copied), work=tmp_path / "work")


def test_the_coarse_input_of_the_training_period_is_not_needed(
    copied: PairStore, tmp_path: Path
) -> None:
    """Only what decides a score is read."""
    group = zarr.open_group(copied.folder / f"{REGION}.zarr", mode="r+")
    values: Any = group["coarse/t2m"]
    values[2, 3, 4] = 0.0
    score_cases(copied, bilinear(copied), work=tmp_path / "work")


def test_a_lost_chunk_is_found_by_its_digest(copied: PairStore, tmp_path: Path) -> None:
    """A deleted file reads as missing values (never as zeros) and is refused."""
    chunk_of(copied, "fine/precipitation").unlink()
    with pytest.raises(InputError, match="digest"):
        score_cases(copied, bilinear(copied), work=tmp_path / "work")


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_file_is_an_input_error(copied: PairStore, tmp_path: Path, damage: str) -> None:
    """A flipped byte or a cut file is the user's to know of, in one clear problem.

    The byte lies in the middle of the file, inside the compressed values.
    """
    chunk = chunk_of(copied, "fine/t2m")
    content = bytearray(chunk.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0xFF
    else:
        del content[len(content) // 2 :]
    chunk.write_bytes(content)
    with pytest.raises(InputError, match="fine/t2m"):
        score_cases(copied, bilinear(copied), work=tmp_path / "work")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(-1, 0, 0, 0), (3, 0, 16, 16)])
def test_a_value_that_is_not_finite_is_refused(
    small: PairStore, tmp_path: Path, value: float, place: tuple[int, ...]
) -> None:
    """One NaN or infinity, inside or in the margin that is not scored: no block, no table."""

    def change(values: NDArray[Any]) -> NDArray[Any]:
        values[place] = value
        return values

    source = StreamedPredictions(Broken(BilinearReference(small), change), identity="broken")
    with pytest.raises(InputError) as caught:
        score_cases(small, source, work=tmp_path)
    text = str(caught.value)
    assert f"{REGION}: wind_speed" in text
    assert "finite" in text
    assert "1 others" in text
    assert not list(tmp_path.glob(f"{REGION}*"))


def test_no_result_is_written_where_anything_is_refused(small: PairStore, tmp_path: Path) -> None:
    """Neither scores nor card nor table: only the blocks of other regions, to go on from."""
    broken = Broken(BilinearReference(small), lambda values: values * np.float32(np.nan))
    with pytest.raises(InputError):
        score(small, StreamedPredictions(broken, identity="broken"), tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(".partial-" in str(path) for path in written)


def test_large_finite_values_are_scored(small: PairStore, tmp_path: Path) -> None:
    """Values whose sum no float32 holds are wrong, but finite: they are scored."""
    large = Broken(BilinearReference(small), lambda values: np.full_like(values, 3e38))
    source = StreamedPredictions(large, identity="large")
    table = score_cases(small, source, work=tmp_path).table
    assert np.isfinite(table["error"]).all()


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda x: x.astype(np.float64), "float64 (8, 1, 32, 32)"),
        (lambda x: x[:, 0], "float32 (8, 32, 32)"),
        (lambda x: x[..., 4:-4, 4:-4], "float32 (8, 1, 24, 24)"),
        (lambda x: np.repeat(x, 2, axis=1), "float32 (8, 2, 32, 32)"),
        (lambda x: x[:-1], "float32 (7, 1, 32, 32)"),
    ],
)
def test_another_shape_or_dtype_is_refused(
    small: PairStore, tmp_path: Path, change: Any, got: str
) -> None:
    """Nothing is squeezed, broadcast, cut or cast: the problem says what came."""
    source = StreamedPredictions(Broken(BilinearReference(small), change), identity="broken")
    with pytest.raises(InputError) as caught:
        score_cases(small, source, work=tmp_path)
    (problem,) = caught.value.problems
    assert problem.expected == "float32 (8, 1, 32, 32)"
    assert problem.got == got


def test_a_missing_region_of_the_store_is_an_input_error(copied: PairStore, tmp_path: Path) -> None:
    """A region's folder that has gone says so and what to do."""
    os.rename(copied.folder / f"{REGION}.zarr", copied.folder / "gone")  # noqa: PTH104
    with pytest.raises(InputError, match="nothing there"):
        score_cases(copied, bilinear(copied), work=tmp_path / "work")
