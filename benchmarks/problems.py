"""What is computed: the data that the contenders of a job share, and the answer they must give. Only numpy here."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Standard errors that an answer may lie from the right one. One statistic exceeds them with chance 6·10⁻⁷.
ALLOWED = 5.0


@dataclass(frozen=True)
class Verdict:
    """How far an answer lies from the right one: the worst of some statistics, in standard errors."""

    worst: float
    statistics: int

    @property
    def right(self) -> bool:
        """Whether every statistic is finite and within what is allowed."""
        return bool(self.worst <= ALLOWED)


def _verdict(values: np.ndarray, expected: np.ndarray, extra: np.ndarray | float = 0.0) -> Verdict:
    """Compare means over chains, values (c, m), with what is expected (m,), itself known within `extra` (m,)."""
    error = np.hypot(values.std(0, ddof=1) / len(values) ** 0.5, extra)
    away = np.abs(values.mean(0) - expected) / np.maximum(error, 1e-6 * np.abs(expected) + 1e-30)
    return Verdict(float(np.where(np.isfinite(away), away, np.inf).max()), len(away))


@dataclass(frozen=True)
class Affine:
    """Mini-batch SGD on ½ Σ h_j x_j² with tilts of covariance noise² I, or with Gaussian noise of their covariance.

    The unstable curvature is small, so that chains stay finite in single precision for 10⁵ steps; the price of a step
    does not depend on it.
    """

    d: int
    b: int
    chains: int = 16384
    n: int = 1000
    lr: float = 0.1
    noise: float = 1.0
    gaussian: bool = False
    own: bool = False  # a landscape of the user's own rather than one that escape brings
    check_steps: int = 50
    most_steps: int = 100_000

    @cached_property
    def curvatures(self) -> np.ndarray:
        """h (d,), the first negative."""
        return np.r_[-0.005, np.linspace(0.1, 1.0, self.d - 1)]

    @cached_property
    def start(self) -> np.ndarray:
        """x_0 (d,)."""
        return np.ones(self.d)

    @cached_property
    def samples(self) -> np.ndarray:
        """Tilts (n, d) with mean zero and covariance noise² I exactly."""
        rows = np.random.default_rng(0).standard_normal((self.n, self.d))
        rows -= rows.mean(0)
        rows = np.linalg.solve(np.linalg.cholesky(rows.T @ rows / self.n), rows.T).T
        return self.noise * (rows - rows.mean(0))

    def kappa(self, replacement: bool = True) -> float:
        """κ in the covariance κ noise² I of a batch gradient."""
        return 1 / self.b if replacement else (self.n - self.b) / (self.b * (self.n - 1))

    def verdict(self, final: np.ndarray, steps: int, replacement: bool) -> Verdict:
        """Judge positions (c, d) after `steps` steps by their exact mean and variance.

        x_t has mean (1 − ηh)^t x_0 and variance η²κσ² Σ_{s<t} (1 − ηh)^{2s}; the last statistic is the sum of the
        squares over all coordinates, each in units of its variance, and sees a wrong κ best.
        """
        final = np.asarray(final, dtype=np.float64)
        factor = 1 - self.lr * self.curvatures
        mean = factor**steps * self.start
        powers = (factor[:, None] ** (2 * np.arange(steps))).sum(1)
        variance = self.lr**2 * self.kappa(replacement) * self.noise**2 * powers
        squares = (final - mean) ** 2 / variance
        values = np.concatenate([final, squares, squares.sum(1, keepdims=True)], axis=1)
        return _verdict(values, np.r_[mean, np.ones(self.d), self.d])

    def chain_steps(self, result: np.ndarray, steps: int) -> int:
        """Steps of single chains that a run made."""
        return steps * len(result)


@dataclass(frozen=True)
class Linear:
    """Mini-batch SGD on terms ℓ(z_iᵀx, y_i) + ½ ridge ‖x‖².

    `kind` is "phase", ¼(u² − y)²; "logistic", log(1 + e^{−yu}); or "neuron", ½(y − tanh u)².
    """

    kind: str
    d: int = 64
    b: int = 32
    chains: int = 16384
    n: int = 1000
    check_steps: int = 30
    most_steps: int = 100_000
    gaussian: bool = False
    own: bool = True

    @property
    def lr(self) -> float:
        """η, small enough for the batch's largest curvature."""
        return {"phase": 0.005, "logistic": 0.1, "neuron": 0.1}[self.kind]

    @property
    def ridge(self) -> float:
        """Weight of the term that is common to all samples."""
        return 0.01 if self.kind == "logistic" else 0.0

    @cached_property
    def samples(self) -> np.ndarray:
        """Features and targets side by side, (n, d + 1)."""
        random = np.random.default_rng(0)
        features, truth = random.standard_normal((self.n, self.d)), random.standard_normal(self.d)
        score = features @ truth / np.linalg.norm(truth)
        noisy = score + 0.5 * random.standard_normal(self.n)
        target = {"phase": score**2, "logistic": np.where(noisy > 0, 1.0, -1.0), "neuron": np.tanh(noisy)}[self.kind]
        return np.c_[features, target]

    @cached_property
    def start(self) -> np.ndarray:
        """x_0 (d,), of length ½."""
        return np.full(self.d, 0.5 / self.d**0.5)

    def losses(self, score: np.ndarray, target: np.ndarray) -> np.ndarray:
        """ℓ, without the ridge."""
        if self.kind == "phase":
            return 0.25 * (score**2 - target) ** 2
        return np.logaddexp(0, -target * score) if self.kind == "logistic" else 0.5 * (target - np.tanh(score)) ** 2

    def slopes(self, score: np.ndarray, target: np.ndarray) -> np.ndarray:
        """∂ℓ/∂u."""
        if self.kind == "phase":
            return (score**2 - target) * score
        if self.kind == "logistic":
            return -target / (1 + np.exp(target * score))
        return (np.tanh(score) - target) * (1 - np.tanh(score) ** 2)

    def verdict(self, final: np.ndarray, steps: int, replacement: bool) -> Verdict:
        """Judge positions by loss, length and four coordinates beside an independent simulation in double precision."""
        reference = self._statistics(self._simulated(steps, chains=2048))
        values = self._statistics(np.asarray(final[:4096], dtype=np.float64))
        return _verdict(values, reference.mean(0), reference.std(0, ddof=1) / len(reference) ** 0.5)

    def chain_steps(self, result: np.ndarray, steps: int) -> int:
        """Steps of single chains that a run made."""
        return steps * len(result)

    def _simulated(self, steps: int, chains: int) -> np.ndarray:
        random = np.random.default_rng(1)
        x = np.tile(self.start, (chains, 1))
        for _ in range(steps):
            batch = self.samples[random.integers(0, self.n, (chains, self.b))]
            features, target = batch[..., :-1], batch[..., -1]
            slopes = self.slopes(np.einsum("cbd,cd->cb", features, x), target)
            x = x - self.lr * (np.einsum("cb,cbd->cd", slopes, features) / self.b + self.ridge * x)
        return x

    def _statistics(self, x: np.ndarray) -> np.ndarray:
        features, target = self.samples[:, :-1], self.samples[:, -1]
        square = (x**2).sum(1)
        loss = self.losses(x @ features.T, target).mean(1) + 0.5 * self.ridge * square
        return np.c_[loss, square, x[:, :4]]


