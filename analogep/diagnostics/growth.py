"""Transient growth: ||exp(t J)||, its initial slope and its peak, in the C metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import minimize_scalar

from analogep.diagnostics.spectrum import causal_parts
from analogep.diagnostics.splitting import DENSE_NORM, largest_eigenvalue, leading_singular, norm2, split

_DECAYED, _BLOWN_UP = 0.1, 1e15
_OCTAVES = 34
"""Each squaring doubles the relative rounding error of a motion that does not decay: 2^34 eps is 4e-6."""
_PANEL = 400
"""Fewest rows multiplied at once: on a busy machine every threaded product waits for its slowest thread."""


class Growth(NamedTuple):
    """Samples of ||exp(t J)||_2.

    Attributes
    ----------
    times : sample times, rising, in the time unit of J.
    norms : ||exp(t J)||_2 there.
    slopes : d norm / dt there: s u^T J u with the leading singular value s and left vector u.
    """

    times: np.ndarray
    norms: np.ndarray
    slopes: np.ndarray

    @property
    def closed(self) -> bool:
        """Whether the peak lies inside the samples: ||E(t + r)|| <= ||E(t)|| ||E(r)||, so ||E(t)|| <= 1 ends it."""
        return bool(self.norms[-1] <= 1)


class Peak(NamedTuple):
    """Largest ||exp(t J)|| over t >= 0, and its time (in the time unit of J); 1 at t = 0 where nothing grows."""

    norm: float
    time: float


def numerical_abscissa(Jc: np.ndarray) -> float:
    """omega = lambda_max of the symmetric part: the initial slope of ||exp(t J)||, and the logarithmic 2-norm.

    Parameters
    ----------
    Jc : J in the C metric [n, n]. Where omega <= 0 there is no transient growth at any asymmetry.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", eqs. (14.2) and (17.9).
    """
    return largest_eigenvalue(split(Jc)[0])


def growth_curve(Jc: np.ndarray, times: Sequence[float] | np.ndarray | None = None, points: int = 3) -> Growth:
    """||exp(t J)||_2 over time.

    Exponentials of `points` short times are squared again and again (E(2 t) = E(t)^2), one matrix product a sample,
    from 1/(8 ||J||) until the norm has fallen to 0.1; an unstable J ends at 1e15, a marginal one after 34 octaves.
    States are put in causal order, in which a product costs down to a third.

    Parameters
    ----------
    Jc : J in the C metric [n, n].
    times : positive rising times at which to evaluate instead, one `expm` each.
    points : samples an octave.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", section 14; Higham 2005, "The scaling and squaring method
    for the matrix exponential revisited".
    """
    samples: list[tuple[float, float, float]] = []
    u: np.ndarray | None = None

    def sample(t: float, E: np.ndarray) -> None:
        nonlocal u
        norm, u = leading_singular(E, u)
        samples.append((t, norm, norm * float(u @ (Jc @ u))))

    if times is not None:
        for t in times:
            sample(float(t), scipy.linalg.expm(t * Jc))
        return Growth(*np.array(samples).T)
    parts = causal_parts(Jc)
    order, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
    Jc = Jc[np.ix_(order, order)]
    first = 2.0**-3 / (norm2(Jc) or 1.0)
    starts = first * 2.0 ** (np.arange(points) / points)
    chains = [scipy.linalg.expm(t * Jc) for t in starts]
    for octave in range(_OCTAVES):
        for k, t in enumerate(starts):
            chains[k] = _square(chains[k], ends) if octave else chains[k]
            sample(t * 2.0**octave, chains[k])
            if not _DECAYED < samples[-1][1] < _BLOWN_UP:
                return Growth(*np.array(samples).T)
    return Growth(*np.array(samples).T)


def _square(E: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """E @ E of a block-lower-triangular matrix whose diagonal blocks end at `ends`: zeros to the right are left out."""
    out, begin = np.zeros_like(E), 0
    for end in ends:
        if end - begin >= _PANEL or end == len(E):
            out[begin:end, :end] = E[begin:end, :end] @ E[:end, :end]
            begin = end
    return out


def peak_growth(Jc: np.ndarray, curve: Growth | None = None) -> float:
    """Largest ||exp(t J)||_2 over t >= 0, at least 1: the norm of `growth_peak`."""
    return growth_peak(Jc, curve).norm


def growth_peak(Jc: np.ndarray, curve: Growth | None = None) -> Peak:
    """Largest ||exp(t J)||_2 over t >= 0 and when it is reached.

    Parameters
    ----------
    Jc : J in the C metric [n, n].
    curve : its `growth_curve`, computed when None.

    Returns
    -------
    The peak; infinite, at infinite time, where the norm still rises without bound after the last sample. Around each
    highest sample it is refined: by bounded scalar search for n <= 300, else by one exponential at the peak of the
    Hermite interpolant.
    """
    curve = growth_curve(Jc) if curve is None else curve
    if not curve.closed and _rising(curve):
        return Peak(float("inf"), float("inf"))
    top = int(np.argmax(curve.norms))
    best = Peak(float(curve.norms[top]), float(curve.times[top]))
    if best.norm <= 1:
        return Peak(1.0, 0.0)
    for left, right in _brackets(curve, best.norm):
        if len(Jc) <= DENSE_NORM:
            found = minimize_scalar(
                lambda t: -norm2(scipy.linalg.expm(t * Jc)), bounds=(left, right), options={"xatol": 1e-6 * right}
            )
            here = Peak(-float(found.fun), float(found.x))
        else:
            time = _interpolated_peak(curve, left, right)
            here = Peak(norm2(scipy.linalg.expm(time * Jc)), time)
        best = max(best, here)
    return best


def _rising(curve: Growth) -> bool:
    """Whether the second half of the samples (of log time) reaches clearly higher than the first."""
    half = len(curve.norms) // 2
    return bool(curve.norms[-1] >= _BLOWN_UP or np.max(curve.norms[half:]) > 1.01 * np.max(curve.norms[:half]))


def _brackets(curve: Growth, best: float) -> list[tuple[float, float]]:
    """Intervals around the local maxima that come within a tenth of the highest sample; at most three."""
    times, norms = np.r_[0.0, curve.times, curve.times[-1]], np.r_[1.0, curve.norms, -np.inf]
    inside = np.arange(1, len(norms) - 1)
    top = (norms[inside] >= norms[inside - 1]) & (norms[inside] > norms[inside + 1]) & (norms[inside] > 0.9 * best)
    tops = inside[top]
    tops = tops[np.argsort(-norms[tops])][:3]
    return [(float(times[k - 1]), float(times[k + 1])) for k in tops if times[k + 1] > times[k - 1]]


def _interpolated_peak(curve: Growth, left: float, right: float) -> float:
    """Time of the maximum of the cubic Hermite interpolant between two times."""
    t = np.linspace(left, right, 2001)
    times, norms = np.r_[0.0, curve.times], np.r_[1.0, curve.norms]
    slopes = np.r_[curve.slopes[0], curve.slopes]
    return float(t[np.argmax(CubicHermiteSpline(times, norms, slopes)(t))])
