"""What rows say of a real pair's two products: checked, compared, and shown by variable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from benchmark.mismatch import Mismatch, Octave
from benchmark.results import SCORES, Scores, find_scores, read_scores
from benchmark.task import Task
from benchmark.task_files import load_task
from leaderboard.mismatch_tables import mismatch_frame, mismatch_of
from leaderboard.mismatches import check_mismatch, check_one_mismatch
from leaderboard.render import environment
from leaderboard.rows import Group, Row, TaskRows

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
A, B = Path("rows/a"), Path("rows/b")


@pytest.fixture(scope="module")
def pair() -> Task:
    """A real pair of two variables."""
    wind, temperature = load_task("cerra-wind"), load_task("cerra-t2m")
    return wind.model_copy(update={"variables": wind.variables + temperature.variables})


@pytest.fixture(scope="module")
def found(pair: Task) -> list[Mismatch]:
    """Of all regions and variables, each with a bias of its own; the first has none, and fewer
    waves.
    """
    names = sorted(region.name for region in pair.regions)
    return [
        Mismatch(
            variable=variable.name, region=name, units=variable.units,
            bias=k - 3.0 + 10 * v if k else None, correlation=0.5, variance_ratio=2.0, values=9,
            whole_steps=1, coherence=tuple(
                Octave(shortest_km=(54.0 + k) * 2**n, coherence=0.25 * n)
                for n in range(2 + (k > 0))
            ),
        )
        for k, name in enumerate(names) for v, variable in enumerate(pair.variables)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def scored() -> Scores:
    return read_scores(find_scores([RESULTS])[0])


@pytest.fixture
def row_with(scored: Scores) -> Callable[..., Scores]:
    """A row's scores with this mismatch."""
    return lambda mismatch, **changes: scored.model_copy(
        update={"mismatch": tuple(mismatch), **changes}
    )


def changed(found: list[Mismatch], where: int, **changes: Any) -> list[Mismatch]:
    """One of them changed."""
    return [
        one.model_copy(update=changes) if number == where else one
        for number, one in enumerate(found)
    ]


def waves(one: Mismatch, **changes: Any) -> tuple[Octave, ...]:
    """Its octaves, the last changed."""
    return (*one.coherence[:-1], one.coherence[-1].model_copy(update=changes))


def test_all_of_the_task_or_nothing(
    pair: Task, found: list[Mismatch], row_with: Callable[..., Scores]
) -> None:
    """A row from before it was recorded has none; else each region and variable, in its units."""
    assert check_mismatch(pair, row_with([]), A) == []
    assert check_mismatch(pair, row_with(found), A) == []
    first = f"{found[0].region} {found[0].variable} in "
    for wrong, said in (
        (found[1:], f"{first}m s-1"),
        ([*found, *found[:1]], "another order"),
        (changed(found, 0, units="K"), f"{first}m s-1, {first}K"),
        (found[::-1], "another order"),
    ):
        (problem,) = check_mismatch(pair, row_with(wrong), A)
        assert problem.where == f"{A}/{SCORES}: mismatch"
        assert problem.got.endswith(said)


def test_one_product_has_no_mismatch(
    found: list[Mismatch], scored: Scores, row_with: Callable[..., Scores]
) -> None:
    task = load_task("era5-sample")
    assert check_mismatch(task, scored, A) == []
    (problem,) = check_mismatch(task, row_with(found[:1]), A)
    assert problem.expected == "none on perfect_model"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bias": -2.0 * (1 + 1e-7)}, "bias"),
        ({"correlation": None}, "correlation: 0.5 there, None here"),
        ({"variance_ratio": 2.1}, "variance_ratio"),
        ({"values": 8}, "values"),
        ({"whole_steps": 2}, "whole_steps"),
        ({"last": {"coherence": 0.51}}, "coherence[2]: 0.5 there"),
        ({"last": {"coherence": None}}, "coherence[2]: 0.5 there"),
        ({"last": {"shortest_km": 220.0001}}, "coherence[2], shortest_km"),
        ({"coherence": ()}, "other octaves"),
    ],
)
def test_two_rows_that_contradict(
    changes: dict[str, Any], said: str, found: list[Mismatch], row_with: Callable[..., Scores]
) -> None:
    """Of one data hash: where, and what differs; of others each is itself."""
    last = {"coherence": waves(found[2], **changes["last"])} if "last" in changes else changes
    other = changed(found, 2, **last)
    (problem,) = check_one_mismatch([(A, row_with(found)), (B, row_with(other))])
    assert problem.where == f"{B}/{SCORES}: mismatch"
    assert problem.expected == f"that of {A} in {found[2].region} for {found[2].variable}"
    assert problem.got.startswith(said)
    elsewhere = row_with(other, data_hash="another")
    assert check_one_mismatch([(A, row_with(found)), (B, elsewhere)]) == []


