"""Radau IIA collocation: the stiffly accurate implicit method of any number of stages, as numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial


class Collocation(NamedTuple):
    """Coefficients of a collocation method with s stages; the last node is the end of the step.

    Attributes
    ----------
    nodes : [s], in (0, 1].
    weights : A [s, s]: integrals of the Lagrange basis from 0 to each node; its last row integrates over the step.
    coefficients : [s, s]: values less the start at the nodes -> coefficients of theta, theta^2, ... theta^s.
    start_slope : [s]: values less the start at the nodes -> slope at the start (in units of the step).
    damping : 1 / the largest real eigenvalue of A^-1, weight of the error estimate.
    numerator : [s, s, s] N_k and
    denominator : [s + 1] q_k, such that (1 + kappa A)^-1 = sum_k N_k kappa^k / sum_k q_k kappa^k.
    """

    nodes: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray
    damping: float
    numerator: np.ndarray
    denominator: np.ndarray


def radau(stages: int) -> Collocation:
    """Radau IIA with the given number of stages, order 2 s - 1 (Hairer and Wanner 1996, section IV.5)."""
    x = Polynomial([0.0, 1.0])
    nodes = np.sort((x ** (stages - 1) * (x - 1) ** stages).deriv(stages - 1).roots().real)
    nodes[-1] = 1.0
    powers = np.vander(nodes, stages, increasing=True)
    weights = (powers * nodes[:, None] / np.arange(1, stages + 1)) @ np.linalg.inv(powers)
    coefficients = np.linalg.inv(powers * nodes[:, None])
    values = np.linalg.eigvals(np.linalg.inv(weights))
    damping = 1 / values[np.abs(values.imag) < 1e-8].real.max() if stages % 2 else 1 / np.abs(values).min()
    numerator, denominator = [np.eye(stages)], [1.0]
    for k in range(1, stages + 1):  # Faddeev and LeVerrier
        product = weights @ numerator[-1]
        denominator.append(np.trace(product) / k)
        numerator.append(denominator[-1] * np.eye(stages) - product)
    return Collocation(nodes, weights, coefficients, float(damping), np.stack(numerator[:-1]), np.asarray(denominator))
