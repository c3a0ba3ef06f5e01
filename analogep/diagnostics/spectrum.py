"""Eigenvalues by the feedback structure, and what the rightmost ones say."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

REAL = 1e-9
"""An eigenvalue counts as real if its imaginary part is below this fraction of the largest modulus."""


def causal_parts(J: np.ndarray) -> list[np.ndarray]:
    """Indices of the strongly connected parts of J's nonzero pattern, in an order that makes J block-lower-triangular.

    A part is a set of states that all act on each other; a causal block falls into one part for every token and single
    states. Where no order is found all states count as one part, which is always true.
    """
    pattern = csr_array(J != 0)
    parts, part = connected_components(pattern, directed=True, connection="strong")
    rows, columns = pattern.nonzero()
    # SciPy numbers a part after those it depends on; that is not documented, so it is checked
    if np.any(part[rows] < part[columns]):
        return [np.arange(len(J))]
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=parts))[:-1])


def eigenvalues(J: np.ndarray) -> np.ndarray:
    """All eigenvalues of J, one strongly connected part at a time, which is exact for a block-triangular matrix.

    Parameters
    ----------
    J : [n, n], any unit; a similarity such as the C metric leaves the result alone.

    Returns
    -------
    complex [n], rightmost first.
    """
    values = np.concatenate([np.linalg.eigvals(J[np.ix_(part, part)]).astype(complex) for part in causal_parts(J)])
    return values[np.lexsort((-np.abs(values.imag), -values.real))]


def spectral_abscissa(values: np.ndarray) -> float:
    """alpha = max Re lambda: the decay rate of the slowest mode, positive where the state is unstable.

    Parameters
    ----------
    values : eigenvalues of J.
    """
    return float(np.max(values.real))


def rightmost_pair(values: np.ndarray) -> complex:
    """The rightmost eigenvalue with a positive imaginary part, nan where all are real.

    Its real part reaching 0 is a Hopf bifurcation.
    """
    complex_ones = values[values.imag > REAL * np.max(np.abs(values))]
    return complex(complex_ones[np.argmax(complex_ones.real)]) if len(complex_ones) else complex(np.nan, np.nan)


def pair_frequency(values: np.ndarray) -> float:
    """|Im| / (2 pi) of the rightmost complex pair, whether or not a real eigenvalue lies to its right; else 0."""
    pair = rightmost_pair(values)
    return 0.0 if np.isnan(pair.imag) else abs(pair.imag) / (2 * np.pi)


def hopf_frequency(values: np.ndarray) -> float:
    """Frequency |Im| / (2 pi) of the rightmost eigenvalue, 0 if it is real: the ringing of the slowest mode.

    Parameters
    ----------
    values : eigenvalues of J.

    Returns
    -------
    cycles per time unit of J: in units of 1/tau for a J in 1/tau.
    """
    return pair_frequency(values) if rightmost_pair(values).real >= spectral_abscissa(values) else 0.0
