"""Symmetric and antisymmetric parts: of G for reciprocity and gradients, of J in the C metric for settling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse.linalg as sparse

from analogep.errors import NetlistError

DENSE_NORM = 300
"""Below this size singular values come from a dense factorization, from it on from Lanczos iteration."""
DENSE_PENCIL = 400
"""Up to this size the eigenvalues of S^-1 A come from a dense factorization, above it from Arnoldi iteration."""


def split(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric part S and antisymmetric part A, with matrix = S + A.

    Parameters
    ----------
    matrix : [n, n]; G (siemens) for reciprocity, J in the C metric for settling; never a bare C^-1 G.
    """
    return (matrix + matrix.T) / 2, (matrix - matrix.T) / 2


def in_metric(G: np.ndarray, C: np.ndarray) -> np.ndarray:
    """J_c = C^1/2 J C^-1/2 = -C^-1/2 G C^-1/2, the Jacobian J = -C^-1 G in the norm of the stored energy v^T C v / 2.

    A matrix C = L L^T gives -L^-1 G L^-T, which differs from the symmetric root by a rotation only: eigenvalues, norms
    of exp(t J) and the symmetric part's spectrum are the same.

    Parameters
    ----------
    G : conductance matrix [n, n] (siemens).
    C : capacitances [n] (farads), or a symmetric positive definite matrix [n, n].

    Returns
    -------
    [n, n] in 1/s; with G and C divided by their units, in 1/tau.

    Raises
    ------
    NetlistError
        If C is not positive definite: memoryless nodes have to be eliminated first.
    """
    if C.ndim == 1:
        if not np.all(C > 0):
            raise NetlistError(f"state {int(np.argmin(C))} has capacitance {np.min(C):g} F: eliminate memoryless nodes")
        root = np.sqrt(C)
        return -G / root[:, None] / root[None, :]
    try:
        lower = np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        raise NetlistError("the capacitance matrix is not positive definite: eliminate memoryless nodes") from None
    half = scipy.linalg.solve_triangular(lower, G, lower=True)
    return -scipy.linalg.solve_triangular(lower, half.T, lower=True).T


def norm2(matrix: np.ndarray) -> float:
    """Largest singular value, to a relative 1e-10."""
    return leading_singular(matrix, tolerance=1e-10)[0]


def leading_singular(
    matrix: np.ndarray, start: np.ndarray | None = None, *, tolerance: float = 1e-8
) -> tuple[float, np.ndarray]:
    """Largest singular value and its left vector.

    Parameters
    ----------
    start : guess of the left vector [n], used by the iteration (n >= `DENSE_NORM`).
    tolerance : relative, of the squared singular value.
    """
    n, size = len(matrix), float(np.max(np.abs(matrix), initial=0.0))
    if size == 0 or not np.isfinite(size):
        return size, np.eye(n)[0]
    scaled = matrix / size
    square, vector = _top(
        lambda u: _times(scaled, _times(scaled.T, u)), lambda: scaled @ scaled.T, n, start=start, tolerance=tolerance
    )
    return size * float(np.sqrt(max(square, 0.0))), vector


def largest_eigenvalue(symmetric: np.ndarray) -> float:
    """Largest (rightmost) eigenvalue of a symmetric matrix, to a relative 1e-12."""
    if not symmetric.any():
        return 0.0
    return _top(lambda u: _times(symmetric, u), lambda: symmetric, len(symmetric), tolerance=1e-12)[0]


def _top(
    product: Callable[[np.ndarray], np.ndarray],
    dense: Callable[[], np.ndarray],
    n: int,
    *,
    start: np.ndarray | None = None,
    tolerance: float,
) -> tuple[float, np.ndarray]:
    """Rightmost eigenpair of a symmetric matrix, given by its product with a vector and, when asked for, in full."""
    if n >= DENSE_NORM:
        # a little noise, so that a guess inside an invariant subspace cannot hide the others
        noise = np.random.default_rng(0).standard_normal(n) / np.sqrt(n)
        guess = noise if start is None else start + 1e-2 * noise
        operator = sparse.LinearOperator((n, n), matvec=product, dtype=float)
        try:
            value, vector = sparse.eigsh(operator, k=1, which="LA", tol=tolerance, v0=guess)
            return float(value[0]), vector[:, 0]
        except sparse.ArpackError:
            pass  # the dense factorization below gives the same pair, only slower
    # all eigenpairs: LAPACK's search for one of them returns none where several are nearly equal
    values, vectors = scipy.linalg.eigh(dense())
    return float(values[-1]), vectors[:, -1]


def _times(matrix: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Matrix times vector in one thread: thousands of short BLAS calls stall each other's threads on a busy machine."""
    return np.einsum("ij,j->i", matrix, u)


def asymmetry_ratio(G: np.ndarray) -> float:
    """||A||_2 / ||S||_2 of the conductance matrix: 0 for a reciprocal circuit, infinite where S = 0."""
    symmetric, antisymmetric = split(G)
    above, below = norm2(antisymmetric), norm2(symmetric)
    if below == 0:
        return float("inf") if above else 0.0
    return above / below


def rho_sinv_a(G: np.ndarray) -> float:
    """Spectral radius of N = S^-1 A: plain EP reads (I + N)^-1 (I - N) lambda, a series that converges below 1.

    For definite S the eigenvalues are purely imaginary. They come in pairs +-mu, so Arnoldi iteration is used rather
    than power iteration.

    Parameters
    ----------
    G : conductance matrix [n, n], any unit.

    Returns
    -------
    0 where A = 0; infinite where S is singular to working precision.

    Reference
    ---------
    Scellier, Goyal, Binas, Mesnard, Bengio 2018, "Generalization of equilibrium propagation to vector field dynamics".
    """
    symmetric, antisymmetric = split(G)
    if not antisymmetric.any():
        return 0.0
    n = len(G)
    factor, condition = scipy.linalg.get_lapack_funcs(("getrf", "gecon"), (symmetric,))
    lu, pivots, singular = factor(symmetric)
    reciprocal = 0.0 if singular else condition(lu, np.linalg.norm(symmetric, 1))[0]
    if reciprocal < n * np.finfo(float).eps:
        return float("inf")

    def product(u: np.ndarray) -> np.ndarray:
        return scipy.linalg.lu_solve((lu, pivots), antisymmetric @ u)

    if n > DENSE_PENCIL:
        operator = sparse.LinearOperator((n, n), matvec=product, dtype=float)
        start = np.random.default_rng(0).standard_normal(n)
        try:
            values = sparse.eigs(operator, k=2, ncv=40, v0=start, return_eigenvectors=False)
            return float(np.max(np.abs(values)))
        except sparse.ArpackError:
            pass  # the dense eigenvalues below are the same numbers, only slower
    return float(np.max(np.abs(scipy.linalg.eigvals(product(np.eye(n))))))
