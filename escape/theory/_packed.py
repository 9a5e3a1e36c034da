"""Symmetric (d, d) matrices packed as vectors: the upper triangle, weighted so that products are kept."""

import numpy as np


def pairs(d):
    """Indices of the upper triangle, and weights making packed symmetric matrices keep the Frobenius product."""
    row, column = np.triu_indices(d)
    return row, column, np.where(row == column, 1.0, np.sqrt(2.0))


def packing(d):
    """Place of each entry of a symmetric (d, d) matrix among the packed ones."""
    row, column, _ = pairs(d)
    place = np.empty((d, d), dtype=np.intp)
    place[row, column] = place[column, row] = np.arange(len(row))
    return place


def congruence(gram, d):
    """Packed form of M -> sum_i S_i M S_i from the Gram matrix sum_i s_i s_i^T of the upper triangles s_i.

    (S M S)_ac sums S_ab M_be S_ec over ordered b, e: the two orders of one packed pair, hence the half.
    """
    row, column, weight = pairs(d)
    place = packing(d)
    straight = gram[place[row[:, None], row], place[column[:, None], column]]
    crossed = gram[place[row[:, None], column], place[column[:, None], row]]
    return weight[:, None] * weight * (straight + crossed) / 2


def unpacked(packed, d):
    """Symmetric (d, d) matrix of packed coordinates."""
    row, column, weight = pairs(d)
    matrix = np.empty((d, d))
    matrix[row, column] = matrix[column, row] = packed / weight
    return matrix
