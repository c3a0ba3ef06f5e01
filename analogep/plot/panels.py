"""One SPICE analysis as rows of axes: operating point, sweeps, amplitudes over frequency, waveforms, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MultipleLocator

from analogep.errors import DataError
from analogep.plot.curves import (
    MARK,
    ROOM,
    Abscissa,
    Curve,
    Panel,
    Row,
    beside,
    curves,
    difference_rows,
    flag,
    full_scales,
    largest,
    line,
    log_difference,
    marks,
    overlaid,
    plain_row,
    quantity,
    scaled,
    short,
    with_unit,
)
from analogep.plot.noise import noise
from analogep.plot.signals import COUNT, Trace, dimensions, kind_of, levels, steady, traces
from analogep.plot.style import BLUE, GRAY, INK, LABEL, SMALL, describe, shades, split, warn

CURVES, BARS, FAMILIES, LEGEND = 12, 16, 4, 8
"""Most curves in one row, bars, rows of families, and outer values before a color scale takes the legend's place."""
DEEPEST = 200.0
"""Decibels below the largest magnitude where a panel ends."""
_LABELS = {"V": "voltage", "A": "current"}


def panel(dataset: xr.Dataset, reference: xr.Dataset | None, asked: Sequence[str]) -> Panel:
    """The panel of one analysis; `reference` is the same analysis by another simulator.

    Raises
    ------
    DataError
        If the dataset is empty or the reference does not fit it.
    """
    kind = kind_of(dataset)
    if reference is not None and kind_of(reference) != kind:
        raise DataError(f"the reference of the {kind} dataset is of {reference.attrs['analysis']}")
    if kind == "noise":
        return noise(dataset, reference)
    if kind == "op":
        return _operating_point(dataset, reference, asked)
    drawn = FAMILIES if len(dimensions(dataset)) == 2 else CURVES
    chosen, hidden = traces(dataset, asked, min(drawn, COUNT))
    hidden += max(len(chosen) - drawn, 0)
    shown, x = curves(dataset, reference, chosen[:drawn]), Abscissa.of(dataset)
    note = f"{hidden} more {'signals' if asked else 'moving nodes'} not shown" if hidden else ""
    if kind == "ac":
        return Panel("AC response", _ac(dataset, shown, x), x.label, note)
    if len(dimensions(dataset)) == 2:
        outer = dimensions(dataset)[0]
        return Panel(f"DC sweep of {x.name} and {outer}", _families(dataset, shown, x), x.label, note)
    units = list(dict.fromkeys(c.trace.unit for c in shown))
    heights = [2.6] if len(units) == 1 else [1.9, 1.4]
    rows = [
        plain_row([c for c in shown if c.trace.unit == unit], x, _LABELS[unit], unit, height)
        for unit, height in zip(units, heights, strict=True)
    ]
    title = f"DC sweep of {x.name}" if kind == "dc" else "Transient"
    return Panel(title, rows + difference_rows(shown, x), x.label, note)


def _operating_point(dataset: xr.Dataset, reference: xr.Dataset | None, asked: Sequence[str]) -> Panel:
    """Bars, the largest first, those of currents in a row of their own."""
    every = curves(dataset, reference, levels(dataset, asked))
    rows, notes = [], []
    for unit in dict.fromkeys(c.trace.unit for c in every):
        mine = [c for c in every if c.trace.unit == unit]
        sizes = np.array([abs(float(c.trace.values)) for c in mine])
        full = np.max(sizes, initial=0.0, where=np.isfinite(sizes)) or 1.0
        # what is not finite first; rounded, so that equal nodes keep their order
        order = np.argsort(-np.round(np.nan_to_num(sizes / full, nan=np.inf), 6), kind="stable")
        shown = [mine[k] for k in order]
        rest = shown[BARS:]
        if rest:
            what = "nodes" if unit == "V" else "currents"
            notes.append(f"{len(rest)} more {what}, none above {quantity(abs(float(rest[0].trace.values)), unit, 3)}")
        # with a reference the row holds two axes, and their labels
        around = 1.0 if any(c.reference is not None for c in shown) else 0.2
        rows.append(Row(around + 0.19 * len(shown[:BARS]), _bars(shown[:BARS], unit)))
    return Panel("Operating point", rows, note="; ".join(notes))


