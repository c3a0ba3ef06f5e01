"""How far a matrix is from normal: Henrici's departure, and the bounds that its commutator with its transpose gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg


class DepartureBounds(NamedTuple):
    """What ||J^T J - J J^T||_F says about Henrici's departure without any eigenvalue; in the unit of J."""

    lower: float
    upper: float


def henrici_departure(Jc: np.ndarray) -> float:
    """Henrici's departure from normality ||N||_F, with J = Q (Lambda + N) Q^* and N strictly upper triangular.

    It equals sqrt(||J||_F^2 - sum |lambda|^2), but is taken from the Schur form, where nothing cancels.

    Parameters
    ----------
    Jc : J in the C metric [n, n]. G itself may be given to judge reciprocity: a departure of 0 does not imply it.

    Returns
    -------
    In the unit of J; 0 for a normal matrix (symmetric, antisymmetric, orthogonal).

    Reference
    ---------
    Henrici 1962, "Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices",
    Numer. Math. 4, eq. (1.9); Trefethen & Embree 2005, "Spectra and Pseudospectra", section 48.
    """
    triangle, _ = scipy.linalg.schur(Jc, output="complex")
    return float(np.linalg.norm(np.triu(triangle, 1)))


def departure_bounds(Jc: np.ndarray | scipy.sparse.sparray) -> DepartureBounds:
    """Bounds of Henrici's departure from the commutator M = J^T J - J J^T alone.

    upper^2 = sqrt((n^3 - n) / 12) ||M||_F and lower^2 = ||J||_F^2 - sqrt(||J||_F^4 - ||M||_F^2 / 2). Both are sharp for
    a Jordan block of size 2.

    Parameters
    ----------
    Jc : J in the C metric [n, n], dense or sparse (`sparse.sparse_jacobian`).

    Reference
    ---------
    Henrici 1962 (upper); Kress, de Vries & Wegmann 1974, "On nonnormal matrices", Linear Algebra Appl. 8 (lower).
    """
    norm = scipy.sparse.linalg.norm if scipy.sparse.issparse(Jc) else np.linalg.norm
    n, square = Jc.shape[0], float(norm(Jc)) ** 2
    adjoint = Jc.conj().T
    commutator = float(norm(adjoint @ Jc - Jc @ adjoint))
    if square == 0:
        return DepartureBounds(0.0, 0.0)
    # a - sqrt(a^2 - b) = b / (a + sqrt(a^2 - b)), which does not cancel
    half = commutator**2 / 2
    lower = half / (square + np.sqrt(max(square**2 - half, 0.0)))
    return DepartureBounds(float(np.sqrt(lower)), float(np.sqrt(np.sqrt((n**3 - n) / 12) * commutator)))
