"""Recorded functions: the same bits as vmap, for every landscape there is, and never where that could not be kept."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, normal
from torch.func import grad, vmap

from escape import FullBatch, GaussianNoise, GradientDescent, Landscape, MiniBatch, simulate
from escape.landscapes import lifting, recording
from escape.landscapes.lifting import Lifted, LiftedFunctions

F64 = torch.float64


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Record at the first call."""
    monkeypatch.setattr(lifting, "_CALLS", 0)
    monkeypatch.setattr(lifting, "_CALLS_IN_ALL", 0)


def recorded(function, in_dims, *arguments):
    """Hold three calls against vmap, and return whether they ran from a record."""
    lifted, plain = Lifted(function, in_dims), vmap(function, in_dims)
    with torch.no_grad():
        for _ in range(3):
            kept = [a.clone() for a in arguments]
            assert torch.equal(lifted(*arguments), plain(*arguments)), "the record gives other bits"
            assert all(torch.equal(a, b) for a, b in zip(arguments, kept, strict=True)), "an argument was changed"
    return any(callable(one) and one is not lifted._function for one in lifted._seen.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_every_landscape_is_recorded_to_the_bit(case, dtype):
    landscape = case.make(dtype)
    d = landscape.dimension or 2
    x = 0.3 * normal(5, d, seed=1).to(dtype)
    sample = landscape.samples[torch.arange(5) % landscape.n]
    with torch.no_grad():
        landscape.gradient(x, torch.zeros(5, 1, dtype=torch.int64))  # what is cached on first use is cached
    assert recorded(landscape.sample_gradient, (0, 0), x, sample)
    assert recorded(landscape.sample_loss, (0, 0), x, sample)
    if not landscape.constant_noise or landscape.affine:
        assert recorded(grad(landscape.sample_loss), (0, 0), x, sample)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_runs_do_not_depend_on_when_the_record_takes_over(case, monkeypatch):
    d = case.make(F64).dimension or 2
    start = torch.full((d,), 0.1, dtype=F64)
    oracles = (MiniBatch(4, True), FullBatch(), *(() if "digits" in case.name else (GaussianNoise(4, True),)))
    for oracle in oracles:
        ends = []
        for calls in (0, 5, 1 << 40):
            monkeypatch.setattr(lifting, "_CALLS", calls)
            data = simulate(case.make(F64), oracle, GradientDescent(0.01), start, steps=12, chains=3, block=3)
            ends.append(data.final.values.tobytes())
        assert len(set(ends)) == 1, f"{oracle}: bits depend on the record"


def test_what_follows_from_shapes_alone_is_not_computed():
    function = vmap(grad(lambda x, s: (x * s).exp().sum() + (s * x).sum()))
    with torch.no_grad():
        graph = recording.recorded(function, (normal(4, 3, seed=1), normal(4, 3, seed=2))).graph
    names = [node.name for node in graph.nodes if node.op == "call_function"]
    assert not any("ones_like" in name or "sum" in name for name in names), f"the loss is still computed: {names}"


def writes(x, s):
    g = torch.zeros_like(x)
    g[0] = 2 * x[0] * s[0]
    g[1:] += s[1:]
    return g


def test_a_function_that_writes_into_its_own_tensors_stays_right():
    x, s = normal(4, 3, seed=1), normal(4, 3, seed=2)
    recorded(writes, (0, 0), x, s)
    lifted = Lifted(writes, (0, 0))
    with torch.no_grad():
        lifted(x, s)
        first = lifted(x, s)
        held = first.clone()
        second = lifted(2 * x, s)
    assert torch.equal(first, held), "a later call wrote into an earlier result"
    assert torch.equal(second, vmap(writes)(2 * x, s))


def test_what_cannot_be_recorded_is_interpreted():
    def branches(x):
        return x * 2 if float(torch.ones(())) > 0 else x

    x = normal(4, 3, seed=1)
    lifted = Lifted(branches, (0,))
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(lifted(x), 2 * x)


def test_shapes_are_recorded_apart():
    lifted = Lifted(lambda x: x / x.sum(), (0,))
    with torch.no_grad():
        for c in (3, 5, 3, 8, 5):
            x = normal(c, 4, seed=c)
            assert torch.equal(lifted(x), vmap(lambda x: x / x.sum())(x))
            across = normal(4, c, seed=c).T
            assert torch.equal(lifted(across), vmap(lambda x: x / x.sum())(across))


def test_one_record_serves_any_number_of_points_where_it_can():
    any_number, each = Lifted(lambda x, s: s * x + 1, (0, 0)), Lifted(lambda x: x.new_ones(3).cumsum(0) * x, (0,))
    with torch.no_grad():
        for c in (5, 2, 9):
            x, s = normal(c, 3, seed=c), normal(c, 3, seed=c + 1)
            assert torch.equal(any_number(x, s), s * x + 1)
            assert torch.equal(each(x), torch.tensor([1.0, 2.0, 3.0]) * x)
    assert len(any_number._seen) == 1
    # A sum over the points, which vmap cannot see but the shape of a constant can.
    spread = Lifted(lambda x: x.reshape(-1).sum() * x, (0,))
    with torch.no_grad():
        for c in (5, 2, 9):
            x = normal(c, 3, seed=c)
            assert torch.equal(spread(x), vmap(lambda x: x.reshape(-1).sum() * x)(x))


def test_gradients_through_a_lifted_function_are_not_recorded():
    lifted = Lifted(lambda x: (x**2).sum(), (0,))
    x = normal(4, 3, seed=1).requires_grad_()
    with torch.no_grad():
        lifted(x.detach())
    lifted(x).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


def test_a_copy_of_the_lifted_functions_is_empty():
    import pickle

    held = LiftedFunctions()
    held.get_or_lift("double", lambda x: 2 * x, (0,))
    assert len(held) == 1
    assert pickle.loads(pickle.dumps(held)) == {}


@pytest.mark.parametrize("smooth", [F.softplus, F.gelu, F.silu, torch.tanh, torch.sigmoid], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_smooth_losses_of_parts_of_a_sample_keep_their_bits(smooth, dtype):
    """Their kernels round otherwise where numbers do not lie side by side: a record must keep every layout."""

    def loss(x, s):
        return s[5] * smooth(-(s[:5] @ x)) + smooth(x * s[5]).sum() + 0.01 * (x * x).sum()

    for c in (1, 3, 13, 64):
        x, s = normal(c, 5, seed=c).to(dtype), normal(c, 6, seed=c + 1).to(dtype)
        assert recorded(grad(loss), (0, 0), x, s)
        assert recorded(grad(loss), (0, None), x, s[0])
        assert recorded(grad(loss), (0, 0), x, s[:1].expand(c, -1))


def test_records_side_by_side_leave_torch_as_it_was():
    from concurrent.futures import ThreadPoolExecutor

    def one(k):
        with torch.no_grad():
            x = normal(4, 3, seed=k)
            return torch.equal(Lifted(grad(lambda x: (x**k).sum()), (0,))(x), vmap(grad(lambda x: (x**k).sum()))(x))

    call = torch.nn.Module.__call__
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(2, 26)))
    assert torch.nn.Module.__call__ is call
    assert not torch.fx._symbolic_trace.is_fx_tracing()


@dataclass(eq=False)
class Scaled(Landscape):
    """A landscape whose fields may be changed between runs."""

    samples: torch.Tensor
    size: float

    def sample_loss(self, x, s):
        return self.size * (x @ x) + s @ x


def test_what_is_changed_between_runs_is_seen():
    tilts = torch.zeros(4, 2, dtype=F64)
    landscape = Scaled(tilts, 0.1)
    go = lambda one: simulate(one, FullBatch(), GradientDescent(0.1), torch.ones(2), steps=9, chains=2).final.values  # noqa: E731
    first = go(landscape)
    assert (go(landscape) == first).all()
    landscape.size = 1.0
    assert (go(landscape) == go(Scaled(tilts, 1.0))).all()
    assert not (go(landscape) == first).any()
    landscape.samples += 1.0
    assert (go(landscape) == go(Scaled(tilts, 1.0))).all()
