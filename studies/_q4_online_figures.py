"""Figures of the other roads of study q4: carried gradients, short nudges, two timescales, and the cycle."""

from __future__ import annotations

from typing import Any

import xarray as xr

from analogep.plot.spread import spread
from analogep.plot.style import CYCLE, GRAY, INK, SMALL, describe, dressed, legend, new_figure
from analogep.study import Picture, Results

from ._q4_online import CARRIED
from ._q4_phases import FAITHFUL, LOOSE, ROWS, TIGHT

DASHED = (0, (4, 2))
SHOWN = ("asym_ep_one_sided", "asym_ep", "twin")


def online_figures(results: Results) -> list[Picture]:
    """Those of the parts that were measured."""
    pictures = []
    if "online" in results and "drift" in results:
        online, drift = results["online"], results["drift"]
        rho, margin = 1.0 if 1.0 in online.rho else float(online.rho[-1]), float(online.margin.min())
        said = f"rho = {rho:g}, contraction margin {margin:g}/tau; median and range of seeds"
        pictures = [
            Picture(
                carried(online.sel(rho=rho, margin=margin)),
                f"Gradients that are carried along with the run ({said}). Random ones are of one draw, root mean "
                "square. RTRL has the finite-time gradient to rounding and is not drawn against it; against the "
                "implicit one it is as far off as the targets are apart. Black: the other target.",
                "relative error over residual, one panel for each target",
                "carried",
            ),
            Picture(
                phases(online.sel(rho=rho, margin=margin), drift.sel(rho=rho)),
                f"Left: the corrected nudge of K steps from a stopped state ({said}). Right: weights that move while "
                f"circuit and twin relax, against gradient flow (rho = {rho:g}).",
                "relative error over the length of a nudge, and over the duration of a drift",
                "nudges",
            ),
        ]
    caption = (
        "Networks past the Hopf point, which cycle and never settle: errors against the gradient of the loss at the "
        "time of the stop, and how long that gradient is. An error of 1 is that of no answer."
    )
    pictures.append(Picture(cycle(results["cycle"]), caption, "relative error over time", "cycle"))
    return pictures


def carried(data: xr.Dataset) -> Any:
    """Two panels, one for each target."""
    figure = new_figure((10.0, 4.2))
    for k, (target, name) in enumerate((("implicit", "implicit"), ("finite_time", "finite-time"))):
        ax = logarithmic(figure.add_subplot(1, 2, k + 1))
        for color, (row, label) in zip(CYCLE, CARRIED.items(), strict=False):
            if row == "rtrl" and target == "finite_time":
                continue
            spread(data.error.sel(carried=row, target=target), "residual", ax, label=label, color=color)
        spread(data.gap, "residual", ax, label="other target", color=INK, linewidth=1.0, marker="", linestyle=":")
        ax.invert_xaxis()
        error = "relative error (1)" if k == 0 else ""
        describe(ax, "residual |F|/|z| at the stop (1)", error, f"against the {name} gradient")
    legend(figure.axes[0], loc="lower left", handlelength=2.8)
    return figure


def phases(online: xr.Dataset, drift: xr.Dataset) -> Any:
    """Nudges of K steps against both targets, and two timescales."""
    figure = new_figure((10.0, 4.2))
    ax = logarithmic(figure.add_subplot(1, 2, 1))
    for color, level in zip(CYCLE, (LOOSE, TIGHT), strict=False):
        for target, dash in (("implicit", "-"), ("finite_time", DASHED)):
            found = online.nudge_error.sel(residual=level, target=target)
            label = f"residual {level:g}, against {target.replace('_', '-')}"
            spread(found, "nudge_time", ax, label=label, color=color, linestyle=dash)
    describe(ax, "length of the nudge, K steps (tau)", "relative error (1)", "truncated corrected nudge")
    legend(ax, loc="lower left", handlelength=2.8)
    ax = logarithmic(figure.add_subplot(1, 2, 2))
    for color, margin in zip(CYCLE, drift.margin.values, strict=False):
        spread(drift.error.sel(margin=margin), "duration", ax, label=f"margin {margin:g}/tau", color=color)
    describe(ax, "duration of the drift (tau)", "", "two timescales")
    legend(ax, loc="lower left")
    return figure


def cycle(data: xr.Dataset) -> Any:
    """Errors over the time of the stop, and the length of the target."""
    figure = new_figure((10.0, 4.2))
    ax = logarithmic(figure.add_subplot(1, 2, 1))
    for color, row in zip(CYCLE, SHOWN, strict=False):
        spread(data.phase_error.sel(row=row), "time", ax, label=ROWS[row].label, color=color)
    for color, row in zip(CYCLE[len(SHOWN) :], ("uoro", "eligibility"), strict=False):
        spread(data.error.sel(carried=row, target="finite_time"), "time", ax, label=CARRIED[row], color=color)
    ax.set_xscale("linear")
    ax.set_ylim(0.02, 1e3 * ax.get_ylim()[1])  # room for the legend
    describe(ax, "time of the stop (tau)", "relative error (1)", "against the gradient at that time")
    legend(ax, loc="upper right", handlelength=2.8)
    ax = dressed(figure.add_subplot(1, 2, 2))
    ax.set_yscale("log")
    spread(data["size"], "time", ax, label="gradient of the loss at T, over the implicit formula's", color=INK)
    spread(data.residual, "time", ax, label="residual |F|/|z| at T", color=GRAY)
    describe(ax, "time of the stop (tau)", "(1)", "what is measured there")
    ax.set_ylim(top=5 * ax.get_ylim()[1])
    legend(ax, loc="upper left")
    return figure


def logarithmic(ax: Any, *, faithful: bool = True) -> Any:
    """Logarithmic axes with the line up to which a gradient counts as faithful."""
    ax = dressed(ax)
    ax.set(xscale="log", yscale="log")
    if faithful:
        ax.axhline(FAITHFUL, color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
        ax.annotate("faithful\nbelow", (1, FAITHFUL), (4, 0), xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points", ha="left", va="center", fontsize=SMALL, color=GRAY)  # fmt: skip
    return ax
