"""Moments of the ensemble mean p, the truth t, and of their increments over bilinear b."""

from benchmark.families.base import Array, Statistic, Step, cell_sums

STATISTICS = (
    Statistic("error", "moments", "p - t"),
    Statistic("abs_error", "moments", "|p - t|"),
    Statistic("squared_error", "moments", "(p - t)^2"),
    Statistic("p", "moments", "p"),
    Statistic("t", "moments", "t"),
    Statistic("pp", "moments", "p^2"),
    Statistic("tt", "moments", "t^2"),
    Statistic("pt", "moments", "p t"),
    Statistic("increment_p", "moments", "p - b"),
    Statistic("increment_t", "moments", "t - b"),
    Statistic("increment_pp", "moments", "(p - b)^2"),
    Statistic("increment_tt", "moments", "(t - b)^2"),
    Statistic("increment_pt", "moments", "(p - b)(t - b)"),
)


def reduce(step: Step) -> dict[str, Array]:
    """(strata,) sums of the thirteen moments."""
    p, t = step.mean, step.truth
    error = p - t
    dp, dt = p - step.bilinear, t - step.bilinear
    fields = {
        "error": error,
        "abs_error": abs(error),
        "squared_error": error**2,
        "p": p,
        "t": t,
        "pp": p**2,
        "tt": t**2,
        "pt": p * t,
        "increment_p": dp,
        "increment_t": dt,
        "increment_pp": dp**2,
        "increment_tt": dt**2,
        "increment_pt": dp * dt,
    }
    return {name: cell_sums(step, field) for name, field in fields.items()}
