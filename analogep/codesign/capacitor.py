"""The smallest damping capacitor that is safe: noise wants it large, settling and energy small, stability decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from analogep.codesign.cost import bars, node_noise
from analogep.codesign.hardware import Hardware
from analogep.codesign.operating import OperatingPoint, full_scale, node_farads, settling_seconds
from analogep.compile.transformer import STATE
from analogep.diagnostics.analyzed import Analyzed
from analogep.errors import ConvergenceError, SpecError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System

FARADS = "damping.farads"
"""Where theta holds the damping capacitor."""
GRID = 9
"""Capacitors at which margins are looked at before the bisection."""
RATIO = 1.02
"""Two capacitors as close as this count as equal."""


class WithDamping(System):
    """A circuit whose damping capacitor is a number in theta, so that another one compiles nothing anew."""

    def __init__(self, base: Circuit) -> None:
        self.base = base
        self.states, self.capacitance = base.states, base.capacitance
        self.theta, self.scale = base.theta, base.scale

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        return self.base.current(v, x, theta, t, sources)

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return self.base.voltages(v, x, theta, t, sources)

    def rate(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        i = self.current(v, x, theta, t, sources)
        return {bus: -i[bus] / (theta[FARADS] if bus == STATE else self.capacitance[bus]) for bus in self.states}


@dataclass(frozen=True)
class Choice:
    """Result of the search.

    Attributes
    ----------
    farads : smallest capacitor at which every limit holds; None if there is none in the range.
    upper : largest one up to which they go on holding, as far as was looked; None if there is none.
    searched : range (farads).
    binding : the limit that fails just below `farads`, or that is farthest from holding where nothing is safe.
    monotone : margin -> whether it only rises or only falls with the capacitor.
    grid : capacitors (farads) and margins that were looked at.
    reason : in words.
    """

    farads: float | None
    upper: float | None
    searched: tuple[float, float]
    binding: str
    monotone: Mapping[str, bool]
    grid: Mapping[str, np.ndarray]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "farads": self.farads, "upper": self.upper, "searched": list(self.searched), "binding": self.binding,
            "monotone": dict(self.monotone), "grid": {k: v.tolist() for k, v in self.grid.items()},
            "reason": self.reason,
        }  # fmt: skip


Margins = Callable[[float], Mapping[str, float]]


def search(margins: Margins, low: float, high: float) -> Choice:
    """The smallest capacitor in low ... high at which no margin is negative.

    Margins are looked at on a logarithmic grid first, which shows whether they are monotone; then the edge of the
    first safe stretch is bisected. With margins that are not monotone that is the smallest safe one of the grid's
    resolution, and `monotone` says so.

    Parameters
    ----------
    margins : farads -> margin of each limit, negative where it fails; nan counts as failing.
    """
    if not 0 < low < high:
        raise SpecError(f"capacitors {low:g} ... {high:g} F are no range; give 0 < low < high")
    sizes = np.geomspace(low, high, GRID)
    looked = [dict(margins(float(c))) for c in sizes]
    names = list(looked[0])
    table = {name: np.array([row[name] for row in looked]) for name in names}
    safe = np.array([_safe(row) for row in looked])
    monotone = {name: _monotone(values) for name, values in table.items()}
    grid = {"farads": sizes, **table}
    note = ", ".join(name for name in names if not monotone[name])
    note = f"; not monotone in the capacitor: {note}" if note else ""
    if not safe.any():
        worst = [min(row, key=lambda name: _number(row[name])) for row in looked]
        best = int(np.argmax([_number(row[name]) for row, name in zip(looked, worst, strict=True)]))
        reason = f"none is safe: at best ({sizes[best]:.3g} F) {worst[best]} fails{note}"
        return Choice(None, None, (low, high), worst[best], monotone, grid, reason)
    first = int(np.argmax(safe))
    last = first + int(np.argmin(np.append(safe[first:], False))) - 1
    binding, farads = "range", float(sizes[0])
    if first:
        bad, good = float(sizes[first - 1]), float(sizes[first])
        failing = looked[first - 1]
        while good / bad > RATIO:
            middle = float(np.sqrt(good * bad))
            row = dict(margins(middle))
            if _safe(row):
                good = middle
            else:
                bad, failing = middle, row
        binding, farads = min(failing, key=lambda name: _number(failing[name])), good
    reason = f"below {farads:.3g} F {binding} fails" if first else f"safe from the smallest one looked at, {low:.3g} F"
    return Choice(farads, float(sizes[last]), (low, high), binding, monotone, grid, reason + note)


def _number(value: float) -> float:
    return value if np.isfinite(value) else -np.inf


def _safe(row: Mapping[str, float]) -> bool:
    return all(value >= 0 for value in row.values())


def _monotone(values: np.ndarray) -> bool:
    steps = np.diff(values[np.isfinite(values)])
    slack = 1e-6 * float(np.ptp(values[np.isfinite(values)]) if len(steps) else 0.0)
    return bool(np.all(steps >= -slack) or np.all(steps <= slack))


def damping_margins(
    point: OperatingPoint, hardware: Hardware, *, settling: float, decay: float, nudge_to_noise: float
) -> Margins:
    """Margins of the limits that the damping capacitor decides, all else as it is: cells keep their own capacitors.

    Parameters
    ----------
    settling : longest settling time (seconds).
    decay : smallest -alpha, in units of g0 over the damping capacitor that is looked at.
    nudge_to_noise : smallest margin of the nudge over thermal noise.
    """
    circuit = point.circuit
    part = Analyzed(circuit)
    conductance = part.conductance(
        {bus: point.voltages[bus] for bus in circuit.states}, dict(point.x), dict(point.theta)
    )
    stored = np.array(part.capacitance, float)
    states = np.concatenate([np.full(bus.nodes, name == STATE) for name, bus in part.buses.items()])
    blocks = _blocks(conductance)
    system, half_lsb = WithDamping(circuit), full_scale(point) / 2**hardware.adc_bits
    farads = node_farads(point)
    targets = sorted({bus for e, _, _ in bars(point) for bus in e.drives})
    moved = np.sqrt(np.mean(np.concatenate([np.ravel(point.displacement[bus]) for bus in targets]) ** 2))
    nominal = float(np.max(farads[STATE]))

    def margins(c: float) -> dict[str, float]:
        caps = np.where(states, c, stored)
        alpha = max(float(np.linalg.eigvals(-conductance[np.ix_(b, b)] / caps[b, None]).real.max()) for b in blocks)
        rate = -alpha * c / point.compiled.scale.siemens
        noise = np.concatenate(
            [
                np.ravel(node_noise(np.full(farads[b].shape, c) if b == STATE else farads[b], hardware.device.kelvin))
                for b in targets
            ]
        )
        over = moved / np.sqrt(np.mean(2 * noise**2)) * np.sqrt(hardware.repeats)
        time = float("nan")
        if alpha < 0:
            theta = {**point.theta, FARADS: c}
            try:
                time = settling_seconds(
                    system, point.x, theta, point.voltages, half_lsb, horizon=60.0 * max(c / nominal, 1.0)
                )
            except ConvergenceError:  # not within the horizon: the margin is not a number, which fails
                time = float("nan")
        return {
            "settling_time": 1 - time / settling,
            "decay": (rate - decay) / decay,
            "nudge_to_noise": float(over / nudge_to_noise - 1),
        }

    return margins


def _blocks(matrix: np.ndarray) -> list[np.ndarray]:
    """Indices of the diagonal blocks of a matrix that can be permuted to block-triangular form: their eigenvalues are
    its eigenvalues. Tokens of a causal circuit are such blocks."""
    count, label = connected_components(matrix != 0, directed=True, connection="strong")
    return [np.flatnonzero(label == k) for k in range(count)]
