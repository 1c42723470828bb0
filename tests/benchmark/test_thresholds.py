"""Thresholds: percentiles of the training truth, kept, computed again where the file is no good."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.bins import Bins
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.thresholds import training_counts, training_percentiles

RAIN = Bins("log2", 2.0**-10, 2.0**10)
KELVIN = Bins("linear", 160.0, 352.0, 0.0625)


@pytest.fixture
def own(store: PairStore, tmp_path: Path) -> PairStore:
    """The same store in a folder of its own, so that nothing is kept there yet."""
    for path in store.folder.iterdir():
        if path.suffix in (".zarr", ".json"):
            (tmp_path / path.name).symlink_to(path)
    return PairStore(store.task, tmp_path)


def truth(region: RegionStore, variable: str) -> np.ndarray:
    """Every training value of the scored interior."""
    steps = region.steps(region.task.periods.train)
    values = region.grid.crop_fine(region.read("fine", variable, steps))
    return np.asarray(values, np.float64)


def files(store: PairStore) -> list[Path]:
    """What is kept."""
    return sorted((store.folder / "thresholds").glob("*.json"))


def test_they_are_percentiles_of_the_training_truth(own: PairStore) -> None:
    """Against numpy's, each cell once, within a bin; by scored region."""
    found = training_percentiles(own, "t2m", (50, 95, 99), KELVIN)
    assert list(found) == [region.name for region in expected_regions(own)]
    for region in expected_regions(own):
        expected = np.percentile(truth(region, "t2m"), [50, 95, 99], method="inverted_cdf")
        np.testing.assert_allclose(found[region.name], expected, atol=1 / 16)


def test_the_floor_lifts_low_thresholds_only(own: PairStore) -> None:
    """0.1 mm h-1 for rain: dry percentiles become the floor, wet ones stay."""
    plain = training_percentiles(own, "precipitation", (50, 99.9), RAIN)
    lifted = training_percentiles(own, "precipitation", (50, 99.9), RAIN, floor=0.1)
    assert any(values[0] < 0.1 < values[1] for values in plain.values())
    for region, values in plain.items():
        assert lifted[region] == tuple(max(0.1, value) for value in values)


def test_missing_truths_are_left_out(own: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of what is there; the sum over shards is that over all steps at once."""
    region = expected_regions(own)[0]
    values = truth(region, "t2m")
    monkeypatch.setattr("benchmark.thresholds.steps_per_shard", lambda *_: 5)
    counts = training_counts(region, "t2m", KELVIN)
    assert counts.sum() == values.size
    read = RegionStore.read

    def holed(self: RegionStore, side: str, variable: str, steps: slice) -> np.ndarray:
        fields = read(self, side, variable, steps).copy()
        fields[:, ::2] = np.nan
        return fields

    monkeypatch.setattr(RegionStore, "read", holed)
    margin = region.grid.fine_margin
    kept = values[:, 1::2] if margin % 2 == 0 else values[:, ::2]
    expected = np.bincount(KELVIN.index(kept.astype(np.float32)).ravel(), minlength=len(KELVIN))
    np.testing.assert_array_equal(training_counts(region, "t2m", KELVIN), expected)


def test_they_are_kept(own: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call reads no field; other percentiles, bins, floor or variable are other files."""
    first = training_percentiles(own, "t2m", (95, 99), KELVIN)
    (kept,) = files(own)
    with monkeypatch.context() as patch:
        patch.setattr(RegionStore, "read", None)
        assert training_percentiles(own, "t2m", (95, 99), KELVIN) == first
    training_percentiles(own, "t2m", (95, 99.5), KELVIN)
    training_percentiles(own, "t2m", (95, 99), Bins("linear", 160.0, 352.0, 0.125))
    training_percentiles(own, "t2m", (95, 99), KELVIN, floor=200.0)
    training_percentiles(own, "wind_speed", (95, 99), RAIN)
    training_percentiles(own, "wind_speed", (95, 99), Bins("log2", 2.0**-10, 2.0**10, None, 256))
    assert len(files(own)) == 6
    assert kept in files(own)


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": 3}', b"\xff\xfe", None])
def test_a_file_that_is_no_good_is_computed_again(own: PairStore, content: bytes | None) -> None:
    """Empty, cut, of another schema, not text; or of another key, values changed."""
    first = training_percentiles(own, "t2m", (95,), KELVIN)
    (kept,) = files(own)
    good = kept.read_bytes()
    key = good.split(b'"')[3]
    kept.write_bytes(good.replace(key, b"0" * len(key)) if content is None else content)
    assert training_percentiles(own, "t2m", (95,), KELVIN) == first
    assert kept.read_bytes() == good


def test_other_data_are_other_thresholds(own: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data hash is part of the key."""
    training_percentiles(own, "t2m", (95,), KELVIN)
    monkeypatch.setattr(PairStore, "data_hash", "another")
    training_percentiles(PairStore(own.task, own.folder), "t2m", (95,), KELVIN)
    assert len(files(own)) == 2


def test_a_percentile_outside_the_bins_is_refused(own: PairStore) -> None:
    """Every region is named, and nothing is kept."""
    with pytest.raises(InputError) as caught:
        training_percentiles(own, "t2m", (95,), Bins("linear", 160.0, 200.0, 0.0625))
    assert len(caught.value.problems) == len(expected_regions(own))
    assert "inside the bins" in str(caught.value)
    assert not files(own)
