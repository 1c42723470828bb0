"""`elsewhere mismatch` on 80 columns: every number whole, its units shown."""

import re

import pytest

from benchmark.cli import shifting
from benchmark.pair_store import PairStore


def test_no_number_is_cut_short(
    store: PairStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Units in brackets are no markup; a bias with its exponent has room."""
    task = store.task.model_copy(update={"track": "real_pair"})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(shifting, "pair_store", lambda *_: PairStore(task, store.folder))
    shifting.mismatch("any", variables=["precipitation"])
    shown = capsys.readouterr().out
    # The heads may be broken into lines.
    assert "[mm" in shown
    assert "h-1]" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert len(re.findall(r"│ [+-]\d", shown)) == len(task.regions)
