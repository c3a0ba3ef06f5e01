"""What the circuit tests share: units, small stages, dense equations written apart from the package, ngspice runs."""

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist.element import GROUND, HELD
from analogep.netlist.elements import Capacitor, Resistor, Summer, VSource
from analogep.netlist.spice.write import write
from analogep.netlist.subcircuit import flatten
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.settle import SettleOptions, settle
from analogep.units import Scale

SCALE = Scale(volts=0.1, siemens=1e-5, farads=1e-14)
EXACT = {"method": "trap", "reltol": 1e-9, "abstol": 1e-18, "vntol": 1e-12, "chgtol": 1e-24, "trtol": 1}


def load(bus, siemens=1e-5, farads=1e-14):
    """A leak and a capacitor to ground."""
    return Resistor(f"{bus}.r", bus, GROUND, siemens), Capacitor(f"{bus}.c", bus, GROUND, farads)


def weights(shape, seed=0, gain=1.0):
    """Signed conductances around 10 uS, scaled by the fan-in."""
    return gain * SCALE.siemens * np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[-1])


def settled(netlist):
    """Voltages of all buses of the circuit at rest."""
    circuit = Circuit(netlist, SCALE)
    result = settle(circuit, {}, circuit.theta, options=SettleOptions(tolerance=1e-9)).require("the test circuit")
    return {bus: np.asarray(v) for bus, v in circuit.voltages(result.v, {}, circuit.theta).items()}


def unknown_buses(netlist):
    fixed = {e.a for e in netlist if isinstance(e, VSource)}
    return [bus for bus in netlist.buses if bus not in fixed]


def references(netlist):
    """Bus -> reference conductance of the defining equation of each ideally driven bus."""
    return {bus: getattr(e, "reference", 1.0) for e in netlist for bus in e.forces if not isinstance(e, VSource)}


def flatten_nodes(netlist, values, buses=None):
    """The nodes that exist, bus after bus, as one vector."""
    buses = unknown_buses(netlist) if buses is None else buses
    return jnp.concatenate([jnp.ravel(jnp.asarray(values[bus]))[netlist.buses[bus].indices] for bus in buses])


def unflatten_nodes(netlist, vector, buses=None):
    out, start = {}, 0
    for bus in unknown_buses(netlist) if buses is None else buses:
        shape = netlist.buses[bus]
        full = jnp.zeros(shape.size).at[shape.indices].set(vector[start : start + shape.nodes])
        out[bus], start = full.reshape(shape.shape), start + shape.nodes
    return out


def equations(netlist, flat, rails, theta):
    """KCL at every node, v - f(v) times a reference conductance at driven ones; straight from the elements' laws."""
    v = {**rails, **unflatten_nodes(netlist, flat)}
    rows = {bus: jnp.zeros(netlist.shape(bus)) for bus in unknown_buses(netlist)}
    for element in netlist:
        if isinstance(element, Summer):
            rows[element.a] = rows[element.a] + element.siemens * v[element.a]
        for bus, current in element.currents(v, theta, 0.0).items():
            if bus in rows:
                rows[bus] = rows[bus] + current
    for element in netlist:
        for bus, g in references(netlist).items():
            if bus in element.forces:
                rows[bus] = g * (v[bus] - element.forced(v, theta, 0.0))
    return flatten_nodes(netlist, rows)


def solve_dense(netlist, batch, iterations=30):
    """Newton's method from 0 V on the dense equations, for a batch of arrays (leading axis).

    Returns the voltages of the first row by bus, the nodes at rest [batch, n], the currents left, and G [batch, n, n].
    """
    rails = {
        e.a: jnp.broadcast_to(e.forced({}, {}, 0.0), netlist.shape(e.a)) for e in netlist if isinstance(e, VSource)
    }
    count = sum(netlist.buses[bus].nodes for bus in unknown_buses(netlist))
    rows = len(next(iter(batch.values()), [0]))

    def residual(x, theta):
        i = equations(netlist, x, rails, theta)
        return i, i

    linearize = jax.jit(jax.vmap(jax.jacfwd(residual, has_aux=True), axis_size=rows))
    x, moved = np.zeros((rows, count)), np.inf
    for _ in range(iterations):
        g, i = map(np.asarray, linearize(x, batch))
        if moved < 1e-14:
            break
        step = np.linalg.solve(g, i[..., None])[..., 0]
        x, moved = x - step, np.abs(step).max()
    at_rest = {bus: np.asarray(v) for bus, v in (rails | unflatten_nodes(netlist, x[0])).items()}
    return at_rest, x, i, g


def spice_op(netlist, held=None):
    """Operating point of every bus in ngspice, 0 at nodes that are not built."""
    (plot,) = run_deck(write(netlist, [".op"], held=held, options=EXACT))
    return gather(netlist, lambda node: plot.data[f"v({node.lower()})"][0])


def gather(netlist, voltage):
    """Bus -> array of `voltage(node name)`."""
    out = {}
    for name, bus in flatten(netlist).buses.items():
        if name.startswith(HELD):
            continue
        label = spice_name(netlist, name)
        values = np.zeros(bus.size)
        values[bus.indices] = [voltage(node) for node in bus.labels(label)]
        out[name] = values.reshape(bus.shape)
    return out


def spice_name(netlist, bus):
    """Node name in ngspice: inside an instance `sub.node` it is called `xsub.node`, each level with its x."""
    if bus in netlist.buses:
        return bus
    *path, node = bus.split(".")
    return ".".join([*(f"x{part}" for part in path), node])


def worst(a, b):
    """Largest difference of two dictionaries of voltages over the full scale."""
    full = max(np.abs(value).max(initial=0) for value in a.values())
    return max(np.abs(a[bus] - b[bus]).max(initial=0) for bus in a) / full
