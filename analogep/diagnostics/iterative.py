"""Eigenvalues and norms from products alone: Arnoldi and Lanczos iterations, each with its residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse.linalg as sparse

from analogep.diagnostics.operators import Operators

Product = Callable[[np.ndarray], np.ndarray]

FEWEST = 16
"""Fewest states on which the iterations run; a smaller system has a dense panel in no time."""
WANTED, BASIS = 4, 100
"""Rightmost eigenvalues that are sought, and vectors of the Arnoldi basis between restarts."""
TOLERANCE = 1e-10
"""Relative residual asked of eigenvalues of J, G and their parts."""
ACCURACY = 1e-6
"""Relative error, by residual and condition number, below which the rightmost eigenvalue counts as found."""


class Estimate(NamedTuple):
    """A number that an iteration found, and how far to trust it.

    Attributes
    ----------
    value : the number; nan where the iteration has none.
    residual : what it was judged by, relative: of an eigenvalue of a symmetric matrix M, ||M x - value x|| over the
        size of M; of the rightmost one of J, that residual times its condition number, over the eigenvalue.
    converged : whether the residual is below what was asked.
    products : products with G or G^T that it took.
    method : how it was found.
    """

    value: float
    residual: float
    converged: bool
    products: int
    method: str


def rightmost(operators: Operators, *, restarts: int = 60, seed: int = 0) -> tuple[np.ndarray, Estimate]:
    """The rightmost eigenvalues of J by implicitly restarted Arnoldi iteration; their largest real part is alpha.

    A complex pair is found as well as a real one, unlike by power iteration. Stiff cells form a cluster far to the
    left, which costs a few vectors only. Where the iteration stalls, because the spectrum is long and crowded at its
    right end, J^-1 is iterated instead: the cells' cascade is eliminated and the eigenvalues nearest to 0 are found.
    That is the right end of a settling circuit unless a mode there rings faster than the `2 WANTED` slowest decay.

    Parameters
    ----------
    restarts : largest number of restarts, of about 50 products each.
    seed : of the start vector.

    Returns
    -------
    complex eigenvalues found, rightmost first (empty when none converged), and the estimate of alpha.

    Reference
    ---------
    Lehoucq, Sorensen & Yang 1998, "ARPACK Users' Guide"; Meerbergen & Roose 1996, "Matrix transformations for computing
    rightmost eigenvalues of large sparse nonsymmetric matrices", IMA J. Numer. Anal. 16.
    """
    before = operators.products
    start = np.random.default_rng(seed).standard_normal(operators.n)
    values, vectors, method = _right_end(operators.J, operators.J_inverse, start, restarts)
    if not len(values):
        return values, Estimate(np.nan, np.inf, False, operators.products - before, method)
    top = vectors[:, 0]
    image = operators.J(top.real) + 1j * operators.J(top.imag)
    size = float(np.linalg.norm(operators.J(start)) / np.linalg.norm(start))
    missing = max(float(np.linalg.norm(image - values[0] * top)), np.finfo(float).eps * size)
    error = missing * _condition(operators, values[0], top, restarts) / max(abs(values[0]), 1e-6 * size, 1e-300)
    taken = operators.products - before
    return values, Estimate(float(values[0].real), float(error), bool(error < ACCURACY), taken, method)


def _right_end(
    product: Product, inverse: Product, start: np.ndarray, restarts: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Rightmost eigenpairs, rightmost first, of a matrix given by its products and those of its inverse."""
    n, method = len(start), "Arnoldi"
    values, vectors = _arnoldi(product, "LR", start, k=min(WANTED, n - 2), ncv=min(n, BASIS), maxiter=restarts)
    if not len(values):
        method = "shift-invert Arnoldi"
        k = min(2 * WANTED, n - 2)
        inverted, vectors = _arnoldi(inverse, "LM", start, k=k, ncv=min(n, BASIS // 2), maxiter=restarts)
        values = 1 / inverted
    order = np.lexsort((-np.abs(values.imag), -values.real))
    return values[order], vectors[:, order], method


def _condition(operators: Operators, value: complex, right: np.ndarray, restarts: int) -> float:
    """Condition number of an eigenvalue of J, 1 / |y^T x|, with the left vectors found on J^T; inf where none is there.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", eq. (52.2).
    """
    start = np.random.default_rng(7).standard_normal(operators.n)
    values, vectors, _ = _right_end(operators.Jt, operators.Jt_inverse, start, restarts)
    same = np.abs(values - value) <= 1e-6 * np.max(np.abs(values), initial=0.0)
    if not same.any():
        return np.inf
    left = np.linalg.qr(vectors[:, same])[0]
    overlap = float(np.linalg.norm(left.T @ right))
    return 1 / overlap if overlap > 0 else np.inf


def _arnoldi(product: Product, which: str, start: np.ndarray, **options: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenpairs, or none where the iteration did not find all that were asked for."""
    operator = sparse.LinearOperator((len(start),) * 2, matvec=product, dtype=float)
    try:
        return sparse.eigs(operator, which=which, v0=start, tol=TOLERANCE, **options)
    except sparse.ArpackError:
        return np.zeros(0, complex), np.zeros((len(start), 0), complex)


def extreme(
    operators: Operators, product: Product, which: str = "LA", *, iterations: int = 100, tolerance: float = TOLERANCE
) -> tuple[Estimate, np.ndarray]:
    """One end of the spectrum of a symmetric matrix by Lanczos iteration.

    Parameters
    ----------
    product : u -> M u, made of the operators' products.
    which : "LA" for the largest (rightmost) eigenvalue, "SA" for the smallest.
    iterations : largest number of restarts.
    tolerance : relative residual asked for.

    Returns
    -------
    The estimate, and the unit eigenvector [n] (zeros where it did not converge).
    """
    n, before = operators.n, operators.products
    start = np.random.default_rng(1).standard_normal(n)
    operator = sparse.LinearOperator((n, n), matvec=product, dtype=float)
    try:
        values, vectors = sparse.eigsh(
            operator, k=1, which=which, v0=start, ncv=min(n, 40), tol=tolerance, maxiter=iterations
        )
    except sparse.ArpackError:
        return Estimate(np.nan, np.inf, False, operators.products - before, "Lanczos"), np.zeros(n)
    value, vector = float(values[0]), vectors[:, 0]
    size = max(abs(value), float(np.linalg.norm(product(start)) / np.linalg.norm(start)), 1e-300)
    residual = float(np.linalg.norm(product(vector) - value * vector)) / size
    found = Estimate(value, residual, residual < 100 * tolerance, operators.products - before, "Lanczos")
    return found, vector


def numerical_abscissa(operators: Operators) -> tuple[Estimate, np.ndarray]:
    """omega, the rightmost eigenvalue of (J + J^T)/2 in the C metric, and the direction that grows fastest [n]."""
    return extreme(operators, operators.log_norm)


def norm(operators: Operators, forward: Product, backward: Product, *, tolerance: float = TOLERANCE) -> Estimate:
    """||M||_2 by Lanczos iteration on M^T M, for M and M^T given by their products."""
    found = extreme(operators, lambda u: backward(forward(u)), tolerance=tolerance)[0]
    return found._replace(value=float(np.sqrt(max(found.value, 0.0))))


def symmetric_range(operators: Operators) -> tuple[Estimate, Estimate]:
    """Smallest and largest eigenvalue of S of G; S is definite where both have one sign."""
    return extreme(operators, operators.S, "SA")[0], extreme(operators, operators.S)[0]


def is_reciprocal(operators: Operators) -> bool:
    """Whether G = G^T, to rounding: then A, and all that is read off it, is 0."""
    probe = np.random.default_rng(2).standard_normal(operators.n)
    return bool(np.linalg.norm(operators.A(probe)) <= 1e-13 * np.linalg.norm(operators.S(probe)))


def asymmetry_ratio(operators: Operators, ends: tuple[Estimate, Estimate]) -> Estimate:
    """||A||_2 / ||S||_2 of G, from the `symmetric_range`; ||A|| by Lanczos iteration on -A^2."""
    if is_reciprocal(operators):
        return Estimate(0.0, 0.0, True, 2, "reciprocal")
    above = norm(operators, operators.A, lambda u: -operators.A(u))
    below = max(abs(end.value) for end in ends)
    parts = (above, *ends)
    return Estimate(
        float("inf") if below == 0 else above.value / below,
        max(part.residual for part in parts),
        all(part.converged for part in parts),
        above.products,
        "Lanczos",
    )
