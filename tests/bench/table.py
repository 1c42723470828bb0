"""The README's table of speeds, from the JSON that `pytest-benchmark --benchmark-json` writes.

python tests/bench/table.py bench.json [more.json]
"""

import json
import sys
from pathlib import Path
from typing import Any

HEAD = ("what", "ours", "at most", "fastest peer", "times faster", "at least")


def rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a benchmark that names itself in `extra_info`; a dash for what it has not."""
    found = []
    for benchmark in report["benchmarks"]:
        info = benchmark["extra_info"]
        if "name" not in info:
            continue
        unit = info.get("unit", "")
        found.append(
            (
                info["name"],
                _shown(info.get("passes"), unit),
                _shown(info.get("bound"), ""),
                _shown(info.get("peer"), ""),
                _shown(info.get("times_faster"), ""),
                _shown(info.get("required"), ""),
            )
        )
    return found


def table(lines: list[tuple[str, ...]]) -> str:
    """Markdown."""
    rule = ("---",) * len(HEAD)
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEAD, rule, *lines))


def _shown(value: float | str | None, unit: str) -> str:
    if value is None:
        return "—"
    return f"{value:g} {unit}".strip() if isinstance(value, int | float) else value


if __name__ == "__main__":
    reports = [json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]
    print(table([row for report in reports for row in rows(report)]))
