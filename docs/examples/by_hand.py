"""A circuit by hand: two RC nodes and a one-way amplifier, its rest state, its adjoint, its deck."""

import numpy as np

from analogep.errors import MissingToolError
from analogep.netlist.adjoint import adjoint
from analogep.netlist.elements import VCCS, Capacitor, ISource, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.reference import check_operating_point, operating_point_deck
from analogep.simulate.settle import settle
from analogep.units import Scale

netlist = Netlist({"a": Bus(), "b": Bus()}, {}, {"gm": np.array(3e-5)}, "two RC nodes").add(
    Resistor("Ra", "a", "0", siemens=1e-5),
    Resistor("Rb", "b", "0", siemens=1e-5),
    Capacitor("Ca", "a", "0", farads=1e-14),
    Capacitor("Cb", "b", "0", farads=1e-14),
    ISource("x", "0", "a", 1e-6),  # 1 uA into a
    VCCS("amp", "b", "0", "a", "0", siemens="gm"),  # draws gm * v_a out of b; gm is programmable
)
scale = Scale(volts=0.1, siemens=1e-5, farads=1e-14)  # tau = 1 ns

circuit = Circuit(netlist, scale)
rest = settle(circuit, {}, circuit.theta).require("the circuit")
print(f"v_a = {float(rest.v['a']):+.3f} V, v_b = {float(rest.v['b']):+.3f} V, residual {float(rest.residual):.1e}")

# The loss is L = v_b: dL/dv is 1 at b, so -1 A per volt of loss is injected there (scaled to 1 uA).
unit = 1e-6
twin = Circuit(adjoint(netlist, outputs=("b",)), scale)
lam = settle(twin, {}, twin.theta, sources={"b": -unit}).require("the adjoint network")
voltages = twin.voltages(lam.v, {}, twin.theta, 0.0, {"b": -unit})
gradient = netlist.elements["amp"].local_product(rest.v, voltages) / unit
print(f"dL/dgm: local {float(gradient):+.4e} V/S, by hand -v_a/g_b = {-0.1 / 1e-5:+.4e} V/S")

print(operating_point_deck(netlist))
try:
    agreement = check_operating_point(netlist, circuit.voltages(rest.v, {}, circuit.theta))
    print(f"against ngspice: {agreement.error:.1e} of full scale at node {agreement.node}")
except MissingToolError as error:
    print(error)
