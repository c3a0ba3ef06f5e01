"""Figures of study q5."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analogep.plot.spread import spread
from analogep.plot.style import BLUE, CYCLE, FAINT, GRAY, INK, SMALL, VERMILION, describe, dressed, legend, new_figure
from analogep.study import Picture, Results

from ._q5_networks import ROWS


def figures(results: Results) -> list[Picture]:
    """Divergences and losses; growth over rho; the waveform."""
    data = results["training"]
    size = data.diverged.sel(stabilizer="none").size
    pictures = [
        Picture(
            networks(data),
            f"{size} networks with a strong initial gain, all seeds. Left: networks that diverged. Right: final losses "
            "of the others (quartiles, median; whiskers 5 to 95 %; dashed: the median without a stabilizer).",
            "bars of divergences and boxes of losses by stabilizer",
            "networks",
        ),
        Picture(
            growth(results["growth"]),
            "Peak of ||exp(tJ)|| over rho(S⁻¹A) of the passive circuit: medians of sampled states and weights (median "
            "and range of seeds). A passive circuit and one of a buffered crossbar with the same states at rest.",
            "peak growth over rho for two circuits",
            "growth",
        ),
    ]
    if "ringing" in results:
        text = "A node of a passive circuit of four nodes after a step of its drive: it rings, and omega is negative."
        pictures.append(Picture(waveform(results["ringing"]), text, "two waveforms on each other", "ringing"))
    return pictures


def networks(data: xr.Dataset) -> Any:
    """Two panels with a row for each stabilizer."""
    figure, names = new_figure((10.0, 0.45 * data.stabilizer.size + 1.4)), list(data.stabilizer.values)
    left, right = (dressed(figure.add_subplot(1, 2, k + 1)) for k in range(2))
    places = np.arange(len(names))[::-1]
    total = data.diverged.sel(stabilizer="none").size
    counts = [int(data.diverged.sel(stabilizer=s).sum()) for s in names]
    left.barh(places, counts, height=0.6, color=[VERMILION if c else BLUE for c in counts])
    for place, count in zip(places, counts, strict=True):
        left.annotate(
            str(count), (count, place), (4, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK
        )
    left.set_yticks(places, [ROWS[s] for s in names])
    left.set_xlim(0, max(1, *counts) * 1.15)
    left.xaxis.get_major_locator().set_params(integer=True)
    describe(left, f"networks out of {total} (1)", "", "diverged")
    losses = []
    for s in names:
        at = data.sel(stabilizer=s)
        kept = at.loss.isel(update=-1).values[~at.diverged.astype(bool).values]
        losses.append(kept[np.isfinite(kept)])
    look = {"color": INK, "linewidth": 1.0}
    right.boxplot(losses, positions=places, orientation="horizontal", widths=0.55, whis=(5, 95), showfliers=False,
                  patch_artist=True, boxprops={**look, "facecolor": FAINT}, medianprops={"color": BLUE, "lw": 2.0},
                  whiskerprops=look, capprops=look)  # fmt: skip
    right.set_yticks(places, [])
    right.set_xscale("log")
    right.axvline(float(np.median(losses[0])), color=GRAY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
    describe(right, "final loss (1)", "", "loss of the others")
    return figure


def growth(data: xr.Dataset) -> Any:
    """Median growth of the samples of each seed."""
    ax = dressed(None, (6.8, 4.0))
    for kind, color in (("buffered", CYCLE[1]), ("passive", CYCLE[0])):
        label = "one buffered crossbar" if kind == "buffered" else "resistors, capacitors, gyrators"
        spread(data[f"{kind}_growth"].median("sample"), "rho", ax, label=label, color=color)
    spread(data.bound.median("sample"), "rho", ax, label="√cond D, bound of the buffered one", color=GRAY, marker="",
           linestyle=(0, (4, 2)))  # fmt: skip
    ax.set_xscale("log")
    describe(ax, "rho(S⁻¹A) of the passive circuit (1)", "peak of ‖exp(tJ)‖ (1)", "The same states, two circuits")
    legend(ax, loc="best")
    return ax.figure


def waveform(data: xr.Dataset) -> Any:
    """Ours and ngspice's, of the first seed and the largest rho."""
    one = data.isel(seed=0, rho=-1)
    ax = dressed(None, (6.8, 3.6))
    ax.plot(one.time, one.ngspice, color=VERMILION, linewidth=3.0, alpha=0.5, label="ngspice")
    ax.plot(one.time, one.h, color=BLUE, linewidth=1.2, label="analogep")
    ax.axhline(float(one.at_rest), color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
    title = f"rho {float(one.rho_at_rest):.3g}, alpha {float(one.alpha):.2f}/tau, omega {float(one.omega):.2f}/tau"
    describe(ax, "time (tau)", "state h0 (volt units)", title)
    legend(ax, loc="best")
    return ax.figure
