"""The Kreiss constant: how far the resolvent says that exp(t J) must grow, and how far it may."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from analogep.diagnostics.growth import numerical_abscissa
from analogep.diagnostics.pseudospectra import _heights, resolvent_peak
from analogep.diagnostics.spectrum import eigenvalues, spectral_abscissa
from analogep.diagnostics.splitting import norm2

_MARGINAL = 1e-9
"""A spectral abscissa within this fraction of ||J|| counts as 0."""


class Kreiss(NamedTuple):
    """The Kreiss constant K: K <= sup ||exp(t J)|| <= e n K.

    Attributes
    ----------
    constant : K, at least 1; 1 where omega <= 0, infinite where J is unstable.
    point : s with Re(s) ||(s I - J)^-1|| = K; infinite where K = 1 is approached at infinity, nan where J is unstable.
    upper : K is not above this: the bound of the search, equal to `constant` to `rtol` where it has converged.
    converged : whether the search closed. It cannot where J has eigenvalues on the imaginary axis.
    evaluations : vertical lines on which the resolvent was maximized.
    """

    constant: float
    point: complex
    upper: float
    converged: bool
    evaluations: int

    def growth_bounds(self, n: int) -> tuple[float, float]:
        """What the Kreiss matrix theorem says of sup ||exp(t J)|| for n states: not below K, not above e n K."""
        return self.constant, float(np.e * n * self.upper)


def kreiss_constant(Jc: np.ndarray, *, rtol: float = 1e-7, most: int = 400) -> Kreiss:
    """K = sup over Re s > 0 of Re(s) ||(s I - J)^-1||, the global one.

    With m(x) the largest norm of the resolvent on the line Re s = x, K = max x m(x). By Hadamard's three-lines theorem
    log m is convex, so between two lines it lies below its chord: that bounds x m(x) from above on an interval, and
    the search splits the interval with the highest bound until none can beat the best line by more than `rtol`.
    Left of K / m(0) and right of omega K / (K - 1) no line can.

    Parameters
    ----------
    Jc : J in the C metric [n, n]. A line costs a few eigenvalue problems of size 2 n.
    rtol : relative width of the bracket [constant, upper].
    most : largest number of lines.

    Reference
    ---------
    Kreiss 1962; LeVeque & Trefethen 1984; Spijker 1991 (the factor e n); Trefethen & Embree 2005, section 14;
    Mitchell 2020, "Computing the Kreiss constant of a matrix", SIAM J. Matrix Anal. Appl. 41 (the problem's local
    maxima).
    """
    size = norm2(Jc)
    values = eigenvalues(Jc)
    alpha, omega = spectral_abscissa(values), numerical_abscissa(Jc)
    if omega <= 1e-13 * size:
        return Kreiss(1.0, complex(np.inf), 1.0, True, 0)
    if alpha > _MARGINAL * size:
        return Kreiss(np.inf, complex(np.nan, np.nan), np.inf, True, 0)
    marginal = alpha >= -_MARGINAL * size
    search = _Search(Jc, _heights(values))
    # x m(x) <= x m(0), which is below 1 left of 1 / m(0)
    low = 1e-6 * size if marginal else 1.0 / search.line(0.0)
    for x in np.geomspace(low, max(1e2 * size, 10 * low), 9):
        search.add(float(x))
    # right of x the value is at most x / (x - omega)
    while search.high / (search.high - omega) > search.best and search.high < 1e6 * size:
        search.add(2 * search.high)
    if marginal and search.value(low) > 1.01 * search.value(search.second):
        return Kreiss(np.inf, complex(np.nan, np.nan), np.inf, True, search.evaluations)
    search.close(max(rtol, 1e-4) if marginal else rtol, most)
    upper = max(search.bound, search.best, search.high / (search.high - omega))
    closed = upper <= search.best * (1 + rtol) and not marginal
    return Kreiss(search.best, search.point, np.inf if marginal else upper, closed, search.evaluations)


class _Search:
    """Lines x -> log m(x), and the intervals between them by their bounds."""

    def __init__(self, Jc: np.ndarray, heights: list[float]) -> None:
        self.Jc, self.heights, self.evaluations = Jc, heights, 0
        self.logs: dict[float, float] = {}
        self.best, self.point = 1.0, complex(np.inf)

    def line(self, x: float) -> float:
        """m(x)."""
        found = resolvent_peak(self.Jc, x, self.heights)
        self.heights = [found.height, *self.heights[:4]]
        self.evaluations += 1
        return found.norm

    def add(self, x: float) -> None:
        norm = self.line(x)
        self.logs[x] = float(np.log(norm))
        if x * norm > self.best:
            self.best, self.point = x * norm, complex(x, self.heights[0])

    def value(self, x: float) -> float:
        return x * float(np.exp(self.logs[x]))

    @property
    def high(self) -> float:
        return max(self.logs)

    @property
    def second(self) -> float:
        return sorted(self.logs)[1]

    def close(self, rtol: float, most: int) -> None:
        """Split intervals until their bounds do not exceed the best value; `bound` is what is left."""
        xs = sorted(self.logs)
        heap = [self._interval(a, b) for a, b in pairwise(xs)]
        heapq.heapify(heap)
        while -heap[0][0] > self.best * (1 + rtol) and self.evaluations < most:
            _, peak, a, b = heapq.heappop(heap)
            x = float(np.clip(peak, a + 0.1 * (b - a), b - 0.1 * (b - a)))
            self.add(x)
            heapq.heappush(heap, self._interval(a, x))
            heapq.heappush(heap, self._interval(x, b))
        self.bound = -heap[0][0]

    def _interval(self, a: float, b: float) -> tuple[float, float, float, float]:
        """Largest x exp(chord of log m) on [a, b], negated for the heap, and where it stands."""
        slope = (self.logs[b] - self.logs[a]) / (b - a)
        peak = float(np.clip(-1 / slope if slope < 0 else b, a, b))
        return -peak * float(np.exp(self.logs[a] + slope * (peak - a))), peak, a, b
