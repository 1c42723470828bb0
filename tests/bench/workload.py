"""Workload B: a pair store and a prediction store on disk, hourly rain on 160 x 160 cells.

Built with the package's own writers, so that it is read and scored as any submission is.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.model_card import ModelCard, write_card
from benchmark.pair_store import PairStore
from benchmark.pair_writer import Steps, write_region
from benchmark.prediction_store import CARD, create_region
from benchmark.task import Task

REGIONS = {"here": ("train", 20.0, 0.0), "elsewhere": ("test_ood", -70.0, 0.0)}
SIDE, MEMBERS, SPACING, FACTOR = 160, 8, 0.25, 4
TRAINING = 48
BLOCK = 40


def workload_task(steps: int, *, margin: int = 1) -> Task:
    """A task of one variable; only `elsewhere` is long. steps: of the test period, hourly."""
    start = np.datetime64("2020-01-01T00", "h")

    def period(first: int, count: int) -> dict[str, str]:
        ends = (start + first, start + first + count - 1)
        return {"first": f"{ends[0]}:00:00", "last": f"{ends[1]}:00:00"}

    return Task.model_validate(
        {
            "name": "workload-b", "revision": 1, "title": "workload B", "summary": "speed",
            "track": "perfect_model", "factor": FACTOR, "spacing": SPACING, "margin": margin,
            "members": MEMBERS, "case": "day", "season_coverage": "partial", "buffer_km": 100,
            "primary": {"variable": "precipitation", "metric": "crps_fair"},
            "sources": [{"product": "noise", "licence": "none", "attribution": "none"}],
            "image_every": 6, "windows": [1, 3, 5, 9],
            "lags": [1, 2, 4, 8],
            "variables": [
                {
                    "name": "precipitation", "long_name": "rain", "units": "mm h-1",
                    "standard_name": "lwe_precipitation_rate", "cell_methods": "time: mean",
                    "nonnegative": True, "thresholds": [1.0, 20.0], "percentiles": [],
                    "intensity": [], "data_range": [0, 20],
                    "bins": {"kind": "log2", "low": 2.0**-10, "high": 1024, "per_octave": 128},
                }
            ],
            "periods": {
                "embargo_hours": 1, "train": period(0, TRAINING), "val": period(TRAINING + 2, 2),
                "test": period(TRAINING + 6, steps),
            },
            "regions": [
                {"name": name, "role": role, "lat": [lat, lat + SIDE * SPACING],
                 "lon": [lon, lon + SIDE * SPACING]}
                for name, (role, lat, lon) in REGIONS.items()
            ],
        }
    )  # fmt: skip


def rain(generator: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Gamma-like precipitation in mm/h, about 60 % of it zero."""
    drawn = generator.standard_gamma(0.5, shape, dtype=np.float32) * np.float32(3)
    return np.maximum(drawn - np.float32(0.9), np.float32(0))


def build_workload(folder: Path, steps: int, *, margin: int = 1) -> tuple[PairStore, Path]:
    """(pair store, prediction store) below `folder`; `steps` of the test period in one region."""
    task = workload_task(steps, margin=margin)
    store = PairStore(task, folder / task.id)
    generator = np.random.default_rng(0)
    times = np.datetime64("2020-01-01T00", "s") + np.arange(TRAINING + 6 + steps).astype(
        "timedelta64[h]"
    )
    ocean = np.zeros((SIDE, SIDE), np.float32)
    half = np.where(np.arange(SIDE)[:, None] < SIDE // 2, np.float32(1), ocean)
    for name in REGIONS:
        write_region(
            task, name, store.folder, times=times,
            static={"land_fraction": half, "orography": half * 300}, source_ids={}, recipe={},
            blocks=_blocks(store, name, len(times), generator),
        )  # fmt: skip
    predictions = folder / "predictions"
    card = ModelCard(task=task.id, model="noise", title="noise", reference="none",
                     members="exchangeable")  # fmt: skip
    predictions.mkdir()
    write_card(predictions / CARD, card)
    for region in store.regions("test_id", "test_ood"):
        group = create_region(predictions / f"{region.name}.zarr", region, members=MEMBERS)
        field = group["precipitation"]
        for start in range(0, steps, BLOCK):
            count = min(BLOCK, steps - start)
            field[start : start + count] = rain(generator, count, MEMBERS, SIDE, SIDE)  # type: ignore[index]
    return store, predictions


def _blocks(
    store: PairStore, name: str, count: int, generator: np.random.Generator
) -> Iterator[tuple[int, Steps]]:
    overlap = store.region(name).grid.overlap
    for start in range(0, count, BLOCK):
        fine = rain(generator, min(BLOCK, count - start), SIDE, SIDE)
        coarse = overlap(fine).astype(np.float32)
        yield start, Steps(coarse={"precipitation": coarse}, fine={"precipitation": fine})
