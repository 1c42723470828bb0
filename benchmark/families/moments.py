"""Moments of the ensemble mean p, the truth t, and of their increments over bilinear b.

c is the cell's training-period mean of the truth.
"""

from benchmark.families.base import Statistic
from benchmark.families.lanes import Lanes

FORMULAS = {
    "error": "p - t",
    "abs_error": "|p - t|",
    "squared_error": "(p - t)^2",
    "p": "p",
    "t": "t",
    "pp": "p^2",
    "tt": "t^2",
    "pt": "p t",
    "increment_p": "p - b",
    "increment_t": "t - b",
    "increment_pp": "(p - b)^2",
    "increment_tt": "(t - b)^2",
    "increment_pt": "(p - b)(t - b)",
    "anomaly_t": "t - c",
    "anomaly_tt": "(t - c)^2",
}

STATISTICS = (
    *(
        Statistic(
            name, "moments", formula, "climate" if name.startswith("anomaly") else "cell",
            strata=True,
        )
        for name, formula in FORMULAS.items()
    ),
)  # fmt: skip


def moments(p: Lanes, t: Lanes, b: Lanes, c: Lanes) -> dict[str, Lanes]:
    """The fifteen moments at every cell, from float64 lanes."""
    error = p - t
    dp, dt = p - b, t - b
    anomaly = t - c
    return {
        "error": error,
        "abs_error": abs(error),
        "squared_error": error * error,
        "p": p,
        "t": t,
        "pp": p * p,
        "tt": t * t,
        "pt": p * t,
        "increment_p": dp,
        "increment_t": dt,
        "increment_pp": dp * dp,
        "increment_tt": dt * dt,
        "increment_pt": dp * dt,
        "anomaly_t": anomaly,
        "anomaly_tt": anomaly * anomaly,
    }
