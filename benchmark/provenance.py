"""Which package, which commit, which machine made a number."""

import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

SCORING_PACKAGES = ("dask", "numpy", "pandas", "scipy", "xarray", "zarr")


def package_commit() -> str:
    """The commit of the installed package, never of the working directory.

    From the installer's record (PEP 610) when it was installed from a repository, from the
    checkout that holds the package's own files when it was installed in place (`-dirty` when the
    package's files differ from the commit), `unknown` otherwise.
    """
    return _recorded_commit() or _checkout_commit(Path(__file__).resolve().parent) or "unknown"


def _recorded_commit() -> str | None:
    try:
        record = distribution("elsewhere").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id")
    return commit if isinstance(commit, str) else None


def _checkout_commit(package: Path) -> str | None:
    root = package.parent
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    sources = ("benchmark", "baselines", "data_recipes")
    changed = _git(root, "status", "--porcelain", "--", *sources)
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str | None:
    """The output of git in `root`; None where there is no git or it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of what takes part in scoring."""
    return {name: version(name) for name in SCORING_PACKAGES}


def hardware() -> str:
    """Processor and cores, in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands a parent's ru_maxrss on to its children; VmHWM is this process's own.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
