"""`--set section.key=value`: settings that change a configuration's table before it is checked."""

from typing import Any

from benchmark.errors import InputError, Problem


def apply_setting(table: dict[str, Any], setting: str, *, example: str) -> None:
    """Put one `section.key=value` into a table of sections.

    Values are read as true, false, an integer, a number or else as text. Errors: InputError when
    it is not of this form or there is no such section.
    """
    key, equals, value = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and isinstance(table.get(section), dict)):
        fix = f"For example `--set {example}`."
        raise InputError(Problem(f"--set {setting}", "section.key=value", "this", fix))
    table[section][name] = _parse(value.strip())


def _parse(value: str) -> int | float | str | bool:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
