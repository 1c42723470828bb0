"""Empirical quantile mapping between two pooled distributions, dry staying dry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from baselines.statistical.base import Array
from benchmark.errors import InputError, Problem


@dataclass(frozen=True)
class EmpiricalMap:
    """x -> F_to^-1(F_from(x)), piecewise linear through equal levels of both distributions.

    from_, to: (n,) quantiles at levels 0 to 1, ascending. Beyond the outermost ones the correction
    is that at the outermost. Equal quantiles of `from_` are one node with the mean of their
    counterparts; `np.interp` alone would take the last, so that a dry cell of a distribution that
    is often dry turned wet. zero_stays: 0 is mapped to 0, and the first node, if it is 0, too.
    """

    from_: Array
    to: Array
    zero_stays: bool

    def __call__(self, values: Array) -> Array:
        """Map values of any shape; NaN stays NaN."""
        nodes, first, count = np.unique(self.from_, return_index=True, return_counts=True)
        targets = np.add.reduceat(self.to, first) / count
        if self.zero_stays and nodes[0] == 0:
            targets[0] = 0.0
        inside = np.clip(values, nodes[0], nodes[-1])
        mapped = np.interp(inside, nodes, targets) + (values - inside)
        return np.where(values == 0, 0.0, mapped) if self.zero_stays else mapped


def pooled_quantiles(
    pairs: Callable[[], Iterable[tuple[Array, Array]]], names: tuple[str, ...], count: int
) -> tuple[Array, Array]:
    """(V, count) quantiles of both sides, each cell and step counting alike.

    pairs() gives two (V, ...) fields of one shape for one step after another. A value that is
    missing on one side is left out on both: what is missing is no difference between them. Only
    one variable's values are held at once. Errors: InputError where a variable has none.
    """
    levels = np.linspace(0, 1, count)
    sides: tuple[list[Array], list[Array]] = ([], [])
    for k, name in enumerate(names):
        pools: tuple[list[Array], list[Array]] = ([], [])
        for pair in pairs():
            there = np.isfinite(pair[0][k]) & np.isfinite(pair[1][k])
            for pool, field in zip(pools, pair, strict=True):
                pool.append(field[k][there].astype(np.float32))
        for side, pool in zip(sides, pools, strict=True):
            values = np.concatenate(pool)
            if not values.size:
                raise InputError(
                    Problem(
                        f"{name} in the training period", "some values", "none",
                        "Check the pair store.",
                    )
                )  # fmt: skip
            side.append(np.quantile(values.astype(np.float64), levels))
    return np.stack(sides[0]), np.stack(sides[1])
