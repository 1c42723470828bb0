"""The kit: build the world, score it or let others score it, compare with the answers."""

import csv
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from benchmark.conformance import measure
from benchmark.conformance.answers import Answer, Numbers, answers
from benchmark.conformance.measure import Measured
from benchmark.conformance.pseudo_models import PSEUDO_MODELS, write_pseudo_model
from benchmark.conformance.tolerances import FAMILIES
from benchmark.conformance.world import World, build_world, write_world
from benchmark.engine import Engine
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore
from benchmark.results import SCORES
from benchmark.task import Task
from benchmark.toml_model import nearest

Name = TypeVar("Name", bound=str)
DATA, PREDICTIONS, SCORES_OF = "data", "predictions", "scores"
TASK, ANSWERS_JSON, ANSWERS_CSV = "task.json", "answers.json", "answers.csv"
READ_ME = "README.md"
_READ_ME = """# Conformance kit of Elsewhere

For a harness that was rewritten, in any language. `task.json` is the contract, `data/` the pair
store, `predictions/PSEUDO` are the prediction stores (Zarr v3), `answers.csv` and `answers.json`
say which number must come out where, how near, and why (a place may have two answers, an exact
and a statistical one).

1. Score every pseudo-model and write `scores/PSEUDO/scores.json`:
   `{"metrics": {variable: {metric: {region: {stratum: number, or null where missing}}}}}`,
   with the names of the answers.
2. `elsewhere selftest --check .` lists what does not come out and exits 1, or exits 0.

Skills and gaps are over the pseudo-model in their names; their regions are also the splits
(`test_id`, `test_ood`), with the strata `mean`, `median` and `worst`. From an ensemble, spectra,
images and distributions take one member a step, in turn: member k mod M at step k of the test
period. Everything else takes all members. Scores leave out a border of one coarse cell.
"""

Report = Callable[[int, int, str], None]
"""report(done, total, what)."""


@dataclass(frozen=True)
class Outcome:
    """One answer, and what a harness found: a number, or None for a missing one."""

    answer: Answer
    harness: str
    """The engine, or the folder of the scores."""
    got: float | None
    problem: str = ""
    """Why there is nothing to compare, where there is not."""

    @property
    def met(self) -> bool:
        """Whether the answer came out."""
        return not self.problem and self.answer.met_by(self.got)