def test_rounding_and_absence_contradict_nothing(
    found: list[Mismatch], row_with: Callable[..., Scores]
) -> None:
    """Sums are of double precision, transforms of single; an older row says nothing."""
    near = changed(found, 2, bias=-2.0 * (1 + 1e-12), coherence=waves(found[2], coherence=0.500005))
    rows = [(A, row_with([])), (A, row_with(found)), (B, row_with(near)), (B, row_with([]))]
    assert check_one_mismatch(rows) == []


def rows_of(task: Task, *scores: Scores) -> TaskRows:
    """Rows of which only the scores are asked for, each a group."""
    nothing = xr.Dataset()
    rows = (
        Row(folder=A, scores=one, cases=nothing, numbers={}, regions=(), spectra=nothing)
        for one in scores
    )
    return TaskRows(task, scores[0].data_hash, tuple(Group((row,)) for row in rows))


def section(rows: TaskRows, folder: Path) -> Path:
    """That part of the page."""
    made = environment().get_template("mismatch.html.j2")
    text = made.render(task=rows.task, mismatch=mismatch_of(rows))
    (folder / "part.html").write_text(text, encoding="utf-8")
    return folder / "part.html"


def test_a_table_for_each_variable(
    pair: Task, found: list[Mismatch], row_with: Callable[..., Scores], tmp_path: Path,
    parse: Callable[[Path], Any],
) -> None:  # fmt: skip
    """With its units; a missing number is a dash, as are waves that a region lacks."""
    page = parse(section(rows_of(pair, row_with([]), row_with(found)), tmp_path))
    assert "Recorded by 1 row when" in page.text
    assert page.text.count("Not recorded by") == 1
    longest = 54.0 + len(pair.regions) - 1
    for variable, units, bias in (("wind_speed", "m s-1", "−2.00"), ("t2m", "K", "8.00")):
        table = page.one("table", id=f"mismatch-{variable}")
        heads = [head.text for head in table.one("thead").all("th")]
        assert heads[2] == f"Bias, {units}"
        assert heads[5] == f"Coherence, 54.0 to {2 * longest:.0f} km"
        assert len(heads) == 8
        lines = {line.attrs["data-region"]: line for line in table.one("tbody").all("tr")}
        assert set(lines) == {region.name for region in pair.regions}
        one, two = found[0].region, found[2].region
        texts = {name: [td.text for td in lines[name].all("td")][1:] for name in (one, two)}
        assert texts[one] == ["–", "0.500", "2.00", "0", "0.250", "–"]
        assert texts[two] == [bias, "0.500", "2.00", "0", "0.250", "0.500"]
        linked = {name for name, line in lines.items() if line.all("a")}
        assert linked == {r.name for r in pair.regions if r.role != "val_ood"}


def test_rows_from_before_it_was_recorded(
    pair: Task, row_with: Callable[..., Scores], tmp_path: Path, parse: Callable[[Path], Any]
) -> None:
    """No number; on the perfect-model track not even that."""
    page = parse(section(rows_of(pair, row_with([])), tmp_path))
    assert "Not recorded: these rows were scored before it was." in page.text
    assert not page.all("table")
    assert mismatch_of(rows_of(load_task("era5-sample"), row_with([]))) is None


def test_the_frame(pair: Task, found: list[Mismatch]) -> None:
    """A line a variable and region; NaN for what is missing."""
    frame = mismatch_frame(pair, found)
    assert frame[["region", "variable"]].values.tolist() == [[o.region, o.variable] for o in found]
    assert list(frame.columns[7:11]) == ["finest_km", *(f"coherence_{k}" for k in (1, 2, 3))]
    assert frame.iloc[:2][["bias", "coherence_3"]].isna().all(axis=None)
    assert frame.iloc[2][["bias", "coherence_3", "finest_km"]].tolist() == [-2.0, 0.5, 55.0]
