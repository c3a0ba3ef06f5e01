"""rho(S^-1 A) without dense matrices: Arnoldi iteration with an inner solve with S."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse.linalg as sparse

from analogep.diagnostics.condensation import Condensed
from analogep.diagnostics.iterative import Estimate, is_reciprocal
from analogep.diagnostics.operators import Operators

INNER = 1e-10
"""Relative residual asked of every solve with S."""
OUTER = 1e-9
"""Relative residual asked of the leading eigenvalue of S^-1 A."""


class Solve(NamedTuple):
    """S^-1 b, and the relative residual ||b - S y|| / ||b||."""

    y: np.ndarray
    residual: float


def rho_sinv_a(
    operators: Operators, ends: tuple[Estimate, Estimate], *, steps: int = 80, inner: int = 3000
) -> Estimate:
    """Spectral radius of S^-1 A of G, which decides the bias of plain EP.

    Arnoldi iteration, because the eigenvalues come in pairs +-mu. S^-1 is applied by conjugate gradients where S is
    definite. Where it is not, rho grows as S comes near a singular matrix, about as one over the root of its eigenvalue
    nearest to 0. In compiled blocks that eigenvalue shrinks like 1/n, so that beyond some 1e4 states no sensible number
    of products resolves it: S is then factorized by static condensation. A circuit too large for that, or without a
    list of its conductances, is left to MINRES; where that fails the value is nan and `converged` False.

    Parameters
    ----------
    ends : the `symmetric_range`.
    steps : largest number of Arnoldi steps, one solve each.
    inner : largest number of iterations of an iterative solve, two products each. The first one that fails ends it all.

    Returns
    -------
    0 where A = 0; infinite where S is singular. The residual is ||A x - mu S x|| / ||A x|| of the leading pair, or that
    of a solve which failed.
    """
    before = operators.products
    definite = ends[0].converged and ends[1].converged and ends[0].value * ends[1].value > 0
    if is_reciprocal(operators):
        return Estimate(0.0, 0.0, True, operators.products - before, "reciprocal")
    factors = None if definite else operators.condensed
    method = f"Arnoldi, inner {'CG' if definite else 'MINRES' if factors is None else 'static condensation'}"
    if factors is not None and factors.singular:
        return Estimate(np.inf, 0.0, True, operators.products - before, method)
    sign = np.sign(ends[1].value) if definite else 1.0
    start = np.random.default_rng(3).standard_normal(operators.n)
    basis, H = [start / np.linalg.norm(start)], np.zeros((steps + 1, steps))
    mu, pair, worst, settled = 0.0, np.zeros(1, complex), 0.0, False
    for k in range(min(steps, operators.n)):
        b = sign * operators.A(basis[k])
        solved = _solve(operators, b, sign, definite, inner) if factors is None else _refined(operators, b, factors)
        worst = max(worst, solved.residual)
        _orthonormalize(solved.y, basis, H[:, k])
        values, vectors = np.linalg.eig(H[: k + 1, : k + 1])
        top = int(np.argmax(np.abs(values)))
        mu, pair = abs(values[top]), vectors[:, top]
        settled = H[k + 1, k] * abs(pair[-1]) <= 0.1 * OUTER * mu or H[k + 1, k] <= 1e-13 * mu
        if settled or worst > INNER:
            break
    if worst > INNER:
        return Estimate(np.nan, worst, False, operators.products - before, method)
    residual = _pencil_residual(operators, basis, pair, values[top])
    return Estimate(float(mu), residual, bool(settled and residual <= 100 * OUTER), operators.products - before, method)


def _solve(operators: Operators, b: np.ndarray, sign: float, definite: bool, iterations: int) -> Solve:
    """y with (sign S) y = b."""
    n, size = operators.n, float(np.linalg.norm(b))
    if size == 0:
        return Solve(np.zeros(n), 0.0)
    matrix = sparse.LinearOperator((n, n), matvec=lambda u: sign * operators.S(u), dtype=float)
    near = _preconditioner(operators)
    y, residual, left = np.zeros(n), 1.0, iterations
    # MINRES stops by an estimate relative to ||S|| ||y||, so what is left is measured and solved for again
    for _ in range(4):
        done = [0]

        def count(_: np.ndarray, done: list[int] = done) -> None:
            done[0] += 1

        rest = b - matrix.matvec(y) if residual < 1 else b
        options = {"M": near, "maxiter": left, "callback": count}
        if definite:
            y = y + sparse.cg(matrix, rest, rtol=INNER / 10 / residual, **options)[0]
        else:
            y = y + sparse.minres(matrix, rest, rtol=1e-15, **options)[0]
        residual, left = float(np.linalg.norm(b - matrix.matvec(y))) / size, left - done[0]
        if residual <= INNER or left <= 0:
            break
    return Solve(y, residual)


def _refined(operators: Operators, b: np.ndarray, factors: Condensed) -> Solve:
    """y with S y = b from factors, its error solved for again until it is small: S may be all but singular."""
    size = float(np.linalg.norm(b)) or 1.0
    y = np.zeros(operators.n)
    for _ in range(4):
        rest = b - operators.S(y)
        if np.linalg.norm(rest) <= INNER * size:
            break
        y = y + factors.solve(rest)
    return Solve(y, float(np.linalg.norm(b - operators.S(y))) / size)


def _preconditioner(operators: Operators) -> sparse.LinearOperator | None:
    """Division by |diagonal of G|; None where that is nearly constant or not known."""
    diagonal = operators.diagonal
    if diagonal is None:
        return None
    size = np.abs(diagonal)
    size = np.maximum(size, 1e-3 * np.max(size))
    if np.max(size) < 10 * np.min(size):
        return None
    return sparse.LinearOperator((operators.n,) * 2, matvec=lambda u: u / size, dtype=float)


def _orthonormalize(w: np.ndarray, basis: list[np.ndarray], column: np.ndarray) -> None:
    """Add w to an orthonormal basis, twice made orthogonal; its coefficients go to `column`."""
    w = w.copy()
    for _ in range(2):
        for k, q in enumerate(basis):
            part = float(np.dot(q, w))
            w -= part * q
            column[k] += part
    column[len(basis)] = np.linalg.norm(w)
    basis.append(w / (column[len(basis)] or 1.0))


def _pencil_residual(operators: Operators, basis: list[np.ndarray], pair: np.ndarray, mu: complex) -> float:
    """||A x - mu S x|| / ||A x|| for x given by its coefficients in the basis."""
    x = sum((c * q for c, q in zip(pair, basis, strict=False)), np.zeros(operators.n, complex))
    Ax = operators.A(x.real) + 1j * operators.A(x.imag)
    Sx = operators.S(x.real) + 1j * operators.S(x.imag)
    return float(np.linalg.norm(Ax - mu * Sx)) / max(float(np.linalg.norm(Ax)), 1e-300)
