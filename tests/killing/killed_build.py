"""A build in a process of its own, for `tests/data_recipes/test_pair_parts.py`."""

from pathlib import Path

from benchmark import pair_parts
from data_recipes.build import build
from data_recipes.shipped import own_recipe


def built(recipe: Path, data: Path, log: Path, steps: int) -> None:
    """Build all in blocks of so many steps, and note each in `log` as "REGION FIRST-STEP"."""
    pair_parts.steps_per_shard = lambda *_: steps  # type: ignore[assignment]
    task, made = own_recipe(recipe, data)
    plain = pair_parts.PartialRegion.write

    def write(self: pair_parts.PartialRegion, block: slice, steps: object) -> None:
        with log.open("a") as file:
            file.write(f"{self.region} {block.start}\n")
        plain(self, block, steps)  # type: ignore[arg-type]

    pair_parts.PartialRegion.write = write  # type: ignore[method-assign]
    build(task, data, recipe=made)


def has_lines(log: Path, count: int) -> bool:
    """Whether so many blocks were begun."""
    return count <= (log.read_text().count("\n") if log.exists() else 0)


def whole_blocks(data: Path) -> set[str]:
    """The blocks that are whole, as the log names them."""
    return {
        f"{path.parent.name.removeprefix('.').removesuffix('.part')} {int(path.stem[6:])}"
        for path in data.glob("*@*/.*.part/block-*.json")
    }
