"""What a layer does to the cells of one group: y with sum_i a_i y_i = x (a rule of `blocks`).

f: the network's values, x: the group's mean, a: weights with sum 1, m = sum_k a_k f_k. Harder et
al., Hard-Constrained Deep Learning for Climate Downscaling, JMLR 24(365), 2023, with their
unweighted mean replaced by the area-weighted one.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from baselines.constraints.blocks import CELLS, Rule, targets

CANCELLED = 0.1
"""`mult` needs a mean of at least this share of the mean absolute value: it amplifies rounding
and the field itself by up to the inverse."""


def add(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """AddCL: y_i = f_i + x - m.

    The projection onto the constraint that moves the field least by area-weighted squares, so it
    also serves post hoc. May turn a non-negative field negative.
    """
    return f + (x - _mean(f, a))


def mult(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """MultCL: y_i = x f_i / m, for fields of one sign; 0 where x = 0.

    Where m is near 0 or has the other sign than x (m sign(x) < 0.1 sum_k a_k |f_k|), y_i = x for
    the whole group: y stays proportional to x and below x / (0.1 a_i), and never is NaN.
    """
    mean = _mean(f, a)
    with torch.no_grad():
        size = _mean(f.abs(), a)
        usable = (mean * x.sign() >= CANCELLED * size) & (size > _floor(f))
    return _scaled(f, x, mean, usable)


def softmax(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """SmCL: y_i = x exp(f_i) / sum_k a_k exp(f_k); y >= 0 where x >= 0, and 0 where x = 0.

    The largest value of each group is subtracted first, so nothing overflows.
    """
    powers = (f - f.amax(dim=CELLS, keepdim=True).detach()).exp()
    return powers * (x / _mean(powers, a))


def proportional(g: Callable[[Tensor], Tensor]) -> Rule:
    """The general form (their Eq. 5) for any g >= 0: y_i = x g(f_i) / sum_k a_k g(f_k).

    y has the sign of x and is 0 where x = 0. A group in which g vanishes everywhere gets y_i = x.
    `softmax` is g = exp, made safe; with g(f) = f it would be `mult` without its guard.
    """

    def rule(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
        shares = g(f)
        mean = _mean(shares, a)
        return _scaled(shares, x, mean, mean > _floor(f))

    return rule


def relu_above(least: float) -> Callable[[Tensor], Tensor]:
    """g(f) = max(f, 0) + least, which keeps every share above 0; least > 0."""
    return lambda f: f.relu() + least


POSITIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "relu+eps": relu_above(1e-6),
    "square+eps": lambda f: f.square() + 1e-6,
}
"""Functions for `proportional`; any other that is never negative will do."""


def scaled_add(low: float | Tensor, high: float | Tensor) -> Rule:
    """ScAddCL: moves values towards a bound by the share of the way that is left to it.

        x >= m:  y_i = f_i + (x - m) (high - f_i) / (high - m)
        x <  m:  y_i = low + (x - low) (f_i - low) / (m - low)

    Geiss and Hardin's (s + f) / (s + m) with [low, high] mapped to [-1, 1]; the released code's
    sign(0) = 0 and its 0 / 0 at m = -s do not arise. f is cut to the bounds first, and y stays in
    them. At x = low or high, and beyond (the bound then gives way to x), y_i = x.

    low, high: numbers, or (channel,) tensors, in the units of the field.
    """

    def rule(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
        bottom = torch.minimum(_bound(low, f), x)
        top = torch.maximum(_bound(high, f), x)
        f = torch.clamp(f, bottom, top)
        mean = _mean(f, a)
        falling = x < mean
        edge = torch.where(falling, bottom, top)
        left = torch.where(falling, mean - bottom, top - mean).clamp_min(_floor(f))
        # x - m, and not the way left of it, keeps the digits of drizzle far below the upper bound.
        moved = torch.minimum(torch.where(falling, x - bottom, x - mean), left) / left
        return torch.lerp(f, edge, torch.where(falling, 1 - moved, moved))

    return rule


def nonnegative(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """The nearest y >= 0: minimises sum_i a_i (y_i - f_i)^2 under sum_i a_i y_i = x.

    y_i = max(f_i + c, 0) with the one c that conserves the mean (water-filling; Held, Wolfe and
    Crowder, 1974, doi 10.1007/BF01580223), found exactly by sorting. What `add` followed by
    max(y, 0) is not: clipping adds what it cuts to the block's mean. 0 where x = 0.
    Errors: ValueError where x < 0, since no such y exists.
    """
    if (x < 0).any():
        raise ValueError("no non-negative field has a negative mean")
    shifted = f - f.amax(dim=CELLS, keepdim=True)  # so that a tiny x is not lost beside f
    with torch.no_grad():
        wet = _filled(shifted, x, a)
    share = (a * wet).sum(dim=CELLS, keepdim=True)
    shift = (x - _mean(shifted * wet, a)) / torch.where(share > 0, share, 1.0)
    y = torch.where(wet, shifted + shift, 0.0).clamp_min(0.0)
    with torch.no_grad():  # what rounding of a large f has left of the constraint
        mean = _mean(y, a)
        rounding = torch.where(mean > 0, x / torch.where(mean > 0, mean, 1.0), 1.0)
    return y * rounding


def _filled(f: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """Which cells are above 0 in `nonnegative`: those that water of mean x would cover."""
    f, a = torch.broadcast_tensors(f, a)
    height, weight = (t.movedim(-3, -2).flatten(-2) for t in (f, a))
    order = height.argsort(dim=-1, descending=True)
    height, weight = height.gather(-1, order), weight.gather(-1, order)
    # What it takes to have all higher cells come down to this one.
    needed = (weight * height).cumsum(-1) - height * weight.cumsum(-1)
    last = (needed < x[..., 0, :, :]).sum(dim=-1, keepdim=True) - 1
    lowest = height.gather(-1, last.clamp_min(0))[..., 0]
    return (f >= targets(lowest)) & (x > 0)


def _mean(f: Tensor, a: Tensor) -> Tensor:
    return (a * f).sum(dim=CELLS, keepdim=True)


def _scaled(f: Tensor, x: Tensor, mean: Tensor, usable: Tensor) -> Tensor:
    """f x / mean where that is usable, x elsewhere."""
    # Means are replaced before the division, so that no derivative meets an infinite one.
    slope = torch.where(usable, x, 0.0) / torch.where(usable, mean, 1.0)
    return torch.addcmul(torch.where(usable, 0.0, x), f, slope)


def _floor(f: Tensor) -> float:
    """Means below this are 0: the square of a smaller one, in a derivative, would vanish."""
    return float(torch.finfo(f.dtype).tiny ** (1 / 3))


def _bound(value: float | Tensor, f: Tensor) -> Tensor:
    bound = torch.as_tensor(value, dtype=f.dtype, device=f.device)
    return bound.reshape(-1, 1, 1, 1, 1)
