"""From coarse to fine fields in physical units: scaling, a network, an optional skip, a layer.

`skip` and `constraint` are independent, so that the effect of a layer can be read against the
same network without it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.constraints import Bounds, Overlapping, Projection, layer_for
from baselines.context import Context
from benchmark.errors import InputError, Problem
from benchmark.grid import RegionGrid
from benchmark.reference import Bilinear
from benchmark.task import Task

Weights = Tensor | Projection | Overlapping
"""Area weights in whole blocks; where coarse cells share fine ones the operator of the batch's one
region, or each sample's own."""

TINY = 1e-12
"""Keeps the logarithm of a dry bilinear field finite; such a block is dry after the layer."""


@dataclass(frozen=True)
class Scaling:
    """Constants of the training regions and period only, one a variable.

    mean, sd: of the fine field; increment: root mean square of fine minus bilinear. (V,) float64.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    increment: NDArray[np.float64]


def physical_bounds(task: Task) -> Bounds:
    """What a variable's values never leave, for `scaled_add`: the range of the task's bins.

    Logarithmic bins start at the least rain that is counted; their variables start at 0. Wide, and
    the same for all regions: bounds of the training data would be left out of distribution.
    """
    bins = [variable.bins for variable in task.variables]
    low = [0.0 if entry.kind == "log2" else entry.low for entry in bins]
    high = [entry.high for entry in bins]
    return Bounds(*(torch.tensor(values, dtype=torch.float64) for values in (low, high)))


class Downscaler(nn.Module):
    """A network between physical coarse and physical fine fields.

    With z the network's output for normalised coarse fields and B the bilinear field:

    =========  ==================  =============================================
    skip       all others          softmax
    =========  ==================  =============================================
    no         mean + sd z         logits z sd / mean
    yes        B + increment z     logits log B + z increment / mean
    =========  ==================  =============================================

    before the layer. B lies on the true coordinates of both grids, also where the coarse box is
    shifted (see `upsampling.upsample` for the network's own). The factor of z in a logit is cut at
    1, or rare rain explodes; apart from that, a unit of z moves every variant by the same amount
    to first order, and with a skip and z = 0 every layer gives bilinear interpolation moved onto
    the constraint.
    (The paper applies softmax to min-max-normalised fields; out of distribution these leave
    [0, 1] and flip signs, so here every layer acts on physical values, which must be >= 0 for
    softmax.) bounds: what `scaled_add` keeps to; no other layer needs them.
    """

    mean: Tensor
    sd: Tensor
    scale: Tensor
    in_y: Tensor
    in_x: Tensor

    def __init__(
        self,
        network: nn.Module,
        scaling: Scaling,
        grid: RegionGrid,
        *,
        skip: bool,
        constraint: str,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.skip = skip
        self.constraint = constraint
        self.layer = layer_for(constraint, bounds)
        self.reads_context = bool(getattr(network, "reads_context", False))
        self.in_logits = constraint == "softmax"
        scale = scaling.increment if skip else scaling.sd
        if self.in_logits:
            scale = np.minimum(scale / np.abs(scaling.mean), 1.0)
        bilinear = Bilinear.on(grid)
        for name, values in (
            ("mean", scaling.mean[:, None, None]),
            ("sd", scaling.sd[:, None, None]),
            ("scale", scale[:, None, None]),
            ("in_y", bilinear.in_y),
            ("in_x", bilinear.in_x),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, "float32")))

    def forward(self, coarse: Tensor, weights: Weights, context: Context | None = None) -> Tensor:
        """(batch, V, Ny, Nx) physical to (batch, V, ny, nx) physical.

        weights: (batch, 1, ny, nx) area weights in each block or, for `projection`, the operators
        of the batch. context: for networks that read it.
        """
        return self.finish(self.raw(coarse, context), coarse, weights)

    def raw(
        self,
        coarse: Tensor,
        context: Context | None = None,
        *,
        caller: nn.Module | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """The network's own output z for physical coarse fields.

        caller: what to call in its place, such as a copy with averaged weights.
        """
        network = caller or self.network
        x = ((coarse - self.mean) / self.sd).contiguous(memory_format=memory_format)
        if not self.reads_context:
            return network(x)
        if context is None:
            raise ValueError("this network reads the context of its samples")
        return network(x, context)

    def finish(self, z: Tensor, coarse: Tensor, weights: Weights) -> Tensor:
        """The skip and the layer, in the dtype of `coarse` (float64 when predicting)."""
        dtype = coarse.dtype
        step = z.to(dtype) * self.scale.to(dtype)
        if self.in_logits and (coarse < 0).any():
            raise InputError(
                Problem(
                    "softmax layer",
                    "coarse fields >= 0 in physical units",
                    f"a smallest value of {coarse.min():.4g}",
                    "Use --constraint add for a variable that changes sign.",
                )
            )
        field = self._base(coarse, dtype) + step
        if self.layer is None:
            return field
        if not isinstance(weights, Tensor):
            if self.constraint != "projection":
                raise ValueError(f"{self.constraint} acts on whole blocks only")
            return weights(field, coarse)
        return self.layer(field, coarse, weights)

    def _base(self, coarse: Tensor, dtype: torch.dtype) -> Tensor:
        """What the scaled output is added to."""
        if not self.skip:
            return torch.zeros_like(self.mean, dtype=dtype) if self.in_logits else (
                self.mean.to(dtype)
            )  # fmt: skip
        bilinear = self.in_y.to(dtype) @ coarse @ self.in_x.to(dtype).T
        return (bilinear + TINY).log() if self.in_logits else bilinear
