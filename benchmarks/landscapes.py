"""The landscapes of the jobs, as a user of escape would write them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.problems import Affine, Linear, Network, Passage
from escape import Landscape, ModuleLandscape, QuadraticSaddle
from escape.landscapes.generalized_linear import GeneralizedLinear


@dataclass(frozen=True, eq=False)
class Phase(GeneralizedLinear):
    """Phase retrieval: ¼((zᵀx)² − y)²."""

    samples: Tensor

    def common_loss(self, x: Tensor) -> Tensor:
        """Nothing is common to all samples."""
        return x.sum() * 0

    def common_gradient(self, x: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(x)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """¼(u² − y)²."""
        return 0.25 * (score * score - target[0]) ** 2

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """(u² − y) u."""
        return (score * score - target[0]) * score


@dataclass(frozen=True, eq=False)
class Logistic(GeneralizedLinear):
    """Logistic regression: log(1 + e^{−y zᵀx}) + ½ ridge ‖x‖²."""

    samples: Tensor
    ridge: float

    def common_loss(self, x: Tensor) -> Tensor:
        """½ ridge ‖x‖²."""
        return 0.5 * self.ridge * (x * x).sum()

    def common_gradient(self, x: Tensor) -> Tensor:
        """Ridge times x."""
        return self.ridge * x

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """log(1 + e^{−yu})."""
        return F.softplus(-target[0] * score)

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−y / (1 + e^{yu})."""
        return -target[0] * torch.sigmoid(-target[0] * score)


@dataclass(frozen=True, eq=False)
class NeuronByAutograd(Landscape):
    """One unit, ½(y − tanh zᵀx)², of which only the loss is written."""

    samples: Tensor

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½(y − tanh zᵀx)²."""
        return 0.5 * (sample[-1] - torch.tanh(sample[:-1] @ x)) ** 2


@dataclass(frozen=True, eq=False)
class Neuron(NeuronByAutograd):
    """The same with its gradient in closed form."""

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(tanh u − y)(1 − tanh² u) z."""
        value = torch.tanh(sample[:-1] @ x)
        return (value - sample[-1]) * (1 - value * value) * sample[:-1]


@dataclass(frozen=True, eq=False)
class TiltedByAutograd(Landscape):
    """The saddle ½ Σ h_j x_j² + gᵀx, of which only the loss is written."""

    samples: Tensor
    curvatures: Tensor
    affine = True

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½ Σ h_j x_j² + gᵀx."""
        return 0.5 * (self.curvatures * x * x).sum() + (sample * x).sum()


@dataclass(frozen=True, eq=False)
class Tilted(TiltedByAutograd):
    """The same with its gradient in closed form."""

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """h ∘ x + g."""
        return self.curvatures * x + sample


def network_of(problem: Network) -> nn.Module:
    """Make the module of a network, at its start."""
    pixels = problem.data[0].shape[1]
    module = nn.Sequential(
        nn.Linear(pixels, problem.width, bias=False), nn.Tanh(), nn.Linear(problem.width, 10, bias=False)
    )
    torch.nn.utils.vector_to_parameters(torch.as_tensor(problem.start, dtype=torch.float32), module.parameters())
    return module


def landscape_of(
    problem: Affine | Linear | Network | Passage, dtype: torch.dtype, device: str, own: bool, closed: bool
):
    """Make the landscape of a problem.

    Parameters
    ----------
    own : bool
        For an affine problem: a landscape of the user's own instead of escape's `QuadraticSaddle`.
    closed : bool
        Whether the gradient is given in closed form; phase retrieval and logistic regression always give it.
    """
    if isinstance(problem, Network):
        inputs, targets = (torch.as_tensor(part) for part in problem.data)
        return ModuleLandscape(network_of(problem), F.cross_entropy, inputs.to(dtype), targets).to(device)
    samples = torch.as_tensor(problem.samples, dtype=dtype)
    if isinstance(problem, Linear):
        match problem.kind:
            case "phase":
                made = Phase(samples)
            case "logistic":
                made = Logistic(samples, problem.ridge)
            case _:
                made = (Neuron if closed else NeuronByAutograd)(samples)
    elif own or not closed:
        curvatures = torch.as_tensor(problem.curvatures, dtype=dtype)
        made = (Tilted if closed else TiltedByAutograd)(samples, curvatures)
    else:
        made = QuadraticSaddle.additive(problem.curvatures.tolist(), problem.noise, problem.n, dtype=dtype)
    return made.to(device)
