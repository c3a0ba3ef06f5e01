"""Peak of ||exp(t J)|| from products alone: exponentials forth with J and back with J^T, and a search over t."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse.linalg as sparse

from analogep.diagnostics.exponentials import Exponentials
from analogep.diagnostics.growth import Growth, _brackets, _interpolated_peak
from analogep.diagnostics.iterative import Estimate, norm
from analogep.diagnostics.operators import Operators

GAIN = 1e-8
"""The search for the peak's time ends where it could raise the norm by less than this, relative."""
_LANCZOS, _AN_OCTAVE, _SAMPLES, _ROUGH = 5, 2, 60, 1e-5
"""Lanczos steps at a sample of the curve, samples an octave, most samples, and the error of their exponentials."""
_CLOSED = 0.7
"""Sampled norm, a lower bound, at which the curve counts as having come down for good."""


class _Top(NamedTuple):
    """Leading singular triple of exp(t J): ||E||, its slope over t, the right vector v, and ||E^T E v - ||E||^2 v||."""

    norm: float
    slope: float
    right: np.ndarray
    residual: float


def peak_growth(
    operators: Operators, alpha: Estimate, omega: Estimate, steepest: np.ndarray
) -> tuple[Estimate, float, Growth]:
    """Largest ||exp(t J)||_2 over t >= 0 in the C metric.

    The curve is sampled over octaves by a few Lanczos steps of exp(t J^T) exp(t J), each started from the one before
    it, until it has come down; around each high sample the leading singular triple is then converged, and the time
    improved by the slope ||E|| u^T J u until no gain is left.

    Parameters
    ----------
    alpha, omega : the abscissas; alpha >= 0 has no peak, omega <= 0 has it at t = 0.
    steepest : the vector that grows fastest at t = 0, of `numerical_abscissa` [n].

    Returns
    -------
    The peak, its time (units of tau), and the samples of the curve (norms there are lower bounds, good to a few
    percent). Infinite, at infinite time, where alpha >= 0. Not converged where the curve did not come down.

    Reference
    ---------
    Luchini & Bottaro 2014, "Adjoint equations in stability analysis", Annu. Rev. Fluid Mech. 46 (forth and back).
    """
    before, method = operators.products, "Krylov exponentials"
    none = Growth(np.zeros(0), np.zeros(0), np.zeros(0))
    if alpha.value >= 0:
        return Estimate(np.inf, alpha.residual, alpha.converged, 0, "alpha >= 0"), np.inf, none
    if omega.converged and omega.value <= 0:
        return Estimate(1.0, omega.residual, True, 0, "omega <= 0"), 0.0, none
    rough, flows = Exponentials(operators, _ROUGH), Exponentials(operators)
    curve, rights = _samples(operators, rough, steepest)
    closed = len(curve.norms) < _SAMPLES
    highest = float(np.max(curve.norms))
    # where no sample lies above 1 the peak comes before them: the curve rises at t = 0 with slope omega
    tops = _brackets(curve, highest) if highest > 1 else [(0.0, float(curve.times[0]))]
    best, when, residual = 1.0, 0.0, np.inf
    for left, right in tops:
        start = rights[int(np.argmin(np.abs(curve.times - (left + right) / 2)))]
        found, time, missing = _refine(operators, flows, curve, (left, right), start)
        if found >= best:
            best, when, residual = found, time, missing
    converged = closed and not (rough.failed or flows.failed) and residual <= 10 * GAIN
    return Estimate(best, float(residual), bool(converged), operators.products - before, method), float(when), curve


