"""The fixed bins of a variable: where each value is counted, and the edges that bins stand for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem

PER_OCTAVE = (128, 256, 512, 1024, 2048, 4096)
"""How finely `log2` bins may divide an octave; coarser ones would miss the design's 0.5 %."""

_FRACTION_BITS = 23  # of a float32
_SMALLEST, _LARGEST = 2.0**-120, 2.0**120


@dataclass(frozen=True)
class Bins:
    """Half-open bins [e_b, e_b+1) that cover every float32 number.

    Two kinds, both with an open first and last bin:

    * `log2`, for skewed variables that are not negative: bin 0 holds x <= 0, all of it taken to
      lie at 0 (the dry mass); bin 1 is 0 < x < low; then `per_octave` bins an octave, evenly
      spaced within it, from low to high, both powers of two; the last is x >= high. Half a bin is
      at most 1 / (2 per_octave) of its lower edge: 0.1 % for 512, which also keeps the binning
      error of a Wasserstein distance of 3 mm h-1 rain below 1e-6 mm h-1 (128 does not).
    * `linear`: bin 0 is x < low, then bins of one width, the last is x >= high. The width is a
      power of two and low and high are multiples of it, so that every edge is exact.

    Errors: InputError where the bounds are not of that form.
    """

    kind: Literal["log2", "linear"]
    low: float
    high: float
    width: float | None = None
    """Of `linear` bins only."""
    per_octave: int = 512
    """Of `log2` bins only: 128, 256, ..., 4096."""

    def __post_init__(self) -> None:
        problems = self._log2_problems() if self.kind == "log2" else self._linear_problems()
        if problems:
            raise InputError(problems)

    def _log2_problems(self) -> list[Problem]:
        problems = []
        bounds = self.low, self.high
        inside = _SMALLEST <= self.low < self.high <= _LARGEST
        if not (inside and all(_is_power_of_two(bound) for bound in bounds)):
            expected = "two powers of two, low < high, between 2^-120 and 2^120"
            fix = "Take for instance low = 0.0009765625 (2^-10), high = 1024."
            problems.append(Problem("bins of kind log2", expected, f"{bounds}", fix))
        if self.width is not None:
            got = f"width {self.width}"
            problems.append(Problem("bins of kind log2", "no width", got, "Leave it out."))
        if self.per_octave not in PER_OCTAVE:
            expected, got = f"per_octave one of {PER_OCTAVE}", f"{self.per_octave}"
            problems.append(Problem("bins of kind log2", expected, got, "Take for instance 512."))
        return problems

    def _linear_problems(self) -> list[Problem]:
        width = self.width or 0.0
        if width > 0 and np.isfinite(width) and _is_power_of_two(width):
            bounds = np.array([self.low, self.high]) / width
            whole = bool((bounds == bounds.round()).all())
            # float32 holds integers up to 2^24: beyond, an edge would not be a float32 number.
            if self.low < self.high and whole and abs(bounds).max() <= 2**24:
                return []
        expected = "width a power of two; low < high multiples of it, below 2^24 widths"
        got = f"low {self.low}, high {self.high}, width {self.width}"
        fix = "Take for instance low = 160, high = 352, width = 0.0625."
        return [Problem("bins of kind linear", expected, got, fix)]

    def __len__(self) -> int:
        return len(self.edges) - 1

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """(n + 1,) edges in ascending order; the outer two are infinite.

        `log2`: -inf, 0, low, ..., high, inf. `linear`: -inf, low, ..., high, inf. Every finite
        edge is a float32 number.
        """
        if self.kind == "log2":
            first, last = int(np.log2(self.low)), int(np.log2(self.high))
            octaves = np.exp2(np.arange(first, last, dtype=np.float64))
            inner = (octaves[:, None] * (1 + np.arange(self.per_octave) / self.per_octave)).ravel()
            return np.concatenate([[-np.inf, 0.0], inner, [self.high, np.inf]])
        width = self.width or np.nan
        count = round((self.high - self.low) / width)
        return np.concatenate([[-np.inf], self.low + width * np.arange(count + 1), [np.inf]])

    def index(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        """The bin of each value, of x's shape; not defined for NaN."""
        kind, shift, offset, last, inverse_width = self.parameters
        x = np.asarray(x, dtype=np.float32)
        if kind == 1:
            bits = x.view(np.int32)
            # A positive value has positive bits, in the order of the values; -0 has not.
            found = np.maximum((bits >> np.int32(shift)) - np.int32(offset), bits > 0)
            return np.asarray(np.minimum(found, np.int32(last)), dtype=np.int32)
        found = np.floor(x * inverse_width) + offset  # x - low would be rounded
        return np.asarray(np.clip(found, 0, last), dtype=np.int32)

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        """(5,): kind (0 linear, 1 log2), shift, offset, last bin, 1 / width (0 for log2).

        All that `index` needs, for compiled code:
        linear: clip(floor(x / width) + offset, 0, last), exact in float32 too.
        log2: min(max((bits >> shift) - offset, bits > 0), last), bits of the float32 as int32.
        """
        last = len(self) - 1
        if self.kind == "log2":
            shift = _FRACTION_BITS + 1 - self.per_octave.bit_length()
            first = int(np.float32(self.low).view(np.int32)) >> shift
            return np.array([1, shift, first - 2, last, 0.0])
        width = self.width or np.nan
        return np.array([0, 0, 1 - self.low / width, last, 1 / width])

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """(groups,) first bin of each group: coarse bins for scores that sampling noise inflates.

        The open bins, and the dry one, are groups of their own; between, `log2` has four groups
        an octave and `linear` groups of 1 in the variable's unit (at least one bin).
        """
        last = len(self) - 1
        if self.kind == "log2":
            inner, size = 2, self.per_octave // 4
        else:
            inner, size = 1, max(1, round(1 / (self.width or np.nan)))
        return np.concatenate([np.arange(inner), np.arange(inner, last, size), [last]])


def _is_power_of_two(number: float) -> bool:
    return bool(number > 0 and np.frexp(number)[0] == 0.5)
