"""The README runs as written."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_there_is_something_to_run():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("number", range(2))
def test_python_blocks_run(number):
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "readme"})


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (Path(__file__).parent.parent / target).is_file(), target
