"""What importing the harness must not pull in: torch, and slow parts of other libraries."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "matplotlib", "scipy.stats", "distributed", "baselines", "leaderboard")


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["benchmark", "benchmark.evaluate", "benchmark.compare"])
def test_importing_the_harness_is_light(module: str) -> None:
    """No torch, no plotting, no slow statistics: scoring runs on a machine without them."""
    found = imported_by(f"import {module}")
    assert module in found
    assert [name for name in HEAVY if name in found] == []


def test_importing_the_package_alone_imports_nothing_numerical() -> None:
    """`import benchmark` for the version loads no array library at all."""
    found = imported_by("import benchmark")
    assert not {"numpy", "xarray", "zarr", "scipy", "dask", "pandas"} & found


def test_scoring_works_where_torch_cannot_be_imported() -> None:
    """With torch blocked, every module of the harness outside the command line imports."""
    modules = [
        f"benchmark.{path.relative_to(ROOT / 'benchmark').with_suffix('').as_posix()}"
        for path in (ROOT / "benchmark").rglob("*.py")
        if "cli" not in path.parts and path.stem != "__init__"
    ]
    assert len(modules) > 25
    names = ", ".join(module.replace("/", ".") for module in sorted(modules))
    found = imported_by(f"import sys; sys.modules['torch'] = None\nimport {names}")
    assert "benchmark.scoring" in found
