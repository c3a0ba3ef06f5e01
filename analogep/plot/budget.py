"""The error budget as bars: what each imperfection costs alone, and its share of all together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.plot.style import BLUE, GRAY, INK, SMALL, describe, dressed, legend, new_figure, warn

MEASURES = {
    "angle": "1 − cosine of the gradient",
    "loss": "change of the loss (nats)",
}
"""Measures of an error budget and what they are called."""


def budget(data: Mapping[str, Any], ax: Axes | None = None, *, what: str = "angle") -> Axes:
    """One measure of an error budget.

    Parameters
    ----------
    data : as `Budget.to_dict` gives it: `effects` name -> alone, share, error; `total`.
    ax : axes to draw in; a new figure when None.
    what : measure, which names the axis.

    Raises
    ------
    DataError
        If there are no effects.
    """
    effects = data["effects"]
    if not effects:
        raise DataError("the error budget has no effects")
    ax = dressed(ax, (6.8, 0.5 + 0.36 * len(effects)))
    names = sorted(effects, key=lambda name: effects[name]["share"])
    alone, share, error = (np.array([effects[name][key] for name in names]) for key in ("alone", "share", "error"))
    at = np.arange(len(names))
    ax.barh(at, share, height=0.62, color=BLUE, xerr=error, error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2},
            label=f"share of all; they add up to {data['total']:.3g}")  # fmt: skip
    ax.plot(alone, at, "D", color="white", markeredgecolor=INK, markersize=5, label="alone", zorder=3)
    ax.axvline(0.0, color=GRAY, linewidth=0.8)
    ax.set_yticks(at, names, fontsize=SMALL)
    ax.grid(False, axis="y")
    describe(ax, MEASURES.get(what, what), "", f"Error budget: {MEASURES.get(what, what)}")
    legend(ax, loc="lower right")
    if not np.all(np.isfinite(share.astype(float))):
        warn(ax, "too few chips settle for a budget")
    return ax


def save(budgets: Mapping[str, Any], path: Path) -> None:
    """All measures side by side in one figure."""
    tall = 1.1 + 0.34 * max(len(one["effects"]) for one in budgets.values())
    figure = new_figure((6.2 * len(budgets), tall))
    for k, (name, one) in enumerate(budgets.items()):
        budget(one, figure.add_subplot(1, len(budgets), k + 1), what=name)
    kind = path.suffix.lstrip(".") or "png"
    with whole_file(path) as partial:
        figure.savefig(partial, format=kind, dpi=150)
