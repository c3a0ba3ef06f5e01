"""Logarithmic norms in a metric P: in which coordinates a system contracts, and what they cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from analogep.diagnostics.growth import numerical_abscissa
from analogep.diagnostics.spectrum import eigenvalues, spectral_abscissa
from analogep.errors import ConvergenceError, DataError


class Metric(NamedTuple):
    """A quadratic norm ||x||_P = sqrt(x^T P x) and the logarithmic norm of J in it.

    ||exp(t J)||_2 <= sqrt(condition) exp(mu t): with mu <= 0 the root of the condition bounds all transient growth.

    Attributes
    ----------
    mu : logarithmic norm, in the unit of J; not below the spectral abscissa.
    P : symmetric positive definite [n, n], largest eigenvalue 1.
    condition : ratio of the largest to the smallest eigenvalue of P.
    """

    mu: float
    P: np.ndarray
    condition: float


def log_norm(J: np.ndarray, P: np.ndarray | None = None) -> float:
    """mu_P(J), the largest slope at t = 0 of ||exp(t J) x||_P / ||x||_P.

    Parameters
    ----------
    J : [n, n]. With P the capacitance matrix and J = -C^-1 G it is the numerical abscissa in the C metric.
    P : symmetric positive definite [n, n], or its diagonal [n]; the Euclidean norm when None.

    Returns
    -------
    Largest eigenvalue mu of (P J + J^T P) x = 2 mu P x, in the unit of J.

    Raises
    ------
    DataError
        If P is not symmetric positive definite.

    Reference
    ---------
    Soderlind 2006, "The logarithmic norm. History and modern theory", BIT 46; Lohmiller & Slotine 1998.
    """
    if P is None:
        return numerical_abscissa(J)
    P = np.diag(P) if np.ndim(P) == 1 else np.asarray(P)
    if P.shape != J.shape or not np.allclose(P, P.T, rtol=1e-9, atol=1e-12 * np.max(np.abs(P))):
        raise DataError(f"a metric for J of shape {J.shape} is a symmetric matrix of that shape; P has {P.shape}")
    try:
        lower = np.linalg.cholesky(P)
    except np.linalg.LinAlgError:
        raise DataError("the metric P is not positive definite") from None
    # with x = L^-T y the norm of y is that of x: J becomes L^T J L^-T
    return numerical_abscissa(scipy.linalg.solve_triangular(lower, (lower.T @ J).T, lower=True).T)


def lyapunov_metric(J: np.ndarray, beta: float) -> Metric:
    """The metric in which J decays at least like exp(beta t), from the Lyapunov equation.

    P solves (J - beta)^T P + P (J - beta) = -I, so that mu_P(J) = beta - 1 / (2 lambda_max(P)). It exists for every
    beta above the spectral abscissa, so whatever decays is contracting in some metric.

    Parameters
    ----------
    J : [n, n], best in the C metric, so that the condition is counted from there.
    beta : in the unit of J.

    Raises
    ------
    DataError
        If beta is not above the spectral abscissa.
    ConvergenceError
        If it is so little above that P cannot be computed.

    Reference
    ---------
    Boyd, El Ghaoui, Feron & Balakrishnan 1994, "Linear Matrix Inequalities in System and Control Theory", sec. 5.1.
    """
    alpha = spectral_abscissa(eigenvalues(J))
    if not beta > alpha:
        raise DataError(f"no metric has mu = {beta:g}: the spectral abscissa is {alpha:g}; choose a beta above it")
    metric = _metric(J, beta)
    if metric is None:
        raise ConvergenceError(f"beta = {beta:g} lies too close to the spectral abscissa {alpha:g} for a metric")
    return metric


def optimal_metric(J: np.ndarray, *, condition: float = 1e6, steps: int = 60) -> Metric:
    """The smallest logarithmic norm among Lyapunov metrics of a bounded condition, found by bisection.

    With no bound, mu comes as near to the spectral abscissa as one likes (and reaches it where the rightmost
    eigenvalues are semisimple), while the condition of P may grow without bound: the price is part of the answer.

    Parameters
    ----------
    J : [n, n], best in the C metric.
    condition : largest condition of P.
    steps : bisections of the logarithm of beta - alpha.

    Returns
    -------
    The best metric seen, the given one (P = I, mu = omega) among them. It is an upper bound of the smallest mu under
    that condition: the family has the one parameter beta, and no semidefinite program is solved.

    Raises
    ------
    DataError
        If `condition` is below 1.
    """
    if condition < 1:
        raise DataError(f"the condition of a metric is at least 1, not {condition:g}")
    omega, alpha = numerical_abscissa(J), spectral_abscissa(eigenvalues(J))
    best = Metric(omega, np.eye(len(J)), 1.0)
    size = max(abs(omega), abs(alpha), float(np.max(np.abs(J), initial=0.0)))
    if omega - alpha <= 1e-12 * size:
        return best
    # too near to alpha the condition is too large; far from it P tends to the identity
    near, far = np.log(1e-14 * size), np.log(1e3 * size)
    for _ in range(steps):
        middle = (near + far) / 2
        metric = _metric(J, alpha + np.exp(middle))
        if metric is None or metric.condition > condition:
            near = middle
            continue
        far = middle
        best = min(best, metric, key=lambda m: m.mu)
    return best


def _metric(J: np.ndarray, beta: float) -> Metric | None:
    """Solution of the Lyapunov equation, or None where it is not positive definite to working precision."""
    shifted = J - beta * np.eye(len(J))
    try:
        P = scipy.linalg.solve_continuous_lyapunov(shifted.T, -np.eye(len(J)))
    except np.linalg.LinAlgError:
        return None
    P = (P + P.T) / 2
    values = np.linalg.eigvalsh(P)
    if not np.isfinite(values).all() or values[0] <= 1e-13 * values[-1]:
        return None
    P = P / values[-1]
    try:
        return Metric(log_norm(J, P), P, float(values[-1] / values[0]))
    except DataError:
        return None
