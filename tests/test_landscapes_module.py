"""A user's own module as a landscape: gradients of the module itself, what is refused, and runs by whomever."""

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from escape import (
    GradientDescent,
    Landscape,
    MiniBatch,
    ModuleLandscape,
    TanhNetwork,
    check_landscape,
    escape_directions,
    find_critical_point,
    second_order,
    simulate,
)
from escape.landscapes.module_checks import _rows
from escape.spec import describe, digest

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def classes(n, k=3, seed=0):
    return torch.randint(k, (n,), generator=torch.Generator().manual_seed(seed))


def built(make, seed=0):
    """A module with parameters of its own seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def half_square(outputs, targets):
    return 0.5 * (outputs - targets).square().sum(1).mean()


def images():
    make = lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))  # noqa: E731
    return ModuleLandscape(built(make), F.cross_entropy, normal(30, 2, 4, 4), classes(30))


def tokens():
    def make():
        norm = nn.LayerNorm(8, elementwise_affine=False)
        return nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), norm, nn.Linear(8, 2)).double()

    return ModuleLandscape(built(make), half_square, classes(30 * 4, 7).view(30, 4), normal(30, 2))


class Shared(nn.Module):
    """An encoder whose transpose decodes, a layer that does not move, and normalisation by fixed statistics."""

    def __init__(self):
        super().__init__()
        self.code = nn.Parameter(torch.randn(2, 5))
        self.fixed = nn.Linear(5, 5).requires_grad_(False)
        self.norm = nn.BatchNorm1d(5)
        self.norm.running_mean.normal_()

    def forward(self, x):
        return torch.tanh(self.norm(self.fixed(x)) @ self.code.T) @ self.code


def shared():
    inputs = normal(30, 5)
    return ModuleLandscape(built(Shared).eval(), half_square, inputs, inputs)


MADE = {"images": images, "tokens": tokens, "shared": shared}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_is_a_landscape(make):
    check_landscape(make())


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_modules_own_pass_gives_what_sample_by_sample_does(make):
    """The batched forward pass against per-sample losses lifted twice, the base class's way, to rounding."""
    landscape = make()
    x = landscape.start + 0.3 * normal(4, landscape.dimension, seed=1)
    index = classes(4 * 6, landscape.n, seed=2).view(4, 6)
    weights = torch.rand(4, landscape.n, dtype=F64, generator=torch.Generator().manual_seed(3))
    for got, expected in (
        (landscape.loss(x), Landscape.loss(landscape, x)),
        (landscape.gradient(x, index), Landscape._batch_gradient(landscape, x, index)),
        (landscape.gradient(x), Landscape._full_gradient(landscape, x)),
        (landscape.weighted_gradient(x, weights), Landscape.weighted_gradient(landscape, x, weights)),
        (landscape.hessian(x[0]), Landscape.hessian(landscape, x[0])),
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_slices_of_chains_and_samples_change_nothing(make, monkeypatch):
    landscape = make()
    x = landscape.start + 0.3 * normal(5, landscape.dimension, seed=1)
    index = classes(5 * 6, landscape.n, seed=2).view(5, 6)
    whole = landscape.gradient(x), landscape.gradient(x, index), landscape.loss(x)
    size = 2 * (6 * landscape.samples.shape[1] + landscape.dimension)
    monkeypatch.setattr("escape.landscapes.module._AT_ONCE", size)
    for got, expected in zip(
        (landscape.gradient(x), landscape.gradient(x, index), landscape.loss(x)), whole, strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_the_second_order_of_a_network_is_that_of_its_samples():
    """By one derivative of the batched gradient, against a derivative of every sample's gradient."""
    landscape = images()
    near = second_order(landscape, landscape.critical_point(landscape.start))
    x = landscape.start + 0.3 * normal(4, landscape.dimension, seed=1)
    index = classes(4 * 6, landscape.n, seed=2).view(4, 6)
    torch.testing.assert_close(
        near.gradient(x, index), Landscape._batch_gradient(near, x, index), rtol=1e-10, atol=1e-12
    )


def test_a_chain_is_torch_optim_on_the_module():
    """Full batches: no randomness, so that both are the same numbers but for rounding."""
    landscape = images()
    module = copy.deepcopy(landscape.module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    x = landscape.start[None]
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(module(landscape.inputs), landscape.targets).backward()
        optimizer.step()
        x = x - 0.3 * landscape.gradient(x)
    torch.testing.assert_close(x[0], landscape.flatten(module), rtol=1e-12, atol=1e-14)


def test_parameters_go_there_and_back():
    landscape = images()
    names = [name for name, _ in landscape.module.named_parameters()]
    assert list(landscape.parameters_of(landscape.start)) == names
    x = normal(landscape.dimension, seed=4)
    module = landscape.module_at(x.numpy())
    assert torch.equal(landscape.flatten(module), x)
    assert torch.equal(landscape.flatten(landscape.parameters_of(x)), x)
    inputs, targets = landscape.inputs, landscape.targets
    torch.testing.assert_close(F.cross_entropy(module(inputs), targets), landscape.loss(x), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="must be of shape"):
        landscape.flatten(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="one point of shape"):
        landscape.parameters_of(x[:-1])


def test_parameters_that_require_no_gradient_stay():
    landscape = shared()
    assert list(landscape.shapes) == ["code", "norm.weight", "norm.bias"]
    assert landscape.dimension == 2 * 5 + 5 + 5


def test_the_landscape_keeps_a_copy():
    module = built(lambda: nn.Linear(4, 3))
    landscape = ModuleLandscape(module, F.cross_entropy, normal(10, 4), classes(10))
    assert next(module.parameters()).dtype == torch.float32  # moved to the inputs' dtype is the copy
    before = landscape.start.clone()
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(landscape.start, before)
    assert landscape.to(dtype=torch.float32).start.dtype == torch.float32
    assert tokens().to(dtype=torch.float32).samples.dtype == torch.float32


def flat(*layers):
    return built(lambda: nn.Sequential(nn.Flatten(), *(layer() for layer in layers)))


class Centred(nn.Module):
    """Couples samples in a layer that no list knows."""

    def forward(self, x):
        return x - x.mean(0)


class Counting(nn.Module):
    """Changes a buffer whenever it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


class Barely(nn.Module):
    """Couples samples weakly."""

    def forward(self, x):
        return x - 1e-4 * x.mean(0)


class Gated(nn.Module):
    """A recurrence over the rows of an image, (2, 4, 4) -> 3."""

    def __init__(self, kind, dropout=0.0):
        super().__init__()
        self.gates = kind(8, 5, num_layers=2, dropout=dropout, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.gates(x.transpose(1, 2).flatten(2))[0][:, -1])


class Smoothed(nn.Module):
    """A criterion with a part that is random."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def forward(self, outputs, targets):
        return F.cross_entropy(self.drop(outputs), targets)


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


def last():
    return nn.Linear(32, 3)


WEIGHTS = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
REFUSED = {
    "batch norm": (flat(lambda: nn.BatchNorm1d(32), last), F.cross_entropy, "module.1 is a BatchNorm1d.*module.eval"),
    "batch norm without statistics": (
        flat(lambda: nn.BatchNorm1d(32, track_running_stats=False), last).eval(),
        F.cross_entropy,
        "use GroupNorm",
    ),
    "dropout": (flat(lambda: nn.Dropout(0.2), last), F.cross_entropy, "Dropout.*p = 0.2.*module.eval"),
    "dropout in a criterion": (flat(last), Smoothed(), "criterion.drop is a Dropout.*p = 0.1"),
    "dropout in a GRU": (Gated(nn.GRU, 0.3), F.cross_entropy, "module.gates is a GRU .*dropout 0.3"),
    "dropout in an RNN": (Gated(nn.RNN, 0.2), F.cross_entropy, "module.gates is a RNN .*dropout 0.2"),
    "an RNN": (Gated(nn.RNN), F.cross_entropy, "write the recurrence of module.gates in plain operations"),
    "an LSTM": (Gated(nn.LSTM), F.cross_entropy, "write the recurrence of module.gates in plain operations"),
    "a GRU": (Gated(nn.GRU), F.cross_entropy, "write the recurrence of module.gates in plain operations"),
    "a GRU's cell": (flat(lambda: nn.GRUCell(32, 3)), F.cross_entropy, "write the recurrence of module.1"),
    "running statistics": (
        nn.Sequential(nn.InstanceNorm2d(2, track_running_stats=True), nn.Flatten(), last()),
        F.cross_entropy,
        "module.0 is an InstanceNorm2d.*running statistics; call module.eval",
    ),
    "weak coupling": (flat(Barely, last), F.cross_entropy, "samples see one another"),
    "hidden coupling": (flat(Centred, last), F.cross_entropy, "samples see one another"),
    "a buffer that changes": (flat(Counting, last), F.cross_entropy, "changes its buffer 1.calls"),
    "hidden randomness": (flat(Noisy, last), F.cross_entropy, "random"),
    "no reduction": (flat(last), nn.CrossEntropyLoss(reduction="none"), r"scalar.*got \(1,\)"),
    "a sum": (flat(last), nn.CrossEntropyLoss(reduction="sum"), "not the mean over its samples"),
    "class weights": (flat(last), nn.CrossEntropyLoss(WEIGHTS), "not the mean over its samples"),
    "no parameters": (nn.Flatten(), F.cross_entropy, "no parameter"),
    "all parameters fixed": (flat(last).requires_grad_(False), F.cross_entropy, "no parameter"),
    "complex parameters": (nn.Linear(32, 3, dtype=torch.complex64), F.cross_entropy, "real floating"),
    "wrong second derivatives": (
        flat(lambda: nn.Linear(32, 32), lambda: nn.LayerNorm(32), last), F.cross_entropy, "not symmetric"
    ),
    "lazy": (flat(lambda: nn.LazyLinear(3)), F.cross_entropy, "call the module once"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "criterion", "says"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_is_no_finite_sum_is_refused_in_one_line(module, criterion, says):
    with pytest.raises(ValueError, match=says) as refusal:
        ModuleLandscape(module, criterion, normal(40, 2, 4, 4), classes(40))
    assert len(str(refusal.value).splitlines()) == 1


def test_shapes_that_broadcast_by_mistake_are_refused():
    """Outputs (b, 1) beside targets (b,): torch compares every sample with every other."""
    with pytest.raises(ValueError, match="shapes of outputs and targets"):
        ModuleLandscape(flat(lambda: nn.Linear(32, 1)), F.mse_loss, normal(40, 32), normal(40, seed=1))


def masked(outputs, targets):
    """Squared error where there is a label; the mean over those."""
    seen = (targets > -50).to(outputs.dtype)
    return (seen * (outputs[:, 0] - targets) ** 2).sum() / seen.sum().clamp(min=1.0)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_a_weight_that_few_samples_have_is_seen(dtype):
    """Weights of classes and ignored targets make f no mean of its terms, however few rows they touch."""
    inputs, rare = normal(1000, 4).to(dtype), torch.zeros(1000, dtype=torch.int64)
    module = built(lambda: nn.Linear(4, 2))
    weights = nn.CrossEntropyLoss(torch.tensor([1.0, 50.0]))
    rare[[3, 33, 333, 334, 777]] = 1
    with pytest.raises(ValueError, match="weights or ignored targets"):
        ModuleLandscape(module, weights, inputs, rare)
    rare[[3, 33, 333, 777]] = 0
    with pytest.raises(ValueError, match="weights or ignored targets"):
        ModuleLandscape(module, weights, inputs, rare)
    with pytest.raises(ValueError, match="drop samples whose target is ignored"):
        ModuleLandscape(module, F.cross_entropy, inputs, torch.where(rare == 1, -100, rare))
    labels = normal(1000, seed=1).to(dtype)
    labels[7::50] = -99.0
    with pytest.raises(ValueError, match="weights or ignored targets"):
        ModuleLandscape(built(lambda: nn.Linear(4, 1)), masked, inputs, labels)


def test_the_rarest_targets_are_looked_at():
    landscape = ModuleLandscape(flat(last), F.cross_entropy, normal(500, 32), torch.arange(500).eq(123).long())
    assert 123 in _rows(landscape)
    assert len(_rows(landscape)) == 13
    many = ModuleLandscape(flat(lambda: nn.Linear(32, 60)), F.cross_entropy, normal(500, 32), classes(500, 60))
    assert 12 < len(_rows(many)) <= 24
    counts = many.targets.bincount()
    assert int(counts.argmin()) in many.targets[_rows(many)]
    lit = torch.arange(160).eq(87).long().view(40, 2, 2)
    maps = ModuleLandscape(nn.Conv2d(1, 3, 1), F.cross_entropy, normal(40, 1, 2, 2), lit)
    assert 21 in _rows(maps)


class Both(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


IMAGES = torch.arange(80, dtype=torch.uint8).view(20, 4)
WRONG = {
    "width": (nn.Linear(5, 3), normal(20, 4), classes(20), ValueError, r"inputs \(1, 4\) torch.float64.*shapes"),
    "class": (nn.Linear(4, 3), normal(20, 4), classes(20) + 1, ValueError, "Target 3 is out of bounds"),
    "one class": (
        nn.Linear(4, 3), normal(200, 4), torch.where(torch.arange(200) == 3, 3, classes(200)), ValueError, "Target 3 is"
    ),
    "bytes": (nn.Linear(4, 3), IMAGES, classes(20), ValueError, "torch.uint8"),
    "tuple": (Both(4, 3), normal(20, 4), classes(20), TypeError, "not tuple"),
    "float labels": (nn.Linear(4, 3), normal(20, 4), classes(20).double(), ValueError, r"targets \(1,\) torch.float64"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "inputs", "targets", "kind", "says"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_refused_in_one_line(module, inputs, targets, kind, says):
    with pytest.raises(kind, match=f"module and criterion fail on one sample.*{says}") as refusal:
        ModuleLandscape(module, F.cross_entropy, inputs, targets)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"padding_idx": 0}, "padding_idx = 0: it leaves out that row's gradient; use padding_idx=None"),
        ({"max_norm": 0.5}, "max_norm = 0.5: it rewrites its weights when called; use max_norm=None"),
        ({"scale_grad_by_freq": True}, "scale_grad_by_freq: .* use scale_grad_by_freq=False"),
    ],
)  # fmt: skip
def test_an_embedding_that_does_more_than_look_up_is_refused(options, says):
    def made():
        return nn.Sequential(nn.Embedding(7, 2, **options), nn.Flatten(), nn.Linear(8, 3)).double()

    with pytest.raises(ValueError, match=f"module.0 is an Embedding with {says}"):
        ModuleLandscape(built(made), F.cross_entropy, classes(80, 7).view(20, 4), classes(20))
    if "padding_idx" in options:
        fixed = built(made)
        fixed[0].requires_grad_(False)
        assert ModuleLandscape(fixed, F.cross_entropy, classes(80, 7).view(20, 4), classes(20)).dimension == 27


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_layer_without_second_derivatives_is_named_in_one_line():
    module = built(lambda: nn.Sequential(nn.EmbeddingBag(7, 4), nn.Linear(4, 3)).double())
    landscape = ModuleLandscape(module, F.cross_entropy, classes(80, 7).view(20, 4), classes(20))
    for ask in (landscape.hessian, partial(escape_directions, landscape), partial(find_critical_point, landscape)):
        with pytest.raises(ValueError, match=r"without second derivatives.*_embedding_bag") as refusal:
            ask(landscape.start)
        assert len(str(refusal.value).splitlines()) == 1


def test_bad_data_is_refused():
    module = flat(last)
    with pytest.raises(ValueError, match="got 40 and 39"):
        ModuleLandscape(module, F.cross_entropy, normal(40, 32), classes(39))
    with pytest.raises(ValueError, match="not finite"):
        ModuleLandscape(module, F.cross_entropy, normal(40, 32) / 0, classes(40))
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        ModuleLandscape(lambda x: x, F.cross_entropy, normal(40, 32), classes(40))
    with pytest.raises(TypeError, match="callable"):
        ModuleLandscape(module, "cross_entropy", normal(40, 32), classes(40))


def test_the_same_modules_are_described_alike_and_others_otherwise():
    inputs, targets = normal(20, 5), classes(20)

    def described(activation=nn.Tanh, seed=0, criterion=F.cross_entropy, rows=inputs):
        module = built(lambda: nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 3)), seed)
        return digest(describe(ModuleLandscape(module, criterion, rows, targets)))

    assert described() == described()
    others = [described(nn.Sigmoid), described(seed=1), described(criterion=nn.CrossEntropyLoss(label_smoothing=0.1))]
    assert len({described(), *others, described(lambda: nn.Softplus(2)), described(nn.Softplus)}) == 6
    assert described(rows=inputs + 1) != described()
    statistics = shared()
    statistics.module.norm.running_mean[0] += 1
    assert digest(describe(statistics)) != digest(describe(shared()))


def test_hooks_have_no_description():
    module = flat(last)
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(TypeError, match="hooks"):
        describe(ModuleLandscape(module, F.cross_entropy, normal(40, 32), classes(40)))


def test_a_run_is_kept_and_the_same_on_threads_and_elsewhere(tmp_path):
    landscape = images()
    run = {"steps": 4, "chains": 96, "block": 32, "seed": 1}
    arguments = landscape, MiniBatch(8), GradientDescent(0.1), landscape.start
    one = simulate(*arguments, **run, executor=1, store=tmp_path)
    again = simulate(*arguments, **run, store=tmp_path)
    assert again.final.identical(one.final)
    assert simulate(*arguments, **run, executor=3).final.equals(one.final)
    elsewhere = pickle.loads(pickle.dumps(landscape))
    assert simulate(elsewhere, *arguments[1:], **run).final.equals(one.final)


def test_recordings_give_the_same_bits(monkeypatch):
    """What takes over after many calls, here after two, is the module's own operations."""
    landscape = images()
    run = {"steps": 12, "chains": 8, "block": 8, "executor": 1}
    arguments = landscape, MiniBatch(4), GradientDescent(0.1), landscape.start
    plain = simulate(*arguments, **run)
    monkeypatch.setattr("escape.landscapes.lifting._CALLS", 2)
    monkeypatch.setattr("escape.landscapes.lifting._CALLS_IN_ALL", 2)
    assert simulate(images(), *arguments[1:], **run).final.equals(plain.final)


def test_copies_and_pickles_have_modules_of_their_own():
    landscape = images()
    x = landscape.start[None]
    for twin in (copy.deepcopy(landscape), pickle.loads(pickle.dumps(landscape))):
        assert twin.module is not landscape.module
        assert torch.equal(twin.gradient(x), landscape.gradient(x))


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_the_origin_of_a_tanh_network_has_its_spectrum(loss):
    """Closed form from the singular values of the coupling, against the dense Hessian and against Lanczos."""
    landscape = TanhNetwork.digits(3, 5, loss)
    origin = landscape.critical_points()[0]
    dense = torch.linalg.eigvalsh(Landscape.hessian(landscape, origin.location))
    torch.testing.assert_close(origin.eigenvalues, dense, rtol=0, atol=1e-14)
    found = escape_directions(landscape, origin.location)
    torch.testing.assert_close(found.eigenvalues, dense[[*range(16), -1]], rtol=0, atol=1e-13)
    assert (origin.kind, origin.index, found.index, found.noise) == ("saddle", 15, 15, "II")
    # δ_i is the class's mean share minus the class: G = −(1/n) Σ_i (y_i − 1/10) z_iᵀ, by hand.
    hot = F.one_hot(TanhNetwork.digits(3, 5).targets, 10).double() - 0.1
    torch.testing.assert_close(landscape.coupling, -hot.T @ landscape.inputs / landscape.n, rtol=0, atol=1e-14)


def test_the_origin_of_a_wide_network_is_given_in_part():
    landscape = TanhNetwork.digits(64, 10)
    origin = landscape.critical_points()[0]
    assert landscape.dimension == 64 * 20
    assert (origin.complete, origin.index, origin.kind) == (False, 64 * 9, "saddle")
    bent = landscape.gradient(1e-6 * origin.directions[:, [0, 100, -2, -1]].T) / 1e-6
    expected = origin.eigenvalues[[0, 100, -2, -1], None] * origin.directions[:, [0, 100, -2, -1]].T
    torch.testing.assert_close(bent, expected, rtol=0, atol=1e-10)


def test_bad_numbers_for_a_tanh_network():
    with pytest.raises(ValueError, match="1 to 61"):
        TanhNetwork.digits(2, 62)
    with pytest.raises(ValueError, match="'squared'"):
        TanhNetwork.digits(loss="hinge")
    with pytest.raises(ValueError, match="positive"):
        TanhNetwork.of(normal(4, 2), classes(4), 0, 3)
    with pytest.raises(ValueError, match="floating"):
        TanhNetwork.of(classes(4), classes(4), 2, 3)
