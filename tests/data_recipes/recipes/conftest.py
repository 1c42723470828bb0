"""For all recipes: no wait between tries of a played server."""

import asyncio
from types import SimpleNamespace

import gcsfs.retry
import pytest


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of gcsfs between its tries, left out."""

    async def at_once(_: float) -> None:
        """Stands for a wait."""

    monkeypatch.setattr(
        gcsfs.retry, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": at_once})
    )
