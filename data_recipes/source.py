"""What a provider is to a recipe: something that fetches a window of a product and reads it back.

A source knows one product as its provider serves it: names, units, packing, files. It does not
know the task: renaming, units, hours, grids and checks are the recipe's (`fields.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Times = NDArray[np.datetime64]
Advance = Callable[[int, str], None]
"""advance(bytes, what): so many more bytes have arrived of this piece."""


def no_report(*_: object) -> None:
    """Nobody watches."""


@dataclass(frozen=True, eq=False)
class Window:
    """What is wanted of a product: a lat-lon bounding box and valid times.

    south, north, west, east: degrees, south < north, west < east, west in [-180, 180); a box
    across the date line has east > 180. names: the product's own variable names. times: ascending
    datetime64[s], UTC; empty for fields that do not change. region: whose box it is.
    """

    south: float
    north: float
    west: float
    east: float
    names: tuple[str, ...]
    times: Times
    region: str = ""


class Load(NamedTuple):
    """Bytes that come over the network, and bytes that then stay on disk."""

    fetched: int
    kept: int


def weigh(loads: Mapping[str, Load]) -> Load:
    """All of them together."""
    return Load(sum(load.fetched for load in loads.values()), sum(x.kept for x in loads.values()))


class Source(Protocol):
    """One product of one provider. Can be pickled: blocks are read on the user's cluster."""

    def ids(self, region: str) -> Mapping[str, str]:
        """{product or file: version, DOI or hash} of what a region is read from.

        So that a pair store says where it came from, and a change of source builds anew. Known
        without the network.
        """
        ...

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """{piece: what it weighs, about} that `fetch` has yet to bring; empty where all is here.

        A piece that several windows share has one name, so that it is counted once.
        """
        ...

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Bring what `read` needs of the window to this machine; what is here already stays.

        Atomic by piece, so that it can be killed and called again. A source that reads a remote
        store as it goes has nothing to do here.
        Errors: InputError with what to do (no key, a full disk, a provider that says no).
        """
        ...

    def times(self, window: Window) -> Times:
        """The valid times within the window's first and last that the product has, ascending.

        After `fetch`. Duplicates stay in: the recipe refuses them.
        """
        ...

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window's variables under the product's own names, decoded, in memory.

        Dims (time, y, x), or (y, x) where `times` is empty; coordinates `time` (datetime64[s]) and
        the cell centres `y` and `x` in the product's own order: degrees, or metres of a map whose
        PROJ string is the data set's attribute `crs` ("" for latitude and longitude). At least the
        window's box and half a cell around it, and not much more. Each variable carries `units`.
        Missing data: NaN. Errors: InputError where values cannot be read or a time is absent.
        """
        ...


@runtime_checkable
class KeyedSource(Protocol):
    """A `Source` that needs a key; only what it adds, as `SharedSource`."""

    def check_key(self) -> None:
        """Refuse where the key or the client is missing; asks nobody. Errors: InputError."""
        ...


@runtime_checkable
class SharedSource(Protocol):
    """A `Source` to which it matters that several windows are wanted.

    Of some, one piece serves many windows, and costs the same for one as for all; of others, the
    problems of all windows are to be heard at once.
    """

    def fetch_many(self, windows: Sequence[Window], *, advance: Advance = no_report) -> None:
        """As `fetch`, for all windows at once."""
        ...