def _samples(operators: Operators, flows: Exponentials, v: np.ndarray) -> tuple[Growth, list[np.ndarray]]:
    """Coarse samples of the curve, with a right vector for each."""
    rough = norm(operators, operators.J, operators.Jt, tolerance=1e-3).value
    t = 0.125 / (rough if np.isfinite(rough) and rough > 0 else 1.0)
    noise = np.random.default_rng(4)
    rights: list[np.ndarray] = []
    samples: list[tuple[float, float, float]] = []
    for _ in range(_SAMPLES):
        # a little noise, so that a vector which suited shorter times cannot hide a better one
        fresh = noise.standard_normal(operators.n)
        v = _lanczos(flows, t, v + 1e-2 * fresh / np.linalg.norm(fresh))
        u = flows.forward(t, v)
        size = float(np.linalg.norm(u))
        samples.append((t, size, float(u @ operators.J(u)) / max(size, 1e-300)))
        rights.append(v)
        if size < _CLOSED or flows.failed:
            break
        t *= 2.0 ** (1 / _AN_OCTAVE)
    return Growth(*np.array(samples).T), rights


def _lanczos(flows: Exponentials, t: float, v: np.ndarray) -> np.ndarray:
    """A right vector of exp(t J) close to the leading one, after a few Lanczos steps from v."""
    basis = np.zeros((_LANCZOS, len(v)))
    images = np.zeros_like(basis)
    for k in range(_LANCZOS):
        for _ in range(2):
            v = v - np.einsum("ij,i->j", basis[:k], np.einsum("ij,j->i", basis[:k], v))
        size = float(np.linalg.norm(v))
        if size == 0:
            break
        basis[k] = v / size
        v = images[k] = flows.backward(t, flows.forward(t, basis[k]))
    top = np.linalg.eigh(np.einsum("ik,jk->ij", basis, images))[1][:, -1]
    return np.einsum("ij,i->j", basis, top)


def _refine(
    operators: Operators, flows: Exponentials, curve: Growth, bracket: tuple[float, float], start: np.ndarray
) -> tuple[float, float, float]:
    """The maximum of ||exp(t J)|| in a bracket: its norm, its time, and the relative residual."""
    left, right = bracket
    t = _interpolated_peak(curve, left, right) if left > 0 else right / 2
    slopes = np.interp([left, right], np.r_[0.0, curve.times], np.r_[curve.slopes[0], curve.slopes])
    curvature = -abs(slopes[1] - slopes[0]) / (right - left)
    top, before = _leading(operators, flows, t, start), None
    for _ in range(12):
        if before is not None and abs(before[0] - t) > 1e-12 * t:
            secant = (top.slope - before[1]) / (t - before[0])
            curvature = secant if secant < 0 else curvature
        left, right = (t, right) if top.slope > 0 else (left, t)
        step = -top.slope / curvature if curvature < 0 else 0.5 * (left + right) - t
        if abs(top.slope * step) <= GAIN * top.norm:
            return top.norm, t, max(top.residual, abs(top.slope * step) / top.norm)
        fresh = t + step
        fresh = fresh if left < fresh < right else 0.5 * (left + right)
        before, t = (t, top.slope), fresh
        top = _leading(operators, flows, t, top.right)
    return top.norm, t, max(top.residual, abs(top.slope * (right - left)) / top.norm)


def _leading(operators: Operators, flows: Exponentials, t: float, start: np.ndarray) -> _Top:
    """Leading singular triple of exp(t J) by Lanczos iteration."""
    n = operators.n
    fresh = np.random.default_rng(5).standard_normal(n)
    start = start / np.linalg.norm(start) + 1e-2 * fresh / np.linalg.norm(fresh)
    square = sparse.LinearOperator((n, n), matvec=lambda u: flows.backward(t, flows.forward(t, u)), dtype=float)
    try:
        v = sparse.eigsh(square, k=1, which="LA", v0=start, ncv=12, tol=GAIN / 10, maxiter=50)[1][:, 0]
    except sparse.ArpackError:
        v = start / np.linalg.norm(start)  # its residual tells
    u = flows.forward(t, v)
    size = float(np.linalg.norm(u))
    missing = float(np.linalg.norm(flows.backward(t, u) - size**2 * v)) / max(size, 1e-300) ** 2
    return _Top(size, float(u @ operators.J(u)) / max(size, 1e-300), v, missing)
