"""Variables in their order by construction: least <= mean <= largest, in every cell.

González-Abad et al., Multi-variable Hard Physical Constraints for Climate Model Downscaling, 2023,
arXiv 2308.01868, for daily minimum, mean and maximum temperature. The variables must share one
scaling, or an order of normalised values is none of physical ones. A hard layer that acts on each
variable by itself undoes the order.
"""

import torch
from torch import Tensor

VARIABLES = -3


def ordered_add(raw: Tensor, *, lowest: float | None = 0.0) -> Tensor:
    """Additive form: y_1 = max(a_1, lowest), y_k = y_(k-1) + relu(a_k).

    (batch, variables, ny, nx) of finite values to y_1 <= y_2 <= ... of the same shape and dtype.
    lowest: of what may come out, 0 as published, where variables are in [0, 1]; None: no bound.
    NaN stays NaN and passes on to the later variables of its cell.
    """
    first, *rest = raw.unbind(VARIABLES)
    fields = [first if lowest is None else first.clamp_min(lowest)]
    # One by one: a sum that is rounded after each step cannot fall below the one before.
    for step in rest:
        fields.append(fields[-1] + step.relu())
    return torch.stack(fields, dim=VARIABLES)


def ordered_mult(raw: Tensor) -> Tensor:
    """Multiplicative form: y_1 = relu(a_1), y_k = y_(k-1) (1 + relu(a_k)), so never negative.

    (batch, variables, ny, nx) of finite values to 0 <= y_1 <= y_2 <= ... of the same shape and
    dtype. Where y_1 = 0 all are 0. NaN stays NaN and passes on to the later variables of its cell.
    """
    first, *rest = raw.unbind(VARIABLES)
    fields = [first.relu()]
    for step in rest:
        fields.append(fields[-1] * (1 + step.relu()))
    return torch.stack(fields, dim=VARIABLES)


def disorder(fields: Tensor) -> Tensor:
    """(batch, ny, nx) whether any variable of (batch, variables, ny, nx) is below the one before.

    Its mean is the violation rate. A cell with NaN is not in disorder: mask it before the mean.
    """
    return (fields.diff(dim=VARIABLES) < 0).any(dim=VARIABLES)
