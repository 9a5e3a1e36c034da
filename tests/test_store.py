"""Results on disk, and the description by which they are found again."""

import importlib
import json
import os
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import xarray as xr
from cases import centred, normal

from escape import (
    Above,
    DoubleWell,
    Exit,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    Landscape,
    MiniBatch,
    NormalStart,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    Store,
    simulate,
)
from escape.provenance import spec_of
from escape.spec import describe, digest
from escape.store import check_writable, read, write

F64 = torch.float64
SADDLE = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50)
FAR = SquaredDistance(torch.zeros(2, dtype=F64))


def arguments(**changed):
    return {
        "landscape": SADDLE, "oracle": MiniBatch(4), "optimizer": GradientDescent(0.1),
        "start": torch.zeros(2, dtype=F64), "steps": 20, "chains": 10, "observe": {"r": FAR}, "seed": 3,
    } | changed  # fmt: skip


def run(**changed):
    return simulate(**arguments(**changed))


@pytest.fixture
def no_step(monkeypatch):
    """From here on, a step made is an error."""

    def never(*_, **__):
        raise AssertionError("simulated")

    return lambda: monkeypatch.setattr(importlib.import_module("escape.simulate"), "run_block", never)


# The store.


def test_the_second_run_simulates_nothing(tmp_path, no_step):
    first = run(store=tmp_path)
    no_step()
    for store in (tmp_path, str(tmp_path), Store(tmp_path)):
        again = run(store=store)
        assert again.equals(first)
        assert dict(again.sizes) == dict(first.sizes)
        assert {name: again[name].dtype for name in again} == {name: first[name].dtype for name in first}
        assert again.attrs.keys() == first.attrs.keys()
        for name, value in first.attrs.items():
            assert again.attrs[name] == value, f"attribute {name}: {again.attrs[name]!r}, stored {value!r}"
        assert again.status.attrs["flag_meanings"] == "censored exited diverged"
        assert list(again.status.attrs["flag_values"]) == [0, 1, 2]


def test_the_same_run_made_anew_is_found(tmp_path, no_step):
    """Equal by value: nothing of an object's identity is in the key."""
    run(store=tmp_path, observe={"r": SquaredDistance(torch.zeros(2, dtype=F64))})
    no_step()
    same = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50)
    run(store=tmp_path, landscape=same, progress=lambda done, total: None, executor=1)


def test_diverged_chains_survive_the_disk(tmp_path, no_step):
    chosen = {
        "landscape": DoubleWell.gaussian(0.3, n=20), "start": torch.tensor([-50.0]),
        "observe": {"x": Projection(torch.zeros(1), torch.ones(1))}, "oracle": MiniBatch(4),
    }  # fmt: skip
    first = run(store=tmp_path, **chosen)
    no_step()
    again = run(store=tmp_path, **chosen)
    assert (again.status == 2).all()
    assert again.equals(first)
    assert np.isnan(again.x.values[-1]).all()


CHANGES = {
    "seed": {"seed": 4},
    "steps": {"steps": 21},
    "chains": {"chains": 11},
    "every": {"every": 2},
    "block": {"block": 8},
    "landscape's data": {"landscape": QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50, seed=1)},
    "one number of it": {
        "landscape": replace(SADDLE, curvatures=SADDLE.curvatures + 1e-15 * torch.eye(50, 2, dtype=F64))
    },
    "dtype": {"landscape": SADDLE.to(dtype=torch.float32)},
    "kind of noise": {"oracle": GaussianNoise(4)},
    "batch size": {"oracle": MiniBatch(5)},
    "replacement": {"oracle": MiniBatch(4, replacement=True)},
    "lr": {"optimizer": GradientDescent(0.11)},
    "schedule": {"optimizer": GradientDescent(lambda t: 0.1)},
    "momentum": {"optimizer": HeavyBall(0.1, 0.0)},
    "start": {"start": torch.tensor([0.0, 1e-15], dtype=F64)},
    "random start": {"start": NormalStart(torch.zeros(2, dtype=F64), 0.0)},
    "name of an observable": {"observe": {"q": FAR}},
    "observable": {"observe": {"r": Projection(torch.zeros(2), torch.ones(2))}},
    "exit": {"until": Above(FAR, 0.1)},
    "threshold": {"until": Above(FAR, 0.2)},
}


def key(**changed):
    return digest(json.loads(run(**changed).attrs["spec"]))


def test_any_change_is_another_key():
    keys = {"nothing": key(), **{name: key(**changed) for name, changed in CHANGES.items()}}
    alike = [(a, b) for a in keys for b in keys if a < b and keys[a] == keys[b]]
    assert not alike, f"the same key for {alike}"
    assert key() == keys["nothing"]


