"""From a source of predictions to `scores.json`: validate, reduce, check, write."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark import RELEASE, __version__
from benchmark.case_table import SCHEMA_VERSION, by_case, load_table, save_table, table_hash, total
from benchmark.engine import engine
from benchmark.errors import InputError
from benchmark.hashing import text_digest
from benchmark.invariants import check_invariants
from benchmark.kept_mismatch import keep_mismatches
from benchmark.metric_table import metric_table, value
from benchmark.metrics import BOARDS, board_score
from benchmark.mismatch import Mismatch
from benchmark.model_card import ModelCard, write_card
from benchmark.pair_store import PairStore
from benchmark.provenance import hardware, package_commit, package_versions, peak_memory_mb
from benchmark.references import REFERENCES
from benchmark.results import CARD, CASES, SCORES, Headline, Run, Scores, write_scores
from benchmark.sample_fields import SAMPLE, write_sample
from benchmark.scoring import Source, memory_bound, score_cases
from benchmark.skill import as_skill, contrast
from benchmark.sources import StoredPredictions, StreamedPredictions
from benchmark.task import TEST_SPLITS, Task
from benchmark.task_files import CONTRACT, write_contract
from benchmark.validate import validate_predictions

PARTIAL = ".partial-"
"""Folders of finished blocks while a score is under way."""

Report = Callable[[int, int, str], None]


def score(
    store: PairStore,
    source: Source,
    out: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    steps_per_block: int | None = None,
    report: Report = lambda *_: None,
) -> Scores:
    """Score a source and write `cases.zarr.zip`, `model.toml` and `scores.json` into `out`.

    Interrupted, a second call goes on from the blocks that are done. Nothing is written where
    anything is wrong: InputError names every structural problem of a prediction store, a value
    that is not finite, or a broken invariant.
    """
    began = time.perf_counter()
    streamed = not isinstance(source, StoredPredictions)
    if isinstance(source, StoredPredictions):
        problems = validate_predictions(store, source.folder, values=False)
        if problems:
            raise InputError(problems)
    bound = memory_bound(store, source.member_count, workers=workers, streamed=streamed)
    references = {name: reference_cases(store, name) for name in REFERENCES}
    mismatch = keep_mismatches(store, report=report)
    work = out / f"{PARTIAL}{_key(store, source)}"
    scored = score_cases(
        store, source, work=work, workers=workers, scheduler=scheduler,
        steps_per_block=steps_per_block, report=report,
    )  # fmt: skip
    cases, totals = by_case(scored.table), total(scored.table)
    problems = check_invariants(store.task, source.card, cases, totals)
    if problems:
        raise InputError(problems)
    run = Run(
        date=datetime.now(UTC).replace(microsecond=0),
        seconds=round(time.perf_counter() - began, 3),
        peak_memory_mb=round(peak_memory_mb(), 1),
        memory_bound_mb=round(bound / 2**20, 1),
        hardware=hardware(),
        workers=workers,
        streamed=streamed,
        engine=engine(),
    )
    scores = _scores(
        store, source.card, cases, totals, scored.prediction_hash, references, mismatch, run
    )
    # All is written aside first: the renames need no room, so old and new files never mix.
    save_table(scored.table, work / CASES)
    write_sample(store, source, work / SAMPLE)
    write_card(work / CARD, source.card)
    write_contract(work, store.task)
    write_scores(work, scores)
    for name in (CASES, SAMPLE, CARD, CONTRACT, SCORES):
        if (work / name).exists():
            (work / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)  # the contract of another task, scored here before
    for partial in out.glob(f"{PARTIAL}*"):
        shutil.rmtree(partial)
    return scores


def reference_cases(store: PairStore, name: str) -> xr.Dataset:
    """The case table of a board's reference: scored once, kept beside the pair store."""
    words = f"{RELEASE} {__version__} {SCHEMA_VERSION} {engine()} {store.data_hash}"
    key = text_digest(words + store.task.model_dump_json())[:16]
    path = store.folder / "references" / key / f"{name}.{CASES}"
    if not path.exists():
        source = StreamedPredictions(REFERENCES[name](store), identity=name)
        work = path.parent / f"{PARTIAL}{name}"
        save_table(score_cases(store, source, work=work).table, path)
        shutil.rmtree(work)
    return load_table(path)[0]


def headlines(
    task: Task, card: ModelCard, cases: xr.Dataset, references: dict[str, xr.Dataset]
) -> tuple[Headline, ...]:
    """Skill on every board, variable and test split, from case tables alone."""
    found = []
    for board, (reference_score, reference) in BOARDS.items():
        score_name = board_score(board, card.members)
        for variable in task.variable_names:
            for split in TEST_SPLITS:
                result = contrast(
                    task, split, variable,
                    (cases, score_name), (references[reference], reference_score),
                )  # fmt: skip
                worst_region, worst = result.worst
                found.append(
                    Headline.model_validate(
                        {
                            "board": board,
                            "variable": variable,
                            "split": split,
                            "metric": score_name,
                            "reference": reference,
                            "skill": value(as_skill(result.mean)),
                            "median": value(as_skill(result.median)),
                            "worst_region": worst_region,
                            "worst": value(as_skill(worst)),
                            "regions": {
                                name: value(as_skill(ratio))
                                for name, ratio in zip(
                                    result.regions, result.log_ratios, strict=True
                                )
                            },
                            "clusters": result.clusters,
                            "these_regions": _skills(result.these_regions),
                            "new_regions": _skills(result.new_regions),
                        }
                    )
                )
    return tuple(found)


def _skills(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval of log-ratios as one of skills: the order turns round."""
    return None if interval is None else (as_skill(interval[1]), as_skill(interval[0]))


def _scores(
    store: PairStore,
    card: ModelCard,
    cases: xr.Dataset,
    totals: xr.Dataset,
    prediction_hash: str,
    references: dict[str, xr.Dataset],
    mismatch: tuple[Mismatch, ...],
    run: Run,
) -> Scores:
    # A case counts as scored where some region and variable had a truth.
    weights = cases["weight"].sel(stratum="all").sum(["variable", "region"])
    return Scores(
        release=RELEASE,
        task=store.task.id,
        data_hash=store.data_hash,
        model=card,
        members=int(cases.attrs["members"]),
        expected_cases=cases.sizes["case"],
        scored_cases=int(np.count_nonzero(weights > 0)),
        prediction_hash=prediction_hash,
        case_table_hash=table_hash(cases, totals),
        package_version=__version__,
        commit=package_commit(),
        packages=package_versions(),
        headline=headlines(store.task, card, cases, references),
        metrics=metric_table(cases, totals),
        mismatch=mismatch,
        run=run,
    )


def _key(store: PairStore, source: Source) -> str:
    """What decides a partial block: another key never mixes with it."""
    words = (RELEASE, __version__, str(SCHEMA_VERSION), store.data_hash, engine(),
             store.task.model_dump_json(), source.fingerprint())  # fmt: skip
    return text_digest("\n".join(words))[:16]
