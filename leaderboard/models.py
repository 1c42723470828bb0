"""The page of one row: every metric of every seed, variable and region, and its two curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from benchmark.domain import scored_names
from benchmark.metrics import BOARDS
from benchmark.spectral_metrics import RESOLVED
from benchmark.task import TEST_SPLITS, Split
from leaderboard.contrasts import region_names
from leaderboard.curve_plots import SHOWN_RATIOS, write_scale_of_trust, write_spectra
from leaderboard.curves import Curves, curves_of, has_trust, scale_frame, spectra_frame
from leaderboard.export import write_csv
from leaderboard.failed import failed_in
from leaderboard.render import show, write_page
from leaderboard.rows import Group, TaskRows
from leaderboard.sheets import sheets_of, words_of

LABELS: dict[Split, str] = {"test_id": "In distribution (ID)", "test_ood": "Elsewhere (OOD)"}


def write_model(
    made: Environment, rows: TaskRows, group: Group, site: Path, shared: dict[str, Any]
) -> None:
    """`models/SLUG.html`, its two figures and the numbers behind them as CSV."""
    task, card, folder = rows.task, group.card, site / "models"
    folder.mkdir(exist_ok=True)
    curves = [
        curves_of(rows, group, name, words_of(task, name)[0].split(",")[0])
        for name in scored_names(task)
    ]
    scales = [one for one in curves if one.has_scales]
    spectra = [one for one in curves if one.has_spectra]
    if scales:
        name = f"{group.slug}-scale-of-trust"
        write_scale_of_trust(folder / f"{name}.svg", scales, salt=f"{task.id} {name}")
        write_csv(folder / f"{name}.csv", scale_frame(rows, group, scales), task, rows.data_hash)
    if spectra:
        name = f"{group.slug}-spectrum"
        write_spectra(folder / f"{name}.svg", spectra, salt=f"{task.id} {name}")
        write_csv(folder / f"{name}.csv", spectra_frame(spectra), task, rows.data_hash)
    failed = _failed(rows, group)
    facts = [
        ("Model", f"{card.model}, revision {card.revision}"),
        ("Reference", card.reference),
        ("Skip", "yes" if card.skip else "no"),
        ("Constraint", card.constraint),
        ("Regime", card.regime),
        *([("Trained on", ", ".join(card.sources))] if card.sources else []),
        *([("Trained on", "the OOD test regions only")] if card.target_only else []),
        ("Exposure", card.exposure),
        ("Selection", card.selection),
        ("Parameters", f"{card.parameters:,}"),
        ("Members", f"{group.rows[0].scores.members} ({card.members})"),
        ("Seeds", ", ".join(str(row.seed) for row in group.rows)),
        *([("Code", card.code)] if card.code else []),
        *([("Failed in", failed)] if failed else []),
    ]
    splits = [
        (LABELS[split], [(name, group.rows[0].regions.index(name)) for name in names])
        for split in TEST_SPLITS
        for names in (region_names(task, split),)
    ]
    write_page(
        made, "model.html.j2", folder / f"{group.slug}.html", root="../", group=group, facts=facts,
        splits=splits, sheets=sheets_of(task, group), resolved=RESOLVED, shown_ratios=SHOWN_RATIOS,
        scale_alt=scale_alt(scales), spectrum_alt=spectrum_alt(spectra),
        trust=[(one.title, trust_words(one)) for one in scales], **shared,
    )  # fmt: skip


def _failed(rows: TaskRows, group: Group) -> str:
    """Where a row failed, in words; empty where nowhere."""
    found: dict[str, list[str]] = {}
    for board in BOARDS:
        for variable in rows.task.variable_names:
            for region in failed_in(rows, group, board, variable):
                places = found.setdefault(region, [])
                places += [] if variable in places else [variable]
    return "; ".join(f"{region} ({', '.join(names)})" for region, names in found.items())


def scale_alt(curves: Sequence[Curves]) -> str:
    """The scale of trust in words; empty where there is none."""
    lines = []
    for one in curves:
        for split, points in one.scales.items():
            known = [point for point in points if np.isfinite(point.skill)]
            if known:
                first, last = known[0], known[-1]
                above = [_km(point.km) for point in known if point.skill > 0]
                lines.append(
                    f"{one.title}, {LABELS[split]}: {show(first.skill, 'signed')} at "
                    f"{_km(first.km)} km to {show(last.skill, 'signed')} at {_km(last.km)} km, "
                    + (f"above 0 at {', '.join(above)} km" if above else "never above 0")
                    + f", adds value: {_down_to(one, split)}"
                )
    text = "Skill of the CRPS of block means over the best null, by block size. "
    return text + "; ".join(lines) if lines else ""


def trust_words(curves: Curves) -> str:
    """`adds value: down to 444 km at home (ID), at no scale elsewhere (OOD)`."""
    return (
        f"adds value: {_down_to(curves, 'test_id')} at home (ID), "
        f"{_down_to(curves, 'test_ood')} elsewhere (OOD)"
    )


def _down_to(curves: Curves, split: Split) -> str:
    if not has_trust(curves.scales[split]):
        return "unknown"
    km = curves.trust_km[split]
    return "at no scale" if np.isnan(km) else f"down to {_km(km)} km"


def _km(value: float) -> str:
    """Three digits, never a power of ten."""
    return f"{float(f'{value:.3g}'):.12g}"


def spectrum_alt(curves: Sequence[Curves]) -> str:
    """The power ratios in words; empty where there is none."""
    lines = []
    for one in curves:
        for split, found in one.spectra.items():
            known = np.isfinite(found.ratio)
            if known.any():
                km, ratio = found.wavelength_km[known], found.ratio[known]
                low = int(ratio.argmin())
                lines.append(
                    f"{one.title}, {LABELS[split]}: {show(ratio[0])} at {show(km[0])} km, "
                    f"{show(ratio[-1])} at {show(km[-1])} km, lowest {show(ratio[low])} at "
                    f"{show(km[low])} km"
                )
    text = "Power of the prediction over power of the truth, by wavelength. "
    return text + "; ".join(lines) if lines else ""