@dataclass(frozen=True)
class Kit:
    """A written world with its prediction stores and answers."""

    folder: Path
    world: World
    store: PairStore
    answers: tuple[Answer, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The pseudo-models that it has, in order."""
        return tuple(dict.fromkeys(answer.pseudo_model for answer in self.answers))


def run(
    folder: Path | None = None,
    *,
    engines: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    families: Sequence[str] = (),
    processes: int = 1,
    report: Report = lambda *_: None,
) -> list[Outcome]:
    """Score every pseudo-model with this installation and compare with the known answers.

    folder: where the kit and the scores are kept, else a temporary one; engines: those installed
    by default; models, families: only these; processes: above 1, all engines but the first are in
    processes of their own. An outcome for each engine and answer; a prediction that the harness
    refuses meets none. Errors: InputError on an unknown model, family or engine.
    """
    wanted = _known("engine", engines, measure.engines())
    first, *others = [engine for engine in measure.engines() if not wanted or engine in wanted]
    chosen = _models(models)
    _known("family", families, FAMILIES)
    with _folder(folder) as place, ExitStack() as stack:
        world, store = _write_fields(place, chosen)
        counted = _Counted((2 + len(others)) * len(chosen), report)
        waiting: dict[Engine, Future[Measured]] = {}
        if processes > 1 and others:
            workers = min(processes - 1, len(others))
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            stack.enter_context(pool)
            waiting = {e: pool.submit(_score, world.task, store, place, chosen, e) for e in others}
        kit = _with_answers(place, world, store, chosen, families, counted.one)
        outcomes = []
        for engine in (first, *others):
            if engine in waiting:
                measured = waiting[engine].result()
                counted.one(f"{engine}", len(chosen))
            else:
                measured = _score(world.task, store, place, chosen, engine, counted.one)
            for name, found in measured.numbers.items():
                path = place / f"{SCORES_OF}-{engine}" / name / SCORES
                measure.write_numbers(found, path)
            outcomes += compare(kit.answers, measured, engine)
        return outcomes


@dataclass
class _Counted:
    """Counts what is done and passes it on."""

    total: int
    report: Report
    done: int = 0

    def one(self, what: str, times: int = 1) -> None:
        self.done += times
        self.report(self.done, self.total, what)


def _score(
    task: Task, store: PairStore, folder: Path, models: Sequence[str], engine: Engine,
    report: Callable[[str], None] = lambda _: None,
) -> Measured:  # fmt: skip
    with measure.using(engine), tempfile.TemporaryDirectory() as work:
        return measure.measure(
            task, store, folder / PREDICTIONS, models, work=Path(work),
            report=lambda name: report(f"{engine}: {name}"),
        )  # fmt: skip


def score_kit(kit: Kit, engine: Engine, *, models: Sequence[str] | None = None) -> list[Outcome]:
    """Score a written kit, or some of its models, with one engine of this installation."""
    chosen = models or kit.models
    measured = _score(kit.world.task, kit.store, kit.folder, chosen, engine)
    return compare([a for a in kit.answers if a.pseudo_model in chosen], measured, engine)


def write_kit(
    folder: Path,
    *,
    models: Sequence[str] | None = None,
    families: Sequence[str] = (),
    report: Report = lambda *_: None,
) -> Kit:
    """Write what a fork needs: task, pair store, prediction stores, answers.

    `folder/` gets README.md, task.json, data/, predictions/PSEUDO/, answers.json and .csv.
    Errors: InputError on an unknown model or family, or where the folder holds something else.
    """
    chosen = _models(models)
    _known("family", families, FAMILIES)
    world, store = _write_fields(folder, chosen)
    return _with_answers(folder, world, store, chosen, families, _Counted(len(chosen), report).one)


def _write_fields(folder: Path, chosen: Sequence[str]) -> tuple[World, PairStore]:
    world = build_world()
    _check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / READ_ME).write_text(_READ_ME)
    store = write_world(world, folder / DATA)
    # Skill is over `drawn`, so its fields are always there.
    for name in dict.fromkeys((*chosen, "drawn")):
        write_pseudo_model(PSEUDO_MODELS[name], world, store, folder / PREDICTIONS / name)
    (folder / TASK).write_text(world.task.model_dump_json(indent=1) + "\n")
    return world, store


def _check_target(folder: Path) -> None:
    """Refuse to write into a folder that holds something else than a kit."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    read_me = folder / READ_ME
    if not (read_me.is_file() and read_me.read_bytes() == _READ_ME.encode()):
        expected = "a new folder, an empty one or an earlier kit (it is replaced)"
        fix = "Choose another folder."
        raise InputError(Problem(str(folder), expected, "something else that is there", fix))


def _with_answers(
    folder: Path, world: World, store: PairStore, models: Sequence[str], families: Sequence[str],
    report: Callable[[str], None],
) -> Kit:  # fmt: skip
    found: list[Answer] = []
    for name in models:
        found += answers(world, PSEUDO_MODELS[name])
        report(f"answers of {name}")
    found = _of_families(found, families)
    _write_answers(found, folder)
    return Kit(folder, world, store, tuple(found))


def check(
    folder: Path, *, models: Sequence[str] | None = None, families: Sequence[str] = ()
) -> list[Outcome]:
    """Compare `folder/scores/PSEUDO/scores.json`, which a fork wrote, with `folder/answers.json`.

    Errors: InputError naming every file that is absent or has another shape.
    """
    chosen = _models(models)
    every = [a for a in read_answers(folder) if a.pseudo_model in chosen]
    known = _of_families(every, families)
    numbers: dict[str, Numbers] = {}
    problems: list[Problem] = []
    for name in dict.fromkeys(answer.pseudo_model for answer in known):
        try:
            numbers[name] = measure.read_numbers(folder / SCORES_OF / name / SCORES)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return compare(known, Measured(numbers, {}), str(folder / SCORES_OF))


def compare(known: Sequence[Answer], measured: Measured, harness: str) -> list[Outcome]:
    """An outcome for each answer; a number that a harness does not give meets none."""
    outcomes = []
    for answer in known:
        refused = measured.refused.get(answer.pseudo_model, "")
        metrics = measured.numbers.get(answer.pseudo_model, {}).get(answer.variable, {})
        found = metrics.get(answer.metric, {}).get(answer.region, {})
        problem = refused or ("" if answer.stratum in found else "not given")
        outcomes.append(Outcome(answer, harness, found.get(answer.stratum), problem))
    return outcomes


def read_answers(folder: Path) -> list[Answer]:
    """The answers of a written kit; InputError where there are none."""
    path = folder / ANSWERS_JSON
    fix = f"Write a kit first: elsewhere selftest --write {folder}"
    try:
        rows = json.loads(path.read_bytes())["answers"]
        found = TypeAdapter(list[Answer]).validate_python(rows)
        _ = {answer.family for answer in found}  # KeyError where a metric is unknown
        return found
    except FileNotFoundError:
        raise InputError(Problem(str(path), "the kit's answers", "no file", fix)) from None
    except (ValueError, TypeError, KeyError) as error:
        got = f"{type(error).__name__}: {error}"[:200]
        raise InputError(Problem(str(path), "the kit's answers", got, fix)) from None


def _write_answers(found: Sequence[Answer], folder: Path) -> None:
    rows = [vars(answer) for answer in found]
    (folder / ANSWERS_JSON).write_text(json.dumps({"answers": rows}, allow_nan=False) + "\n")
    with (folder / ANSWERS_CSV).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([entry.name for entry in dataclasses.fields(Answer)])
        for row in rows:
            writer.writerow("missing" if value is None else value for value in row.values())


def _models(asked: Sequence[str] | None) -> tuple[str, ...]:
    return _known("pseudo-model", asked, tuple(PSEUDO_MODELS)) or tuple(PSEUDO_MODELS)


def _of_families(known: Sequence[Answer], families: Sequence[str]) -> list[Answer]:
    """The answers of the families asked for, all where none is; InputError where none is left."""
    wanted = _known("family", families, FAMILIES) or FAMILIES
    found = [answer for answer in known if answer.family in wanted]
    if not found:
        fix = "Ask for more pseudo-models or families: nothing would be tested."
        raise InputError(Problem("selftest", "at least one answer", "none", fix))
    return found


def _known(kind: str, asked: Sequence[Name] | None, known: Sequence[Name]) -> tuple[Name, ...]:
    for name in asked or ():
        if name not in known:
            fix = nearest(name, list(known))
            raise InputError(Problem(f"{kind} {name!r}", f"a known {kind}", "this", fix))
    return tuple(asked or ())


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="elsewhere-selftest-") as name:
            yield Path(name)
