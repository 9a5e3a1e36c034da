"""Integrals over ordered eigenvalues of a GOE matrix as Pfaffians, by Gauss-Legendre panels."""

from itertools import pairwise

import numpy as np

_NODES = 12


def panels(edges):
    """Gauss-Legendre panels: nodes, weights, and matrices (panels, nodes, nodes) of integrals to the panel's end."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half * (1 + nodes)).ravel()
    # Lagrange polynomials through their Legendre coefficients, integrated from each node to 1.
    vander = np.polynomial.legendre.legvander(nodes, _NODES - 1)
    total = np.polynomial.legendre.legint(np.linalg.inv(vander), axis=0)
    inside = np.polynomial.legendre.legval(1.0, total) - np.polynomial.legendre.legval(nodes, total).T
    return x, (half * weights).ravel(), (half[:, :, None] * inside).reshape(-1, _NODES, _NODES)


def upper_integrals(values, weights, inside):
    """∫_x^∞ φ_j at the nodes of all panels: (n, nodes)."""
    n = len(values)
    each = (values * weights).reshape(n, -1, _NODES).sum(2)
    beyond = np.cumsum(each[:, ::-1], axis=1)[:, ::-1] - each
    within = np.einsum("pij,npj->npi", inside, values.reshape(n, -1, _NODES))
    return (beyond[:, :, None] + within).reshape(n, -1)


def orthonormal(x, weights, n):
    """Polynomials orthonormal for e^{−x²} on a grid, times e^{−x²/2} (n, nodes); logs of leading coefficients (n,)."""
    values, logs = [np.exp(-x * x / 2)], [0.0]
    for j in range(n):
        if j:
            values.append(x * values[-1])
            logs.append(logs[-1])
        for _ in range(2):  # twice is enough
            for other in values[:j]:
                values[j] = values[j] - (values[j] * other) @ weights * other
        norm = np.sqrt(values[j] ** 2 @ weights)
        values[j] = values[j] / norm
        logs[j] -= np.log(norm)
    return np.stack(values), np.array(logs)


def index_laws(n, levels):
    """P(k eigenvalues below each level), (levels, n + 1); the first and the last level hold none and all."""
    step = 0.25
    edges = [np.linspace(a, b, max(2, int(np.ceil((b - a) / step)) + 1))[:-1] for a, b in pairwise(levels)]
    starts = np.cumsum([0] + [len(part) for part in edges])
    x, weights, inside = panels(np.concatenate([*edges, [levels[-1]]]))
    values, _ = orthonormal(x, weights, n)
    upper = upper_integrals(values, weights, inside)
    each = (values * weights).reshape(n, -1, _NODES)
    mass = np.concatenate([np.zeros((n, 1)), np.cumsum(each.sum(2), axis=1)], axis=1)
    # The inner integral over all y above x, the outer one panel by panel.
    panel = np.einsum("jpk,lpk->pjl", each, upper.reshape(n, -1, _NODES))
    panel = panel - panel.transpose(0, 2, 1)
    above = np.concatenate([np.cumsum(panel[::-1], axis=0)[::-1], np.zeros((1, n, n))])[starts]
    low, high = mass[:, starts].T, (mass[:, -1:] - mass[:, starts]).T
    mixed = low[:, :, None] * high[:, None, :] - high[:, :, None] * low[:, None, :]
    whole_line = above[0]
    z = np.exp(2j * np.pi * np.arange(n + 1) / (n + 1))[:, None, None]
    laws = []
    for t in range(len(levels)):
        matrix = above[t] + z * mixed[t] + z * z * (whole_line - above[t] - mixed[t])
        border = high[t] + z[:, 0] * low[t]
        generating = pfaffian(bordered(matrix, border))
        laws.append(np.fft.fft(generating / generating[0]).real / (n + 1))
    return np.clip(laws, 0, 1)


def bordered(skew, border):
    """The matrix itself for even n, with one row and column more for odd: (…, n, n), (…, n)."""
    n = skew.shape[-1]
    if n % 2 == 0:
        return skew
    matrix = np.zeros((*skew.shape[:-2], n + 1, n + 1), dtype=skew.dtype)
    matrix[..., :n, :n] = skew
    matrix[..., :n, n], matrix[..., n, :n] = border, -border
    return matrix


def pfaffian(matrix):
    """Pfaffian of skew-symmetric matrices (…, 2m, 2m), by elimination with pivots (Parlett and Reid 1970)."""
    a = np.array(matrix).reshape(-1, *matrix.shape[-2:])
    every, result = np.arange(len(a)), np.ones(len(a), dtype=a.dtype)
    for k in range(0, a.shape[-1], 2):
        pivot = k + 1 + np.abs(a[:, k, k + 1 :]).argmax(1)
        order = np.broadcast_to(np.arange(a.shape[-1]), a.shape[:2]).copy()
        order[every, pivot], order[:, k + 1] = k + 1, pivot
        a = np.take_along_axis(np.take_along_axis(a, order[:, :, None], 1), order[:, None, :], 2)
        head = a[:, k, k + 1]
        result = result * head * np.where(pivot == k + 1, 1, -1)
        row, next_row = a[:, k, k + 2 :] / head[:, None], a[:, k + 1, k + 2 :]
        a[:, k + 2 :, k + 2 :] += next_row[:, :, None] * row[:, None, :] - row[:, :, None] * next_row[:, None, :]
    return result.reshape(matrix.shape[:-2])
