"""Settling time and overshoot: of a waveform, and of a linear system that is switched on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, minimize_scalar

from analogep.diagnostics.growth import growth_curve, growth_peak
from analogep.diagnostics.spectrum import eigenvalues, spectral_abscissa
from analogep.errors import DataError

_FINE = 12
"""Samples an integrator step in which a crossing or a maximum of a step response is looked for."""
_QUIET = 0.1
"""Last part of a waveform that has to lie in the band for it to count as settled."""


class Step(NamedTuple):
    """How a signal gets from one value to another.

    Attributes
    ----------
    initial, final : first value, and the one that it settles at.
    settled : whether it stays in the band at the end.
    settling_time : time from the start after which it stays within band |final - initial| of `final`; nan if it never
        does.
    overshoot : largest excursion beyond `final`, as a fraction of |final - initial|; 0 if there is none.
    peak_time : when that happens; nan without overshoot.
    """

    initial: float
    final: float
    settled: bool
    settling_time: float
    overshoot: float
    peak_time: float


def step_metrics(times: ArrayLike, values: ArrayLike, *, band: float = 0.02, final: float | None = None) -> Step:
    """Settling time and overshoot of a sampled waveform.

    Parameters
    ----------
    times : rising sample times [n], any unit.
    values : the signal [n]. Between samples it is taken as straight, so an overshoot is that of the highest sample.
    band : half width of the band around the final value, as a fraction of the whole change.
    final : the value it tends to; the last sample when None. The signal counts as settled if the last tenth of the
        time lies in the band.

    Raises
    ------
    DataError
        If the shapes differ, samples are missing or not finite, times do not rise, or the band is not positive.
    """
    t, y = np.ravel(np.asarray(times, float)), np.ravel(np.asarray(values, float))
    if t.shape != y.shape or t.size < 2:
        raise DataError(f"a waveform needs as many values as times, two or more: {y.size} values, {t.size} times")
    if not (np.isfinite(t).all() and np.isfinite(y).all() and np.all(np.diff(t) > 0)):
        raise DataError("a waveform needs finite values at rising times")
    if not 0 < band < 1:
        raise DataError(f"the band {band!r} must be a fraction of the change, between 0 and 1")
    start, end = float(y[0]), float(y[-1] if final is None else final)
    change = end - start
    if change == 0:
        still = bool(np.all(y == start))
        return Step(start, end, still, 0.0 if still else float("nan"), 0.0, float("nan"))
    left = (end - y) / change  # 1 at the start, 0 at the end, negative beyond
    outside = np.flatnonzero(np.abs(left) > band)
    settled = not outside.size or t[outside[-1]] <= t[-1] - _QUIET * (t[-1] - t[0])
    if not settled:
        time = float("nan")
    elif not outside.size:
        time = 0.0
    else:
        k = outside[-1]
        edge = np.copysign(band, left[k])
        # the band is left for the last time between two samples
        time = float(t[k] + (t[k + 1] - t[k]) * (left[k] - edge) / (left[k] - left[k + 1]) - t[0])
    beyond = int(np.argmin(left))
    over = max(0.0, -float(left[beyond]))
    return Step(start, end, bool(settled), time, over, float(t[beyond] - t[0]) if over > 0 else float("nan"))


def step_response(J: np.ndarray, b: ArrayLike, output: ArrayLike, *, band: float = 0.02) -> Step:
    """Settling time and overshoot of output . v, where dv/dt = J v + b starts from 0.

    The solution v(t) = (1 - exp(t J)) v_final is exact; an integrator only chooses where to look, and crossings and
    maxima are then refined on the exact one.

    Parameters
    ----------
    J : -C^-1 G [n, n], in any coordinates and time unit; those of `b` and `output` go with it.
    b : what is switched on at t = 0 [n]; C^-1 i for currents i into the nodes.
    output : weights of the states in the signal [n]; a unit vector for one node.
    band : half width of the band, as a fraction of the final value, below 1.

    Returns
    -------
    Times in the time unit of J. Where J is unstable nothing settles: `settled` is False and the numbers are nan.

    Raises
    ------
    DataError
        If the output does not move in the end, so that a fraction of it means nothing, or the band is no fraction.
    """
    if not 0 < band < 1:
        raise DataError(f"the band {band!r} must be a fraction of the change, between 0 and 1")
    c, push = np.ravel(np.asarray(output, float)), np.ravel(np.asarray(b, float))
    nan = float("nan")
    if spectral_abscissa(eigenvalues(J)) >= 0:
        return Step(0.0, nan, False, nan, nan, nan)
    rest = -np.linalg.solve(J, push)
    final = float(c @ rest)
    if abs(final) <= 1e-12 * float(np.linalg.norm(c) * np.linalg.norm(rest)):
        raise DataError("the output ends where it began: give another output, or its settling in volts")

    def left(t: float) -> float:
        return float(c @ scipy.linalg.expm(t * J) @ rest) / final

    t, y = _looks(J, c / final, rest, band)
    k = int(np.flatnonzero(np.abs(y) > band)[-1])
    # from the next look on it stays inside; the edge that it crosses is on the same side
    edge = np.copysign(band, y[k])
    crossed = (left(t[k]) - edge) * (left(t[k + 1]) - edge) < 0
    time = brentq(lambda s: left(s) - edge, t[k], t[k + 1], xtol=1e-300, rtol=1e-13) if crossed else t[k]
    over, peak = _lowest(left, t, y)
    return Step(0.0, final, True, float(time), over, peak)


def _looks(J: np.ndarray, c: np.ndarray, rest: np.ndarray, band: float) -> tuple[np.ndarray, np.ndarray]:
    """Times that follow the motion, and c exp(t J) rest there, until it cannot leave the band any more."""
    curve = growth_curve(J)
    reach = growth_peak(J, curve).norm * float(np.linalg.norm(rest))
    end = float(curve.times[-1])
    while np.linalg.norm(c @ scipy.linalg.expm(end * J)) * reach > band:
        end *= 2
    solution = solve_ivp(
        lambda _, v: J @ v, (0.0, end), rest, method="Radau", jac=lambda *_: J, rtol=1e-6,
        atol=1e-9 * float(np.linalg.norm(rest)), dense_output=True,
    )  # fmt: skip
    steps = solution.t
    fine = np.concatenate([np.linspace(a, b, _FINE, endpoint=False) for a, b in pairwise(steps)])
    return np.append(fine, end), np.append(c @ solution.sol(fine), 0.0)


def _lowest(left: Callable[[float], float], t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Depth and time of the deepest dip of `left` below 0, refined between the neighbors of the lowest looks."""
    inside = np.arange(1, len(y) - 1)
    dips = inside[(y[inside] <= y[inside - 1]) & (y[inside] < y[inside + 1]) & (y[inside] < 0)]
    best, when = 0.0, float("nan")
    for k in dips[np.argsort(y[dips])][:3]:
        found = minimize_scalar(left, bounds=(t[k - 1], t[k + 1]), method="bounded", options={"xatol": 1e-9 * t[k + 1]})
        if -found.fun > max(best, 1e-12):
            best, when = -float(found.fun), float(found.x)
    return best, when
