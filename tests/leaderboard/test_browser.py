"""The pages in a real browser, from file://, where Chromium is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

CLICK = """
window.addEventListener("load", () => {
  const table = document.getElementById("table-t2m-deterministic");
  const header = Array.from(table.tHead.rows[0].cells).find((cell) =>
    cell.textContent.includes("ID skill") && !cell.textContent.includes("OOD"));
  const order = (name) => Array.from(
    table.querySelectorAll(`tbody.${name} tr`), (row) => row.dataset.row).join(" ");
  const seen = [];
  for (let click = 0; click < 2; click += 1) {
    header.querySelector("button").click();
    seen.push(header.getAttribute("aria-sort") + ": " + order("null") + " / " + order("zero_shot"));
  }
  const sections = Array.from(table.querySelectorAll("tbody.rows"), (body) => body.dataset.section);
  document.title = [...seen, sections.join(" "),
    document.documentElement.scrollWidth <= window.innerWidth].join("|");
});
"""


def browse(page: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Load a page headless without a network; its DOM on stdout, its console on stderr."""
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000", *options, "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "page",
    ["index.html", "regions/andes-south.html", "models/srcnn-add-zero_shot.html"],
)
def test_pages_load_without_a_console_message(page: str, site: Path, tmp_path: Path) -> None:
    done = browse(site / page, tmp_path)
    assert "</html>" in done.stdout
    assert "<button" in done.stdout, "the script did not run"
    assert "CONSOLE" not in done.stderr, done.stderr


@pytest.mark.parametrize("width", [400, 1400])
def test_sorting_keeps_sections_and_the_page_never_scrolls_sideways(
    width: int, site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    script = copy / "sort.js"
    script.write_text(script.read_text() + CLICK)
    done = browse(copy / "index.html", tmp_path, f"--window-size={width},900")
    (title,) = re.findall("<title>(.*?)</title>", done.stdout)
    up, down, sections, fits = title.split("|")
    null, add, none = "none-zero_shot", "srcnn-add-zero_shot", "srcnn-skip-none-zero_shot"
    names = [f"{name}-{null}" for name in ("nearest", "bilinear-dressed", "bilinear")]
    assert up == f"ascending: {' '.join(names)} / {none} {add}"
    assert down == f"descending: {' '.join(names[::-1])} / {add} {none}"
    assert sections == "null zero_shot oracle exposed-zero_shot"
    assert fits == "true"


FIT = """
window.addEventListener("load", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.title = document.documentElement.scrollWidth <= window.innerWidth;
});
"""


@pytest.mark.parametrize("width", [400, 1400])
def test_a_model_page_never_scrolls_sideways_with_all_its_tables_open(
    width: int, site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    script = copy / "sort.js"
    script.write_text(script.read_text() + FIT)
    page = copy / "models" / "bilinear-dressed-none-zero_shot.html"
    done = browse(page, tmp_path, f"--window-size={width},900")
    assert re.findall("<title>(.*?)</title>", done.stdout) == ["true"]
