"""ngspice as the reference: the same netlist in both simulators, compared node by node."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import jax
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.spice.raw import Plot
from analogep.netlist.spice.write import write
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.transient import transient

OPTIONS: dict[str, str | float] = {
    "method": "trap",
    "reltol": 1e-6,
    "abstol": 1e-18,
    "vntol": 1e-10,
    "chgtol": 1e-24,
    "trtol": 7.0,
}
"""Newton and step tolerances for femtofarads and microamperes; the defaults are made for picofarads and up."""


SETTLED_LIMIT, TRANSIENT_LIMIT = 1e-6, 1e-4
"""Differences, of full scale, up to which the two simulators count as agreeing."""


@dataclass(frozen=True)
class NodeError:
    """Agreement of two simulators.

    Attributes
    ----------
    error : largest difference over all nodes (and times), relative to `full_scale`.
    node : where it is.
    full_scale : largest voltage (volts).
    nodes : number of nodes compared.
    seconds, reference_seconds : wall time of analogep (compiled) and of ngspice.
    """

    error: float
    node: str
    full_scale: float
    nodes: int
    seconds: float
    reference_seconds: float

    @property
    def speedup(self) -> float:
        """ngspice's time over ours."""
        return self.reference_seconds / self.seconds


def with_inputs(netlist: Netlist, x: Voltages) -> Netlist:
    """The netlist with its input rails at the voltages x."""
    rails = [e for e in netlist if isinstance(e, VSource) and e.a in x]
    return netlist.replace_elements(*(replace(e, value=np.asarray(x[e.a])) for e in rails))


def operating_point_deck(netlist: Netlist, *, held: Voltages | None = None, dialect: str = "ngspice") -> str:
    """Deck that solves for the operating point."""
    return write(netlist, [".op"], held=held, options=OPTIONS, dialect=dialect)


def transient_deck(netlist: Netlist, t_end: float, *, step: float) -> str:
    """Deck of a transient from 0 V."""
    return write(netlist, [f".tran {step:.17g} {t_end:.17g} 0 {step:.17g} uic"], options=OPTIONS)


def node_table(netlist: Netlist, voltages: Voltages) -> tuple[list[str], np.ndarray]:
    """Scalar node names and voltages of all nodes that exist; leading axes of the arrays (time) are kept."""
    names, columns = [], []
    for name, bus in netlist.buses.items():
        values = np.asarray(voltages[name])
        lead = values.shape[: values.ndim - len(bus.shape)]
        columns.append(values.reshape(*lead, -1)[..., bus.indices])
        names += bus.labels(name)
    return names, np.concatenate(columns, axis=-1)


def _read(plot: Plot, names: list[str]) -> np.ndarray:
    missing = [name for name in names if f"v({name.lower()})" not in plot.data]
    if missing:
        raise NetlistError(f"ngspice's raw file has no node {missing[0]!r}")
    return np.stack([np.real(plot.data[f"v({name.lower()})"]) for name in names], axis=-1)


def _worst(names: list[str], ours: np.ndarray, theirs: np.ndarray, seconds: float, reference: float) -> NodeError:
    scale = float(np.abs(theirs).max())
    each = np.abs(ours - theirs).reshape(-1, len(names)).max(0)
    at = int(np.argmax(each))
    return NodeError(float(each[at]) / scale, names[at], scale, len(names), seconds, reference)


def check_operating_point(
    netlist: Netlist, voltages: Voltages, *, held: Voltages | None = None, seconds: float = float("nan")
) -> NodeError:
    """Compare settled voltages of all buses with ngspice's operating point.

    Parameters
    ----------
    netlist : with its inputs set.
    voltages : ours, all buses.
    held : operating point of the circuit whose adjoint the netlist is.
    seconds : what ours took.
    """
    live = replace(netlist, buses={n: b for n, b in netlist.buses.items() if held is None or not n.startswith("free.")})
    deck = operating_point_deck(netlist, held=held)
    begin = time.perf_counter()
    plot = run_deck(deck)[0]
    reference = time.perf_counter() - begin
    names, ours = node_table(live, voltages)
    return _worst(names, ours, _read(plot, names)[-1], seconds, reference)


@dataclass(frozen=True)
class Overlay:
    """Waveforms of all nodes from both simulators at common times (seconds, volts)."""

    times: np.ndarray
    names: list[str]
    ours: np.ndarray
    theirs: np.ndarray
    agreement: NodeError


def check_transient(
    circuit: Circuit,
    x: Voltages,
    theta: Parameters,
    *,
    horizon: float = 10.0,
    points: int = 200,
    step: float = 0.5,
    rtol: float = 1e-7,
) -> Overlay:
    """Run a transient from 0 V in both simulators.

    Parameters
    ----------
    horizon : end time in units of tau.
    points : times at which nodes are compared, spread over ngspice's own time points.
    step : ngspice's largest step in units of tau.
    rtol : our relative tolerance.
    """
    plot, seconds = run_transient(circuit, x, theta, horizon=horizon, step=step)
    return overlay_transient(circuit, x, theta, plot, seconds, points=points, rtol=rtol)


def run_transient(
    circuit: Circuit, x: Voltages, theta: Parameters, *, horizon: float, step: float = 0.5
) -> tuple[Plot, float]:
    """ngspice's transient from 0 V, and the seconds that it took; arguments as for `check_transient`."""
    netlist, tau = with_inputs(circuit.netlist, x).with_arrays(theta), circuit.scale.seconds
    deck = transient_deck(netlist, horizon * tau, step=step * tau)
    begin = time.perf_counter()
    plot = run_deck(deck)[0]
    return plot, time.perf_counter() - begin


def overlay_transient(
    circuit: Circuit, x: Voltages, theta: Parameters, plot: Plot, reference_seconds: float, *, points: int, rtol: float
) -> Overlay:
    """Our transient at ngspice's time points, and the worst node."""
    taken = np.linspace(1, len(plot.data["time"]) - 1, points).astype(int)
    times = np.real(plot.data["time"])[taken]

    def ours() -> dict[str, Array]:
        return jax.block_until_ready(transient(circuit, times, x, theta, rtol=rtol).v)

    ours()  # compile
    begin = time.perf_counter()
    states = ours()
    seconds = time.perf_counter() - begin
    voltages = jax.jit(jax.vmap(lambda v: circuit.voltages(v, x, theta)))(states)
    rails = {bus: np.broadcast_to(value, (len(times), *circuit.netlist.shape(bus))) for bus, value in voltages.items()}
    names, mine = node_table(circuit.netlist, rails)
    theirs = _read(plot, names)[taken]
    return Overlay(times, names, mine, theirs, _worst(names, mine, theirs, seconds, reference_seconds))
