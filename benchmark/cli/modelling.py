"""`elsewhere models` and `predict`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.cli.output import (
    DataOption,
    JsonOption,
    counted,
    headline_table,
    pair_store,
    print_json,
    progress,
)
from benchmark.cli.scoring import announce_scoring
from benchmark.cli.tasks import TaskArgument
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore
from benchmark.predictor import Predictor
from benchmark.toml_model import nearest
from benchmark.writable import check_writable


def add_to(app: typer.Typer) -> None:
    """Register these verbs."""
    app.command("models")(models)
    app.command("predict")(predict)


def models(as_json: JsonOption = False) -> None:
    """List the nulls, which need no training, the statistical models and the networks.

    Example: `elsewhere models`
    """
    from baselines.models import MODELS, family
    from baselines.nulls import NULLS
    from baselines.statistical import STATISTICAL, statistical_family

    if as_json:
        names = {"nulls": NULLS, "statistical": STATISTICAL, "networks": MODELS}
        print_json({kind: list(entries) for kind, entries in names.items()})
        return
    table = Table("model", "kind")
    table.add_column("reference", overflow="fold")
    for name in NULLS:
        table.add_row(name, "null, needs no training", "Elsewhere")
    for name in STATISTICAL:
        table.add_row(name, "statistical", statistical_family(name).reference)
    for name in MODELS:
        table.add_row(name, "network", family(name).reference)
    Console().print(table)


def predict(
    name: TaskArgument,
    run: Annotated[str, typer.Argument(help="A run folder, or the name of a null.")],
    out: Annotated[Path, typer.Option(help="The prediction store, or the scores' folder.")],
    post_hoc: Annotated[
        bool, typer.Option("--post-hoc", help="Project an unconstrained run's predictions.")
    ] = False,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="Adapt a zero-shot run to the target's inputs: quantile-mapping, "
            "quantile-mapping-one-way or adabn."
        ),
    ] = None,
    probe: Annotated[
        str | None, typer.Option(help="Predict with a defect, on purpose: shuffled-statics.")
    ] = None,
    score_only: Annotated[
        bool, typer.Option("--score-only", help="Score as it predicts and store no fields.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the test period of every test region.

    Example: `elsewhere predict era5-sample runs/add-0 --out predictions/add-0`

    With what the target's own coarse fields tell: `elsewhere predict era5-sample runs/none-0
    --adapt quantile-mapping --out predictions/none-0-qm`
    """
    check_writable(out, where="--out")
    store = pair_store(name, data)
    predictor = open_predictor(store, run, post_hoc=post_hoc, adapt=adapt, probe=probe)
    if score_only:
        _score_only(store, predictor, run, out, as_json=as_json)
        return
    from benchmark.prediction_store import expected_regions, write_predictions

    with progress(f"predict {predictor.card.title}") as advance:
        counted(write_predictions(predictor, store, out), len(expected_regions(store)), advance)
    if as_json:
        print_json({"predictions": str(out)})
    else:
        print(f"{out}: next, `elsewhere score {name} {out} --out DIR`")


def open_predictor(
    store: PairStore,
    run: str,
    *,
    post_hoc: bool = False,
    adapt: str | None = None,
    probe: str | None = None,
) -> Predictor:
    """A null by its name, or the model of a run folder.

    Errors: InputError when `run` is neither, or cannot be changed as asked for.
    """
    from baselines.nulls import NULLS, null

    changes = {"--adapt": adapt is not None, "--probe": probe is not None}
    if run in NULLS:
        _refuse(f"the null {run}", changes)
        if post_hoc:
            fix = "Use bilinear-projected, or `elsewhere constrain` on what it predicts."
            raise InputError(Problem("--post-hoc", "a run folder", f"the null {run}", fix))
        return null(run, store)
    if not Path(run).is_dir():
        fix = nearest(run, list(NULLS))
        raise InputError(Problem(run, "a run folder or the name of a null", "neither", fix))
    from baselines.statistical.runs import is_statistical, open_statistical

    if is_statistical(Path(run)):
        _refuse(f"the statistical model in {run}", changes)
        return open_statistical(Path(run), store, post_hoc=post_hoc)
    from baselines.network import open_network

    return open_network(Path(run), store, post_hoc=post_hoc, adapt=adapt, probe=probe)


def _refuse(what: str, options: dict[str, bool]) -> None:
    given = [option for option, said in options.items() if said]
    if given:
        raise InputError(
            Problem(" ".join(given), "the run of a network", what, "Leave the option out.")
        )


def _score_only(
    store: PairStore, predictor: Predictor, run: str, out: Path, *, as_json: bool
) -> None:
    from benchmark.evaluate import score
    from benchmark.sources import StreamedPredictions

    record = Path(run) / "run.json"
    identity = record.read_text(encoding="utf-8") if record.is_file() else run
    source = StreamedPredictions(predictor, identity)
    announce_scoring(store, source, workers=1)
    with progress("predict and score") as advance:
        scores = score(store, source, out, report=advance)
    if as_json:
        print_json({"scores": str(out / "scores.json")})
    else:
        Console().print(headline_table(store.task, scores))
