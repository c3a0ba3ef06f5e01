"""Voltages over time: settling, nudged displacements, and one simulator against another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import (
    CYCLE,
    GRAY,
    INK,
    LABEL,
    SMALL,
    describe,
    dressed,
    engineering,
    legend,
    shades,
    split,
    warn,
)


def waveforms(
    dataset: xr.Dataset, bus: str, ax: Axes | None = None, *, count: int = 8, title: str | None = None
) -> Axes:
    """Voltages of some nodes of a bus over time, chosen to span their final values.

    Parameters
    ----------
    dataset : dimensions (time, <bus>_0, <bus>_1, ...), time in s and voltages in V unless `units` attributes differ.
    bus : variable to draw.
    ax : axes to draw in; a new figure when None.
    count : largest number of nodes.
    title : "Settling of <bus>" when None.

    Raises
    ------
    DataError
        If the dataset has no such bus or no time.
    """
    times, values, names, units = _traces(dataset, bus)
    ax = dressed(ax)
    time_scale, time_unit = engineering(times, units[0])
    finite = np.isfinite(values).all(0)
    chosen = _spanning(values, finite, count)
    volt_scale, volt_unit = engineering(values[:, chosen], units[1])
    for color, k in zip(shades(len(chosen)), chosen, strict=True):
        _line(ax, times * time_scale, values[:, k] * volt_scale, color=color, label=names[k])
    describe(ax, f"time ({time_unit})", f"voltage ({volt_unit})", f"Settling of {bus}" if title is None else title)
    _node_legend(ax, "node")
    if not finite.all():
        warn(ax, f"{np.count_nonzero(~finite)} of {len(names)} nodes are not finite")
    return ax


def nudged(
    free: xr.Dataset,
    plus: xr.Dataset,
    minus: xr.Dataset,
    bus: str,
    ax: Axes | None = None,
    *,
    beta: float | None = None,
    count: int = 6,
    title: str | None = None,
) -> Axes:
    """Displacement from the free state over time in the nudged phases of both signs.

    Parameters
    ----------
    free : the free state; its last sample where it has a time dimension.
    plus, minus : waveforms of the phases at +beta and -beta, as for `waveforms`.
    bus : variable to draw.
    ax : axes to draw in; a new figure when None.
    beta : strength of the nudge, for the legend.
    count : largest number of nodes, those that move most.
    title : "Displacement of <bus> from the free state" when None.

    Raises
    ------
    DataError
        If a dataset lacks the bus, or the shapes differ.
    """
    if bus not in free:
        raise DataError(f"the free state has no bus {bus!r}; it has {', '.join(map(str, free.data_vars))}")
    rest = free[bus].isel(time=-1) if "time" in free[bus].dims else free[bus]
    phases = [_traces(dataset, bus) for dataset in (plus, minus)]
    names, units = phases[0][2:]
    if any(values.shape[1] != rest.size for _, values, _, _ in phases):
        raise DataError(f"free and nudged states of bus {bus!r} have different shapes")
    moved = [values - rest.to_numpy().ravel() for _, values, _, _ in phases]
    ax = dressed(ax)
    size = np.nanmax(np.abs(moved[0]), axis=0, initial=0.0, where=np.isfinite(moved[0]))
    chosen = np.sort(np.argsort(-size, kind="stable")[:count])
    chosen = chosen[np.argsort(-np.nan_to_num(moved[0][-1, chosen]), kind="stable")]
    time_scale, time_unit = engineering(np.concatenate([times for times, *_ in phases]), units[0])
    volt_scale, volt_unit = engineering(np.concatenate([d[:, chosen].ravel() for d in moved]), units[1])
    ax.axhline(0, color=GRAY, linewidth=0.8)
    for color, k in zip(shades(len(chosen)), chosen, strict=True):
        for (times, *_), shift, dash in zip(phases, moved, ("-", (0, (4, 2))), strict=True):
            label = names[k] if dash == "-" else None
            _line(ax, times * time_scale, shift[:, k] * volt_scale, color=color, label=label, linestyle=dash)
    heading = f"Displacement of {bus} from the free state" if title is None else title
    describe(ax, f"time ({time_unit})", f"displacement ({volt_unit})", heading)
    strength = "β" if beta is None else f"{abs(beta):g}"
    handles, labels = ax.get_legend_handles_labels()
    handles += [Line2D([], [], color=INK, linestyle=dash, linewidth=1.2) for dash in ("-", (0, (4, 2)))]
    labels += [f"nudge +{strength}", f"nudge −{strength}"]
    legend(ax, handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), title="node", title_fontsize=SMALL)
    broken = ~np.all([np.isfinite(shift).all(0) for shift in moved], axis=0)
    if broken.any():
        warn(ax, f"{np.count_nonzero(broken)} of {len(names)} nodes are not finite")
    return ax


def overlay(
    times: ArrayLike,
    ours: ArrayLike,
    theirs: ArrayLike,
    label: str | Sequence[str],
    ax: Axes | None = None,
    *,
    title: str = "Transient: analogep and ngspice",
) -> Axes:
    """Our waveforms as lines, ngspice's as dots, and the error below in second axes.

    Parameters
    ----------
    times : sample times [n] in s.
    ours, theirs : voltages [n] or [n, nodes] in V at those times.
    label : name of the node, or of each node.
    ax : axes to draw in, whose place is shared with the axes of the error; a new figure when None.
    title : heading.

    Returns
    -------
    The upper axes; those of the error are the next of `ax.figure.axes`.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    t, a, b = (np.asarray(values, float) for values in (times, ours, theirs))
    labels = [label] if isinstance(label, str) else list(label)
    if a.shape != b.shape or a.shape[0] != t.size or a.size != t.size * len(labels):
        raise DataError(
            f"waveforms {a.shape} and {b.shape} over {t.size} times and {len(labels)} labels do not fit together"
        )
    a, b = a.reshape(t.size, -1), b.reshape(t.size, -1)
    ax = dressed(ax, (6.8, 4.6))
    below = split(ax, 2, 1, ratios=(2.6, 1), share=True)
    time_scale, time_unit = engineering(t, "s")
    volt_scale, volt_unit = engineering(np.concatenate([a.ravel(), b.ravel()]), "V")
    error = np.abs(a - b)
    sparse = max(1, t.size // 60)
    for k, name in enumerate(labels):
        color = CYCLE[k % len(CYCLE)]
        ax.plot(t * time_scale, a[:, k] * volt_scale, color=color, linewidth=1.5, label=name)
        ax.plot(t[::sparse] * time_scale, b[::sparse, k] * volt_scale, "o", color=INK, markersize=2.6,
                markerfacecolor="white", markeredgewidth=0.8, zorder=5)  # fmt: skip
        floor = np.where(error[:, k] > 0, error[:, k], np.nan)  # a logarithmic axis has no zero
        _line(below, t * time_scale, floor, color=color, linewidth=1.1)
    describe(ax, "", f"voltage ({volt_unit})", title)
    describe(below, f"time ({time_unit})", "|error| (V)")
    ax.tick_params(labelbottom=False)
    dots = Line2D([], [], color=INK, marker="o", linestyle="", markersize=3, markerfacecolor="white")
    handles, names = ax.get_legend_handles_labels()
    legend(ax, [*handles, dots], [*names, "ngspice"], loc="center left", bbox_to_anchor=(1.01, 0.5),
           title="analogep", title_fontsize=SMALL)  # fmt: skip
    if np.any(error > 0):
        below.set_yscale("log")
        worst = float(np.nanmax(np.where(np.isfinite(error), error, np.nan)))
        below.set_title(f"largest {worst:.1e} V", loc="right", fontsize=SMALL, color=INK, pad=3)
    else:
        none = "no difference" if np.isfinite(error).all() else "no difference where both are finite"
        below.text(0.5, 0.5, none, transform=below.transAxes, ha="center", va="center", fontsize=LABEL)
        below.set_ylim(0, 1)
        below.set_yticks([0])
    if not np.isfinite(error).all():
        warn(ax, "some samples are not finite")
    return ax


def _traces(dataset: xr.Dataset, bus: str) -> tuple[np.ndarray, np.ndarray, list[str], tuple[str, str]]:
    """Times [n], values [n, nodes], node names, and the units of time and voltage."""
    if bus not in dataset or "time" not in dataset[bus].dims:
        raise DataError(f"the waveforms have no bus {bus!r}; they have {', '.join(map(str, dataset.data_vars))}")
    array = dataset[bus].transpose("time", ...)
    if not array.sizes["time"]:
        raise DataError(f"the waveforms of bus {bus!r} hold no samples")
    times = np.asarray(dataset["time"], float)
    names = [f"{bus}[{', '.join(map(str, index))}]" if index else bus for index in np.ndindex(array.shape[1:])]
    units = (str(dataset["time"].attrs.get("units", "s")), str(array.attrs.get("units", "V")))
    return times, np.asarray(array, float).reshape(len(times), -1), names, units


def _spanning(values: np.ndarray, finite: np.ndarray, count: int) -> np.ndarray:
    """Nodes at evenly spaced ranks of the final value, highest first; any that are not finite come last."""
    order = np.flatnonzero(finite)
    order = order[np.argsort(-values[-1, order], kind="stable")]
    order = order if len(order) else np.arange(values.shape[1])
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def _line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A line, with a dot where there is a single point."""
    marker = "o" if np.count_nonzero(np.isfinite(y)) <= 1 else ""
    ax.plot(x, y, **{"linewidth": 1.4, "marker": marker, "markersize": 4, **style})


def _node_legend(ax: Axes, title: str) -> None:
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5), title=title, title_fontsize=SMALL)
