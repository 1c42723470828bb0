"""Checks that a task's splits cannot leak: every one is a sentence of the design."""

from datetime import date, timedelta
from itertools import combinations, pairwise

from benchmark.distance import box_distance_km
from benchmark.errors import Problem
from benchmark.grid import region_grid
from benchmark.region import Region
from benchmark.task import Period, Task

LONGEST_CUT = timedelta(days=15)
"""How much of its last December a period may give to the embargo and still be of whole years."""


def check_task(task: Task) -> list[Problem]:
    """Every way in which a task's regions or periods leak or contradict the contract.

    Regions of different roles keep `buffer_km` on the sphere and share no cell; names are
    unique; every role is present; periods are in order and keep the embargo; annual tasks use
    whole years, less the embargo at their end; boxes are a whole number of coarse and fine cells,
    all of one size; the primary variable exists.
    """
    return [*_regions(task), *_periods(task), *_grid(task), *_primary(task)]


def _regions(task: Task) -> list[Problem]:
    problems = []
    names = [region.name for region in task.regions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(f"region {name}", "a unique name", "two of it", "Rename one."))
    for role in ("train", "val_ood", "test_ood"):
        if not any(region.role == role for region in task.regions):
            problems.append(Problem("regions", f"at least one {role}", "none", "Add one."))
    for first, second in combinations(task.regions, 2):
        if first.role != second.role:
            problems += _too_close(task, first, second)
    return problems


def _too_close(task: Task, first: Region, second: Region) -> list[Problem]:
    distance = box_distance_km(first, second)
    if distance >= task.buffer_km and distance > 0:
        return []
    return [
        Problem(
            f"regions {first.name} ({first.role}) and {second.name} ({second.role})",
            f"at least {task.buffer_km:g} km between them and no shared cell or edge",
            f"{distance:.0f} km" if distance > 0 else "boxes that touch or overlap",
            "Move one of them, or make it smaller.",
        )
    ]


def _periods(task: Task) -> list[Problem]:
    problems = []
    ordered = [(name, getattr(task.periods, name)) for name in ("train", "val", "test")]
    for name, period in ordered:
        if period.first > period.last:
            problems.append(
                Problem(f"period {name}", "first before last", str(period), "Swap them.")
            )
    in_time = sorted(ordered, key=lambda item: item[1].first)
    for (name, period), (next_name, next_period) in pairwise(in_time):
        gap = next_period.first - period.last
        if gap < max(task.embargo, timedelta(seconds=1)):
            problems.append(
                Problem(
                    f"periods {name} and {next_name}",
                    f"an embargo of {task.periods.embargo_hours:g} h",
                    f"{gap / timedelta(hours=1):g} h",
                    "Move one of them.",
                )
            )
    if task.season_coverage == "full":
        problems += [
            Problem(
                f"period {name}",
                "whole years in an annual task",
                f"{period.first} to {period.last}",
                'Use whole years or state season_coverage = "partial".',
            )
            for name, period in ordered
            if not _whole_years(period, cut=min(task.embargo, LONGEST_CUT))
        ]
    return problems


def _whole_years(period: Period, *, cut: timedelta) -> bool:
    """From a 1 January to a 31 December, or to `cut` before: neighbours need their embargo."""
    first, last = period.first, period.last
    starts = (first.month, first.day) == (1, 1)
    return starts and last.date() >= date(last.year, 12, 31) - cut


def _grid(task: Task) -> list[Problem]:
    problems = []
    for region in task.regions:
        fine = task.spacing_of(region)
        axes, unit = (("y", "x"), "m") if region.grid else (("lat", "lon"), "degrees")
        for axis, (low, high) in zip(axes, region.bounds, strict=True):
            for kind, size in (("fine", fine), ("coarse", fine * task.factor)):
                cells = (high - low) / size
                if abs(cells - round(cells)) > 1e-6:
                    problems.append(
                        Problem(
                            f"region {region.name}: {axis}",
                            f"a whole number of {kind} cells of {size:g} {unit}",
                            f"{cells:g}",
                            "Change the bounds.",
                        )
                    )
    margin = task.margin * task.factor
    if abs(margin - round(margin)) > 1e-6:
        problems.append(
            Problem(
                "margin",
                "a whole number of fine cells",
                f"{task.margin} coarse cells of {task.factor:g}",
                f"Choose a `margin` that times {task.factor:g} is whole, or 0.",
            )
        )
    shift = max(abs(shift) for shift in task.coarse_shift)
    if shift >= 1:
        problems.append(
            Problem(
                "coarse_shift",
                "less than one coarse cell: each of them lies on fine cells",
                f"{task.coarse_shift}",
                "Shift the coarse bounds by whole cells.",
            )
        )
    if shift > task.margin:
        problems.append(
            Problem(
                "coarse_shift",
                f"at most the margin, {task.margin}: scored coarse cells lie within the fine box",
                f"{task.coarse_shift}",
                "Widen the margin.",
            )
        )
    sizes = {region.name: region_grid(task, region).fine.shape for region in task.regions}
    if len(set(sizes.values())) > 1:
        got = ", ".join(f"{name} {ny} x {nx}" for name, (ny, nx) in sorted(sizes.items()))
        fix = "Take boxes of one size: dressing carries residuals from one region to another."
        problems.append(Problem("regions", "one number of fine cells for all", got, fix))
    return problems


def _primary(task: Task) -> list[Problem]:
    if task.primary.variable in task.variable_names:
        return []
    return [
        Problem(
            "primary.variable",
            f"one of {', '.join(task.variable_names)}",
            task.primary.variable,
            "Name a variable of the task.",
        )
    ]
