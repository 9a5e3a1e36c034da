"""The paper's sources, without LaTeX: what they cite, show and quote exists."""

import re
from pathlib import Path

import pytest

from experiments.__main__ import NAMES

PAPER = Path(__file__).parent.parent / "paper"
TEXT = re.sub(r"(?<!\\)%.*", "", (PAPER / "main.tex").read_text(encoding="utf-8"))
PREFIXES = ["".join(word.capitalize() for word in name.split("_")) for name in NAMES]


def quoted(text):
    """Macros named after an experiment."""
    return set(re.findall(rf"\\((?:{'|'.join(PREFIXES)})[A-Za-z]*)", text))


def test_what_is_cited_is_in_the_bibliography_and_the_other_way_round():
    cited = {
        key.strip()
        for group in re.findall(r"\\cite[a-z]*\*?(?:\[[^\]]*\])*\{([^}]*)\}", TEXT)
        for key in group.split(",")
    }
    listed = re.findall(r"^@\w+\{([^,\s]+),", (PAPER / "refs.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed)), f"keys given twice in refs.bib: {sorted(listed)}"
    assert cited == set(listed), f"cited and not listed: {cited - set(listed)}; listed only: {set(listed) - cited}"


def test_every_experiment_has_its_figure_and_every_figure_its_experiment():
    shown = re.findall(r"\\includegraphics(?:\[[^\]]*\])?\{figures/([^}]*)\}", TEXT)
    assert sorted(shown) == sorted(NAMES), f"figures of the paper {sorted(shown)}, experiments {sorted(NAMES)}"


def test_every_label_referred_to_is_set():
    labels = re.findall(r"\\label\{([^}]*)\}", TEXT)
    referred = set(re.findall(r"\\(?:eq|page)?ref\{([^}]*)\}", TEXT))
    assert len(labels) == len(set(labels)), f"labels set twice: {sorted(labels)}"
    assert referred <= set(labels), f"referred to and not set: {sorted(referred - set(labels))}"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_number_quoted_is_written_by_its_experiment(prefix):
    used = {name for name in quoted(TEXT) if name.startswith(prefix)}
    assert used, f"the paper quotes no number of {prefix}"
    numbers = PAPER / "numbers.tex"
    if not numbers.exists():
        pytest.skip("paper/numbers.tex is not there: make figures writes it")
    defined = re.findall(rf"\\newcommand\{{\\({prefix}[A-Za-z]*)\}}", numbers.read_text(encoding="utf-8"))
    if not defined:
        pytest.skip(f"paper/numbers.tex has no number of {prefix}: make figures writes them all")
    twice = {name for name in defined if defined.count(name) > 1}
    assert not twice, f"two claims make the same macro, on which LaTeX stops: {sorted(twice)}"
    assert used <= set(defined), f"the paper quotes what no claim defines: {sorted(used - set(defined))}"


def test_the_reader_of_macros_sees():
    name = PREFIXES[0]
    assert quoted(rf"\{name}Rate{{}} and $\{name}RateLow$, \{name.lower()}Rate, \other") == {
        f"{name}Rate",
        f"{name}RateLow",
    }
