"""DFNO, a Fourier neural operator for downscaling by any factor (Yang et al., 2023).

A network on the coarse grid, bicubic interpolation of its features to the fine one, and a Fourier
neural operator (Li et al., ICLR 2021, arXiv 2010.08895) there; the constraint layer at the current
factor follows outside. The paper gives no sizes and has no released code. Ours are: blocks of
`srcnn`, four Fourier layers of twelve modes, no coordinates among the inputs (as in the equations
of Li et al.; their code adds them), and a rim that is continued from the edge and cut
again, since a box is not periodic.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from baselines.family import Family
from baselines.srcnn import ResidualBlock
from baselines.upsampling import any_factor, fine_shape, upsample
from benchmark.toml_model import Frozen

REFERENCE = "Yang et al., arXiv 2305.14452, 2023"


class DFNOConfig(Frozen):
    """No size is published; width, modes and layers are those common with Li et al."""

    width: Annotated[int, Field(ge=1)] = 32
    blocks: Annotated[int, Field(ge=0)] = 4
    layers: Annotated[int, Field(ge=1)] = 4
    modes: Annotated[int, Field(ge=1)] = 12
    """Waves a box that a Fourier layer sees along each axis; shorter ones pass the 1 x 1 only."""
    projection: Annotated[int, Field(ge=1)] = 128
    """Width before the last layer."""
    rim: Annotated[int, Field(ge=0)] = 2
    """How far each edge is continued, in coarse cells."""


class SpectralConvolution(nn.Module):
    """F^-1(R F(v)) with one complex matrix R for each of the lowest modes, the rest cut.

    R is counted in waves a box, so that the same weights act on any grid over the same box: on
    the samples of a field without shorter waves the values where two grids meet are equal. Waves
    that a grid does not resolve are left out. On a box of another size R acts on other lengths.
    """

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        # Two real tensors: safetensors and the memory formats of torch know no complex weights.
        shape = (width, width, 2 * modes, modes)
        self.real = nn.Parameter(torch.rand(shape) / width**2)
        self.imaginary = nn.Parameter(torch.rand(shape) / width**2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, ny, nx) float32 to the same shape."""
        ny, nx = x.shape[-2:]
        rows, columns = min(self.modes, (ny + 1) // 2), min(self.modes, (nx + 1) // 2)
        # Rows 0, 1, ... and ..., -2, -1; an even grid's shortest wave has no sign and stays out.
        negative = min(rows, (ny - 1) // 2)
        # One axis at a time: the second transform is of the modes that are kept, no others.
        spectrum = torch.fft.fft(torch.fft.rfft(x)[..., :columns], dim=-2)
        weights = torch.complex(self.real, self.imaginary)[..., :columns]
        low = _mix(spectrum[..., :rows, :], weights[..., :rows, :])
        last = 2 * self.modes
        high = _mix(spectrum[..., ny - negative :, :], weights[..., last - negative :, :])
        cut = low.new_zeros((*low.shape[:2], ny - rows - negative, columns))
        mixed = torch.fft.ifft(torch.cat([low, cut, high], dim=-2), dim=-2)
        return torch.fft.irfft(mixed, n=nx)


def _mix(spectrum: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("biyx,ioyx->boyx", spectrum, weights)


class DFNO(nn.Module):
    """Conv3-ReLU, residual blocks, Conv3; bicubic; Fourier layers; Conv1-GELU-Conv1.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units. No weight
    depends on the factor: it may be fitted at one and asked for another, with `factor` in the call
    or in a network of the same config. Any factor of at least 1. outputs: `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: DFNOConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width = config.width
        self.factor, self.rim = any_factor("dfno", factor), config.rim
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            *(ResidualBlock(width) for _ in range(config.blocks)),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.spectral = nn.ModuleList(
            SpectralConvolution(width, config.modes) for _ in range(config.layers)
        )
        self.local = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(config.layers))
        self.projection = nn.Conv2d(width, config.projection, 1)
        self.head = nn.Conv2d(config.projection, outputs or channels, 1)

    def forward(self, x: Tensor, factor: float | None = None) -> Tensor:
        """Normalised coarse fields to the raw fine output at `factor`, or that of the network."""
        factor = self.factor if factor is None else any_factor("dfno", factor)
        rows, columns = fine_shape(x.shape[-2], x.shape[-1], factor)
        features = upsample(self.encoder(x), factor, "bicubic").contiguous()
        # In float32: there is no Fourier transform in bfloat16, nor would it keep the means.
        with torch.autocast(x.device.type, enabled=False):
            rim = round(self.rim * factor)
            features = functional.pad(features, (rim,) * 4, mode="replicate")
            for index, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
                features = spectral(features) + local(features)
                if index < len(self.spectral) - 1:
                    features = functional.gelu(features)
            features = features[..., rim : rim + rows, rim : rim + columns]
            return self.head(functional.gelu(self.projection(features)))


FAMILY = Family("DFNO", REFERENCE, DFNOConfig, DFNO)
