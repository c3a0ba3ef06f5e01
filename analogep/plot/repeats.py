"""What repeated readings buy: cosine against repeats, and what a wanted cosine costs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from analogep.errors import DataError
from analogep.plot.style import CYCLE, GRAY, describe, dressed, legend, warn


def cosine_against_repeats(
    data: xr.Dataset, ax: Axes | None = None, *, wanted: float | None = None, title: str = "What repeats buy"
) -> Axes:
    """Cosine with the reference gradient over readings: the law as lines, measurements as dots with their spread.

    Parameters
    ----------
    data : as `codesign.repeats.cosines_with_repeats` gives it.
    ax : axes to draw in; a new figure when None.
    wanted : a cosine to mark.
    title : heading.

    Raises
    ------
    DataError
        If the data has no cosine over beta, repeats and measurement.
    """
    if "cosine" not in data or set(data["cosine"].dims) != {"beta", "repeats", "measurement"}:
        raise DataError("cosine against repeats needs `cosine` over beta, repeats and measurement")
    ax = dressed(ax, (6.8, 4.0))
    ax.set_xscale("log")
    repeats = np.asarray(data["repeats"], float)
    smooth = np.geomspace(repeats.min(), max(repeats.max(), 2 * repeats.min()), 100)
    for k, (beta, color) in enumerate(
        zip(np.asarray(data["beta"]), CYCLE * (1 + data.sizes["beta"] // 6), strict=False)
    ):
        measured = data["cosine"].isel(beta=k).transpose("repeats", "measurement")
        mean, spread = measured.mean("measurement"), measured.std("measurement")
        rho, ceiling = float(data["noise_to_signal"][k]), float(data["ceiling"][k])
        if np.isfinite(rho):
            ax.plot(smooth, ceiling / np.sqrt(1 + rho / smooth), color=color, linewidth=1.4)
        ax.errorbar(
            repeats, mean, yerr=spread, fmt="o", color=color, markersize=5, capsize=2.5, linewidth=1.0,
            label=f"β = {beta:g}" + (f", ceiling {min(ceiling, 1.0):.4f}" if np.isfinite(ceiling) else ""),
        )  # fmt: skip
    if wanted is not None:
        ax.axhline(wanted, color=GRAY, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1, label=f"wanted: {wanted:g}")
    if "converged" in data and not bool(data["converged"].all()):
        warn(
            ax,
            "phases did not settle at "
            + ", ".join(f"β = {b:g}" for b in data["beta"].values[~data["converged"].values]),
        )
    low = float(np.nanmin(data["cosine"].mean("measurement") - data["cosine"].std("measurement")))
    ax.set_ylim(min(0.0, 1.05 * low), 1.04)
    describe(ax, "readings averaged (1)", "cosine with the implicit gradient (1)", title)
    legend(ax, loc="lower right")
    return ax
