"""README and docs run as written, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from escape.named import NAMED
from experiments import gallery

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    assert blocks or page.name == "landscapes.md"
    names = {"__name__": "page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name} block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (page.parent / target).is_file(), target


def test_the_table_of_landscapes_is_that_of_today():
    """Every name has its line; a few are made again, and agree to the letter (`make gallery`)."""
    lines = (ROOT / "docs" / "landscapes.md").read_text().splitlines()
    listed = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert listed == list(NAMED)
    for name in ("additive-saddle", "octopus", "wu-ma-e", "styblinski-tang", "mueller-brown"):
        assert f"| {' | '.join(gallery.row(name))} |" in lines, f"{name}: make gallery"
