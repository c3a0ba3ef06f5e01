"""Eigenvalues in the complex plane and transient growth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import BLUE, GRAY, INK, SMALL, VERMILION, describe, dressed, legend, warn

STIFF = 40.0
"""Ratio of the largest to the rightmost real part above which an axis becomes logarithmic on both sides of zero."""


def eigenvalues(
    values: ArrayLike, ax: Axes | None = None, *, title: str = "Eigenvalues of J", unit: str = "1/τ"
) -> Axes:
    """Eigenvalues in the complex plane, with the imaginary axis and the rightmost one marked.

    Parameters
    ----------
    values : eigenvalues, real or complex, in units of 1/tau. A stiff spectrum gets symmetric-log axes.
    ax : axes to draw in; a new figure when None.
    title : heading.
    unit : unit of the eigenvalues.

    Raises
    ------
    DataError
        If there are none.
    """
    every = np.atleast_1d(np.asarray(values, complex)).ravel()
    finite = every[np.isfinite(every)]
    if not every.size:
        raise DataError("there are no eigenvalues to draw")
    ax = dressed(ax, (6.8, 4.0))
    heading = title
    if finite.size:
        right = finite[np.argmax(finite.real)]
        right = complex(right.real, abs(right.imag))
        _scale_axes(ax, finite, right)
        stable = finite.real < 0
        for mask, color, marker, name in ((stable, BLUE, "o", "decays"), (~stable, VERMILION, "X", "does not decay")):
            if mask.any():
                ax.plot(finite.real[mask], finite.imag[mask], marker, color=color, markersize=4.5 if name == "decays"
                        else 6.5, alpha=0.7, markeredgewidth=0, label=f"{name} ({mask.sum()})")  # fmt: skip
        pair = [right] if right.imag == 0 else [right, right.conjugate()]
        ax.plot(
            [z.real for z in pair], [z.imag for z in pair], "o", markersize=12, markerfacecolor="none", color=INK,
            markeredgewidth=1.2, label=f"rightmost: {_complex(right, unit)}",
        )  # fmt: skip
        heading = f"{title}: spectral abscissa α = {_with(_number(right.real), unit)}"
        low, high = ax.get_xlim()
        ax.axvspan(0, max(high, 0), color=VERMILION, alpha=0.07, linewidth=0)
        ax.set_xlim(low, high)
    ax.axvline(0, color=INK, linewidth=1.2)
    ax.axhline(0, color=GRAY, linewidth=0.6)
    describe(ax, f"real part ({unit})", f"imaginary part ({unit})", heading)
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
    if finite.size < every.size:
        warn(ax, f"{every.size - finite.size} of {every.size} eigenvalues are not finite")
    return ax


def growth_curve(
    times: ArrayLike, norms: ArrayLike, ax: Axes | None = None, *, title: str = "Transient growth", unit: str = "τ"
) -> Axes:
    """||exp(tJ)|| over time on a logarithmic time axis, with the level 1 and the peak marked.

    Parameters
    ----------
    times : positive sample times [n], in units of tau.
    norms : ||exp(tJ)|| [n] in the C norm, dimensionless.
    ax : axes to draw in; a new figure when None.
    title : heading.
    unit : unit of time.

    Raises
    ------
    DataError
        If the shapes differ or there are no samples at positive times.
    """
    t, norm = np.ravel(np.asarray(times, float)), np.ravel(np.asarray(norms, float))
    if t.shape != norm.shape:
        raise DataError(f"{t.size} times and {norm.size} norms do not fit together")
    after = t > 0  # t = 0, where the norm is 1, has no place on a logarithmic axis
    t, norm = t[after], norm[after]
    if not t.size:
        raise DataError("a growth curve needs samples at positive times")
    ax = dressed(ax)
    finite = np.isfinite(norm)
    ax.axhline(1, color=GRAY, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_xscale("log")
    ax.plot(t, np.where(finite, norm, np.nan), color=BLUE, linewidth=1.8, marker="o" if t.size < 3 else "")
    heading = title
    if finite.any():
        best = int(np.nanargmax(np.where(finite, norm, np.nan)))
        if norm[best] > 30:
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, 1.15 * max(1.0, norm[best]))
        if norm[best] > 1:
            ax.fill_between(t, 1, norm, where=finite & (norm > 1), color=VERMILION, alpha=0.12, linewidth=0,
                            interpolate=True)  # fmt: skip
            ax.plot(t[best], norm[best], "o", color=VERMILION, markersize=6, zorder=5)
            end = best == len(norm) - 1
            peak = f"peak {norm[best]:.3g} at {t[best]:.2g} {unit}"
            heading += f": {norm[best]:.3g} at the end and still rising" if end else f": {peak}"
        else:
            heading += ": none, the norm never exceeds 1"
    describe(ax, f"time ({unit})", "‖exp(tJ)‖ in the C norm (1)", heading)
    if t.size == 1 or t[0] == t[-1]:
        ax.set_xlim(t[0] / 10, t[0] * 10)
    else:
        ax.set_xlim(t[0], t[-1])
    ax.annotate("level 1", (1, 1), (-4, 3), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                ha="right", fontsize=SMALL, color=GRAY)  # fmt: skip
    if not finite.all():
        warn(ax, f"{np.count_nonzero(~finite)} of {finite.size} samples are not finite")
    return ax


def _scale_axes(ax: Axes, values: np.ndarray, right: complex) -> None:
    """Linear axes with a margin, or symmetric-log ones where the spectrum is stiff."""
    for axis, part, inner in ((ax.xaxis, values.real, right.real), (ax.yaxis, values.imag, 0.0)):
        largest = float(np.max(np.abs(part)))
        sizes = np.abs(part[np.abs(part) > 1e-9 * max(largest, 1e-300)])
        small = abs(inner) or (float(np.quantile(sizes, 0.1)) if sizes.size else 0.0)
        stiff = largest > STIFF * small > 0
        low, high = min(float(part.min()), 0.0), max(float(part.max()), 0.0)
        if stiff:
            threshold = 10.0 ** np.floor(np.log10(max(small, 1e-4 * largest)))
            set_scale = ax.set_xscale if axis is ax.xaxis else ax.set_yscale
            set_scale("symlog", linthresh=threshold, linscale=0.7)
            low, high = (low * 1.6 if low < 0 else -threshold), (high * 1.6 if high > 0 else threshold)
        else:
            pad = 0.08 * (high - low) or 1.0
            low, high = low - pad, high + pad
        if axis is ax.xaxis:
            ax.set_xlim(low, high)
        else:
            reach = max(-low, high)
            ax.set_ylim(-reach, reach)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _with(number: str, unit: str) -> str:
    """A number with its unit: −0.3/τ rather than −0.3 1/τ."""
    return f"{number}{unit[1:]}" if unit.startswith("1/") else f"{number} {unit}"


def _complex(value: complex, unit: str) -> str:
    if value.imag == 0:
        return _with(_number(value.real), unit)
    return _with(f"({_number(value.real)} ± {_number(abs(value.imag))}i)", unit)
