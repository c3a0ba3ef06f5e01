"""Pseudospectra: where the resolvent (z I - J)^-1 is large, and how far it reaches into the right half-plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.sparse.linalg import splu

from analogep.diagnostics.growth import numerical_abscissa
from analogep.diagnostics.spectrum import eigenvalues, spectral_abscissa
from analogep.errors import DataError

DENSE_GRID = 48
"""Up to this size the points of a grid take batched singular values, above it inverse iteration on a Schur form."""
_RESIDUAL = 1e-8
"""Relative residual at which inverse Lanczos iteration stops; the singular value is then right to half of it."""
_NEAR_AXIS = 1e-6
"""Real part below which an eigenvalue of the Hamiltonian matrix is tried as a crossing; a wrong one costs one try."""


class Pseudospectrum(NamedTuple):
    """Smallest singular values of z I - J on a grid; the boundary of the eps-pseudospectrum is their level eps.

    Attributes
    ----------
    real, imag : grid lines, rising, [m] and [k], in the unit of J.
    smallest : sigma_min(z I - J) at real + 1j imag, [k, m]; 1 / smallest is the norm of the resolvent.
    eigenvalues : of J, complex [n], rightmost first.
    """

    real: np.ndarray
    imag: np.ndarray
    smallest: np.ndarray
    eigenvalues: np.ndarray


class ResolventPeak(NamedTuple):
    """Largest ||(z I - J)^-1|| on a vertical line, and the height at which it stands."""

    norm: float
    height: float


def pseudospectrum(
    Jc: np.ndarray, real: ArrayLike | None = None, imag: ArrayLike | None = None, *, points: int = 80
) -> Pseudospectrum:
    """Smallest singular values of z I - J over a part of the complex plane.

    Parameters
    ----------
    Jc : J in the C metric [n, n]. In another metric the eigenvalues are the same and the pseudospectra are not.
    real, imag : grid lines; when None, `points` of them around the eigenvalues with a margin that shows the imaginary
        axis and the numerical abscissa.

    Raises
    ------
    DataError
        If J is empty or not finite.

    Reference
    ---------
    Trefethen 1999, "Computation of pseudospectra", Acta Numerica 8 (Schur form and inverse Lanczos iteration).
    """
    if not Jc.size or not np.isfinite(Jc).all():
        raise DataError(f"a pseudospectrum needs a finite matrix; this one has shape {Jc.shape}")
    values = eigenvalues(Jc)
    box = _box(values, numerical_abscissa(Jc))
    across = np.linspace(*box[0], points) if real is None else np.asarray(real, float)
    up = np.linspace(*box[1], points) if imag is None else np.asarray(imag, float)
    mirrored = np.isrealobj(Jc) and np.allclose(up, -up[::-1], atol=1e-12 * np.max(np.abs(up), initial=0.0))
    rows = up[len(up) // 2 :] if mirrored else up
    smallest = smallest_singular(Jc, across[None, :] + 1j * rows[:, None])
    if mirrored:  # a real matrix has symmetric pseudospectra
        smallest = np.concatenate([smallest[::-1][: len(up) // 2], smallest])
    return Pseudospectrum(across, up, smallest, values)


def smallest_singular(Jc: np.ndarray | scipy.sparse.sparray, z: ArrayLike) -> np.ndarray:
    """sigma_min(z I - J) at every entry of `z`, the distance of J to the nearest matrix with the eigenvalue z.

    Parameters
    ----------
    Jc : J in the C metric [n, n]; a sparse one (`sparse_jacobian`) is factorized anew at every point.
    z : complex numbers of any shape. Values below n eps ||J|| are rounding errors.
    """
    points = np.asarray(z, complex)
    flat, n = points.ravel(), Jc.shape[0]
    out = np.empty(flat.shape)
    if scipy.sparse.issparse(Jc):
        for k, point in enumerate(flat):
            out[k] = _sparse_smallest(point, Jc)
    elif n <= DENSE_GRID:
        for start in range(0, flat.size, 256):
            some = flat[start : start + 256]
            shifted = some[:, None, None] * np.eye(n) - Jc
            out[start : start + 256] = np.linalg.svd(shifted, compute_uv=False)[:, -1]
    else:
        triangle, _ = scipy.linalg.schur(Jc, output="complex")
        for k, point in enumerate(flat):
            out[k] = _triangular_smallest(point * np.eye(n) - triangle)
    return out.reshape(points.shape)


def pseudospectral_abscissa(Jc: np.ndarray, epsilon: float) -> float:
    """alpha_eps, the real part to which perturbations of norm `epsilon` can push an eigenvalue of J.

    The norm of the resolvent at its largest on a vertical line falls as the line moves to the right; alpha_eps is where
    it passes 1 / epsilon. It lies between alpha + epsilon (reached by normal matrices) and omega + epsilon.

    Parameters
    ----------
    Jc : J in the C metric [n, n].
    epsilon : positive, in the unit of J.

    Raises
    ------
    DataError
        If epsilon is not positive.

    Reference
    ---------
    Burke, Lewis & Overton 2003, "Robust stability and a criss-cross algorithm for pseudospectra", IMA J. Numer. Anal.
    23; Trefethen & Embree 2005, section 14.
    """
    if not epsilon > 0:
        raise DataError(f"the level {epsilon!r} of a pseudospectrum must be positive")
    values = eigenvalues(Jc)
    left, right = spectral_abscissa(values) + epsilon, numerical_abscissa(Jc) + epsilon
    height = float(abs(values[0].imag))

    def beyond(x: float) -> float:
        nonlocal height
        found = resolvent_peak(Jc, x, [height, *_heights(values)])
        height = found.height
        return float(np.log(found.norm * epsilon))

    if right - left <= 1e-12 * max(abs(left), abs(right), epsilon) or beyond(left) <= 0:
        return left
    return right if beyond(right) >= 0 else float(brentq(beyond, left, right, xtol=1e-300, rtol=1e-11))


def stability_radius(Jc: np.ndarray) -> float:
    """Norm of the smallest (complex) perturbation that puts an eigenvalue of J on the imaginary axis; 0 if unstable.

    Its inverse is the H-infinity norm of (s I - J)^-1.

    Reference
    ---------
    Van Loan 1985, "How near is a stable matrix to an unstable matrix?", Contemp. Math. 47.
    """
    values = eigenvalues(Jc)
    return 0.0 if spectral_abscissa(values) >= 0 else 1.0 / resolvent_peak(Jc, 0.0, _heights(values)).norm


def resolvent_peak(Jc: np.ndarray, x: float, heights: Iterable[float] = ()) -> ResolventPeak:
    """Largest ||(z I - J)^-1|| over the vertical line Re z = x, the global one.

    At the level eps = sigma_min of the best point so far, eigenvalues i y of a Hamiltonian matrix tell all heights y at
    which the line crosses that level; the next tries lie between them. It ends where no try is better.

    Parameters
    ----------
    Jc : J in the C metric [n, n].
    x : real part of the line.
    heights : first tries.

    Reference
    ---------
    Boyd & Balakrishnan 1990; Bruinsma & Steinbuch 1990, "A fast algorithm to compute the H-infinity norm of a transfer
    function matrix", Syst. Control Lett. 14.
    """
    shifted, real = Jc - x * np.eye(len(Jc)), np.isrealobj(Jc)
    folded = np.abs if real else np.asarray  # a real matrix sees y and -y alike
    smallest, height = np.inf, 0.0
    tries = np.unique(folded(np.array([0.0, *heights])))
    for _ in range(60):
        found = [float(np.linalg.svd(shifted - 1j * y * np.eye(len(Jc)), compute_uv=False)[-1]) for y in tries]
        best = int(np.argmin(found))
        improved = found[best] < smallest * (1 - 1e-11)
        if found[best] < smallest:
            smallest, height = found[best], float(tries[best])
        if not improved or smallest == 0:
            break
        crossings = folded(_crossings(shifted, smallest))
        if not crossings.size:
            break
        ends = np.unique(np.r_[crossings, 0.0] if real else crossings)
        tries = (ends[1:] + ends[:-1]) / 2
        if not tries.size:
            break
    return ResolventPeak(np.inf if smallest == 0 else 1.0 / smallest, height)


def _crossings(shifted: np.ndarray, epsilon: float) -> np.ndarray:
    """Heights y at which sigma_min(shifted - i y) = epsilon, and perhaps a few more."""
    eye = epsilon * np.eye(len(shifted))
    values = np.linalg.eigvals(np.block([[shifted, -eye], [eye, -shifted.conj().T]]))
    return values.imag[np.abs(values.real) <= _NEAR_AXIS * np.max(np.abs(values))]


def _heights(values: np.ndarray) -> list[float]:
    """First tries of a line search: the heights of the rightmost eigenvalues."""
    return [float(value.imag) for value in values[:4]]


def _triangular_smallest(triangle: np.ndarray) -> float:
    """Smallest singular value of an upper triangular matrix."""
    if np.abs(np.diag(triangle)).min() <= 1e-300:
        return 0.0
    solve = scipy.linalg.get_lapack_funcs("trtrs", (triangle,))
    triangle = np.asfortranarray(triangle)
    return _inverse_lanczos(lambda u: solve(triangle, solve(triangle, u, trans=2)[0])[0], len(triangle))


def _sparse_smallest(point: complex, Jc: scipy.sparse.sparray) -> float:
    """Smallest singular value of z I - J for a sparse J."""
    try:
        factors = splu((point * scipy.sparse.eye_array(Jc.shape[0]) - Jc).tocsc().astype(complex))
    except RuntimeError:  # SuperLU's word for a singular matrix
        return 0.0
    return _inverse_lanczos(lambda u: factors.solve(factors.solve(u, trans="H")), Jc.shape[0])


def _inverse_lanczos(product: Callable[[np.ndarray], np.ndarray], n: int) -> float:
    """Smallest singular value of M by Lanczos iteration on (M^* M)^-1, given by its product with a vector."""
    start = np.random.default_rng(0).standard_normal((2, n))
    basis = [(start[0] + 1j * start[1]) / np.linalg.norm(start)]
    along: list[float] = []
    beside: list[float] = []
    for _ in range(n):
        w = product(basis[-1])
        along.append(float(np.vdot(basis[-1], w).real))
        for _ in range(2):  # full orthogonalization, twice is enough
            space = np.array(basis)
            w = w - space.T @ (space.conj() @ w)
        rest = float(np.linalg.norm(w))
        ritz, vectors = scipy.linalg.eigh_tridiagonal(along, beside)
        if not np.isfinite(ritz[-1]):
            return 0.0
        if rest * abs(vectors[-1, -1]) <= _RESIDUAL * ritz[-1]:
            break
        beside.append(rest)
        basis.append(w / rest)
    return float(1 / np.sqrt(ritz[-1]))


def _box(values: np.ndarray, omega: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Part of the plane that shows the eigenvalues, the imaginary axis and the numerical abscissa."""
    left, right = float(values.real.min()), max(float(values.real.max()), omega, 0.0)
    height = float(np.max(np.abs(values.imag)))
    margin = 0.25 * max(right - left, 2 * height, 1e-12)
    return (left - margin, right + margin), (-height - margin, height + margin)