@dataclass(frozen=True)
class Passage:
    """First passage of (x_0)² over radius² on an additive saddle, x_0 normal along the escape direction.

    T ≈ ln(radius/|x_0|)/(η|λ|): starts of |x_0| from just below the radius down to a hundredth of it spread the exit
    steps over two decades. Results are exit steps, not positions.
    """

    d: int = 10
    b: int = 32
    chains: int = 16384
    n: int = 1000
    lr: float = 0.05
    unstable: float = -0.1
    noise: float = 0.05
    spread: float = 1.0
    radius: float = 2.7
    check_steps: int = 30_000
    most_steps: int = 30_000
    gaussian: bool = False
    own: bool = False

    @cached_property
    def curvatures(self) -> np.ndarray:
        """h (d,), the first negative."""
        return np.r_[self.unstable, np.linspace(0.1, 1.0, self.d - 1)]

    @cached_property
    def samples(self) -> np.ndarray:
        """Tilts (n, d) with mean zero and covariance noise² I exactly."""
        return Affine(self.d, self.b, n=self.n, noise=self.noise).samples

    def verdict(self, exits: np.ndarray, steps: int, replacement: bool) -> Verdict:
        """Judge exit steps by mean, mean logarithm and mean square beside an independent simulation."""
        reference = self._statistics(self._simulated(8192))
        values = self._statistics(np.asarray(exits, dtype=np.float64))
        return _verdict(values, reference.mean(0), reference.std(0, ddof=1) / len(reference) ** 0.5)

    def chain_steps(self, result: np.ndarray, steps: int) -> int:
        """Steps that chains needed until they left."""
        return int(np.asarray(result, dtype=np.int64).sum())

    def _simulated(self, chains: int) -> np.ndarray:
        """Exit steps; the coordinates do not see one another, so that the unstable one is enough."""
        random = np.random.default_rng(1)
        tilts = self.samples[:, 0]
        x, rows = self.spread * random.standard_normal(chains), np.arange(chains)
        exits = np.zeros(chains, dtype=np.int64)
        t = 0
        while len(rows):
            stays = x * x < self.radius**2
            exits[rows[~stays]] = t
            x, rows, t = x[stays], rows[stays], t + 1
            batch = tilts[random.integers(0, self.n, (len(x), self.b))].mean(1)
            x = x - self.lr * (self.unstable * x + batch)
        return exits

    @staticmethod
    def _statistics(exits: np.ndarray) -> np.ndarray:
        return np.c_[exits, np.log1p(exits), exits**2]


