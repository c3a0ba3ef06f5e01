"""Pareto fronts of co-design: energy against gradient error, what the search took, and what the knobs do along it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.plot.style import BLUE, CYCLE, GRAY, GREEN, INK, VERMILION, describe, dressed, legend, new_figure

ENERGY, ERROR = "energy_per_token", "cosine_error"
LOOKS = {
    "gradient": ("gradient (SLSQP)", BLUE, "o"), "nsga2": ("NSGA-II", VERMILION, "s"), "tpe": ("TPE", GREEN, "^")
}  # fmt: skip
"""Method -> label, color, marker."""
KNOBS = {
    "damping": "damping c", "state_farads": "damping capacitor", "cell_farads": "cell capacitor",
    "siemens": "conductance scale", "cell_siemens": "bias of cells",
}  # fmt: skip
PICO = 1e12


def front(data: xr.Dataset, ax: Axes | None = None, *, title: str = "Energy of inference, error of learning") -> Axes:
    """Fronts of all methods and seeds, the block as it is, and limits (attributes `limit_<objective>`) as lines.

    Parameters
    ----------
    data : as `codesign.pareto.compare` gives it.
    ax : axes to draw in; a new figure when None.
    title : heading.

    Raises
    ------
    DataError
        If the data has no fronts over search, seed and evaluation.
    """
    if ENERGY not in data or "front" not in data or set(data["front"].dims) != {"search", "seed", "evaluation"}:
        raise DataError("a Pareto front needs energy_per_token, cosine_error and front over search, seed, evaluation")
    ax = dressed(ax, (5.6, 4.2))
    ax.set_xscale("log")
    ax.set_yscale("log")
    for method in data["search"].values:
        label, color, marker = LOOKS.get(str(method), (str(method), INK, "o"))
        for seed in data["seed"].values:
            x, y = _of_front(data, method, seed)
            ax.plot(x * PICO, y, drawstyle="steps-post", color=color, linewidth=0.9, alpha=0.6)
            ax.plot(x * PICO, y, marker, color=color, markersize=3.5, label=label)
            label = "_"
    ax.plot(data.attrs[f"own_{ENERGY}"] * PICO, data.attrs[f"own_{ERROR}"], "*", color=INK, markersize=12, zorder=5,
            label="the spec's block")  # fmt: skip
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for name, factor, line, within in (
        (ENERGY, PICO, ax.axvline, (left / 2, right * 2)), (ERROR, 1.0, ax.axhline, (low / 3, high * 3))
    ):  # fmt: skip
        limit = data.attrs.get(f"limit_{name}")
        if limit is None:
            continue
        words = f"limit: {limit * factor:.4g}" + (" pJ" if name == ENERGY else " (1 − cosine)")
        if within[0] <= limit * factor <= within[1]:
            line(limit * factor, color=GRAY, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1, label=words)
        else:
            ax.plot([], [], color=GRAY, linewidth=1.0, linestyle=(0, (5, 3)), label=f"{words}, outside")
    ax.set_ylim(top=2 * ax.get_ylim()[1])  # room for the legend
    _plain_ticks(ax.xaxis)
    describe(ax, "energy per token (pJ)", "1 − cosine of the gradient (1)", title)
    legend(ax, loc="upper right", frameon=True, facecolor="white", edgecolor="none", framealpha=1.0)
    return ax


def progress(data: xr.Dataset, ax: Axes | None = None, *, over: str = "evaluations") -> Axes:
    """Hypervolume over evaluations or seconds: mean of the seeds, and their range as a band.

    Parameters
    ----------
    data : as `codesign.pareto.compare` gives it.
    ax : axes to draw in; a new figure when None.
    over : `evaluations` or `seconds`.

    Raises
    ------
    DataError
        For another `over`.
    """
    if over not in ("evaluations", "seconds"):
        raise DataError(f"progress over {over!r}; choose 'evaluations' or 'seconds'")
    ax = dressed(ax, (5.0, 4.2))
    ax.set_xscale("log")
    for method in data["search"].values:
        label, color, _ = LOOKS.get(str(method), (str(method), INK, "o"))
        each = data.sel(search=method)
        if over == "evaluations":
            volume = np.asarray(each["hypervolume"].transpose("seed", "evaluation"))
            common = np.isfinite(volume).all(axis=0)
            x, y = data["evaluation"].values[common], volume[:, common]
        else:
            ends = each["seconds"].max("evaluation").values
            first = each["seconds"].isel(evaluation=0).values
            x = np.geomspace(first.max(), ends.min(), 80)
            runs = [each.sel(seed=seed) for seed in data["seed"].values]
            y = np.array([_held(run["seconds"].values, run["hypervolume"].values, x) for run in runs])
        ax.plot(x, y.mean(0), color=color, linewidth=1.5, label=label)
        ax.fill_between(x, y.min(0), y.max(0), color=color, alpha=0.15, linewidth=0)
    words = "designs evaluated (1)" if over == "evaluations" else "time of the search (s)"
    describe(ax, words, "hypervolume (decades²)", f"Progress, {data.sizes['seed']} starts")
    legend(ax, loc="lower right")
    return ax


def knobs(data: xr.Dataset, ax: Axes | None = None, *, method: str = "gradient") -> Axes:
    """Knobs along the front that all seeds of a method found together, over the block as it is.

    Parameters
    ----------
    data : as `codesign.pareto.compare` gives it.
    ax : axes to draw in; a new figure when None.
    method : whose front; the first one there is if the data has none of it.
    """
    ax = dressed(ax, (5.0, 4.2))
    ax.set_xscale("log")
    ax.set_yscale("log")
    method = method if method in data["search"].values else str(data["search"].values[0])
    flat = data.sel(search=method).stack(design=("seed", "evaluation"))
    shown = flat["front"].values & flat["kept"].values
    # what a search passes through on its way to a solution may be on its front, and has knobs of no meaning
    flat = flat.isel(design=np.flatnonzero(shown & flat["solution"].values if method == "gradient" else shown))
    order = np.argsort(flat[ERROR].values)
    energy = flat[ENERGY].values[order]
    best = order[energy <= np.minimum.accumulate(energy)]  # fronts of all seeds: those that none of the others beats
    for name, color in zip(KNOBS, CYCLE, strict=False):
        ratio = flat[name].values[best] / data.attrs[f"own_{name}"]
        ax.plot(flat[ERROR].values[best], ratio, "o-", color=color, markersize=3, linewidth=1.0, label=KNOBS[name])
    ax.axhline(1.0, color=GRAY, linewidth=0.8)
    _plain_ticks(ax.xaxis)
    _plain_ticks(ax.yaxis)
    describe(ax, "1 − cosine of the gradient (1)", "knob over the spec's (1)", f"Along the front: {LOOKS[method][0]}")
    legend(ax, loc="best")
    return ax


def figure(data: xr.Dataset) -> Figure:
    """Front, progress and knobs side by side."""
    whole = new_figure((15.0, 4.4))
    first, second, third = whole.subplots(1, 3)
    front(data, first)
    progress(data, second)
    knobs(data, third)
    return whole


def draw(data: xr.Dataset, path: Path) -> Path:
    """`figure` as a file, whose suffix is its kind; PNG without one."""
    with whole_file(path) as partial:
        figure(data).savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=150)
    return path


def _plain_ticks(axis: Axis) -> None:
    """1, 2 and 5 of each decade as plain numbers, for logarithmic axes over a decade or two."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _of_front(data: xr.Dataset, method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies (joules) and errors of one front, by energy."""
    one = data.sel(search=method, seed=seed)
    kept = one["front"].values
    x, y = one[ENERGY].values[kept], one[ERROR].values[kept]
    order = np.argsort(x)
    return x[order], y[order]


def _held(seconds: np.ndarray, volume: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The last value at each time."""
    known = np.isfinite(seconds)
    index = np.searchsorted(seconds[known], at, side="right") - 1
    return np.where(index >= 0, volume[known][np.maximum(index, 0)], 0.0)
