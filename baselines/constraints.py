"""Hard constraint layers: fine fields whose block means are the coarse field.

With in-block area weights a_i (sum 1 in each block), every layer returns y with
sum_i a_i y_i = x. They act in physical units, on any device and floating dtype; compute them in
float32 or wider (bfloat16 loses the constraint). Harder et al., Hard-Constrained Deep Learning
for Climate Downscaling, JMLR 24(365), 2023, with their unweighted mean replaced by the
area-weighted one of the task's coarsening operator.

Shapes: field (batch, channel, ny, nx), coarse (batch, channel, Ny, Nx), weights
(batch or 1, 1, ny, nx); ny / Ny and nx / Nx are the same whole number.
"""

from collections.abc import Callable

from torch import Tensor

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def block_mean(field: Tensor, weights: Tensor, factor: int) -> Tensor:
    """sum_i a_i f_i over each factor x factor block: (..., ny, nx) to (..., Ny, Nx)."""
    return _blocks(field * weights, factor).sum(dim=(-3, -1))


def add(field: Tensor, coarse: Tensor, weights: Tensor) -> Tensor:
    """AddCL: y_i = f_i + x - sum_k a_k f_k.

    The projection onto the constraint that moves `field` least by area-weighted squares, so it
    also serves post hoc. May turn a non-negative field negative.
    """
    factor = _factor(field, coarse)
    residual = coarse - block_mean(field, weights, factor)
    return (_blocks(field, factor) + residual[..., :, None, :, None]).reshape(field.shape)


def softmax(logits: Tensor, coarse: Tensor, weights: Tensor) -> Tensor:
    """SmCL: y_i = x exp(l_i) / sum_k a_k exp(l_k); y >= 0 where x >= 0, and 0 where x = 0.

    The largest logit of each block is subtracted first, so nothing overflows.
    """
    factor = _factor(logits, coarse)
    blocks = _blocks(logits, factor)
    shifted = (blocks - blocks.amax(dim=(-3, -1), keepdim=True).detach()).exp()
    total = (shifted * _blocks(weights, factor)).sum(dim=(-3, -1), keepdim=True)
    return (shifted * (coarse[..., :, None, :, None] / total)).reshape(logits.shape)


# post_hoc projects the predictions of a network that was trained without a layer.
LAYERS: dict[str, Layer | None] = {"none": None, "add": add, "softmax": softmax, "post_hoc": add}


def _factor(field: Tensor, coarse: Tensor) -> int:
    factor, rest = divmod(field.shape[-1], coarse.shape[-1])
    if rest or field.shape[-2] != factor * coarse.shape[-2]:
        raise ValueError(
            f"a layer needs whole blocks; {tuple(field.shape[-2:])} fine cells do not divide into "
            f"{tuple(coarse.shape[-2:])} coarse ones"
        )
    return factor


def _blocks(field: Tensor, factor: int) -> Tensor:
    """(..., ny, nx) viewed as (..., Ny, factor, Nx, factor)."""
    *lead, ny, nx = field.shape
    return field.reshape(*lead, ny // factor, factor, nx // factor, factor)