@dataclass(frozen=True)
class Network:
    """Mini-batch SGD on a network of one hidden layer of tanh units without biases: digits, ten classes, cross-entropy.

    Parameters are W (width, pixels), then V (10, width), flat.
    """

    width: int
    b: int = 32
    chains: int = 1000
    lr: float = 0.1
    check_steps: int = 20
    most_steps: int = 100_000

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 61), standardised and without those that never change, and classes (n,)."""
        from sklearn.datasets import load_digits

        held = load_digits()
        centred = held.data - held.data.mean(0)
        spread = centred.std(0)
        return centred[:, spread > 0] / spread[spread > 0], held.target

    @cached_property
    def start(self) -> np.ndarray:
        """x_0 (d,), normal: every layer's outputs are of the size of its inputs."""
        random, pixels = np.random.default_rng(0), self.data[0].shape[1]
        first = random.standard_normal((self.width, pixels)) / pixels**0.5
        last = random.standard_normal((10, self.width)) / self.width**0.5
        return np.concatenate([first.ravel(), last.ravel()])

    def verdict(self, final: np.ndarray, steps: int, replacement: bool) -> Verdict:
        """Judge positions by loss, lengths of both layers and five coordinates beside an independent simulation."""
        reference = self._statistics(self._simulated(steps, chains=600))
        values = self._statistics(np.asarray(final[:2000], dtype=np.float64))
        return _verdict(values, reference.mean(0), reference.std(0, ddof=1) / len(reference) ** 0.5)

    def chain_steps(self, result: np.ndarray, steps: int) -> int:
        """Steps of single chains that a run made."""
        return steps * len(result)

    def _layers(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cut = self.width * self.data[0].shape[1]
        return x[:, :cut].reshape(len(x), self.width, -1), x[:, cut:].reshape(len(x), 10, self.width)

    def _simulated(self, steps: int, chains: int) -> np.ndarray:
        """Chains in double precision, with the gradient in closed form."""
        random, (pixels, classes) = np.random.default_rng(1), self.data
        x = np.tile(self.start, (chains, 1))
        for _ in range(steps):
            index = random.integers(0, len(pixels), (chains, self.b))
            first, last = self._layers(x)
            inputs = pixels[index]
            hidden = np.tanh(inputs @ first.transpose(0, 2, 1))
            outputs = hidden @ last.transpose(0, 2, 1)
            shares = np.exp(outputs - outputs.max(2, keepdims=True))
            shares /= shares.sum(2, keepdims=True)
            shares -= np.eye(10)[classes[index]]
            back = (shares @ last) * (1 - hidden**2)
            slopes = back.transpose(0, 2, 1) @ inputs, shares.transpose(0, 2, 1) @ hidden
            x = x - self.lr / self.b * np.concatenate([slope.reshape(chains, -1) for slope in slopes], axis=1)
        return x

    def _statistics(self, x: np.ndarray) -> np.ndarray:
        first, last = self._layers(x)
        pixels, classes = self.data
        losses = []
        for w, v in zip(first, last, strict=True):
            outputs = np.tanh(pixels @ w.T) @ v.T
            top = outputs.max(1)
            logs = top + np.log(np.exp(outputs - top[:, None]).sum(1))
            losses.append((logs - outputs[np.arange(len(classes)), classes]).mean())
        return np.c_[losses, (first**2).sum((1, 2)), (last**2).sum((1, 2)), x[:, :3], x[:, -2:]]
