"""From numbers to text and from templates to pages; autoescape is always on."""

import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaderboard.intervals import gap_interval, skill_interval

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
LARGE = 1000.0
"""From here on a number is written as a power of ten: a diverged row must not widen its column."""


def signed(value: float, digits: int = 3) -> str:
    """A skill: a sign unless it rounds to 0, `digits` decimals."""
    if abs(value) >= LARGE:
        return plain(value, digits)
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def percent(value: float) -> str:
    """A share as a signed percentage with one decimal."""
    return signed(100 * value, 1)


def plain(value: float, digits: int = 3) -> str:
    """`digits` significant digits; far from 1 as a power of ten."""
    if value == 0:
        return "0"
    if abs(value) >= LARGE or abs(value) < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", MINUS)


def missing(why: str) -> Markup:
    """A dash that says why there is no number."""
    return Markup('<span class="missing" title="{}">{}</span>').format(why, DASH)


def show(value: float | None, form: str = "plain", why: str = "not defined here") -> str | Markup:
    """A number in one of the forms above, or a dash where it is missing."""
    if value is None or math.isnan(value):
        return missing(why)
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return {"signed": signed, "percent": percent, "plain": plain}[form](value)


def sort_key(value: float | None) -> str:
    """The full number, for sorting and for machines; empty where it is missing."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def environment() -> Environment:
    """The templates with the forms above as filters."""
    made = Environment(
        loader=PackageLoader("leaderboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "show": show,
        "sort_key": sort_key,
        "skill_interval": skill_interval,
        "gap_interval": gap_interval,
    }
    return made


def write_page(made: Environment, template: str, path: Path, **values: Any) -> None:
    """Render `template` to `path`; `root` is the way back to the folder of the site's index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.get_template(template).render(**values), encoding="utf-8")
