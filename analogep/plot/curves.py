"""Curves of two simulators: ours solid, the reference as sparse open markers, their difference on a log scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from analogep.errors import DataError
from analogep.plot.signals import Trace, dimensions, has, trace
from analogep.plot.style import CYCLE, INK, SMALL, describe, engineering, legend, warn

MARKS = 24
"""Markers of the reference along one curve."""
ROOM = 1.25
"""An axis ends above its largest value: one to 0.9 V is in V, not in mV."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)))
_NAMES = {"Ohm": "Ω", "degC": "°C", "V/sqrt(Hz)": "V/√Hz", "A/sqrt(Hz)": "A/√Hz"}


@dataclass(frozen=True)
class Row:
    """Axes to be: their height in inches, and what draws them."""

    height: float
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Panel:
    """One analysis: rows over one horizontal axis labelled `x`; where that is empty, each row has its own."""

    title: str
    rows: list[Row]
    x: str = ""
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """A signal with its look, and the reference at the same points or None."""

    trace: Trace
    reference: np.ndarray | None
    color: str
    dash: Any = "-"

    @property
    def difference(self) -> np.ndarray:
        """Distance from the reference."""
        assert self.reference is not None
        return np.abs(self.trace.values - self.reference)


@dataclass(frozen=True)
class Abscissa:
    """What a panel is drawn over, in engineering units; `log` for a logarithmic axis."""

    name: str
    label: str
    values: np.ndarray
    log: bool = False

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Abscissa:
        """The last dimension: frequencies over more than half a decade are drawn on a logarithmic axis."""
        name = dimensions(dataset)[-1]
        values = np.asarray(dataset[name].values, float)
        unit = str(dataset[name].attrs.get("units", {"time": "s", "frequency": "Hz"}.get(name, "")))
        if name == "frequency" and values.min() > 0 and values.max() > 3 * values.min():
            return cls(name, with_unit(name, unit), values, True)
        factor, shown = scaled(ROOM * values, unit)
        return cls(name, with_unit(name, shown), values * factor)

    def dress(self, ax: Axes) -> None:
        """Scale, ticks and limits of a horizontal axis."""
        low, high = float(self.values.min()), float(self.values.max())
        if self.log:
            ax.set_xscale("log")
            decades(ax.xaxis, np.log10(high / low))
        if high > low:
            pad = 0.0 if self.log else 0.01 * (high - low)
            ax.set_xlim(low - pad, high + pad)

    def sparse(self, turn: float, count: int = MARKS) -> np.ndarray:
        """Indices of points spread evenly over the axis, shifted by the part `turn` of their distance."""
        x = np.log(self.values) if self.log else self.values
        targets = x.min() + np.ptp(x) * (np.arange(count) + turn) / count
        return np.unique(np.abs(x[:, None] - targets).argmin(axis=0))


def scaled(values: Any, unit: str) -> tuple[float, str]:
    """As `engineering`, for any unit that takes a prefix."""
    if unit in ("", "degC"):
        return 1.0, _NAMES.get(unit, unit)
    factor, volts = engineering(values, "V")
    return factor, volts[:-1] + _NAMES.get(unit, unit)


def with_unit(text: str, unit: str) -> str:
    """A label with its unit in parentheses."""
    return f"{text} ({unit})" if unit else text


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """A number in engineering units: 3.30 mV."""
    factor, shown = scaled(value, unit)
    return f"{value * factor:.{digits}g} {shown}".strip()


def short(name: str, most: int = 26) -> str:
    """A name with its middle left out where it is too long for a legend."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"


def decades(axis: Any, count: float) -> None:
    """Ticks of a logarithmic axis in engineering notation: 10k, 1M."""
    few = count < 1.5
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=9))
    axis.set_major_formatter(EngFormatter(sep="", useMathText=False))
    axis.set_minor_formatter(NullFormatter())


def curves(dataset: xr.Dataset, reference: xr.Dataset | None, chosen: Sequence[Trace]) -> list[Curve]:
    """Looks for signals, all different up to 18, and the reference at their points."""
    return [
        Curve(t, fitted(t, dataset, reference), CYCLE[k % len(CYCLE)], _DASHES[k // len(CYCLE) % len(_DASHES)])
        for k, t in enumerate(chosen)
    ]


def fitted(one: Trace, dataset: xr.Dataset, reference: xr.Dataset | None) -> np.ndarray | None:
    """A signal of the reference at the points of the dataset, joined by straight lines; None where it has none.

    Raises
    ------
    DataError
        If the two are not over the same coordinates, or families not at the same points.
    """
    if reference is None or not has(reference, one.name):
        return None
    theirs = trace(reference, one.name).values
    names = dimensions(dataset)
    if dimensions(reference) != names:
        raise DataError(f"the reference is over {dimensions(reference)}, the dataset over {names}")
    grids = [(dataset[name].values, reference[name].values) for name in names]
    if all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12 * np.abs(b).max()) for a, b in grids):
        return theirs
    if len(grids) != 1:
        raise DataError("the reference has a family at other points than the dataset")
    order = np.argsort(grids[0][1], kind="stable")
    return np.interp(grids[0][0], grids[0][1][order], theirs[order], left=np.nan, right=np.nan)


def line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A line, with a dot where there is a single point."""
    marker = "o" if np.count_nonzero(np.isfinite(y)) <= 1 else ""
    ax.plot(x, y, **{"linewidth": 1.4, "marker": marker, "markersize": 4, **style})