def test_a_torn_file_is_named_and_the_run_done_again(tmp_path, no_step):
    first = run(store=tmp_path)
    (path,) = tmp_path.glob("*.nc")
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"nonsense" * 100):
        path.write_bytes(torn)
        with pytest.warns(UserWarning, match=rf"{path.name} is not a whole netCDF-4 file.*the run is done again"):
            again = run(store=tmp_path)
        assert again.equals(first)
        assert read(path).equals(first), "the torn file is replaced"
    no_step()
    run(store=tmp_path)


def test_a_file_of_another_run_is_not_believed(tmp_path):
    first = run(store=tmp_path)
    (path,) = tmp_path.glob("*.nc")
    write(run(seed=99), path)
    with pytest.warns(UserWarning, match="holds another run"):
        again = run(store=tmp_path)
    assert again.equals(first)


def test_a_place_that_cannot_be_written_is_said_before_the_run(tmp_path, no_step):
    (tmp_path / "file").write_text("in the way")
    no_step()
    with pytest.raises(OSError, match=r"cannot write .*file.*choose another place") as caught:
        run(store=tmp_path / "file" / "results")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_said_before_the_run(tmp_path, no_step):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    no_step()
    with pytest.raises(PermissionError, match=r"cannot write .*closed"):
        run(store=folder)


def test_a_run_that_cannot_be_described_is_refused_before_it(tmp_path, no_step):
    class Opaque:
        def __call__(self, x):
            return x[:, 0]

    no_step()
    with pytest.raises(TypeError, match=r"observe cannot key a stored result: .*Opaque has no description by value"):
        run(store=tmp_path, observe={"r": Opaque()})


def test_without_a_store_it_runs_and_says_so():
    class Opaque:
        def __call__(self, x):
            return x[:, 0]

    spec = json.loads(run(observe={"r": Opaque()}).attrs["spec"])
    assert "Opaque" in spec["observe"]["not described"]


# Files.


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    data = run()
    path = write(data, tmp_path / "new" / "data.nc")
    assert read(path).equals(data)
    before = path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["data.nc"]

    def torn(self, name, **_):
        with open(name, "wb") as file:
            file.write(b"half")
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", torn)
    with pytest.raises(RuntimeError):
        write(data, path)
    assert [file.name for file in path.parent.iterdir()] == ["data.nc"], "a part was left behind"
    assert path.read_bytes() == before, "the file there before is no longer whole"


@pytest.mark.skipif(os.name == "nt", reason="no such permissions there")
def test_a_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    path = write(run(), tmp_path / "data.nc")
    assert path.stat().st_mode == usual.stat().st_mode


def test_reading_names_what_is_missing_or_broken(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*absent\.nc"):
        read(tmp_path / "absent.nc")
    (tmp_path / "broken.nc").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"broken\.nc is not a whole netCDF-4 file") as caught:
        read(tmp_path / "broken.nc")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file in it"):
        check_writable(tmp_path)


# Descriptions.


def test_plain_values_are_themselves():
    plain = {"a": [1, 2.5, "x", None, True], "b": {"c": -0.1}}
    assert describe(plain) == plain
    assert describe(np.float64(0.5)) == 0.5
    assert describe((1, 2)) == [1, 2]
    assert json.loads(json.dumps(describe(plain))) == plain


def test_tensors_are_described_by_value():
    small = torch.tensor([1.0, 2.0])
    assert describe(small) == describe(small.clone()) == describe(small.numpy())
    assert describe(small)["values"] == [1.0, 2.0]
    large = normal(100, 3, seed=1)
    assert describe(large) == describe(large.clone())
    for other in (large.float(), large.reshape(3, 100), large + 1e-15):
        assert digest(describe(other)) != digest(describe(large))
    assert describe(large.T) == describe(large.T.contiguous()), "strides are no values"


def threshold(value):
    def beyond(x):
        return x[:, 0] > value

    return beyond


def test_functions_are_described_by_code_and_closure():
    assert describe(threshold(1.0)) == describe(threshold(1.0))
    assert digest(describe(threshold(1.0))) != digest(describe(threshold(2.0)))
    assert digest(describe(threshold(torch.ones(2)))) != digest(describe(threshold(torch.zeros(2))))
    by_code = [lambda x: x[:, 0] > 1, lambda x: x[:, 0] > 2, lambda x: x[:, 1] > 1, lambda x: x[:, 0] < 1]
    assert len({digest(describe(function)) for function in by_code}) == 4
    assert digest(describe(lambda x, r=1: x)) != digest(describe(lambda x, r=2: x))


def test_objects_that_hold_no_value_are_refused():
    for thing in (object(), threading.Lock()):
        with pytest.raises(TypeError, match="has no description by value"):
            describe(thing)


