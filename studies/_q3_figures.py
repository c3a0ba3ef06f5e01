"""Figures of study q3."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analogep.plot.spread import spread
from analogep.plot.style import CYCLE, GRAY, INK, LABEL, SMALL, describe, dressed, legend, new_figure, shades
from analogep.study import Picture, Results

LABELS = {
    "twin": "transposed twin",
    "injection": "2A injection",
    "asym_ep": "2A injection",
    "reversed": "REVERSED",
    "gyrator_flip": "gyrators flipped",
}
COLORS = dict(zip(("twin", "injection", "reversed", "gyrator_flip"), CYCLE, strict=False))


def figures(results: Results) -> list[Picture]:
    """The map before and after; probes; paths; lag; echo."""
    mismatch, slow = results["mismatch"], results["imperfection"]
    last = int(mismatch.probes[-1])
    pictures = [
        Picture(
            maps(mismatch),
            f"Mean cosine of the twin's gradient with the true one, before calibration and after {last} local probes, "
            "over mismatch and non-normality. A twin that does not settle counts 0. Probes are read with 1 % noise and "
            "8 bits; 1 % of every write cannot be trimmed.",
            "heat maps of the mean cosine before and after calibration",
            "map",
        ),
        Picture(
            over_probes(mismatch.sel(spread=0.2)),
            "Mean cosine over probes at 20 % mismatch (median and range of seeds; distance from 1). Dashed: as built. "
            "A path that does not settle counts 0; it cannot be probed either, and is turned down instead.",
            "distance of the mean cosine from 1 over probes, twin and injection",
            "probes",
        ),
        Picture(
            over_spread(mismatch),
            "Mean cosine of each path as built, over mismatch. REVERSED reads the same arrays from their other side: "
            "only its cell gains are copies; in a gyrator only the difference of the two halves matters.",
            "mean cosine over mismatch for four paths",
            "paths",
        ),
        Picture(
            over_lag(slow),
            "Exact copies whose currents lag. Above: largest spectral abscissa of all circuits (linear within 1/tau, "
            "logarithmic outside). Below: mean cosine after the wait; what does not settle counts 0.",
            "abscissa and cosine over the lag of the copies",
            "lag",
        ),
        Picture(
            over_exposure(results["echo"]),
            "Hamiltonian echo against backpropagation through the same steps, a point for each damping, time and seed. "
            "Passive: the damped network runs back by itself. Active: gain in the place of damping on the way back. "
            "Dotted: where it was predicted to fail.",
            "relative error of echoes over damping times time",
            "echo",
        ),
    ]
    if "block" in results:
        caption = (
            "Transformer blocks with random weights (median and range of seeds): spectral abscissa with the injection "
            "and with couplings reversed in place, over the lag of exact copies. Linear within 1/tau."
        )
        pictures.append(Picture(blocks(results["block"]), caption, "abscissa over the lag of the copies", "lag-block"))
    return pictures


def blocks(data: xr.Dataset) -> Any:
    """A panel for each kind of attention."""
    figure = new_figure((4.6 * data.attention.size + 0.8, 3.6))
    for k, kind in enumerate(data.attention.values):
        ax = dressed(figure.add_subplot(1, data.attention.size, 1 + k))
        for name in ("reversed", "injection"):
            found = data.alpha.sel(attention=kind, path=name).drop_vars(["attention", "path"])
            spread(found, "ratio", ax, label=LABELS[name], color=COLORS[name])
        _abscissas(ax, float(data.alpha.max()))
        describe(ax, "lag of the copies / tau_cell (1)", "alpha (1/tau)" if k == 0 else "", f"{kind} attention")
        legend(ax, loc="upper left")
    return figure


def _abscissas(ax: Any, largest: float) -> None:
    """Logarithmic lags; abscissas linear within 1/tau, with the line below which a path settles."""
    ax.set(xscale="log")
    ax.set_yscale("symlog", linthresh=1.0)
    ticks = [-1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_ylim(-1.6, max(1.5, 1.3 * largest))
    ax.axhline(0, color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)))


def maps(data: xr.Dataset) -> Any:
    """Two heat maps with their numbers."""
    figure = new_figure((9.6, 3.6))
    before = data.built.sel(path="twin").mean(["seed", "circuit"])
    after = data.cosine.sel(calibrated="twin").isel(probes=-1).mean(["seed", "circuit"])
    parts = [(before, "as built"), (after, f"after {int(data.probes[-1])} local probes")]
    axes = [figure.add_subplot(1, 2, 1 + k) for k in range(2)]
    for ax, (found, title) in zip(axes, parts, strict=True):
        values = found.transpose("spread", "rho").values
        image = ax.imshow(values, origin="lower", aspect="auto", vmin=0.5, vmax=1.0, cmap="viridis")
        for (row, column), value in np.ndenumerate(values):
            ink = INK if value > 0.8 else "white"
            ax.text(column, row, f"{value:.4f}", ha="center", va="center", fontsize=SMALL, color=ink)
        ax.set_xticks(range(data.rho.size), [f"{rho:g}" for rho in data.rho.values])
        ax.set_yticks(range(data.spread.size), [f"{100 * s:g} %" for s in data.spread.values])
        ax.tick_params(colors=GRAY, labelcolor=INK, labelsize=SMALL)
        describe(ax, "non-normality rho(S⁻¹A) (1)", "mismatch (standard deviation)" if ax is axes[0] else "", title)
    bar = figure.colorbar(image, ax=axes, extend="min")
    bar.set_label("mean cosine (1)", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=GRAY, labelcolor=INK)
    return figure


def over_probes(data: xr.Dataset) -> Any:
    """A panel for the twin, one for the injection."""
    figure = new_figure((9.6, 3.8))
    colors = shades(data.rho.size)
    for k, name in enumerate(data.calibrated.values):
        ax = dressed(figure.add_subplot(1, 2, k + 1))
        for rho, color in zip(data.rho.values, colors, strict=True):
            found = 1 - data.cosine.sel(calibrated=name, rho=rho).mean("circuit").drop_vars(["rho", "spread"])
            spread(found.sel(probes=found.probes > 0), "probes", ax, label=f"rho {rho:g}", color=color)
            ax.axhline(float(found.sel(probes=0).median()), color=color, linewidth=1.0, linestyle=(0, (4, 2)))
        ax.set(xscale="log", yscale="log", ylim=(3e-4, 2.0))
        counts = [int(count) for count in data.probes.values if count > 0]
        ax.set_xticks(counts, [str(count) for count in counts])
        ax.minorticks_off()
        ax.axhline(0.01, color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
        ax.annotate("cosine\n0.99", (1, 0.01), (4, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                    ha="left", va="center", fontsize=SMALL, color=GRAY)  # fmt: skip
        describe(ax, "probes (1)", "1 - mean cosine (1)" if k == 0 else "", LABELS[str(name)])
    legend(figure.axes[0], loc="upper right", ncols=2)
    return figure


def over_spread(data: xr.Dataset) -> Any:
    """A panel for each of up to three rhos."""
    rhos = [rho for rho in data.rho.values if rho in (0.3, 1.0, 10.0)] or list(data.rho.values[:3])
    figure = new_figure((3.4 * len(rhos) + 0.6, 3.6))
    for k, rho in enumerate(rhos):
        ax = dressed(figure.add_subplot(1, len(rhos), k + 1))
        for name in data.path.values:
            found = data.built.sel(rho=rho, path=name).mean("circuit").drop_vars(["rho", "path"])
            spread(found, "spread", ax, label=LABELS[str(name)], color=COLORS[str(name)])
        ax.set(xscale="log", ylim=(-0.1, 1.05))
        ticks = [float(s) for s in data.spread.values]
        ax.set_xticks(ticks, [f"{100 * s:g} %" for s in ticks])
        ax.minorticks_off()
        describe(ax, "mismatch (standard deviation)", "mean cosine (1)" if k == 0 else "", f"rho = {rho:g}")
    legend(figure.axes[0], loc="lower left")
    return figure


def over_lag(data: xr.Dataset) -> Any:
    """Abscissa above, cosine below; a column for each rho."""
    rows = ("reversed", "injection", "gyrator_flip")
    figure = new_figure((3.3 * data.rho.size + 0.8, 5.4))
    for k, rho in enumerate(data.rho.values):
        above, below = (dressed(figure.add_subplot(2, data.rho.size, 1 + k + r * data.rho.size)) for r in (0, 1))
        for name in rows:
            cell = data.sel(rho=rho, path=name).drop_vars(["rho", "path"])
            text = "twin, REVERSED" if name == "reversed" else LABELS[name]
            style = {"label": text, "color": COLORS[name], "linestyle": "-"}
            spread(cell.alpha.max("circuit"), "ratio", above, **style)
            spread(cell.late.mean("circuit"), "ratio", below, **style)
        _abscissas(above, float(data.alpha.max()))
        below.set(xscale="log", ylim=(-0.1, 1.05))
        describe(above, "", "largest alpha (1/tau)" if k == 0 else "", f"rho = {rho:g}")
        describe(below, "lag of the copies / tau_cell (1)", "mean cosine (1)" if k == 0 else "")
    legend(figure.axes[1], loc="lower left")
    return figure


def over_exposure(data: xr.Dataset) -> Any:
    """Points over damping times time; the lossless ones at the left edge."""
    ax = dressed(None, (6.8, 4.0))
    through = (data.damping * data.time).broadcast_like(data.error.isel(echo=0, drop=True))
    floor = 0.3 * float(through.where(through > 0).min())
    low = 0.2 * float(data.error.min())
    for name, color, marker in (("passive", CYCLE[1], "o"), ("active", CYCLE[0], "^")):
        found = data.error.sel(echo=name).transpose(*through.dims)
        x = np.maximum(through.values.ravel(), floor)
        ax.plot(x, found.values.ravel(), marker, markersize=4.5, color=color, alpha=0.7, linestyle="", label=name)
    ax.set(xscale="log", yscale="log", xlim=(0.5 * floor, None), ylim=(low, None))
    ax.axvline(1.0, color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
    decades = [t for t in (0.01, 0.1, 1.0, 10.0, 100.0) if floor < t <= 1.2 * float(through.max())]
    ax.set_xticks([floor, *decades], ["0", *(f"{t:g}" for t in decades)])  # what has no damping has its own place
    ax.minorticks_off()
    describe(ax, "damping × time (1)", "relative error (1)", "Echo against backpropagation")
    legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax.figure