def overlaid(every: Sequence[np.ndarray], dashes: Sequence[Any]) -> list[Any]:
    """Dashes with gaps for curves that lie on earlier ones, so that both are seen."""
    finite = np.concatenate([np.ravel(y)[np.isfinite(np.ravel(y))] for y in every])
    near = 0.01 * float(np.ptp(finite)) if finite.size else 0.0
    found: list[Any] = []
    for k, y in enumerate(every):
        same = [np.isfinite(y) & np.isfinite(z) & (np.abs(y - z) <= near) for z in every[:k]]
        count = sum(bool(np.mean(s) > 0.98) for s in same)
        found.append((0, (4.0, 4.0 * count)) if count and dashes[k] == "-" else dashes[k])
    return found


def marks(ax: Axes, x: Abscissa, y: np.ndarray | None, turn: float, count: int = MARKS) -> None:
    """The reference."""
    if y is not None:
        k = x.sparse(turn, count)
        ax.plot(x.values[k], y[k], **MARK)


MARK: dict[str, Any] = {
    "color": INK, "linestyle": "", "marker": "o", "markersize": 3.2, "markerfacecolor": "white",
    "markeredgewidth": 0.8, "zorder": 5,
}  # fmt: skip


def plain_row(shown: Sequence[Curve], x: Abscissa, label: str, unit: str, height: float) -> Row:
    """Curves of one unit."""

    def draw(ax: Axes) -> None:
        every = [v for c in shown for v in (c.trace.values, c.reference) if v is not None]
        factor, prefixed = scaled(ROOM * np.concatenate(every), unit)
        dashes = overlaid([c.trace.values for c in shown], [c.dash for c in shown])
        for k, (c, dash) in enumerate(zip(shown, dashes, strict=True)):
            line(ax, x.values, c.trace.values * factor, color=c.color, linestyle=dash, label=short(c.trace.name))
            if c.reference is not None:
                marks(ax, x, c.reference * factor, (k + 0.5) / len(shown))
        describe(ax, "", with_unit(label, prefixed))
        beside(ax)
        x.dress(ax)
        flag(ax, (c.trace.values for c in shown))

    return Row(height, draw)


def difference_rows(shown: Sequence[Curve], x: Abscissa) -> list[Row]:
    """The differences over the largest shown value of their unit, where there is a reference; one row or none."""
    compared = [c for c in shown if c.reference is not None]
    if not compared:
        return []
    scale = full_scales(compared)
    lines = [(c.difference / scale[c.trace.unit], c.color, c.dash) for c in compared]
    return [log_difference(lines, x, "difference\n/ largest shown")]


def log_difference(lines: Sequence[tuple[np.ndarray, str, Any]], x: Abscissa, label: str) -> Row:
    """Differences on a logarithmic axis, the largest one said."""

    def draw(ax: Axes) -> None:
        for values, color, dash in lines:
            line(ax, x.values, np.where(values > 0, values, np.nan), color=color, linestyle=dash, linewidth=1.0)
        describe(ax, "", label)
        x.dress(ax)
        largest(ax, ax.yaxis, np.concatenate([np.ravel(values) for values, *_ in lines]))

    return Row(0.85, draw)


def largest(ax: Axes, axis: Any, values: np.ndarray) -> None:
    """A logarithmic axis of differences, the largest one said, or that there is none."""
    finite = values[np.isfinite(values)]
    if not np.any(finite > 0):
        ax.text(0.5, 0.5, "no difference" if finite.size else "nothing to compare", transform=ax.transAxes,
                ha="center", va="center", fontsize=SMALL, color=INK)  # fmt: skip
        axis.set_major_locator(NullLocator())
        return
    worst = float(finite.max())
    low = max(float(finite[finite > 0].min()), worst * 1e-5, min(worst, 1e-18))
    (ax.set_yscale if axis is ax.yaxis else ax.set_xscale)("log")
    (ax.set_ylim if axis is ax.yaxis else ax.set_xlim)(
        10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(worst * 1.3))
    )
    axis.set_major_locator(LogLocator(10, numticks=4))
    axis.set_minor_locator(NullLocator())
    ax.set_title(f"largest {worst:.1e}", loc="right", fontsize=SMALL, color=INK, pad=2)


def full_scales(compared: Iterable[Curve]) -> dict[str, float]:
    """Largest magnitude of the reference for each unit."""
    scale: dict[str, float] = {}
    for c in compared:
        assert c.reference is not None
        found = np.abs(c.reference)[np.isfinite(c.reference)]
        scale[c.trace.unit] = max(scale.get(c.trace.unit, 0.0), float(found.max(initial=0.0)))
    return {unit: value or 1.0 for unit, value in scale.items()}


def beside(ax: Axes, **options: Any) -> None:
    """A legend right of the axes."""
    legend(ax, loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0.0, title_fontsize=SMALL, **options)


def flag(ax: Axes, every: Iterable[np.ndarray]) -> None:
    """Say how many curves have values that are not finite."""
    broken = [not np.isfinite(values).all() for values in every]
    if any(broken):
        warn(ax, f"{sum(broken)} of {len(broken)} curves are not finite throughout")