def _bars(shown: Sequence[Curve], unit: str) -> Callable[[Axes], None]:
    def draw(ax: Axes) -> None:
        values = np.array([float(c.trace.values) for c in shown])
        full = np.max(np.abs(values), initial=0.0, where=np.isfinite(values))
        factor, prefixed = scaled(ROOM * values, unit)
        places = list(range(len(shown)))
        ax.barh(places, np.where(np.isfinite(values), values, 0.0) * factor, height=0.62, color=BLUE, alpha=0.85)
        for place, value in zip(places, values, strict=True):
            text = (
                "not finite" if not np.isfinite(value) else quantity(value if abs(value) > 1e-12 * full else 0.0, unit)
            )
            ax.text(1.015, place, text.replace("-", "−"), transform=ax.get_yaxis_transform(), va="center",
                    fontsize=SMALL, color=INK)  # fmt: skip
        ax.axvline(0, color=GRAY, linewidth=0.8)
        ax.set_yticks(places, [short(c.trace.name) for c in shown])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        if full == 0:
            ax.set_xlim(-0.05, 1)
        describe(ax, with_unit(_LABELS[unit], prefixed), "")
        if not np.isfinite(values).all():
            warn(ax, f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are not finite")
        compared = [(place, c) for place, c in zip(places, shown, strict=True) if c.reference is not None]
        if compared:
            ax.plot([float(np.asarray(c.reference)) * factor for _, c in compared], [p for p, _ in compared], **MARK)
            _beside_bars(ax, compared, unit)

    return draw


def _beside_bars(ax: Axes, compared: Sequence[tuple[int, Curve]], unit: str) -> None:
    """Differences right of the bars."""
    right = split(ax, 1, 2, ratios=(2.6, 1))
    relative = np.array([float(c.difference) for _, c in compared]) / full_scales([c for _, c in compared])[unit]
    right.plot(
        np.where(relative > 0, relative, np.nan), [place for place, _ in compared], "o", color=BLUE, markersize=4
    )
    right.set_ylim(ax.get_ylim())
    right.set_yticks(ax.get_yticks(), [])
    right.tick_params(axis="y", length=0)
    describe(right, "difference / largest shown", "")
    largest(right, right.xaxis, relative)


def _ac(dataset: xr.Dataset, shown: Sequence[Curve], x: Abscissa) -> list[Row]:
    """Magnitudes in decibels, a row for each unit, and phases."""
    units = list(dict.fromkeys(c.trace.unit for c in shown))
    source = next((t for t in levels(dataset, ()) if steady(t.values)), None) if "V" in units else None
    if source is not None and any(c.trace.name == source.name for c in shown):
        source = None
    rows = [_magnitude([c for c in shown if c.trace.unit == u], x, u, source if u == "V" else None) for u in units]
    return [*rows, _phase(shown, x), *difference_rows(shown, x)]


def _magnitude(shown: Sequence[Curve], x: Abscissa, unit: str, source: Trace | None) -> Row:
    def draw(ax: Axes) -> None:
        every = [_decibels(c.trace.values) for c in shown]
        for k, (c, y, dash) in enumerate(zip(shown, every, overlaid(every, [c.dash for c in shown]), strict=True)):
            label = short(c.trace.name) + ("" if np.any(np.abs(c.trace.values) > 0) else " = 0")
            line(ax, x.values, y, color=c.color, linestyle=dash, label=label)
            if c.reference is not None:
                marks(ax, x, _decibels(c.reference), (k + 0.5) / len(shown))
        if source is not None:
            label = f"{short(source.name)} = {quantity(float(abs(source.values[0])), unit)}"
            line(ax, x.values, _decibels(source.values), color=GRAY, linestyle=(0, (4, 3)), linewidth=1.0, label=label)
        top = max(np.max(y, initial=-np.inf, where=np.isfinite(y)) for y in every)
        if ax.get_ylim()[0] < top - DEEPEST:
            ax.set_ylim(bottom=top - DEEPEST)
        describe(ax, "", f"magnitude (dB re 1 {unit})")
        beside(ax)
        x.dress(ax)
        flag(ax, (c.trace.values for c in shown))

    return Row(1.9, draw)


def _phase(shown: Sequence[Curve], x: Abscissa) -> Row:
    def draw(ax: Axes) -> None:
        every = [_degrees(c.trace.values) for c in shown]
        for k, (c, y, dash) in enumerate(zip(shown, every, overlaid(every, [c.dash for c in shown]), strict=True)):
            line(ax, x.values, y, color=c.color, linestyle=dash)
            if c.reference is not None:
                apart = np.degrees(np.angle(c.reference)) - y
                marks(ax, x, y + (apart + 180) % 360 - 180, (k + 0.5) / len(shown))
        low, high = ax.get_ylim()
        if high - low < 10:
            low, high = (low + high) / 2 - 10, (low + high) / 2 + 10
            ax.set_ylim(low, high)
        step = next((s for s in (5, 15, 30, 45, 90, 180, 360, 720) if high - low <= 5 * s), 1800)
        ax.yaxis.set_major_locator(MultipleLocator(step))
        describe(ax, "", "phase (°)")
        x.dress(ax)

    return Row(1.3, draw)


def _decibels(values: np.ndarray) -> np.ndarray:
    size = np.abs(values)
    return 20 * np.log10(np.where(size > 0, size, np.nan))


def _degrees(values: np.ndarray) -> np.ndarray:
    """Phase without jumps; none where there is nothing but rounding."""
    size = np.abs(values)
    heard = np.isfinite(size) & (size > 1e-14 * np.max(size, initial=0.0, where=np.isfinite(size)))
    found = np.full(values.shape, np.nan)
    found[heard] = np.unwrap(np.degrees(np.angle(values[heard])), period=360)
    return found


def _families(dataset: xr.Dataset, shown: Sequence[Curve], x: Abscissa) -> list[Row]:
    """A row for each signal, a color for each value of the outer source."""
    name = dimensions(dataset)[0]
    values = np.asarray(dataset[name].values, float)
    factor, unit = scaled(values, str(dataset[name].attrs.get("units", "")))
    colors = shades(len(values))

    def row(c: Curve, first: bool) -> Row:
        def draw(ax: Axes) -> None:
            scale, prefixed = scaled(ROOM * c.trace.values, c.trace.unit)
            few = len(values) <= LEGEND
            for k, color in enumerate(colors):
                label = f"{values[k] * factor:.4g} {unit}".replace("-", "−") if few and first else None
                line(ax, x.values, c.trace.values[k] * scale, color=color, label=label)
                if c.reference is not None:
                    marks(ax, x, c.reference[k] * scale, (k + 0.5) / len(values), 12)
            describe(ax, "", with_unit(short(c.trace.name), prefixed))
            x.dress(ax)
            flag(ax, c.trace.values)
            if few:
                beside(ax, title=name)
            else:
                figure = ax.get_figure(root=True)
                assert figure is not None
                norm = Normalize(float(values.min()) * factor, float(values.max()) * factor)
                ordered = colors if values[0] <= values[-1] else colors[::-1]
                bar = figure.colorbar(ScalarMappable(norm, ListedColormap(ordered)), ax=ax, pad=0.02, aspect=18)
                bar.set_label(with_unit(name, unit), fontsize=LABEL, color=INK)
                bar.ax.tick_params(colors=GRAY, labelcolor=INK, labelsize=SMALL)

        return Row(2.6 if len(shown) == 1 else 1.8, draw)

    rows = [row(c, k == 0) for k, c in enumerate(shown)]
    compared = [c for c in shown if c.reference is not None]
    if compared:
        scale = full_scales(compared)
        lines = [
            (part / scale[c.trace.unit], color, c.dash)
            for c in compared
            for part, color in zip(c.difference, colors, strict=True)
        ]
        rows.append(log_difference(lines, x, "difference\n/ largest shown"))
    return rows
