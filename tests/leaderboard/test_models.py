"""Model pages: each number in its column, families, what is left out, and the two curves."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmark.case_table import load_table
from benchmark.errors import InputError
from benchmark.metrics import METRICS
from benchmark.results import CASES
from benchmark.task import Task
from benchmark.task_files import load_task
from leaderboard.boards import fss_entry
from leaderboard.curves import power_ratio, scale_of_trust
from leaderboard.models import scale_alt, spectrum_alt
from leaderboard.render import plain
from leaderboard.rows import Group, TaskRows, load_rows
from leaderboard.sheets import PAPERS, paper_score, sheets_of, words_of

ADD = "srcnn-add-zero_shot"


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("era5-sample")


@pytest.fixture(scope="module")
def rows(results: Path) -> TaskRows:
    (found,) = load_rows([results])
    return found


@pytest.fixture(scope="module")
def page(site: Path, parse: Callable[[Path], Any]) -> Any:
    return parse(site / "models" / f"{ADD}.html")


def group_of(rows: TaskRows, slug: str) -> Group:
    return next(group for group in rows.groups if group.slug == slug)


def totals_of(group: Group, number: int = 0) -> xr.Dataset:
    return load_table(group.rows[number].folder / CASES)[1]


def block(page: Any, variable: str, seed: int = 0) -> Any:
    return page.one("details", data_variable=variable, data_seed=str(seed))


def columns(table: Any) -> list[str]:
    return [head.text for head in table.one("thead").all("th")]


def cells(table: Any, column: str) -> dict[str, Any]:
    """{region: cell} of the one column whose heading begins so."""
    (k,) = (k for k, text in enumerate(columns(table)) if text.startswith(column))
    lines = (line for body in table.all("tbody", class_="rows") for line in body.all("tr"))
    return {line.one("th").text: line.all("td")[k - 1] for line in lines}


def by_hand(totals: xr.Dataset, sheet: str, variable: str, region: str) -> dict[str, float]:
    """{heading: value} of some entries, from sums alone."""
    at = totals.sel(variable=variable, region=region)
    if sheet == "CSI":
        p, t, both = (at[name].values for name in ("event_p", "event_t", "event_pt"))
        return {">= 0.1 mm h-1": (both / (p + t - both))[0], ">= P95": (both / (p + t - both))[2]}
    if sheet == "FSS":
        of = (at["fss_numerator"] / (at["fss_p"] + at["fss_t"])).values
        return {">= 1 mm h-1, 3 cells": 1 - of[1, 1], ">= P95, 9 cells": 1 - of[2, 3]}
    if sheet == "CRPS of block means":  # one member: the mean absolute error
        of = (at["scale_abs_error"] / at["scale_weight"]).values
        return {"2 cells": of[0], "16 cells": of[3]}
    of = np.sqrt((at["structure_p"] / at["structure_t"]).values)
    return {"y, 4 cells": of[0, 2], "x, 1 cells": of[1, 0]}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sheet", ["CSI", "FSS", "CRPS of block means", "structure function ratio"])
def test_entries_stand_in_their_columns(sheet: str, seed: int, page: Any, rows: TaskRows) -> None:
    totals = totals_of(group_of(rows, ADD), seed)
    table = block(page, "precipitation", seed).one("table", data_sheet=sheet)
    for region in ("andes-south", "europe-west"):
        for heading, value in by_hand(totals, sheet, "precipitation", region).items():
            assert cells(table, heading)[region].text == plain(value)


def test_main_tables_hold_full_numbers_by_region(page: Any, rows: TaskRows) -> None:
    at = totals_of(group_of(rows, ADD), 1).sel(variable="wind_speed", region="tibetan-plateau")
    found = block(page, "wind_speed", 1)
    alone = at.sel(stratum="all")
    hand = {
        ("Ensemble mean", "RMSE"): math.sqrt(alone["squared_error"] / alone["weight"]),
        ("Ensemble mean", "bias"): float(alone["error"] / alone["weight"]),
        ("Neighbourhood, spectrum and structure", "SSIM"): float(at["ssim"] / at["images"]),
        ("Neighbourhood, spectrum and structure", "excess power at Nyquist"): 10
        * math.log10(at["nyquist_p"] / at["nyquist_t"]),
    }
    for (sheet, column), value in hand.items():
        cell = cells(found.one("table", data_sheet=sheet), column)["tibetan-plateau"]
        assert float(cell.attrs["data-value"]) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("variable", ["t2m", "precipitation"])
def test_every_entry_is_shown_once_or_its_metric_named_as_missing(
    variable: str, page: Any, rows: TaskRows
) -> None:
    found = block(page, variable)
    heads = [th for table in found.all("table") for th in table.one("thead").all("th")]
    shown = [head.attrs["data-entry"] for head in heads if "data-entry" in head.attrs]
    known = {
        entry
        for row in group_of(rows, ADD).rows
        for entry, values in row.numbers[variable].items()
        if np.isfinite(values).any()
    }
    assert sorted(shown) == sorted(known)
    bases = {entry.partition("[")[0] for entry in known}
    titles = [metric.title for name, metric in METRICS.items() if name not in bases]
    assert "HRRE (WassDiff)" in titles
    assert ("error of the wet fraction" in titles) is (variable == "t2m")
    text = found.one("p", class_="absent").text
    assert text == f"Without a value in any region: {', '.join(titles)}."


def test_headings_say_unit_and_direction(page: Any) -> None:
    heads = columns(block(page, "t2m").one("table", data_sheet="Ensemble mean"))
    assert "RMSE K, lower is better" in heads
    assert "variance ratio nearer to 1 is better" in heads
    assert "PSNR dB, higher is better" in heads
    fields = block(page, "t2m").one("table", data_sheet="Neighbourhood, spectrum and structure")
    assert "AMSE (K)², lower is better" in columns(fields)
    part = block(page, "t2m").one("table", data_sheet="CRPS of block means")
    assert "K, lower is better" in part.one("caption").text


def test_sections_and_parts(page: Any) -> None:
    found = block(page, "t2m")
    for table in found.all("table"):
        heads = [head.text for head in table.all("tbody", class_="section-head")]
        assert heads == ["In distribution (ID)", "Elsewhere (OOD)"]
        assert [len(body.all("tr")) for body in table.all("tbody", class_="rows")] == [9, 12]
    inside = {t.attrs["data-sheet"] for part in found.all("details") for t in part.all("table")}
    assert {"CSI", "FSS", "CRPS of block means", "structure function ratio"} <= inside
    assert "Ensemble mean" not in inside
    assert all("open" not in part.attrs for part in found.all("details"))


def test_papers_stand_apart(rows: TaskRows, task: Task) -> None:
    """Where a paper's score has values it is under the papers' heading only."""
    group = group_of(rows, ADD)
    row = group.rows[0]
    numbers = {**row.numbers, "precipitation": dict(row.numbers["precipitation"])}
    numbers["precipitation"]["wassdiff_hrre"] = np.ones(len(row.regions))
    (sheets,) = (
        s
        for s in sheets_of(task, Group((replace(row, numbers=numbers),)))
        if s.name == "precipitation"
    )
    own = [f.title for f in sheets.families if f.main and any(
        column.entry == "wassdiff_hrre" for column in f.main.columns)]  # fmt: skip
    assert own == [PAPERS]
    assert "HRRE (WassDiff)" not in sheets.missing
    assert {name for name, m in METRICS.items() if paper_score(m)} == {
        "orbit2_quantile_rmse_68", "orbit2_quantile_rmse_95", "orbit2_quantile_rmse_99_7",
        "wassdiff_hrre", "wassdiff_mppe", "ganvsdiffusion_ralsd", "ganvsdiffusion_lhd",
    }  # fmt: skip


def test_words_of_what_follows_from_a_vector(task: Task) -> None:
    assert words_of(task, "wind_speed") == ("10 metre wind speed", "m s-1")
    assert words_of(task, "wind_divergence") == ("wind divergence", "s-1")


def block_scores(group: Group, cells_: int, variable: str, regions: list[str]) -> Any:
    """(region,) mean over seeds of ln CRPS from sums, for one member or the fair form of M."""
    logs = []
    for number in range(len(group.rows)):
        at = totals_of(group, number).sel(variable=variable, region=regions)
        m = at.attrs["members"]
        if cells_ == 1:
            at = at.sel(stratum="all")
            error, spread, weight = at["member_abs_error"], at["pair_spread"], at["weight"]
        else:
            at = at.sel(scale=cells_)
            error, spread = at["scale_abs_error"], at["scale_pair_spread"]
            weight = at["scale_weight"]
        fair = spread / (m * (m - 1)) if m > 1 else 0 * spread
        logs.append(np.log(((error - fair) / weight).values))
    return np.mean(logs, axis=0)


@pytest.mark.parametrize("split", ["test_id", "test_ood"])
@pytest.mark.parametrize("variable", ["t2m", "precipitation"])
def test_scale_of_trust_by_hand(
    split: Any, variable: str, rows: TaskRows, task: Task, site: Path
) -> None:
    regions = [region.name for region in task.regions_of(split)]
    group = group_of(rows, ADD)
    lines = [
        line
        for line in csv.DictReader(
            text
            for text in (site / "models" / f"{ADD}-scale-of-trust.csv").read_text().splitlines()
            if not text.startswith("# ")
        )
        if line["variable"] == variable and line["split"] == split
    ]
    points = scale_of_trust(rows, group, variable, split)
    assert [point.cells for point in points] == [1, 2, 4, 8, 16]
    km = totals_of(group)["cell_km"].sel(region=regions).values.mean()
    for point, line in zip(points, lines, strict=True):
        nulls = {n.slug: block_scores(n, point.cells, variable, regions) for n in rows.nulls}
        best = min(nulls, key=lambda slug: nulls[slug].mean())
        mine = block_scores(group, point.cells, variable, regions)
        assert point.null == line["best_null"] == best
        assert point.skill == pytest.approx(1 - math.exp((mine - nulls[best]).mean()), abs=1e-12)
        assert float(line["skill"]) == pytest.approx(point.skill, abs=1e-15)
        assert point.km == pytest.approx(point.cells * km, rel=1e-12)


def test_no_null_is_ahead_of_the_best(rows: TaskRows) -> None:
    points = [
        [p.skill for p in scale_of_trust(rows, null, "t2m", "test_ood")] for null in rows.nulls
    ]
    assert np.max(points, axis=0) == pytest.approx(np.zeros(5), abs=1e-12)


def test_stratified_members_have_no_scale_of_trust(rows: TaskRows) -> None:
    group = group_of(rows, ADD)
    card = group.card.model_copy(update={"members": "stratified"})
    row = replace(group.rows[0], scores=group.rows[0].scores.model_copy(update={"model": card}))
    points = scale_of_trust(rows, Group((row,)), "t2m", "test_ood")
    assert all(math.isnan(point.skill) for point in points)


def test_power_ratio_where_regions_share_their_rings(rows: TaskRows, task: Task) -> None:
    """The ID boxes have one latitude, so nothing is interpolated."""
    group = group_of(rows, ADD)
    regions = [region.name for region in task.regions_of("test_id")]
    at = totals_of(group).sel(variable="t2m", region=regions)
    k = at["wavenumber"].values[0]
    known = np.isfinite(k)
    hand = np.exp(np.log((at["power_p"] / at["power_t"]).values[:, known]).mean(axis=0))
    found = power_ratio(task, group, "t2m", "test_id")
    np.testing.assert_allclose(found.wavelength_km, 1 / k[known], rtol=1e-12)
    np.testing.assert_allclose(found.ratio, hand, rtol=1e-9)


def changed(group: Group, change: Callable[[xr.Dataset], xr.Dataset]) -> Group:
    return Group(tuple(replace(row, spectra=change(row.spectra.copy(deep=True)))
                       for row in group.rows))  # fmt: skip


def test_power_ratio_between_rings_of_unlike_regions(rows: TaskRows, task: Task) -> None:
    """(k / 1e-3)^-0.7 is a straight line in ln k: interpolation gives it back in every box."""

    def power_law(spectra: xr.Dataset) -> xr.Dataset:
        # The sample's boxes are all as high, so their rings agree: here each has its own.
        stretch = xr.DataArray(1 + 0.01 * np.arange(spectra.sizes["region"]), dims="region")
        spectra = spectra.assign_coords(wavenumber=spectra["wavenumber"] * stretch)
        law = (spectra["wavenumber"] / 1e-3) ** -0.7
        return spectra.assign(power_p=spectra["power_t"] * law.fillna(0))

    found = power_ratio(task, changed(group_of(rows, ADD), power_law), "t2m", "test_ood")
    assert len(set(np.round(np.diff(1 / found.wavelength_km), 12))) == 1
    np.testing.assert_allclose(found.ratio, (1e-3 * found.wavelength_km) ** 0.7, rtol=1e-9)


def test_power_ratio_is_missing_where_one_region_has_no_power(rows: TaskRows, task: Task) -> None:
    def dry(spectra: xr.Dataset) -> xr.Dataset:
        spectra["power_p"].loc[{"region": "andes-south"}] = 0
        return spectra

    group = changed(group_of(rows, ADD), dry)
    assert np.isnan(power_ratio(task, group, "t2m", "test_ood").ratio).all()
    assert np.isfinite(power_ratio(task, group, "t2m", "test_id").ratio).all()


def test_figures_say_in_words_what_they_show(page: Any, rows: TaskRows) -> None:
    scale, spectrum = (
        page.one("figure", id=name).one("img") for name in ("scale-of-trust", "spectrum")
    )
    points = scale_of_trust(rows, group_of(rows, ADD), "t2m", "test_ood")
    assert f"{plain(points[0].km)} km" in scale.attrs["alt"]
    assert "2 metre temperature, Elsewhere (OOD)" in scale.attrs["alt"]
    assert "lowest" in spectrum.attrs["alt"]
    links = [a.attrs["href"] for a in page.one("section", id="curves").all("a")]
    assert links == [f"{ADD}-scale-of-trust.csv", f"{ADD}-spectrum.csv"]
    assert scale_alt([]) == spectrum_alt([]) == ""


def test_index_has_resolution_and_fss(
    site: Path, parse: Callable[[Path], Any], rows: TaskRows, task: Task
) -> None:
    index = parse(site / "index.html")
    table = index.one("table", id="table-t2m-deterministic")
    heads = columns(table)
    line = table.one("tr", data_row=ADD)
    regions = [region.name for region in task.regions_of("test_ood")]
    values = [row.numbers["t2m"] for row in group_of(rows, ADD).rows]
    places = [group_of(rows, ADD).rows[0].regions.index(name) for name in regions]

    def shown(heading: str) -> float:
        k = heads.index(heading)
        model = heads.index("Model")
        cell = line.all("td")[k - (k > model)]
        return float(cell.attrs["data-value"])

    km = np.array([v["effective_resolution"][places] for v in values])
    assert shown("Effective resolution, km, OOD") == pytest.approx(np.exp(np.log(km).mean()))
    fss = np.array([v["fss[>= P95, 5 cells]"][places] for v in values])
    assert shown("FSS >= P95, 5 cells, OOD") == pytest.approx(fss.mean())
    heads_of_section = table.all("tbody", class_="section-head")[0].one("th")
    assert int(heads_of_section.attrs["colspan"]) == len(heads)


def test_which_fss_stands_on_the_index(task: Task) -> None:
    rain = task.variable("precipitation")
    assert fss_entry(task, rain) == "fss[>= P95, 5 cells]"
    assert fss_entry(task.model_copy(update={"factor": 16}), rain) == "fss[>= P95, 9 cells]"
    absolute = rain.model_copy(update={"percentiles": ()})
    assert fss_entry(task, absolute) == "fss[>= 1 mm h-1, 5 cells]"
    assert fss_entry(task, absolute.model_copy(update={"thresholds": ()})) is None


def test_an_edited_entry_is_refused(copied: Path) -> None:
    (folder,) = copied.glob("*/*/nearest/*/seed-0")
    path = folder / "scores.json"
    table = json.loads(path.read_text())
    table["metrics"]["precipitation"]["csi[>= 1 mm h-1]"]["andes-south"]["all"] += 1e-6
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"precipitation, csi\[>= 1 mm h-1\], andes-south"):
        load_rows([copied])
