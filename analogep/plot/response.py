"""A signal on its way to a new value: the band, the settling time and the overshoot."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import BLUE, GRAY, GREEN, INK, VERMILION, describe, dressed, engineering, legend, warn


def step(
    times: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    final: float,
    initial: float = 0.0,
    band: float = 0.02,
    settling_time: float = float("nan"),
    overshoot: float = 0.0,
    peak_time: float = float("nan"),
    title: str = "Step response",
    units: tuple[str, str] = ("s", "V"),
) -> Axes:
    """A waveform with what `diagnostics.step_metrics` or `step_response` found in it.

    Parameters
    ----------
    times, values : samples [n]; times count from the step.
    ax : axes to draw in; a new figure when None.
    final, initial : value that it settles at, and the one it comes from.
    band : half width of the band around the final value, as a fraction of the change.
    settling_time, peak_time : marked where they are numbers.
    overshoot : fraction of the change.
    title : heading; settling time and overshoot are added.
    units : of times and values.

    Raises
    ------
    DataError
        If the shapes differ or nothing is finite.
    """
    t, y = np.ravel(np.asarray(times, float)), np.ravel(np.asarray(values, float))
    finite = np.isfinite(t) & np.isfinite(y)
    if t.shape != y.shape or not finite.any() or not np.isfinite(final):
        raise DataError(f"a step response needs as many finite values as times: {t.size} times, {y.size} values")
    ax = dressed(ax)
    long, time_unit = engineering(t[finite], units[0])
    tall, unit = engineering(np.r_[y[finite], final], units[1])
    half = band * abs(final - initial) * tall
    ax.axhspan(final * tall - half, final * tall + half, color=GREEN, alpha=0.15, linewidth=0,
               label=f"±{100 * band:.3g} % of the change")  # fmt: skip
    ax.axhline(final * tall, color=GREEN, linewidth=1.0)
    ax.plot(t * long, np.where(finite, y, np.nan) * tall, color=BLUE, linewidth=1.8)
    said = []
    if np.isfinite(settling_time):
        ax.axvline(settling_time * long, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="settled")
        said.append(f"settles in {settling_time * long:.3g} {time_unit}")
    else:
        said.append("does not settle")
    if np.isfinite(peak_time) and overshoot > 0:
        peak = (final + overshoot * (final - initial)) * tall
        ax.plot(peak_time * long, peak, "o", color=VERMILION, markersize=6, zorder=5, label="overshoot")
        ax.vlines(peak_time * long, final * tall, peak, color=VERMILION, linewidth=1.2)
        said.append(f"overshoots by {100 * overshoot:.3g} %")
    ax.axhline(initial * tall, color=GRAY, linewidth=0.6)
    if np.ptp(t[finite]) > 0:
        ax.set_xlim(t[finite].min() * long, t[finite].max() * long)
    describe(ax, f"time ({time_unit})", f"signal ({unit})", f"{title}: {', '.join(said)}")
    legend(ax)
    if not finite.all():
        warn(ax, f"{np.count_nonzero(~finite)} of {t.size} samples are not finite")
    return ax
