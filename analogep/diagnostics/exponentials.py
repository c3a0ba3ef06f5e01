"""Actions of exp(t J) and of its transpose on vectors, from products alone."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from analogep.diagnostics.iterative import Product
from analogep.diagnostics.operators import Operators

_KRYLOV = 40
"""Largest Krylov basis of one step of the exponential."""
_STEPS = 2000
"""Most steps of one exponential."""
EXPONENTIAL = 1e-11
"""Relative error asked of the action of an exponential, unless the caller asks for less."""


class Exponentials:
    """Actions of exp(t J) and exp(t J^T).

    One Arnoldi basis serves a step whose length follows from the error estimate; its size is what the step needs.

    Parameters
    ----------
    tolerance : relative error asked of an action.

    Attributes
    ----------
    failed : whether some action has not reached the tolerance.

    Reference
    ---------
    Saad 1992, "Analysis of some Krylov subspace approximations to the matrix exponential operator"; Sidje 1998,
    "Expokit".
    """

    def __init__(self, operators: Operators, tolerance: float = EXPONENTIAL) -> None:
        self.operators, self.tolerance, self.failed = operators, tolerance, False
        self._length: dict[str, float] = {}

    def forward(self, t: float, u: np.ndarray) -> np.ndarray:
        """exp(t J) u."""
        return self._flow(self.operators.J, "J", t, u)

    def backward(self, t: float, u: np.ndarray) -> np.ndarray:
        """exp(t J^T) u."""
        return self._flow(self.operators.Jt, "Jt", t, u)

    def _flow(self, product: Product, name: str, t: float, u: np.ndarray) -> np.ndarray:
        left, w = t, u
        for _ in range(_STEPS):
            if left <= 1e-14 * t or not w.any():
                return w
            asked = min(left, self._length.get(name, np.inf))
            taken, w = _krylov_step(product, w, asked, self.tolerance / t)
            if taken < asked:
                self._length[name] = taken
            else:  # a last step that was cut short says nothing against longer ones
                self._length[name] = max(1.5 * taken, 0.0 if taken < left else self._length.get(name, 0.0))
            left -= taken
        self.failed = True
        return w


def _krylov_step(product: Product, w: np.ndarray, t: float, rate: float) -> tuple[float, np.ndarray]:
    """exp(s J) w for the longest s <= t whose error a unit of time stays below `rate` ||w||; s and the result."""
    size = float(np.linalg.norm(w))
    V, H = np.empty((_KRYLOV + 1, len(w))), np.zeros((_KRYLOV + 1, _KRYLOV + 1))
    V[0] = w / size
    for k in range(_KRYLOV):
        image, basis = product(V[k]), V[: k + 1]
        scale = float(np.linalg.norm(image))
        # BLAS threads that wait for each other on a busy machine cost more than they bring: einsum uses one
        for _ in range(2):
            parts = np.einsum("ij,j->i", basis, image)
            image = image - np.einsum("ij,i->j", basis, parts)
            H[: k + 1, k] += parts
        H[k + 1, k] = np.linalg.norm(image)
        m = k + 1
        if H[m, k] <= 1e-14 * scale:  # the space is invariant: the result is exact for any time
            return t, size * np.einsum("ij,i->j", V[:m], scipy.linalg.expm(t * H[:m, :m])[:, 0])
        V[m] = image / H[m, k]
        last = m == _KRYLOV
        if m % 5 == 0 or last:
            s = t
            while True:
                column = scipy.linalg.expm(s * H[: m + 1, : m + 1])[:, 0]
                # entry m is the leading term that the uncorrected result of order m lacks, and it is added below
                if abs(column[m]) <= max(rate * s, 1e-15):
                    return s, size * np.einsum("ij,i->j", V[: m + 1], column)
                if not last:
                    break
                s /= 1.5
    raise AssertionError("a step of length 0 has no error")
