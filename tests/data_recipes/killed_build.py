"""Builds in child processes that are killed at random moments; run by `test_pair_parts.py`.

    python killed_build.py RECIPE OUT ROUNDS SEED

Each round is a data folder of its own: two builds are killed, the third ends. Every block that is
made is noted in `OUT/ROUND.log`. Prints one line a round: for both kills whether the build was
still running, and how many blocks and stores were there; then whether a block that was there at a
kill was made again.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from benchmark import pair_parts
from data_recipes.build import build
from data_recipes.shipped import own_recipe

STEPS = 2
"""In a block, so that there are many."""


def built(recipe: Path, data: Path, log: Path) -> None:
    """Build all, noting each block."""
    task, made = own_recipe(recipe, data)
    plain = pair_parts.PartialRegion.write

    def write(self: pair_parts.PartialRegion, block: slice, steps: object) -> None:
        with log.open("a") as file:
            file.write(f"{self.region} {block.start}\n")
        plain(self, block, steps)  # type: ignore[arg-type]

    pair_parts.PartialRegion.write = write  # type: ignore[method-assign]
    try:
        build(task, data, recipe=made)
    finally:
        pair_parts.PartialRegion.write = plain  # type: ignore[method-assign]


def attempt(recipe: Path, data: Path, log: Path, *, seconds: float | None) -> bool:
    """Build in a child; kill -9 after `seconds`. Whether it was killed."""
    child = os.fork()
    if child == 0:
        built(recipe, data, log)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("a build failed")
    return os.WIFSIGNALED(status)


def there(data: Path) -> set[str]:
    """The blocks that are whole, as the log names them."""
    found = set()
    for path in data.glob("*@*/.*.part/block-*.json"):
        region = path.parent.name.removeprefix(".").removesuffix(".part")
        found.add(f"{region} {int(path.stem.removeprefix('block-'))}")
    return found


def main() -> None:
    """Kill, kill and go on, in every round."""
    recipe, out = Path(sys.argv[1]), Path(sys.argv[2])
    pair_parts.steps_per_shard = lambda *_: STEPS  # type: ignore[assignment]
    draw = random.Random(int(sys.argv[4]))
    # Never in this process: threads of libraries do not outlive a fork.
    attempt(recipe, out / "warm", out / "warm.log", seconds=None)
    began = time.perf_counter()
    attempt(recipe, out / "whole", out / "whole.log", seconds=None)
    length = time.perf_counter() - began
    for number in range(int(sys.argv[3])):
        data, log = out / str(number), out / f"{number}.log"
        again = False
        for part in (0.6, 0.9):
            seconds = draw.uniform(0.02, part) * length
            killed = attempt(recipe, data, log, seconds=seconds)
            before, kept = len(log.read_text().split("\n")) if log.exists() else 0, there(data)
            stores = len(list(data.glob("*@*/*.json")))
            print(int(killed), len(kept), stores, end=" ")
            if part == 0.9:
                attempt(recipe, data, log, seconds=None)
            else:
                attempt(recipe, data, log, seconds=draw.uniform(0.02, 0.5) * length)
            later = log.read_text().split("\n")[max(before - 1, 0) :] if log.exists() else []
            again |= bool(kept & set(later))
        print(int(again), flush=True)


if __name__ == "__main__":
    main()
