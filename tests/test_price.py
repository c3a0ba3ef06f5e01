"""Prices are counted: small circuits whose parts can be counted by hand."""

import numpy as np
import pytest
from dense_circuits import SCALE
from small_networks import N, network

from analogep.compile import compile_transformer
from analogep.ep.estimators import RULES
from analogep.ep.price import Price, price
from analogep.errors import NetlistError, SpecError
from analogep.learning.reversal import gyrator
from analogep.models import EquilibriumTransformer
from analogep.netlist.element import GROUND
from analogep.netlist.elements import Capacitor, Resistor
from analogep.netlist.graph import Bus, Netlist


def recurrent():
    """8 states, 8 tanh cells on ideal stages, W and B of 8 x 8, inputs on a rail."""
    ones = {name: np.ones((N, N)) * SCALE.siemens for name in ("recurrent", "bias")}
    return network().netlist.with_arrays(ones)


def test_prices_of_a_recurrent_network():
    netlist = recurrent()
    # at the weights: 8 nodes of tanh and 8 rails are read, 8 states are driven
    assert price("vector_field_ep", netlist) == Price(3, stored_voltages=(N + N) + N)
    assert price("vector_field_ep_one_sided", netlist) == Price(2, stored_voltages=(N + N) + N)  # v* at the sinks
    assert price("holomorphic_ep", netlist, points=6) == Price(7, stored_voltages=(N + N) + 2 * N)
    # the adjoint: W once more (the input array has nothing to drive), 8 slopes of tanh, 8 states;
    # lines: capacitor, leak, array (two sides), slope (two sides), summing stage
    twin = price("twin", netlist)
    assert twin == Price(2, devices=N * N, cells=N, capacitors=N, wires=7 * N)
    assert price("dyadic_ep", netlist) == Price(1, twin.devices, twin.cells, twin.capacitors, twin.wires)
    # forward and backward slopes of the one-way parts; v* at 16 nodes, the rails, and one nudged displacement
    assert price("asym_ep", netlist) == Price(
        3, devices=2 * N * N, cells=2 * N, wires=2 * 4 * N, stored_voltages=2 * N + N + N
    )
    # both sides of W and of the cells are switched; the slopes are set by the held states
    assert price("reversed", netlist) == Price(
        3, switches=4 * N, stored_voltages=(N + N + N) + N, stored_currents=2 * N
    )


def test_prices_of_gyrators():
    netlist = Netlist({"a": Bus(), "b": Bus(), "c": Bus()}, {}, {"y": np.array(1e-5)})
    for node in ("a", "b", "c"):
        netlist = netlist.add(Capacitor(f"c{node}", node, GROUND, 1e-14), Resistor(f"r{node}", node, GROUND, 1e-5))
    netlist = netlist.add(*gyrator("y", "a", "b", "y"))
    assert price("gyrator_flip", netlist) == Price(3, switches=2, stored_voltages=2 + 2, stored_currents=2)
    with pytest.raises(NetlistError, match="one-way coupling"):
        price("gyrator_flip", recurrent())
    with pytest.raises(SpecError, match="estimator 'backprop' has no price here; known: vector_field_ep"):
        price("backprop", netlist)


def test_prices_of_a_block():
    """The twin doubles the circuit at most; reversing adds no device; the correction needs every one-way part twice."""
    model = EquilibriumTransformer(3, 4, 1, 6, 5, 1.0)
    weights = {name: np.asarray(w) for name, w in model.init(np.uint32([0, 1])).items()}
    netlist = compile_transformer(model, weights).netlist
    prices = {name: price(name, netlist) for name in RULES if name not in ("gyrator_flip", "energy_ep")}
    arrays = {k: g for k, g in netlist.arrays.items() if k != "embed"}  # inputs have no adjoint
    devices = model.tokens * sum(np.count_nonzero(g) for g in arrays.values())
    assert prices["twin"].devices == devices
    assert prices["asym_ep"].devices == 2 * devices
    assert prices["reversed"].devices == prices["reversed"].wires == 0
    assert prices["asym_ep"].cells == 2 * prices["twin"].cells > 0
    assert prices["dyadic_ep"].settles == 1
    assert all(set(p.to_dict()) == set(Price(1).to_dict()) for p in prices.values())
