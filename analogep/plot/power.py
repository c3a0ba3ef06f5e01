"""Who delivers power in a circuit and who takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import BLUE, GRAY, INK, SMALL, VERMILION, describe, dressed, engineering, warn


def power_balance(
    names: Sequence[str],
    watts: ArrayLike,
    ax: Axes | None = None,
    *,
    count: int = 14,
    title: str = "Power balance",
) -> Axes:
    """Bars of the power that elements absorb (positive) and deliver (negative), the largest first.

    Parameters
    ----------
    names : of the elements, or of their kinds [n].
    watts : power absorbed [n].
    ax : axes to draw in; a new figure when None.
    count : largest number of bars; the others, and those below 1e-6 of the largest, are summed in one more.
    title : heading; what does not add up is added to it, relative to the power that goes round.

    Raises
    ------
    DataError
        If the numbers do not fit, or there are none.
    """
    power = np.ravel(np.asarray(watts, float))
    if len(names) != power.size or not power.size:
        raise DataError(f"{len(names)} names and {power.size} powers do not fit together")
    finite = np.isfinite(power)
    if not finite.any():
        raise DataError("no power is finite")
    order = [k for k in np.argsort(-np.abs(np.where(finite, power, -1.0)), kind="stable") if finite[k]]
    visible = sum(abs(power[k]) > 1e-6 * abs(power[order[0]]) for k in order)
    count = max(1, min(count, visible))
    labels = [str(names[k]) for k in order[:count]]
    bars = [float(power[k]) for k in order[:count]]
    if len(order) > count:
        labels.append(f"{len(order) - count} others")
        bars.append(float(power[order[count:]].sum()))
    factor, unit = engineering(bars, "W")
    ax = dressed(ax, (6.8, 1.0 + 0.27 * len(bars)))
    values = np.array(bars) * factor
    places = np.arange(len(bars))
    ax.barh(places, values, color=[BLUE if v >= 0 else VERMILION for v in values], height=0.68, linewidth=0)
    ax.set_yticks(places, labels, fontsize=SMALL)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.axvline(0, color=INK, linewidth=1.0)
    reach = float(np.max(np.abs(values))) or 1.0
    ax.set_xlim(min(0.0, values.min()) - 0.22 * reach, max(0.0, values.max()) + 0.22 * reach)
    for place, value in zip(places, values, strict=True):
        ax.annotate(
            f"{value:.3g}".replace("-", "−"), (value, place), (4 if value >= 0 else -4, 0),
            textcoords="offset points", va="center", ha="left" if value >= 0 else "right", fontsize=SMALL, color=GRAY,
        )  # fmt: skip
    total, scale = float(power[finite].sum()), float(np.abs(power[finite]).sum() / 2)
    open_by = abs(total) / scale if scale else 0.0
    describe(ax, f"power absorbed ({unit})", "", f"{title}: closed to {open_by:.1g} of what goes round")
    if not finite.all():
        warn(ax, f"{np.count_nonzero(~finite)} of {power.size} powers are not finite")
    return ax
