"""Fractions skill score: how far from home an event may be and still count.

FSS = 1 - sum (P_f - P_o)^2 / (sum P_f^2 + sum P_o^2) over windows and cases, P_f and P_o the
fractions of event cells in a square window of w x w cells (Roberts and Lean 2008, doi
10.1175/2007MWR2123.1); for an ensemble P_f is also averaged over its members: the neighbourhood
ensemble probability (Schwartz et al. 2010, doi 10.1175/2009WAF2222267.1).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.engine import compiled
from benchmark.errors import InputError, Problem

Array = NDArray[np.float64]
Field = NDArray[np.float32]


def fss_sums(
    members: Field, truth: Field, thresholds: ArrayLike, *, windows: Sequence[int]
) -> dict[str, Array]:
    """Each step's sums over windows: of (P_f - P_o)^2, P_f^2 and P_o^2, and how many windows.

    members: (T, M, ny, nx); truth: (T, ny, nx), NaN where it is missing; thresholds: (J,) in the
    variable's unit, NaN for one that is not defined; windows: (S,) odd side lengths in cells.
    Gives `fss_numerator`, `fss_p`, `fss_t`, (T, J, S), and `fss_windows`, (T, S); no unit.

    An event is x >= u, compared in float32, the precision of the fields. Only full windows count,
    those wholly inside the field, and of these only those without a missing truth; each weighs 1.
    An undefined threshold and a window larger than the field have sums of 0.

    Errors: InputError when shapes do not agree or a window is even or not positive.
    """
    sides = np.asarray(windows, dtype=np.int64)
    levels = np.asarray(thresholds, dtype=np.float32)
    _check(members, truth, levels, sides)
    members = np.ascontiguousarray(members, dtype=np.float32)
    truth = np.ascontiguousarray(truth, dtype=np.float32)
    steps, count, ny, nx = members.shape
    sums = np.zeros((steps, levels.size, sides.size, 3))
    counts = np.zeros((steps, sides.size))
    if compiled():
        from benchmark.kernels.neighbourhood import fss_kernel

        fitting = sides[sides <= min(ny, nx)]
        largest = count * int(fitting.max(initial=1)) ** 2
        word = np.empty(0, np.uint32 if largest < 2**16 else np.uint64)
        fss_kernel(members, truth, levels, sides, word, sums, counts)
    else:
        for step in range(steps):
            _reduce(members[step], truth[step], levels, sides, sums[step], counts[step])
    cells = (sides**2).astype(np.float64)
    return {
        "fss_numerator": sums[..., 0] / (count * cells) ** 2,
        "fss_p": sums[..., 1] / (count * cells) ** 2,
        "fss_t": sums[..., 2] / cells**2,
        "fss_windows": counts,
    }


def fss(numerator: ArrayLike, p: ArrayLike, t: ArrayLike) -> Array:
    """FSS = 1 - numerator / (p + t) of pooled sums: 1 is perfect, 0 no overlap, NaN no event.

    numerator, p, t: `fss_numerator`, `fss_p` and `fss_t` of `fss_sums`, added over steps and cases
    (the ratio of sums; a mean of each case's FSS is another number), of any one shape.
    """
    total = np.asarray(p, dtype=np.float64) + np.asarray(t, dtype=np.float64)
    share = np.divide(numerator, total, where=total > 0, out=np.full(total.shape, np.nan))
    return np.asarray(1 - share)


def _reduce(
    members: Field,
    truth: Field,
    levels: Field,
    sides: NDArray[np.int64],
    sums: Array,
    counts: Array,
) -> None:
    """One step: windows counted as integers from one summed-area table a field and threshold."""
    missing = _table(np.isnan(truth))
    tables = [(_table((members >= u).sum(axis=0)), _table(truth >= u)) for u in levels]
    for s, side in enumerate(sides):
        if side > min(truth.shape):
            continue
        clear = _boxes(missing, side) == 0
        counts[s] = clear.sum()
        for j, (predicted, true) in enumerate(tables):
            in_p, in_t = _boxes(predicted, side)[clear], _boxes(true, side)[clear]
            sums[j, s, 0] = ((in_p - len(members) * in_t) ** 2).sum()
            sums[j, s, 1] = (in_p**2).sum()
            sums[j, s, 2] = (in_t**2).sum()


def _table(field: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64]:
    """(ny + 1, nx + 1) sums of all cells above and to the left."""
    table = np.zeros((field.shape[0] + 1, field.shape[1] + 1), dtype=np.int64)
    table[1:, 1:] = field.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    return table


def _boxes(table: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The sum in every full window."""
    return np.asarray(
        table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    )


def _check(members: Field, truth: Field, levels: Field, sides: NDArray[np.int64]) -> None:
    problems = []
    if members.ndim != 4 or truth.shape != members.shape[:1] + members.shape[2:]:
        got = f"{members.shape} and {truth.shape}"
        expected = "members (T, M, ny, nx) and truth (T, ny, nx) of the same T, ny and nx"
        problems.append(Problem("FSS", expected, got, "Give both on the same grid and steps."))
    if levels.ndim != 1:
        got = f"shape {levels.shape}"
        problems.append(Problem("FSS thresholds", "shape (J,)", got, "Give a list of numbers."))
    if sides.ndim != 1 or sides.size == 0 or (sides % 2 == 0).any() or (sides < 1).any():
        fix = "Take the next odd number: an even window has no centre cell."
        got = f"{sides.tolist()}"
        problems.append(Problem("FSS windows", "odd side lengths in cells", got, fix))
    if problems:
        raise InputError(problems)
