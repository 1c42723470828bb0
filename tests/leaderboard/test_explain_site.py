"""Random numbers of the site, made again by hand from the sums that `explain` returns."""

import csv
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from benchmark.bins import Bins
from benchmark.explain import Explanation, Mean, Ratio, explain
from benchmark.explain_one import explain_one
from benchmark.explain_rows import find_row
from benchmark.metrics import METRICS
from leaderboard.boards import make_boards
from leaderboard.rows import load_rows
from leaderboard.site import build_site

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results"
TASK = "2026.1/era5-sample@1"
ROWS = ("bilinear/none-zero_shot", "bilinear-dressed/none-zero_shot", "srcnn/none-zero_shot",
        "srcnn/none-oracle")  # fmt: skip
Sums = Mapping[str, Any]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Committed rows: both references, a network with two of its seeds, and its oracle."""
    root = tmp_path_factory.mktemp("committed")
    for row in ROWS:
        for seed in sorted((COMMITTED / TASK / row).glob("seed-[01]")):
            shutil.copytree(seed, root / TASK / row / seed.name)
    return root


@pytest.fixture(scope="module")
def site(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site([committed], tmp_path_factory.mktemp("out") / "site").parent


# Every metric by hand: s are its sums, and what else the formula takes.


def over(name: str, weight: str = "weight") -> Callable[..., float]:
    return lambda s: s[name] / s[weight]


def var(s: Sums, mean: str, square: str, weight: str = "weight") -> float:
    return float(s[square] / s[weight] - (s[mean] / s[weight]) ** 2)


def crps(error: str, pairs: str, weight: str, *, fair: bool) -> Callable[..., float]:
    def compute(s: Sums) -> float:
        count = s["members"] * (s["members"] - 1) if fair else s["members"] * s["members"]
        return float((s[error] - (s[pairs] / count if s["members"] > 1 else 0)) / s[weight])

    return compute


def increment(s: Sums) -> float:
    both = s["increment_pt"] / s["weight"] - s["increment_p"] * s["increment_t"] / s["weight"] ** 2
    p, t = var(s, "increment_p", "increment_pp"), var(s, "increment_t", "increment_tt")
    rounding = 2.0**-46 * s["pp"] / s["weight"]
    return float(both / math.sqrt(p * t)) if p > rounding else math.nan


def table(s: Sums) -> tuple[float, float, float, float]:
    """Hits, false alarms, misses, correct negatives, as shares."""
    f, o, fo = (s[name] / s["weight"] for name in ("event_p", "event_t", "event_pt"))
    return fo, f - fo, o - fo, 1 - f - o + fo


def ets(s: Sums) -> float:
    a, b, miss, _ = table(s)
    chance = (a + b) * (a + miss)
    return (a - chance) / (a + b + miss - chance)


def hss(s: Sums) -> float:
    a, b, miss, d = table(s)
    return 2 * (a * d - b * miss) / ((a + miss) * (miss + d) + (a + b) * (b + d))


def brier(s: Sums) -> float:
    return float((s["event_pp"] - 2 * s["event_pt"] + s["event_t"]) / s["weight"])


def murphy(part: str) -> Callable[..., float]:
    def compute(s: Sums) -> float:
        n, o = np.array(s["reliability"]), np.array(s["reliability_event"])
        total, known = n.sum(), n > 0
        share = o[known] / n[known]
        goal = (
            (np.arange(s["members"] + 1) / s["members"])[known]
            if part == "reliability"
            else o.sum() / total
        )
        return float((n[known] * (share - goal) ** 2).sum() / total)

    return compute


def cdf(s: Sums, name: str) -> tuple[Any, Any]:
    """(finite edges, share below each): bins that count no value are open ones."""
    bins = Bins(**s["bins"])
    counts = np.array(s[name])[: len(bins)]
    below = np.concatenate([[0.0], counts.cumsum()]) / counts.sum()
    inside = np.isfinite(bins.edges)
    return bins.edges[inside], below[inside]


def quantile(s: Sums, name: str, q: float) -> float:
    edges, below = cdf(s, name)
    k = int(np.argmax(below >= q))  # the first edge that has as much below it
    if k == 0:
        return 0.0
    return float(
        edges[k - 1] + (q - below[k - 1]) / (below[k] - below[k - 1]) * (edges[k] - edges[k - 1])
    )


def tail(q: float) -> Callable[..., float]:
    return lambda s: quantile(s, "bin_p", q) - quantile(s, "bin_t", q)


def wasserstein(s: Sums) -> float:
    (edges, p), (_, t) = cdf(s, "bin_p"), cdf(s, "bin_t")
    fine = np.concatenate([np.linspace(a, b, 50, endpoint=False)
                           for a, b in pairwise(edges)])  # fmt: skip
    return float(np.trapezoid(abs(np.interp(fine, edges, p) - np.interp(fine, edges, t)), fine))


def perkins(s: Sums) -> float:
    groups = Bins(**s["bins"]).groups
    shares = []
    for name in ("bin_p", "bin_t"):
        counts = np.array(s[name])[: s["bin_count"]]
        ends = [*groups[1:], len(counts)]
        shares.append([counts[a:b].sum() / counts.sum()
                       for a, b in zip(groups, ends, strict=True)])  # fmt: skip
    return float(np.minimum(*np.array(shares)).sum())


def wet(s: Sums) -> float:
    (edges, p), (_, t) = cdf(s, "bin_p"), cdf(s, "bin_t")
    return float(np.interp(0.1, edges, t) - np.interp(0.1, edges, p))


def power(s: Sums) -> tuple[Any, Any]:
    return np.array(s["power_p"]), np.array(s["power_t"])


def decibels(p: Any, t: Any) -> float:
    known = (p > 0) & (t > 0)
    return float(np.sqrt(np.mean((10 * np.log10(p[known] / t[known])) ** 2)))


def resolution(s: Sums) -> float:
    p, t = power(s)
    k, last = np.array(s["wavenumber"]), None
    for ring, ratio in enumerate(p / t):
        if ratio < 0.75:
            if last is None:
                return float(1 / k[ring])
            before = p[last] / t[last]
            crossing = k[last] + (before - 0.75) / (before - ratio) * (k[ring] - k[last])
            return float(max(1 / crossing, s["finest_km"]))
        last = ring
    return float(s["finest_km"])


def amplitude(s: Sums) -> float:
    p, t = power(s)
    return float(((np.sqrt(p) - np.sqrt(t)) ** 2).sum() / s["images"])


def amse(s: Sums) -> float:
    p, t = power(s)
    away = 1 - np.array(s["cross"]) / np.sqrt(p * t)
    return amplitude(s) + float((2 * np.maximum(p, t) * away).sum() / s["images"])


def psnr(s: Sums) -> float:
    return 10 * math.log10(s["data_range"] ** 2 / (s["squared_error"] / s["weight"]))


def r2(squared: str, mean: str, square: str, weight: str) -> Callable[..., float]:
    return lambda s: 1 - s[squared] / s["weight"] / var(s, mean, square, weight)


HAND: dict[str, Callable[..., float]] = {
    "bias": over("error"),
    "mae": over("abs_error"),
    "rmse": lambda s: math.sqrt(s["squared_error"] / s["weight"]),
    "variance_ratio": lambda s: var(s, "p", "pp") / var(s, "t", "tt"),
    "increment_correlation": increment,
    "r2": r2("squared_error", "t", "tt", "weight"),
    "r2_anomaly": r2("squared_error", "anomaly_t", "anomaly_tt", "climate_weight"),
    "psnr": psnr,
    "crps_fair": crps("member_abs_error", "pair_spread", "weight", fair=True),
    "crps_ecdf": crps("member_abs_error", "pair_spread", "weight", fair=False),
    "block_crps": crps("scale_abs_error", "scale_pair_spread", "scale_weight", fair=True),
    "tw_crps": crps("tw_abs_error", "tw_pair_spread", "weight", fair=True),
    "spread_skill": lambda s: math.sqrt(
        (s["members"] + 1) / s["members"] * s["member_variance"] / s["squared_error"]),
    "outer_ranks": lambda s: (s["rank_weight"][0] + s["rank_weight"][s["members"]]) / s["weight"]
    * (s["members"] + 1) / 2,
    "rank_histogram": lambda s: s["rank_weight"] / s["weight"] * (s["members"] + 1),
    "residual": over("residual_abs", "block_weight"),
    "residual_rms": lambda s: math.sqrt(s["residual_squared"] / s["block_weight"]),
    "truth_residual": over("truth_residual_abs", "whole_block_weight"),
    "residual_ulps": lambda s: s["residual_max"] / (2.0**-23 * s["coarse_max"]),
    "negatives": lambda s: 1e6 * s["negative"] / s["weight"],
    "mismatch": over("mismatch_abs", "whole_block_weight"),
    "csi": lambda s: table(s)[0] / sum(table(s)[:3]),
    "ets": ets,
    "hss": hss,
    "frequency_bias": lambda s: s["event_p"] / s["event_t"],
    "brier": lambda s: brier(s),
    "brier_fair": lambda s: brier(s)
    - (s["event_p"] - s["event_pp"]) / s["weight"] / max(s["members"] - 1, 1),
    "brier_skill": lambda s: 1 - brier(s)
    / (s["event_t"] / s["weight"] * (1 - s["event_t"] / s["weight"])),
    "reliability": murphy("reliability"),
    "resolution": murphy("resolution"),
    "p95_error": tail(0.95),
    "p99_error": tail(0.99),
    "p99_9_error": tail(0.999),
    "p99_99_error": tail(0.9999),
    "wet_fraction_error": wet,
    "wasserstein_1": wasserstein,
    "perkins": perkins,
    "fss": lambda s: 1 - s["fss_numerator"] / (s["fss_p"] + s["fss_t"]),
    "log_spectral_distance": lambda s: decibels(*power(s)),
    "effective_resolution": resolution,
    "coherence": lambda s: sum(s["cross"]) / np.sqrt(np.prod(power(s), axis=0)).sum(),
    "amplitude_error": amplitude,
    "decorrelation_error": lambda s: 2
    * (np.sqrt(np.prod(power(s), axis=0)).sum() - sum(s["cross"])) / s["images"],
    "amse": amse,
    "nyquist_excess": lambda s: 10 * math.log10(s["nyquist_p"] / s["nyquist_t"]),
    "structure_ratio": lambda s: math.sqrt(s["structure_p"] / s["structure_t"]),
    "ssim": over("ssim", "images"),
    "ms_ssim": over("ms_ssim", "large_images"),
}  # fmt: skip


def one(found: Explanation) -> float:
    """The metric of one seed in one region, from its sums alone."""
    base = found.entry.partition("[")[0]
    return float(HAND[base]({**found.totals, **found.constants}))


def logs(seeds: Mapping[int, Mapping[str, Explanation]]) -> Any:
    """(seed, region) ln S by hand."""
    return np.log([[one(found) for found in regions.values()] for regions in seeds.values()])


def by_region(found: Ratio) -> Any:
    """(region,) ln(S / S_other) by hand, each ln S the mean over seeds."""
    return logs(found.mine.seeds).mean(axis=0) - logs(found.other.seeds).mean(axis=0)


def skill(found: Ratio) -> float:
    return float(1 - np.exp(by_region(found).mean()))


def median(found: Ratio) -> float:
    return float(1 - np.exp(np.median(by_region(found))))


def worst(found: Ratio) -> float:
    return float(1 - np.exp(by_region(found).max()))


def gap_percent(found: Ratio) -> float:
    return float(100 * (np.exp(by_region(found).mean()) - 1))


def seed_spread(found: Ratio) -> float:
    other = logs(found.other.seeds).mean(axis=0)
    skills = [1 - np.exp((mine - other).mean()) for mine in logs(found.mine.seeds)]
    return float(np.std(skills, ddof=1))


def geometric(found: Mean) -> float:
    return float(np.exp(logs(found.seeds).mean()))


def values(found: Mean) -> Any:
    return np.array([[one(each) for each in regions.values()] for regions in found.seeds.values()])


COLUMNS: dict[str, tuple[str, str, Callable[[Any], float]]] = {
    "ID skill": ("skill", "test_id", skill),
    "OOD skill": ("skill", "test_ood", skill),
    "Seed spread": ("skill", "test_ood", seed_spread),
    "Paired gap": ("gap", "test_ood", gap_percent),
    "Transfer regret": ("regret", "test_ood", gap_percent),
    "Median region": ("skill", "test_ood", median),
    "Worst region": ("skill", "test_ood", worst),
    "Variance ratio, OOD": ("variance_ratio", "test_ood", geometric),
    "Variance ratio, ID": ("variance_ratio", "test_id", geometric),
    "Effective resolution": ("effective_resolution", "test_ood", geometric),
    "FSS": ("fss", "test_ood", lambda m: float(values(m).mean())),
    "Largest residual": ("residual_ulps", "test", lambda m: float(values(m).max())),
    "Mean residual": ("residual", "test", lambda m: float(values(m).mean())),
    "Negatives": ("negatives", "test", lambda m: float(values(m).mean())),
}
"""Heading of a board: (metric, place, the arithmetic)."""


def assert_shows(text: str, value: float) -> None:
    """A displayed number is this value at the digits that are displayed."""
    mantissa, _, exponent = text.replace("−", "-").partition("e")
    _, _, decimals = mantissa.partition(".")
    scale = 10.0 ** int(exponent or 0)
    assert abs(float(mantissa) * scale - value) <= 0.500001 * scale * 10.0 ** -len(decimals), text


def numbers_of_boards(page: Any) -> list[tuple[str, str, dict[str, str], str]]:
    """(heading, text, words of the line's command, fss entry) of every number on the boards."""
    found = []
    for board in (t for t in page.all("table") if t.attrs.get("id", "").startswith("table-")):
        heads = [head.text for head in board.one("thead").all("th")]
        for line in (tr for tr in board.all("tr") if "data-row" in tr.attrs):
            cells = [child for child in line.children if not isinstance(child, str)]
            words = shlex.split(line.attrs["data-explain"])
            options = {"row": words[2], "variable": words[6], "board": words[8]}
            for head, cell in zip(heads, cells, strict=True):
                key = next((key for key in COLUMNS if head.startswith(key)), None)
                text = cell.text.split(" ")[0]
                if key and text != "–":
                    found.append((key, text, options, head[4:].removesuffix(", OOD")))
    return found


def test_ten_random_numbers_by_hand(
    site: Path, committed: Path, parse: Callable[[Path], Any]
) -> None:
    """Six of the boards, each of another column, and ten of the models' pages."""
    generator = np.random.default_rng(20261)
    boards = numbers_of_boards(parse(site / "index.html"))
    assert {key for key, *_ in boards} == set(COLUMNS)
    for column in generator.permutation(list(COLUMNS))[:6]:
        of_column = [number for number in boards if number[0] == column]
        key, text, options, fss = of_column[generator.integers(len(of_column))]
        name, place, arithmetic = COLUMNS[key]
        found = explain(
            committed / options["row"],
            f"fss[{fss}]" if name == "fss" else name,
            place,
            variable=options["variable"],
            board=options["board"] if name in ("skill", "gap", "regret") else None,
        )
        value = one(found) if isinstance(found, Explanation) else arithmetic(found)
        said = found.seed_spread if arithmetic is seed_spread else found.value  # type: ignore[union-attr]
        if arithmetic not in (median, worst):
            percent = 100 if arithmetic is gap_percent else 1
            assert value == pytest.approx(percent * said, rel=1e-9, abs=1e-12)  # type: ignore[operator]
        assert_shows(text, value)

    pages = [parse(path) for path in sorted((site / "models").glob("*.html"))]
    for _ in range(10):
        page = pages[generator.integers(len(pages))]
        block = generator.choice(page.all("details", data_variable="t2m")
                                 + page.all("details", data_variable="precipitation"))  # fmt: skip
        words = shlex.split(block.attrs["data-explain"])
        sheets = block.all("table")
        sheet = sheets[generator.integers(len(sheets))]
        entries = [head.attrs["data-entry"] for head in sheet.all("th")[1:]
                   if "data-entry" in head.attrs]  # fmt: skip
        lines = [tr for body in sheet.all("tbody", class_="rows") for tr in body.all("tr")]
        shown = [(entry, line.one("th").text, cell.text)
                 for line in lines
                 for entry, cell in zip(entries, line.all("td"), strict=True)
                 if cell.text != "–"]  # fmt: skip
        entry, region, text = shown[generator.integers(len(shown))]
        found = explain(committed / words[2], entry, region, variable=words[6])
        assert isinstance(found, Explanation)
        assert_shows(text, one(found))


def test_every_metric_is_known_by_hand(committed: Path) -> None:
    """One place of each metric, of one member and of several: value and arithmetic agree."""
    assert {
        name for name in METRICS if not re.match("orbit2|wassdiff|ganvsdiffusion", name)
    } == set(HAND)
    labels = {"threshold": ">= P95", "window": "5 cells", "scale": "4 cells", "axis": "x",
              "lag": "2 cells", "rank": "rank 1"}  # fmt: skip
    missing = set()
    for row in ("bilinear-dressed/none-zero_shot", "srcnn/none-zero_shot/seed-1"):
        (seed,) = find_row(committed / TASK / row).seeds
        for name in HAND:
            places = ", ".join(labels[dim] for dim in METRICS[name].over)
            entry = f"{name}[{places}]" if places else name
            found = explain_one(seed, entry, "brazil-south-laplata", variable="precipitation")
            if found.value is None:
                missing.add(name)
            else:
                by_hand = one(found)
                assert by_hand == pytest.approx(found.value, rel=2e-3 if name == "wasserstein_1"
                                                else 1e-9, abs=1e-12), name  # fmt: skip
    assert missing <= {"spread_skill", "outer_ranks", "ms_ssim", "p95_error", "p99_error",
                       "p99_9_error", "p99_99_error"}  # fmt: skip


def test_the_commands_that_the_site_prints_work(
    site: Path,
    committed: Path,
    parse: Callable[[Path], Any],
    elsewhere: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copied from the index, a line of a board and a model's page, run among the results."""
    monkeypatch.chdir(committed)
    index = parse(site / "index.html")
    check = index.one("section", id="check")
    commands = [
        code.text for code in check.all("code") if code.text.startswith("elsewhere explain ")
    ]
    said = [head.text.split(" ")[0] for line in check.all("tr")[1:] for head in line.all("th")]
    assert {"OOD", "ID", "Paired", "Transfer", "FSS", "Largest", "Score", "Ratio"} <= set(said)
    model = parse(site / "models" / "srcnn-none-zero_shot.html")
    commands += [model.one("p", id="check").all("code")[1].text]
    commands += [line.attrs["data-explain"] for line in index.all("tr", data_row=(
        "bilinear-dressed-none-zero_shot"))[:1]]  # fmt: skip
    for command in commands:
        program, *words = shlex.split(command)
        done = elsewhere(*words)
        assert program == "elsewhere"
        assert (done.returncode, done.stderr) == (0, ""), command
        assert " = missing" not in done.stdout


def test_points_of_the_scale_of_trust(
    site: Path,
    committed: Path,
    elsewhere: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each point of the CSV has a command; three of them give the skill that stands beside it."""
    monkeypatch.chdir(committed)
    text = (site / "models" / "srcnn-none-zero_shot-scale-of-trust.csv").read_text()
    lines = list(csv.DictReader(line for line in text.splitlines() if line[0] != "#"))
    for line in np.random.default_rng(12).choice(lines, 3, replace=False):
        program, *words = shlex.split(line["explain"])
        done = elsewhere(*words, "--json")
        assert (program, done.returncode, done.stderr) == ("elsewhere", 0, "")
        assert json.loads(done.stdout)["skill"] == pytest.approx(float(line["skill"]), rel=1e-9)


def test_what_a_table_resolves(committed: Path, tmp_path: Path) -> None:
    """With two ranked rows the table's number is that of their pair, and of the pair reversed."""
    root = tmp_path / "results"
    shutil.copytree(committed, root)
    pair = ("srcnn/none-zero_shot", "srcnn-skip/softmax-zero_shot")
    shutil.copytree(COMMITTED / TASK / pair[1] / "seed-0", root / TASK / pair[1] / "seed-0")
    (rows,) = load_rows([root])
    board = make_boards(rows)[0]
    assert board.resolvable.days is None
    assert board.resolvable.regions is not None
    for mine, other in (pair, pair[::-1]):
        found = explain(root / TASK / mine, "rmse", "test_ood", against=other)
        assert isinstance(found, Ratio)
        assert found.resolvable["these_regions"] is None
        share = math.expm1(board.resolvable.regions)
        assert found.resolvable["new_regions"] == pytest.approx(share, rel=1e-9)
