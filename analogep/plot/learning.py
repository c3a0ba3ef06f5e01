"""Loss over training steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from analogep.errors import DataError
from analogep.plot.style import CYCLE, GRAY, SMALL, describe, dressed, legend, warn

_LINES = {"uniform": "uniform guess, ln V", "unigram": "unigram entropy"}


def learning_curves(
    dataset: xr.Dataset,
    ax: Axes | None = None,
    *,
    window: int | None = None,
    labels: Mapping[str, str] | None = None,
    title: str = "Learning curves",
) -> Axes:
    """Loss over steps: a smoothed line over a faint raw one for each variable.

    Parameters
    ----------
    dataset : dimension (step); variables such as `local` and `bptt` hold the mini-batch loss in nats. Variables named
        `<variable>_validation` may hold NaN between measurements and are drawn as markers. The attributes `uniform`
        and `unigram` (nats) become reference lines.
    ax : axes to draw in; a new figure when None.
    window : steps that are averaged, centered; a twentieth of the run when None.
    labels : variable -> name in the legend.
    title : heading.

    Raises
    ------
    DataError
        If there is no variable over `step`.
    """
    curves = {str(name): array for name, array in dataset.data_vars.items() if array.dims == ("step",)}
    if not curves:
        raise DataError("learning curves need variables with the dimension 'step'")
    ax = dressed(ax, (7.2, 4.0))
    steps = np.asarray(dataset["step"], float)
    window = max(1, len(steps) // 20) if window is None else window
    labels = labels or {}
    trained = [name for name in curves if not _validation_of(name, curves)]
    colors = {name: CYCLE[k % len(CYCLE)] for k, name in enumerate(trained)}
    diverged = []
    for name in trained:
        raw = np.asarray(curves[name], float)
        raw = np.where(np.isfinite(raw), raw, np.nan)
        if np.isnan(raw).any():
            diverged.append(labels.get(name, name))
        marker = "o" if np.count_nonzero(np.isfinite(raw)) <= 1 else ""
        if window > 1:
            ax.plot(steps, raw, color=colors[name], linewidth=0.8, alpha=0.25)
        ax.plot(steps, smoothed(raw, window), color=colors[name], linewidth=1.9, marker=marker,
                label=labels.get(name, name), linestyle="-" if trained.index(name) == 0 else (0, (6, 1.5)))  # fmt: skip
    for name in [name for name in curves if name not in trained]:
        values = np.asarray(curves[name], float)
        seen = np.isfinite(values)
        of = _validation_of(name, curves)
        text = labels.get(name, f"{labels.get(of, of)}, validation")
        ax.plot(steps[seen], values[seen], color=colors[of], linestyle=":", linewidth=1, marker="D", markersize=4.5,
                markeredgecolor="white", markeredgewidth=0.6, label=text, zorder=5)  # fmt: skip
    for key, text in _LINES.items():
        if np.isfinite(level := float(dataset.attrs.get(key, np.nan))):
            ax.axhline(level, color=GRAY, linewidth=1, linestyle=(0, (1.5, 2)), zorder=1.5)
            ax.annotate(f"{text} = {level:.2f}", (1, level), (0, 2), xycoords=ax.get_yaxis_transform(),
                        textcoords="offset points", ha="right", fontsize=SMALL, color=GRAY, zorder=6,
                        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})  # fmt: skip
    unit = next((str(a.attrs["units"]) for a in curves.values() if "units" in a.attrs), "nats")
    describe(ax, "training step (1)", f"cross-entropy per token ({unit})", title)
    if len(steps) > 1:
        ax.set_xlim(steps[0], steps[-1])
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=min(4, len(curves)))
    if diverged:
        warn(ax, f"not finite at some steps: {', '.join(diverged)}")
    return ax


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Centered moving average [n] over the finite values in the window; NaN stays NaN."""
    good = np.isfinite(values)
    kernel = np.ones(min(window, len(values)))
    total = np.convolve(np.where(good, values, 0.0), kernel, "same")
    count = np.convolve(good.astype(float), kernel, "same").round()
    return np.where(good, total / np.maximum(count, 1), np.nan)


def _validation_of(name: str, curves: Mapping[str, xr.DataArray]) -> str:
    """The variable that this one validates, or an empty string."""
    base = name.removesuffix("_validation")
    return base if base != name and base in curves else ""
