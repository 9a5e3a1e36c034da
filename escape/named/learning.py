"""Learning problems on data and on teachers, with options that have defaults."""

from collections.abc import Callable, Sequence

from escape.landscapes import (
    DeepLinear,
    HalfSpaces,
    Landscape,
    LeastSquares,
    LogisticRegression,
    MatrixCompletion,
    MatrixFactorization,
    MatrixSensing,
    PhaseRetrieval,
    SymmetricFactorization,
    TeacherStudent,
)


def least_squares(
    eigenvalues: Sequence[float] = (1.0, 0.5, 0.2),
    label_noise: float = 1.0,
    ridge: float = 0.0,
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½(z_iᵀw − y_i)² + ½ρ‖w‖², Gaussian z_i of second moments `eigenvalues`, label noise."""
    return LeastSquares.gaussian(eigenvalues, label_noise, n, seed, ridge)


def digits_regression(components: int = 10, ridge: float = 0.0) -> Landscape:
    """½(z_iᵀw − y_i)² + ½ρ‖w‖², z_i the handwritten digits, y_i their values."""
    return LeastSquares.digits(components, ridge)


def logistic(
    eigenvalues: Sequence[float] = (1.0, 0.5, 0.2),
    signal: float = 1.0,
    ridge: float = 0.0,
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """ln(1 + exp(−y_i z_iᵀw)) + ½ρ‖w‖², Gaussian z_i, labels y_i = ±1 drawn from the model."""
    return LogisticRegression.gaussian(eigenvalues, signal, n, seed, ridge)


def digits_logistic(first: int = 3, second: int = 8, components: int = 10, ridge: float = 0.01) -> Landscape:
    """ln(1 + exp(−y_i z_iᵀw)) + ½ρ‖w‖²: two handwritten digits told apart."""
    return LogisticRegression.digits(first, second, components, ridge)


def half_spaces(d: int = 2, n: int = 20, ridge: float = 0.0, seed: int = 5) -> Landscape:
    """1/(1 + exp(w·z_i)) + ½ρ‖w‖², ‖z_i‖ ≤ 1: half-spaces, noise along every negative curvature."""
    return HalfSpaces.gaussian(d, n, seed, ridge)


def phase_retrieval(d: int = 3, label_noise: float = 0.0, n: int = 1000, seed: int = 0) -> Landscape:
    """¼((a_iᵀz)² − y_i)², Gaussian a_i, y_i = (a_iᵀx)² + noise: a vector up to its sign."""
    return PhaseRetrieval.gaussian(d, n, label_noise, seed)


def symmetric_factorization(
    eigenvalues: Sequence[float] = (1.5, 1.0, 0.6, 0.2), rank: int = 2, n: int = 1000, seed: int = 0
) -> Landscape:
    """¼‖UᵀU‖² − ½‖Uᵀz_i‖², U of r columns: ¼‖UUᵀ − M‖² up to a constant, M of these `eigenvalues`."""
    return SymmetricFactorization.gaussian(eigenvalues, rank, n, seed)


def digits_factorization(rank: int = 2, components: int = 4) -> Landscape:
    """¼‖UᵀU‖² − ½‖Uᵀz_i‖², z_i the handwritten digits: principal subspaces."""
    return SymmetricFactorization.digits(rank, components)


def matrix_factorization(
    singular_values: Sequence[float] = (1.5, 1.0, 0.6),
    rows: int = 3,
    columns: int = 3,
    rank: int = 1,
    noise: float = 1.0,
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½‖UVᵀ − B_i‖² up to a constant, B_i noisy copies of a matrix with these `singular_values`."""
    return MatrixFactorization.gaussian(singular_values, rows, columns, rank, noise, n, seed)


def digits_labels(rank: int = 1, components: int = 6) -> Landscape:
    """½‖UVᵀ − y_i z_iᵀ‖² up to a constant, z_i the handwritten digits, y_i their labels: shared components."""
    return MatrixFactorization.digits(rank, components)


def matrix_sensing(
    singular_values: Sequence[float] = (1.5, 1.0, 0.6),
    rows: int = 3,
    columns: int = 3,
    rank: int = 2,
    label_noise: float = 0.1,
    isometric: bool = True,
    symmetric: bool = False,
    n: int = 100,
    seed: int = 0,
) -> Landscape:
    """½(⟨A_i, UVᵀ⟩ − y_i)²: a matrix from Gaussian measurements; UUᵀ if symmetric."""
    return MatrixSensing.gaussian(singular_values, rows, columns, rank, label_noise, n, seed, isometric, symmetric)


def matrix_completion(
    singular_values: Sequence[float] = (1.5, 1.0),
    rows: int = 6,
    columns: int = 5,
    rank: int = 2,
    share: float = 0.7,
    label_noise: float = 0.0,
    seed: int = 0,
) -> Landscape:
    """½((UVᵀ)_jk − y_i)²: a matrix from a `share` of its entries."""
    return MatrixCompletion.planted(singular_values, rows, columns, rank, share, label_noise, seed)


def deep_linear(
    singular_values: Sequence[float] = (2.0, 1.0),
    hidden: Sequence[float] = (2, 2),
    inputs: int = 2,
    outputs: int = 2,
    label_noise: float = 0.5,
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½‖W_L⋯W_1 z_i − y_i‖², L − 1 layers of widths `hidden`: flat at the origin for L ≥ 3."""
    return DeepLinear.gaussian(singular_values, hidden, inputs, outputs, label_noise, n, seed)


def digits_linear(hidden: Sequence[float] = (2,), components: int = 4) -> Landscape:
    """½‖W_L⋯W_1 z_i − y_i‖², z_i the handwritten digits, y_i their labels."""
    return DeepLinear.digits(hidden, components)


def teacher_student(
    d: int = 4,
    units: int = 2,
    teacher_units: int = 2,
    activation: str = "erf",
    label_noise: float = 0.0,
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½(Σ_k φ(w_kᵀz_i) − y_i)², y_i from a teacher of the same kind: a soft committee."""
    return TeacherStudent.gaussian(d, units, teacher_units, activation, label_noise, n, seed)


LEARNING: dict[str, Callable[..., Landscape]] = {
    "least-squares": least_squares,
    "digits-regression": digits_regression,
    "logistic": logistic,
    "digits-logistic": digits_logistic,
    "half-spaces": half_spaces,
    "phase-retrieval": phase_retrieval,
    "symmetric-factorization": symmetric_factorization,
    "digits-factorization": digits_factorization,
    "matrix-factorization": matrix_factorization,
    "digits-labels": digits_labels,
    "matrix-sensing": matrix_sensing,
    "matrix-completion": matrix_completion,
    "deep-linear": deep_linear,
    "digits-linear": digits_linear,
    "teacher-student": teacher_student,
}
