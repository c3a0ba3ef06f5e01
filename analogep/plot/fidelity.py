"""How well local estimators find the gradient."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Transform
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import (
    BLUE,
    CYCLE,
    GRAY,
    INK,
    SMALL,
    VERMILION,
    describe,
    dressed,
    legend,
    split,
    warn,
)


def estimator_bars(
    estimators: Mapping[str, Mapping[str, float]],
    ax: Axes | None = None,
    *,
    title: str = "Estimators against the oracle",
) -> Axes:
    """Cosine as bars and relative error on a logarithmic axis, side by side.

    Parameters
    ----------
    estimators : name -> `cosine`, `relative_error` and `norm_ratio` against the reference gradient. Rows with a
        missing or non-finite number are flagged.
    ax : axes to draw in, whose place is shared with the axes of the error; a new figure when None.
    title : heading.

    Returns
    -------
    The axes of the cosine; those of the error are the next of `ax.figure.axes`.

    Raises
    ------
    DataError
        If there are no estimators.
    """
    if not estimators:
        raise DataError("there are no estimators to compare")
    names = list(estimators)
    cosine, error, ratio = (
        np.array([float(estimators[name].get(key, np.nan)) for name in names])
        for key in ("cosine", "relative_error", "norm_ratio")
    )
    ax = dressed(ax, (9.0, 0.9 + 0.42 * max(len(names), 2)))
    right = split(ax, 1, 2, ratios=(1, 1))
    rows = np.arange(len(names))
    usable = np.isfinite(cosine) & np.isfinite(error)
    ax.barh(rows, np.where(usable, cosine, 0.0), height=0.58, color=BLUE)
    ax.set_yticks(rows, names, fontsize=SMALL, color=INK)
    low = float(min(0.0, np.min(cosine, where=usable, initial=0.0)))
    ax.set_xlim(1.15 * low, 1.0)
    ax.axvline(1, color=INK, linewidth=0.9)
    _error_axis(right, error, usable)
    for row, (c, e, r, good) in enumerate(zip(cosine, error, ratio, usable, strict=True)):
        if not good:
            for axes in (ax, right):
                axes.text(0.03, row, "⚠ not finite", transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL,
                          color=VERMILION, fontweight="bold")  # fmt: skip
            continue
        inside = c > 0.35
        ax.text(c - 0.015 if inside else max(c, 0) + 0.015, row, _cosine(c), ha="right" if inside else "left",
                va="center", fontsize=SMALL, color="white" if inside else INK, fontweight="bold")  # fmt: skip
        _beside(right, (1, row), right.get_yaxis_transform(), f"{e:.1e}", f"{r:.4f}" if np.isfinite(r) else "n/a")
    _beside(right, (1, 1.05), right.transAxes, "error", "norm ratio", color=GRAY)
    for axes in (ax, right):
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    right.set_yticks(rows, [""] * len(names))
    describe(ax, "cosine with the oracle (1)", "", title)
    describe(right, "relative error (1)", "")
    return ax


def scatter(
    estimates: Mapping[str, ArrayLike],
    reference: ArrayLike,
    ax: Axes | None = None,
    *,
    title: str = "Gradient of every weight",
    unit: str = "nats per unit weight",
) -> Axes:
    """Each weight's estimated gradient against the oracle's, with the line of identity.

    Parameters
    ----------
    estimates : name -> estimated gradient, any shape of the reference's size.
    reference : the oracle's gradient.
    ax : axes to draw in; a new figure when None.
    title : heading.
    unit : unit of the gradient.

    Raises
    ------
    DataError
        If a size differs from the reference's.
    """
    truth = np.ravel(np.asarray(reference, float))
    ax = dressed(ax, (5.2, 4.8))
    points, missing = {}, 0
    for name, estimate in estimates.items():
        values = np.ravel(np.asarray(estimate, float))
        if values.shape != truth.shape:
            raise DataError(f"estimate {name!r} has {values.size} values, the reference {truth.size}")
        good = np.isfinite(values) & np.isfinite(truth)
        points[name] = (truth[good], values[good])
        missing += int(np.count_nonzero(~good))
    colors = {name: CYCLE[k % len(CYCLE)] for k, name in enumerate(points)}
    # the widest cloud first: an exact estimator lies on the line and would vanish under it
    spread = {name: float(np.sum((y - x) ** 2)) for name, (x, y) in points.items()}
    for depth, name in enumerate(sorted(points, key=lambda n: -spread[n])):
        x, y = points[name]
        size = float(np.clip(10 - 1.5 * np.log10(max(len(x), 10)), 4, 8)) * 0.68 ** min(depth, 4)
        ax.plot(x, y, "o", color=colors[name], markersize=size, alpha=0.55, markeredgewidth=0, zorder=3 + depth,
                rasterized=True)  # fmt: skip
        ax.plot([], [], "o", color=colors[name], markersize=6, label=name)
    finite = np.concatenate([truth[np.isfinite(truth)], *(y for _, y in points.values())])
    reach = 1.06 * float(np.max(np.abs(finite), initial=0.0)) or 1.0
    ends, dash = [-reach, reach], (0, (5, 3))
    ax.plot(ends, ends, color=INK, linewidth=0.9, linestyle=dash, zorder=2, label="identity")
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    describe(ax, f"oracle ({unit})", f"local estimate ({unit})", title)
    legend(ax, loc="upper left")
    if missing:
        warn(ax, f"{missing} values are not finite")
    return ax


def _error_axis(ax: Axes, error: np.ndarray, usable: np.ndarray) -> None:
    """Errors as dots with a stem on a logarithmic axis; a vanishing error is an open dot at its left end."""
    ax.set_xscale("log")
    some = error[usable & (error > 0)]
    low = 10.0 ** np.floor(np.log10(some.min()) - 0.3) if some.size else 1e-16
    high = 10.0 ** np.ceil(np.log10(max(some.max(), 10 * low))) if some.size else 1.0
    ax.set_xlim(low, high)
    for row in np.flatnonzero(usable):
        at = max(float(error[row]), low)
        ax.plot([low, at], [row, row], color=GRAY, alpha=0.6, linewidth=1.4, solid_capstyle="butt")
        ax.plot(at, row, "o", color=VERMILION, markersize=7, clip_on=False, zorder=5,
                markerfacecolor=VERMILION if error[row] > 0 else "white")  # fmt: skip
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _beside(ax: Axes, at: tuple[float, float], transform: Transform, *texts: str, color: str = INK) -> None:
    """Two columns of text to the right of the axes."""
    for text, points in zip(texts, (52, 112), strict=True):
        ax.annotate(text, at, (points, 0), xycoords=transform, textcoords="offset points", ha="right", va="center",
                    fontsize=SMALL, color=color, annotation_clip=False)  # fmt: skip


def _cosine(value: float) -> str:
    """Four digits, or the distance from 1 where those say nothing."""
    rest = 1 - value
    return f"1 − {rest:.0e}" if 0 < rest < 5e-4 else f"{value:.4f}".replace("-", "−")