SOURCE = """
from dataclasses import dataclass
from typing import ClassVar
from escape import Exit

CONSTANT = {k}

def helper(x):
    return x[:, 0] > {k}

class Base(Exit):
    def __call__(self, x):
        return self.inside(x)

    def inside(self, x):
        return x[:, 0] > {k}

@dataclass(frozen=True)
class Method(Exit):
    def __call__(self, x):
        return self.inside(x)

    def inside(self, x):
        return x[:, 0] > {k}

@dataclass(frozen=True)
class Call(Exit):
    def __call__(self, x):
        return x[:, 0] > {k}

@dataclass(frozen=True)
class Inherited(Base):
    name: str = "a"

@dataclass(frozen=True)
class Property(Exit):
    @property
    def threshold(self):
        return {k}

    def __call__(self, x):
        return x[:, 0] > self.threshold

@dataclass(frozen=True)
class Attribute(Exit):
    threshold: ClassVar[float] = {k}

    def __call__(self, x):
        return x[:, 0] > self.threshold

def plain(x):
    return x[:, 0] > {k}

def keyword(x, *, threshold={k}):
    return x[:, 0] > threshold

def constant(x):
    return x[:, 0] > CONSTANT

def helped(x):
    return helper(x)
"""


def of_user(name, k):
    """An exit whose behaviour depends on k, from a module of a user's own."""
    space = {"__name__": "of_a_user"}
    exec(SOURCE.format(k=k), space)
    return space[name]() if name[0].isupper() else space[name]


@pytest.mark.parametrize(
    "name",
    ["Method", "Call", "Inherited", "Property", "Attribute", "plain", "keyword", "constant", "helped"],
)
def test_another_behaviour_is_another_description(name):
    x = torch.tensor([[1.5]])
    one, two = of_user(name, 1), of_user(name, 2)
    assert bool(one(x)) != bool(two(x))
    assert digest(describe(of_user(name, 1))) == digest(describe(one)), "the same code, the same key"
    assert digest(describe(one)) != digest(describe(two)), "a stored result of the old code would be taken for the new"


def closed_over(threshold):
    @dataclass(frozen=True)
    class Local(Exit):
        def __call__(self, x):
            return x[:, 0] > threshold

    return Local()


def test_a_class_is_described_with_its_closure():
    assert digest(describe(closed_over(1.0))) == digest(describe(closed_over(1.0)))
    assert digest(describe(closed_over(1.0))) != digest(describe(closed_over(2.0)))


def tilted(power):
    """A landscape of a user's own whose formula depends on `power`."""
    space = {"__name__": "of_a_user", "Landscape": Landscape, "dataclass": dataclass, "Tensor": torch.Tensor}
    exec(
        "@dataclass(frozen=True, eq=False)\nclass Tilted(Landscape):\n    samples: Tensor\n"
        f"    def sample_loss(self, x, tilt):\n        return (x**{power}).sum() + tilt @ x\n",
        space,
    )
    return space["Tilted"](centred(10, 2))


def test_another_formula_of_a_landscape_is_another_key(tmp_path):
    start = torch.full((2,), 0.5, dtype=F64)
    first = run(landscape=tilted(2), store=tmp_path, start=start)
    again = run(landscape=tilted(2), store=tmp_path, start=start)
    assert again.attrs["wall_seconds"] == first.attrs["wall_seconds"], "the same formula is found"
    other = run(landscape=tilted(4), store=tmp_path, start=start)
    assert not np.array_equal(other.r, first.r)


def test_the_order_of_a_set_is_no_value():
    """It follows the hashes of strings, which every process draws anew: a stored result would not be found again."""
    assert repr({0, 8}) != repr({8, 0}), "two numbers of one slot, whose order is that of their coming"
    spaces = [{}, {}]
    for order, space in zip(("0, 8", "8, 0"), spaces, strict=True):
        exec(f"def f(x):\n    return x in {{{order}}}", space)
    one, two = (describe(space["f"]) for space in spaces)
    assert digest(one) == digest(two)


def test_the_spec_is_made_of_json():
    from escape.checked import checked_run

    checked = checked_run(
        SADDLE,
        MiniBatch(4),
        GradientDescent(0.1),
        torch.zeros(2),
        5,
        3,
        {"r": FAR},
        1,
        Above(FAR, 1.0),
        0,
        None,
        "auto",
    )
    spec = spec_of(checked, need_key=True)
    assert json.loads(json.dumps(spec)) == spec
    assert spec["oracle"] == {"type": "escape.oracles.batches.MiniBatch", "batch_size": 4, "replacement": False}
    assert spec["optimizer"]["lr"] == 0.1
    assert spec["until"]["threshold"] == 1.0
