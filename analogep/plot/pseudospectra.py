"""Pseudospectra around the eigenvalues, transient growth between its bounds, and the price of a better metric."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SMALL,
    VERMILION,
    describe,
    dressed,
    legend,
    warn,
)


def pseudospectra(
    real: ArrayLike,
    imag: ArrayLike,
    smallest: ArrayLike,
    eigenvalues: ArrayLike = (),
    ax: Axes | None = None,
    *,
    omega: float | None = None,
    levels: ArrayLike | None = None,
    title: str = "Pseudospectra of J",
    unit: str = "1/τ",
) -> Axes:
    """Level lines of sigma_min(z I - J) in the complex plane, with the eigenvalues and the imaginary axis.

    A line of level eps that reaches by more than eps into the right half-plane says that something grows first.

    Parameters
    ----------
    real, imag : grid lines [m], [k], in units of 1/tau.
    smallest : sigma_min at the grid points [k, m], as `diagnostics.pseudospectrum` gives it.
    eigenvalues : of J [n].
    ax : axes to draw in; a new figure when None.
    omega : numerical abscissa, drawn as a dashed line.
    levels : eps of the lines; powers of ten (and their thirds where there are few) when None.
    title : heading.
    unit : unit of both axes and of eps.

    Raises
    ------
    DataError
        If the shapes differ or nothing is finite.
    """
    x, y, sigma = np.asarray(real, float), np.asarray(imag, float), np.asarray(smallest, float)
    if sigma.shape != (y.size, x.size):
        raise DataError(f"singular values of shape {sigma.shape} do not fit a grid of {y.size} by {x.size}")
    seen = sigma[np.isfinite(sigma) & (sigma > 0)]
    if not seen.size:
        raise DataError("there is nothing to draw: no singular value is finite and positive")
    chosen = _levels(seen) if levels is None else np.sort(np.asarray(levels, float))
    ax = dressed(ax, (6.8, 4.6))
    colors = [to_hex(colormaps["viridis"](t)) for t in np.linspace(0.0, 0.85, len(chosen))]
    ax.contour(x, y, np.maximum(sigma, 1e-300), levels=chosen, colors=colors, linewidths=1.3)
    for level, color in zip(chosen, colors, strict=True):
        if seen.min() < level < seen.max():
            ax.plot([], [], color=color, label=f"ε = {_short(level)}")
    values = np.atleast_1d(np.asarray(eigenvalues, complex)).ravel()
    if values.size:
        ax.plot(values.real, values.imag, "o", color=VERMILION, markersize=4, markeredgewidth=0, label="eigenvalues")
    ax.axvline(0, color=INK, linewidth=1.2)
    if omega is not None:
        ax.axvline(omega, color=GRAY, linewidth=1.2, linestyle=(0, (4, 3)), label=f"ω = {omega:.3g}")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_aspect("equal", adjustable="box")
    describe(ax, f"real part ({unit})", f"imaginary part ({unit})", title)
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5), title=f"ε in {unit}", title_fontsize=SMALL)
    if seen.size < sigma.size:
        warn(ax, f"{sigma.size - seen.size} of {sigma.size} points are zero or not finite")
    return ax


def growth_bounds(
    times: ArrayLike,
    norms: ArrayLike,
    ax: Axes | None = None,
    *,
    kreiss: float | None = None,
    states: int | None = None,
    alpha: float | None = None,
    omega: float | None = None,
    title: str = "Growth and its bounds",
    unit: str = "τ",
) -> Axes:
    """||exp(tJ)|| between exp(alpha t) and exp(omega t), with the Kreiss constant that its peak must exceed.

    Parameters
    ----------
    times, norms : samples [n] at positive times, in units of tau.
    ax : axes to draw in; a new figure when None.
    kreiss : the Kreiss constant K; a finite one is drawn.
    states : n, for the upper bound e n K, which is drawn where it is within a thousand times the peak.
    alpha, omega : spectral and numerical abscissa (1/tau).
    title : heading.
    unit : unit of time.

    Raises
    ------
    DataError
        If the shapes differ or no sample is finite and positive.
    """
    t, norm = np.ravel(np.asarray(times, float)), np.ravel(np.asarray(norms, float))
    if t.shape != norm.shape:
        raise DataError(f"{t.size} times and {norm.size} norms do not fit together")
    good = np.isfinite(norm) & (norm > 0) & (t > 0)
    if not good.any():
        raise DataError("growth needs finite samples at positive times")
    lost = int(np.count_nonzero(~good))
    t, norm = t[good], norm[good]
    top, peak = int(np.argmax(norm)), max(1.0, float(norm.max()))
    ax = dressed(ax)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axhline(1, color=GRAY, linewidth=1, linestyle=(0, (4, 3)))
    ax.plot(t, norm, color=BLUE, linewidth=2.0, marker="o" if t.size < 3 else "", label="‖exp(tJ)‖", zorder=4)
    low, high = max(1e-3, 0.5 * float(norm.min())), 4 * peak
    for rate, name, color in ((omega, "exp(ωt)", ORANGE), (alpha, "exp(αt)", GREEN)):
        if rate is not None:
            ax.plot(t, np.exp(np.clip(rate * t, -700, 700)), color=color, linewidth=1.2, linestyle=(0, (5, 2)),
                    label=f"{name}, {name[4]} = {rate:.3g}/{unit}".replace("= -", "= −"))  # fmt: skip
    if kreiss is not None and np.isfinite(kreiss):
        ax.axhline(kreiss, color=VERMILION, linewidth=1.3, label=f"Kreiss constant K = {kreiss:.4g}")
        above = None if states is None else np.e * states * kreiss
        if above is not None and above < 1e3 * peak:
            ax.axhline(above, color=PURPLE, linewidth=1.3, linestyle=(0, (1, 1.5)), label=f"e n K = {above:.4g}")
            high = 2 * above
    if norm[top] > 1:
        ax.plot(t[top], norm[top], "o", color=VERMILION, markersize=6, zorder=5)
        title = f"{title}: peak {norm[top]:.4g} at {t[top]:.3g} {unit}"
    ax.set_ylim(low, high)
    ax.set_xlim(t[0], t[-1] if t[-1] > t[0] else 10 * t[0])
    describe(ax, f"time ({unit})", "norm in the C metric (1)", title)
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    if lost:
        warn(ax, f"{lost} of {good.size} samples cannot be drawn")
    return ax


def metric_price(
    conditions: ArrayLike,
    log_norms: ArrayLike,
    ax: Axes | None = None,
    *,
    alpha: float | None = None,
    title: str = "What a better metric costs",
    unit: str = "1/τ",
) -> Axes:
    """The logarithmic norm that can be had against the condition of the metric P that it takes.

    Parameters
    ----------
    conditions : of P [n], at least 1.
    log_norms : mu_P(J) [n], in units of 1/tau.
    ax : axes to draw in; a new figure when None.
    alpha : spectral abscissa, which none falls below.
    title : heading.
    unit : unit of the logarithmic norm.

    Raises
    ------
    DataError
        If the shapes differ or there is nothing finite.
    """
    price, mu = np.ravel(np.asarray(conditions, float)), np.ravel(np.asarray(log_norms, float))
    if price.shape != mu.shape:
        raise DataError(f"{price.size} conditions and {mu.size} logarithmic norms do not fit together")
    good = np.isfinite(price) & np.isfinite(mu) & (price >= 1)
    if not good.any():
        raise DataError("there is no metric to draw")
    order = np.argsort(price[good])
    ax = dressed(ax)
    ax.set_xscale("log")
    ax.axhline(0, color=INK, linewidth=1.0)
    ax.plot(price[good][order], mu[good][order], color=BLUE, marker="o", markersize=4, label="smallest μ found")
    if alpha is not None:
        ax.axhline(alpha, color=GREEN, linewidth=1.2, linestyle=(0, (5, 2)), label=f"α = {alpha:.3g}".replace("-", "−"))
    describe(ax, "condition of P (1)", f"logarithmic norm ({unit})", title)
    legend(ax)
    return ax


def _short(level: float) -> str:
    """0.01 as it is, 0.001 as 1e−3."""
    if level >= 0.01:
        return f"{level:.2g}"
    return f"{level:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("-", "−")


def _levels(seen: np.ndarray) -> np.ndarray:
    """Powers of ten within the data, from a part of the largest downwards; thirds of decades where there are few."""
    high = np.log10(np.quantile(seen, 0.9))
    low = max(np.log10(seen.min()), high - 9)
    step = 1.0 if high - low > 3 else 1.0 / 3
    exponents = np.arange(np.floor(high / step), np.floor(low / step), -1)[:9] * step
    return 10.0 ** exponents[::-1]
