"""The tables as CSV, JSON and LaTeX, from the same numbers as the page."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import RELEASE
from benchmark.mismatch import Mismatch
from benchmark.skill import Contrast, as_gap, as_skill
from benchmark.task import Task
from leaderboard.boards import Board, Entry
from leaderboard.intervals import Interval, gap_interval, skill_interval
from leaderboard.mismatch_tables import mismatch_frame

TEX_COLUMNS = {
    "title": "Model", "skip": "Skip", "constraint": "Constraint", "regime": "Regime",
    "skill_id": "ID skill", "skill_ood": "OOD skill", "gap_percent": r"Gap (\%)",
    "regret_percent": r"Regret (\%)", "worst_ood": "Worst OOD",
    "variance_ratio_ood": "Var. ratio OOD",
}  # fmt: skip


def table(boards: Sequence[Board]) -> pd.DataFrame:
    """One line a row and board; a missing number is NaN, a missing word empty."""
    return pd.DataFrame([_line(board, entry) for board in boards for entry in board.entries])


def _line(board: Board, entry: Entry) -> dict[str, Any]:
    card, skill = entry.group.card, entry.skill
    ood, home = skill["test_ood"], skill["test_id"]
    return {
        "variable": board.variable.name,
        "units": board.variable.units,
        "board": board.board,
        "metric": board.metric.name,
        "reference": board.reference,
        "primary": board.primary,
        "resolvable_percent_these_regions": _resolved(board.resolvable.days),
        "resolvable_percent_new_regions": _resolved(board.resolvable.regions),
        "rank": math.nan if entry.rank is None else entry.rank,
        "rank_group": math.nan if entry.rank_group is None else entry.rank_group,
        "row": entry.group.slug,
        "model": card.model,
        "title": card.title,
        "null": card.null,
        "skip": card.skip,
        "constraint": card.constraint,
        "regime": card.regime,
        "exposure": card.exposure,
        "seeds": len(entry.group.rows),
        "skill_id": as_skill(home.mean),
        **_ends("skill_id_these_regions", skill_interval(home.these_regions)),
        **_ends("skill_id_new_regions", skill_interval(home.new_regions)),
        "skill_ood": as_skill(ood.mean),
        **_ends("skill_ood_these_regions", skill_interval(ood.these_regions)),
        **_ends("skill_ood_new_regions", skill_interval(ood.new_regions)),
        "seed_sd_ood": entry.seed_spread,
        "beats_best_null": entry.beats_null,
        "failed_in": " ".join(entry.failed),
        "gap_percent": _percent(entry.gap),
        **_gap_ends("gap_percent", entry.gap),
        "regret_percent": _percent(entry.regret),
        **_gap_ends("regret_percent", entry.regret),
        "median_ood": as_skill(ood.median),
        "worst_region_ood": ood.worst[0],
        "worst_ood": as_skill(ood.worst[1]),
        "variance_ratio_id": entry.variance["test_id"],
        "variance_ratio_ood": entry.variance["test_ood"],
        "resolution_km_ood": entry.resolution_km,
        "trust_km_id": entry.trust_km["test_id"],
        "trust_km_ood": entry.trust_km["test_ood"],
        "fss": board.fss or "",
        "fss_ood": entry.fss,
        "residual_ulps": entry.residual_ulps,
        "residual": entry.residual,
        "negatives_per_million": entry.negatives,
    }


def _percent(result: Contrast | None) -> float:
    return math.nan if result is None else 100 * as_gap(result.mean)


def _gap_ends(name: str, result: Contrast | None) -> dict[str, float]:
    """Both claims about a gap or regret, in percent."""
    claims = {
        "these_regions": None if result is None else result.these_regions,
        "new_regions": None if result is None else result.new_regions,
    }
    ends: dict[str, float] = {}
    for claim, interval in claims.items():
        found = gap_interval(interval)
        percents = None if found is None else (100 * found[0], 100 * found[1])
        ends |= _ends(f"{name}_{claim}", percents)
    return ends


def _ends(name: str, interval: Interval | None) -> dict[str, float]:
    low, high = (math.nan, math.nan) if interval is None else interval
    return {f"{name}_low": low, f"{name}_high": high}


def write_exports(
    folder: Path, boards: Sequence[Board], data_hash: str, *, mismatch: Sequence[Mismatch] = ()
) -> None:
    """`table.csv`, `table.json` and `table.tex`, each with release, task, data hash and banner.

    mismatch: of the products of a real pair, where rows recorded it: `mismatch.csv`, and in
    `table.json` as the rows have it.
    """
    task = boards[0].task
    frame, facts = table(boards), _facts(task, data_hash)
    write_csv(folder / "table.csv", frame, task, data_hash)
    if mismatch:
        write_csv(folder / "mismatch.csv", mismatch_frame(task, mismatch), task, data_hash)
    rows = [
        {str(key): _json(value) for key, value in line.items()}
        for line in frame.to_dict(orient="records")
    ]
    whole: dict[str, Any] = {**facts, "rows": rows}
    if mismatch:
        whole["mismatch"] = [one.model_dump(mode="json") for one in mismatch]
    text = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "table.json").write_text(text + "\n", encoding="utf-8")
    tex = "".join(f"% {key}: {value}\n" for key, value in facts.items())
    tex += "% \\usepackage{booktabs}\n"
    tex += "\n".join(_latex(frame, board) for board in boards)
    (folder / "table.tex").write_text(tex, encoding="utf-8")


def _resolved(log_ratio: float | None) -> float:
    return math.nan if log_ratio is None else 100 * as_gap(log_ratio)


def write_csv(path: Path, frame: pd.DataFrame, task: Task, data_hash: str) -> None:
    """Comment lines that say what the numbers are of, then the table; missing is empty."""
    csv = "".join(f"# {key}: {value}\n" for key, value in _facts(task, data_hash).items())
    csv += frame.to_csv(index=False, lineterminator="\n")
    path.write_text(csv, encoding="utf-8")


def _facts(task: Task, data_hash: str) -> dict[str, str]:
    return {
        "release": RELEASE,
        "task": task.id,
        "data_hash": data_hash,
        "banner": " ".join(task.banner.split()),
    }


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _latex(frame: pd.DataFrame, board: Board) -> str:
    """One booktabs table, a missing number as a dash."""
    chosen = frame[(frame["variable"] == board.variable.name) & (frame["board"] == board.board)]
    shown = chosen[list(TEX_COLUMNS)].copy()
    shown["skip"] = ["yes" if skip else "no" for skip in shown["skip"]]
    for name in shown.columns[shown.dtypes == "float64"]:
        digits = 1 if "percent" in str(name) else 3
        shown[name] = [_tex_number(value, digits) for value in shown[name]]
    for name in ("title", "constraint", "regime"):
        shown[name] = [_tex_text(str(value)) for value in shown[name]]
    heads = " & ".join(TEX_COLUMNS.values())
    claims = (("these regions", board.resolvable.days), ("new regions", board.resolvable.regions))
    differences = [f"{100 * as_gap(d):.1f} % in {claim}" for claim, d in claims if d is not None]
    lines = [" & ".join(line) + r" \\" for line in shown.itertuples(index=False, name=None)]
    caption = _tex_text(
        f"{board.task.id}, release {RELEASE}: {board.variable.long_name}, {board.metric.title}, "
        f"skill over {board.reference}."
        + (f" Smallest resolvable difference: {', '.join(differences)}." if differences else "")
    )
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}",
            rf"\label{{tab:{board.slug}}}", r"\begin{tabular}{llllrrrrrr}", r"\toprule",
            rf"{heads} \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}",
            r"\end{table}", "",
        ]
    )  # fmt: skip


def _tex_number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "--"
    if abs(value) >= 1000:
        mantissa, exponent = f"{value:.1e}".split("e")
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return f"${value:.{digits}f}$"


def _tex_text(text: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash "), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"),
                           ("#", r"\#"), ("$", r"\$"), ("{", r"\{"), ("}", r"\}"),
                           ("~", r"\textasciitilde "), ("^", r"\textasciicircum ")):  # fmt: skip
        text = text.replace(plain, escaped)
    return text
