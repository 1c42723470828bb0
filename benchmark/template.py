"""An empty prediction store: the contract, ready to be filled."""

from pathlib import Path

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder
from benchmark.model_card import ModelCard, write_card
from benchmark.pair_store import PairStore
from benchmark.prediction_store import CARD, create_region, expected_regions


def write_template(store: PairStore, out: Path, *, members: int) -> None:
    """Write every region with its coordinates and all-NaN fields, and a card to edit.

    Errors: InputError when `out` is there already, or a member count that the task does not know.
    """
    task = store.task
    if members not in (1, task.members):
        raise InputError(
            Problem("--members", f"1 or {task.members}", str(members), "Ask for one of these.")
        )
    if out.exists():
        raise InputError(
            Problem(str(out), "a new folder", "one that exists", "Choose another --out.")
        )
    card = ModelCard(
        task=task.id,
        model="my-model",
        title="My model",
        reference="where it is described",
        members="single" if members == 1 else "exchangeable",
    )
    with new_folder(out) as folder:
        for region in expected_regions(store):
            create_region(folder / f"{region.name}.zarr", region, members=members)
        write_card(folder / CARD, card)
