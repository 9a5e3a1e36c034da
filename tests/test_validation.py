"""Every prediction is held against a simulation, and the table of z-scores tells chance from error."""

import ast
import functools
import inspect
from pathlib import Path

import comparisons
import numpy as np
import pytest

from escape import theory

# What is no number that a simulation could give, and why.
EXEMPT = {
    "regime": "words",
    "growth_window": "a rule for fits",
    "ExitLaw.std": "the root of the variance, which is compared",
}


def predictions():
    """Names of the public functions of the theory, and of the public methods and properties of its classes."""
    found = []
    for name in theory.__all__:
        value = getattr(theory, name)
        if not inspect.isclass(value):
            found.append(name)
            continue
        kinds = property | functools.cached_property
        methods = [key for key, part in vars(value).items() if inspect.isfunction(part) or isinstance(part, kinds)]
        # An error estimate is no prediction; finer grids judge it.
        found += [f"{name}.{key}" for key in methods if not (key.startswith("_") or key.endswith("_error"))]
    return found


def compared():
    """Names that stand as `theory.name`, not called, in the validation tests.

    A method that stands as `kind.method` counts for every class of the theory named in the same file.
    """
    found = set()
    for path in Path(__file__).parent.glob("test_validation_*.py"):
        tree = ast.parse(path.read_text())
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in called]
        names = {ast.unparse(node).removeprefix("theory.") for node in attributes}
        methods = {node.attr for node in attributes if not ast.unparse(node).startswith("theory.")}
        found |= names | {f"{name}.{method}" for name in names for method in methods if inspect.isclass(_of(name))}
    return found


def _of(name):
    return getattr(theory, name, None)


def test_every_prediction_is_compared_with_a_simulation():
    known = compared() | set(EXEMPT)
    missing = [name for name in predictions() if name not in known]
    assert not missing, f"no comparison in tests/test_validation_*.py of {', '.join(missing)}: compare(theory.name, …)"
    assert set(EXEMPT) <= set(predictions()), "an exemption for what there is not"


def sample(z):
    return [comparisons.Comparison(theory.kappa, f"case {i}", value, 0.0, 1.0) for i, value in enumerate(z)]


def test_chance_is_told_from_error():
    """False alarms 1e-3; found out are errors estimated twice too large, or too small, in a hundred comparisons."""
    z = np.random.default_rng(0).standard_normal(100)
    assert not comparisons.not_normal(sample(z))
    assert comparisons.not_normal(sample(z / 2.5)), "standard errors 2.5 times too large"
    assert comparisons.not_normal(sample(z + 1)), "a bias of one standard error everywhere"
    assert not comparisons.not_normal(sample(z[:5] + 3)), "too few to judge"


def test_the_table_shows_every_comparison():
    lines = comparisons.table(sample([0.5, -1.25]))
    assert sum("kappa" in line for line in lines) == 2
    assert any(line.endswith("-1.25") for line in lines)
    assert "worst -1.25" in lines[-1]


@pytest.mark.parametrize("error", [0.0, float("nan")])
def test_a_comparison_without_an_error_fails(error):
    entry = comparisons.Comparison(theory.kappa, "no error", 1.0, 1.0, error)
    assert not entry.passes


def test_a_comparison_far_off_fails():
    assert not comparisons.Comparison(theory.kappa, "", 1.0, 0.0, 0.24).passes
    assert comparisons.Comparison(theory.kappa, "", 1.0, 0.0, 0.26).passes
