"""Figures of study q4."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analogep.plot.spread import spread
from analogep.plot.style import CYCLE, GRAY, INK, describe, dressed, legend, new_figure
from analogep.study import Picture, Results

from ._q4_online_figures import logarithmic, online_figures
from ._q4_phases import BETA, NUDGE, ROWS
from ._q4_tables import LABELS
from ._q4_training import MORE

COLORS = {name: CYCLE[k] for k, name in enumerate(ROWS)} | {"implicit": GRAY, "finite_time": INK}
COLORS |= {name: CYCLE[k] for k, name in enumerate(MORE)}


def figures(results: Results) -> list[Picture]:
    """Errors over the residual; the three hypotheses; blocks; training."""
    networks = results["network"].sel(nudge=NUDGE)
    rho = 1.0 if 1.0 in networks.rho else float(networks.rho[-1])
    weak = float(networks.margin.min())
    said = f"rho = {rho:g}, contraction margin {weak:g}/tau"
    pictures = [
        Picture(
            over_residual(networks.sel(rho=rho, margin=weak)),
            f"Networks that contract weakly ({said}): relative error of every estimator against both targets, over the "
            "residual at which the free phase is stopped (median and range of seeds, beta 1e-3). Black: how far the "
            "targets are apart.",
            "relative error over residual, one panel for each target",
            "residual",
        ),
        Picture(
            hypotheses(networks),
            "The hypotheses broken one at a time, against the implicit gradient. H1: rho of a settled network. H2: the "
            "residual of a reciprocal one. H3: beta of a settled reciprocal one; in both plain EP lies on AsymEP.",
            "relative error over rho, residual and beta",
            "hypotheses",
        ),
    ]
    if results["network"].nudge.size > 1:
        pictures.append(
            Picture(
                lengths(results["network"].sel(rho=rho, margin=weak)),
                f"Centred AsymEP ({said}): phases as long as the free one end near the finite-time gradient, longer "
                "ones move toward the implicit one.",
                "relative error over residual for phases of two lengths",
                "lengths",
            )
        )
    if "block" in results:
        for kind in results["block"].attention.values:
            caption = f"The same on transformer blocks F(z) with {kind} attention and random weights."
            caption += " They are reciprocal, so plain EP and AsymEP lie on each other." if kind == "energy" else ""
            figure = over_residual(results["block"].sel(attention=kind))
            pictures.append(Picture(figure, caption, "relative error over residual", f"block-{kind}"))
    if "training" in results:
        caption = (
            "Loss at the time of reading while a network learns six patterns; lines stop where training diverged. "
            "Below, other roads than settled phases and BPTT; RTRL has BPTT's gradient."
        )
        pictures.append(Picture(training(results["training"]), caption, "loss over updates", "training"))
    return pictures + online_figures(results)


def over_residual(data: xr.Dataset) -> Any:
    """Two panels, one for each target."""
    figure = new_figure((10.0, 4.2))
    for k, target in enumerate(("implicit", "finite_time")):
        ax = logarithmic(figure.add_subplot(1, 2, k + 1))
        for name in data.row.values:
            style = {"linestyle": "-" if ROWS[name].exact else (0, (4, 2)), "color": COLORS[name]}
            spread(data.error.sel(row=name, target=target, beta=BETA), "residual", ax, label=LABELS[name], **style)
        spread(data.gap, "residual", ax, label="other target", color=INK, linewidth=1.0, marker="", linestyle=":")
        ax.invert_xaxis()
        describe(ax, "residual |F|/|z| at the stop (1)", "relative error (1)", f"against the {LABELS[target]} gradient")
    legend(figure.axes[0], loc="lower left", handlelength=2.8)
    return figure


def hypotheses(networks: xr.Dataset) -> Any:
    """Three panels: rho, residual, beta."""
    figure, calm = new_figure((11.0, 3.8)), networks.sel(margin=float(networks.margin.max()))
    settled = calm.isel(residual=int(np.argmin(calm.residual.values)))
    reciprocal = calm.sel(rho=float(calm.rho.min()))
    panels = (
        ("rho", "rho(S⁻¹A) (1)", "H1: reciprocity", settled.error.sel(beta=BETA)),
        ("residual", "residual |F|/|z| (1)", "H2: at rest", reciprocal.error.sel(beta=BETA)),
        ("beta", "beta (1)", "H3: vanishing nudge", settled.error.sel(rho=reciprocal.rho)),
    )
    for k, (over, label, title, found) in enumerate(panels):
        ax = logarithmic(figure.add_subplot(1, 3, k + 1))
        if over == "rho":
            ax.set_xscale("symlog", linthresh=0.1)
        for name in found.row.values:
            style = {"linestyle": "-" if ROWS[name].exact else (0, (4, 2)), "color": COLORS[name]}
            spread(found.sel(row=name, target="implicit").drop_vars(["rho"] if over != "rho" else []), over, ax,
                   label=LABELS[name], **style)  # fmt: skip
        describe(ax, label, "relative error (1)" if k == 0 else "", title)
    legend(figure.axes[1], loc="lower right", handlelength=2.0)
    return figure


def lengths(networks: xr.Dataset) -> Any:
    """Centred AsymEP against both targets, for phases of several lengths."""
    ax = logarithmic(dressed(None, (6.8, 4.0)))
    for k, nudge in enumerate(networks.nudge.values):
        for target, dash in (("implicit", "-"), ("finite_time", (0, (4, 2)))):
            found = networks.error.sel(row="asym_ep", target=target, beta=BETA, nudge=nudge)
            text = f"against {LABELS[target]}, phases {nudge:g} × as long"
            spread(found, "residual", ax, label=text, color=CYCLE[k], linestyle=dash)
    ax.invert_xaxis()
    describe(ax, "residual |F|/|z| at the stop (1)", "relative error (1)", "What a longer nudge converges to")
    legend(ax, loc="lower left", handlelength=2.8)
    return ax.figure


def training(data: xr.Dataset) -> Any:
    """A column for each time of reading: above the two targets and phases, below the other roads."""
    more = [name for name in data.rule.values if name in MORE]
    rows = [[name for name in data.rule.values if name not in MORE], *([["finite_time", *more]] if more else [])]
    figure, columns = new_figure((11.0, 3.4 * len(rows))), data.horizon.size
    for i, names in enumerate(rows):
        for k, horizon in enumerate(data.horizon.values):
            ax = logarithmic(figure.add_subplot(len(rows), columns, i * columns + k + 1), faithful=False)
            ax.set_xscale("linear")
            for name in names:
                losses = data.loss.sel(horizon=horizon, rule=name)
                losses = losses.where(losses < 10 * data.loss.isel(update=0).max())
                style = {"color": COLORS[name], "marker": "", "linestyle": (0, (4, 2)) if name in ROWS else "-"}
                spread(losses, "update", ax, label=LABELS[name], **style)
            title = f"read at {horizon:g} tau" if i == 0 else ""
            describe(ax, "update (1)" if i == len(rows) - 1 else "", "loss when read (1)" if k == 0 else "", title)
        legend(ax, loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=2.8)
    return figure
