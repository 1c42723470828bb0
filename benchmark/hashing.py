"""BLAKE3 digests of decoded values: what was scored, independent of how it was stored.

A field's digest is taken for each time step over its values in C order, little-endian; a
variable's over its steps in time order; a store's over its sorted regions and variables.
"""

from collections.abc import Mapping

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

DIGEST_BYTES = 32


def step_digests(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(time, 32) digests of a (time, ...) array, one for each step."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    # A step may be empty (no thresholds, say), which memoryview would not cast.
    views = (memoryview(step.ravel()).cast("B") if step.size else b"" for step in little)
    digests = [blake3(view).digest() for view in views]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), DIGEST_BYTES)


def combine_steps(digests: NDArray[np.uint8]) -> str:
    """The digest of a variable in one region from those of its steps, as hex."""
    return blake3(np.ascontiguousarray(digests).tobytes()).hexdigest()


def combine_named(digests: Mapping[str, str]) -> str:
    """One digest over named digests, in the order of their names."""
    hasher = blake3()
    for name in sorted(digests):
        hasher.update(f"{name}={digests[name]}\n".encode())
    return hasher.hexdigest()


def text_digest(text: str) -> str:
    """The digest of a text, as hex."""
    return blake3(text.encode()).hexdigest()
