"""Who may import whom: every import inside the package goes strictly downwards, those inside functions too."""

import ast
import sys
from pathlib import Path

import pytest

import escape

PACKAGE = Path(escape.__file__).parent

# Floor of every module; a module imports only from lower floors. A new file is named here, on the lowest floor that
# lies above all it imports. A name that ends in .* stands for a package whose modules may import one another.
FLOORS = {
    "escape.memory": -2,
    "escape.progress": -2,
    "escape.mapped.*": -1,
    "escape.theory.*": 0,
    "escape.estimate.*": 0,
    "escape.streams": 0,
    "escape.spec": 0,
    "escape.starts": 0,
    "escape.optimizers.*": 1,
    "escape.figures": 0,
    "escape.executors": 0,
    "escape.landscapes.critical_point": 0,
    "escape.landscapes.sampling": 0,
    "escape.landscapes.recording": 0,
    "escape.landscapes.changes": 0,
    "escape.landscapes.lifting": 1,
    "escape.landscapes.module_checks": 0,
    "escape.landscapes.batches": 0,
    "escape.draws": 0,
    "escape.landscapes.sample_noise": 1,
    "escape.landscapes.base": 2,
    "escape.store": 2,
    "escape.sample_files": 3,
    "escape.landscapes.scored": 2.5,
    "escape.landscapes.generalized_linear": 3,
    "escape.landscapes.quadratic": 3,
    "escape.landscapes.wells": 3,
    "escape.landscapes.module": 3,
    "escape.stationary_points.*": 3,
    "escape.landscapes.random_field": 4,
    "escape.landscapes.spin_glass": 4,
    "escape.observables": 3,
    "escape.oracles.*": 3,
    "escape.conformance.*": 8,
    "escape.landscapes.degenerate": 3,
    "escape.landscapes.potential": 3,
    "escape.landscapes.two_basins": 3,
    "escape.landscapes.classic": 4,
    "escape.landscapes.factorization": 4,
    "escape.landscapes.digits": 0,
    "escape.landscapes.balanced": 1,
    "escape.landscapes.newton": 3,
    "escape.landscapes.multi_index": 3,
    "escape.landscapes.matrix_product": 3,
    "escape.landscapes.regression": 4,
    "escape.landscapes.half_spaces": 4,
    "escape.landscapes.phase_retrieval": 4,
    "escape.landscapes.symmetric_factorization": 4,
    "escape.landscapes.matrix_sensing": 4,
    "escape.landscapes.matrix_completion": 4,
    "escape.landscapes.deep_linear": 4,
    "escape.landscapes.tanh_network": 4,
    "escape.landscapes.teacher_student": 4,
    "escape.landscapes.multi_well": 4,
    "escape.landscapes.octopus": 4,
    "escape.landscapes.sphere": 4,
    "escape.landscapes.second_order": 4,
    "escape.chunk": 4,
    "escape.run": 4,
    "escape.block": 5,
    "escape.parts": 5,
    "escape.results": 5,
    "escape.landscapes": 5,
    "escape.checked": 6,
    "escape.provenance": 6,
    "escape.execute": 6,
    "escape.named.*": 6,
    "escape.catalogue": 7,
    "escape.well": 6,
    "escape.seen_noise": 6,
    "escape.stable_exits": 6,
    "escape.method": 4,
    "escape.kicked_exits": 7,
    "escape.forecast": 8,
    "escape.noise_geometry.*": 6,
    "escape.rare.*": 6,
    "escape.linear_part": 6,
    "escape.predict": 9,
    "escape.simulate": 7,
    "escape.grid": 7,
    "escape.stopping": 5,
    "escape.swept": 8,
    "escape.sweep": 9,
    "escape.choices": 8,
    "escape.recipe": 9,
    "escape.tables": 9,
    "escape.description": 10,
    "escape.report": 10,
    "escape.checking_cli": 10,
    "escape.listing_cli": 10,
    "escape": 10,
    "escape.cli": 11,
}
# Packages that may use nothing else, so that neither can read a simulation, nor the other.
PURE = {"escape.theory": {"numpy", "scipy"}, "escape.estimate": {"numpy", "scipy"}}
LONGEST = 300  # lines in a file

FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(source, module, known):
    """Names of the modules that a source imports anywhere in it, and the lines; known modules by their full name."""
    package = module if known.get(module, Path("x.py")).name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append((inner if inner in known else base, node.lineno))
    return found


def floor(module, floors):
    """(floor, the package of free imports that it belongs to or None); None where the table has no such module."""
    if module in floors:
        return floors[module], None
    for name, number in floors.items():
        free = name.removesuffix(".*")
        if free != name and (module == free or module.startswith(free + ".")):
            return number, free
    return None


def wrong_imports(source, module, known, floors):
    """Lines about imports that go upwards or sideways."""
    if floor(module, floors) is None:
        return [f"{module} has no floor; name it in FLOORS of {Path(__file__).name}, above all that it imports"]
    here, free = floor(module, floors)
    said = []
    for name, line in imports(source, module, known):
        if name.split(".")[0] != "escape":
            continue
        there = floor(name, floors)
        if there is None:
            said.append(f"{module}:{line} imports {name}, which has no floor")
        elif not (there[0] < here or (free is not None and there[1] == free)):
            said.append(f"{module} (floor {here}), line {line}, imports {name} (floor {there[0]}): not downwards")
    return said


def test_every_module_has_a_floor():
    missing = [name for name in FILES if floor(name, FLOORS) is None]
    assert not missing, (
        f"{', '.join(missing)}: no floor; name it in FLOORS of {Path(__file__).name}, above all that it imports"
    )


@pytest.mark.parametrize("module", FILES)
def test_imports_go_strictly_downwards(module):
    wrong = wrong_imports(FILES[module].read_text(), module, FILES, FLOORS)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_use_nothing_else(package):
    wrong = []
    for module, path in FILES.items():
        if module != package and not module.startswith(package + "."):
            continue
        for name, line in imports(path.read_text(), module, FILES):
            own = name == package or name.startswith(package + ".")
            root = name.split(".")[0]
            if not (own or root in PURE[package] or root in sys.stdlib_module_names):
                wrong.append(f"{module}, line {line}, imports {name}; allowed are {sorted(PURE[package])}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_have_no_circle(package):
    inside = [name for name in FILES if name == package or name.startswith(package + ".")]
    graph = {
        name: {other for other, _ in imports(FILES[name].read_text(), name, FILES) if other in inside}
        for name in inside
    }
    while graph:
        ends = [name for name, below in graph.items() if not below & graph.keys()]
        assert ends, f"these import one another in a circle, or hang on one: {sorted(graph)}"
        for name in ends:
            del graph[name]


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_too_long(module):
    lines = len(FILES[module].read_text().splitlines())
    assert lines <= LONGEST, f"{module} has {lines} lines, {LONGEST} are allowed: look for the noun hiding in it"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from escape.streams import block_seed", 0),
        ("from escape import streams", 0),
        ("import escape.simulate", 1),
        ("def f():\n    from escape.store import Store", 1),
        ("class A:\n    def f(self):\n        import escape.block", 1),
        ("from . import simulate", 1),
        ("from .landscapes.base import Landscape", 1),
        ("from escape import simulate, streams", 1),
        ("from escape import Store", 1),
        ("import escape.nowhere", 1),
        ("import torch, numpy", 0),
    ],
)
def test_the_reader_of_imports_sees(source, count):
    found = wrong_imports(source, "escape.store", FILES, FLOORS)
    assert len(found) == count, f"{source!r} in escape.store: {found}, expected {count}"
