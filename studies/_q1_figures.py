"""Figures of study q1."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from analogep.plot.spread import spread
from analogep.plot.style import BLUE, CYCLE, GRAY, INK, SMALL, VERMILION, describe, dressed, legend, new_figure
from analogep.study import Picture, Results

from ._q1_ladder import BETAS, ROWS

SHOWN = [name for name in ROWS if name not in ("vector_field_ep_one_sided", "holomorphic_ep")]
"""Rows that are drawn; those left out lie on centred plain EP."""
COLORS = dict(zip(SHOWN, [CYCLE[1], "#8a5a00", "#a3a500", GRAY, "#b0b7bf", *CYCLE[:1], *CYCLE[2:], INK], strict=False))
MARKS = {"plain": "s", "biased": "x", "noisy": "x", "exact": "o"}
NAMES = {"definite": "one-way, S > 0", "indefinite": "one-way, S indefinite", "passive": "resistors and gyrators"}


def figures(results: Results) -> list[Picture]:
    """The ladder in error and cosine; the pairs; the floor."""
    ladder = results["ladder"]
    return [
        Picture(
            over_rho(ladder.error.sel(beta=BETAS[-1]), "relative error (1)", log=True),
            "Relative error against the implicit gradient at beta 1e-3 (median and range of seeds). One-sided and "
            "holomorphic EP lie on centred plain EP.",
            "relative error of every estimator over rho, a panel for each kind of circuit",
            "ladder",
        ),
        Picture(
            over_rho(
                ladder.cosine.sel(beta=BETAS[-1], row=[n for n in SHOWN if ROWS[n].group != "exact"]), "cosine (1)"
            ),
            "Cosine with the implicit gradient of the estimators that are not exact.",
            "cosine over rho, a panel for each kind of circuit",
            "cosines",
        ),
        Picture(
            pairs(results["pair"]),
            "Two networks with the same state, the same responses of all nodes to every output nudge, and the same "
            "weights into hidden nodes: cosine of what each estimator says with the gradient there (median and range).",
            "cosines of every estimator on J and on J', a panel for each rho of J",
            "pairs",
        ),
        Picture(
            floor(results["floor"].floor, ladder),
            "Black: relative error at hidden weights that no rule of output nudges avoids on the worse of two "
            "networks, none more asymmetric than rho. Dashed: what centred plain EP has on the ladder's networks, all "
            "weights together. Dotted: its bound 2 rho / sqrt(1 + rho^2) for S > 0.",
            "error floor over rho",
            "floor",
        ),
    ]


def over_rho(data: xr.DataArray, label: str, *, log: bool = False) -> Any:
    """A panel for each kind of circuit."""
    figure, kinds = new_figure((11.5 if data.kind.size > 2 else 9.0, 4.4)), data.kind.values
    first = None
    for k, kind in enumerate(kinds):
        ax = dressed(figure.add_subplot(1, kinds.size, k + 1, sharey=first))
        first = first or ax
        ax.set_xscale("log")
        ax.set_yscale("log" if log else "linear")
        for name in (row for row in SHOWN if row in data.row.values):
            found = data.sel(row=name, kind=kind)
            if found.notnull().any():
                group = ROWS[name].group
                style = {"linestyle": "-" if group == "exact" else (0, (4, 2)), "marker": MARKS[group]}
                spread(found, "rho", ax, label=ROWS[name].label, color=COLORS[name], **style)
        describe(ax, "rho(S⁻¹A) (1)", label if k == 0 else "", NAMES[str(kind)])
    drawn = [name for name in SHOWN if name in data.row.values and data.sel(row=name).notnull().any()]
    handles = [
        Line2D([], [], color=COLORS[n], marker=MARKS[ROWS[n].group], markersize=4, label=ROWS[n].label,
               linestyle="-" if ROWS[n].group == "exact" else (0, (4, 2)))
        for n in drawn
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False, handlelength=2.6)
    return figure


def pairs(data: xr.Dataset) -> Any:
    """A dot for each circuit and estimator."""
    figure, rows = new_figure((3.2 + 2.6 * data.rho.size, 4.2)), list(data.said.values)
    for k, rho in enumerate(data.rho.values):
        ax = dressed(figure.add_subplot(1, data.rho.size, k + 1))
        for circuit, color, shift in (("J", BLUE, 0.14), ("J'", VERMILION, -0.14)):
            found = data.cosine.sel(rho=rho, circuit=circuit)
            places = np.arange(len(rows))[::-1] + shift
            ax.hlines(places, found.min("seed"), found.max("seed"), color=color, linewidth=3, alpha=0.35)
            ax.plot(found.median("seed"), places, "o", color=color, markersize=6, label=circuit)
        ax.axvline(0, color=GRAY, linewidth=0.8)
        ax.set(xlim=(-1.1, 1.1), xticks=(-1, -0.5, 0, 0.5, 1), yticks=np.arange(len(rows))[::-1])
        ax.set_yticklabels([ROWS[row].label for row in rows] if k == 0 else [], fontsize=SMALL)
        describe(ax, "cosine (1)", "", f"J: rho {rho:g}")
    legend(figure.axes[-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def floor(data: xr.DataArray, ladder: xr.Dataset) -> Any:
    """The floor, and plain EP's error where S is definite."""
    ax = dressed(None, (6.8, 4.0))
    spread(data, "rho", ax, label="no rule of output nudges avoids", color=INK)
    plain = ladder.error.sel(row="vector_field_ep", beta=BETAS[-1])
    for kind, color in zip(plain.kind.values, CYCLE, strict=False):
        style = {"linestyle": (0, (4, 2)), "marker": "s", "color": color}
        spread(plain.sel(kind=kind).drop_vars("kind"), "rho", ax, label=f"plain EP, {NAMES[str(kind)]}", **style)
    rho = np.geomspace(float(data.rho.min()), float(data.rho.max()), 80)
    ax.plot(
        rho,
        2 * rho / np.sqrt(1 + rho**2),
        color=GRAY,
        linewidth=1.0,
        linestyle=":",
        label="plain EP, bound in the S-norm",
    )
    ax.set(xscale="log", ylim=(0, None))
    describe(ax, "rho(S⁻¹A) (1)", "relative error (1)", "What asymmetry costs")
    legend(ax, loc="upper left", handlelength=2.8)
    return ax.figure
