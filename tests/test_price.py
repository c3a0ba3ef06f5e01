"""Prices are counted: small circuits whose parts can be counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import SCALE
from recurrent_task import task
from small_networks import N, network

from analogep.compile import compile_transformer
from analogep.ep.echo import hamiltonian_echo
from analogep.ep.estimators import RULES
from analogep.ep.feedback_alignment import feedback_alignment, random_feedback
from analogep.ep.perturbation import node_perturbation, random_nodes, random_weights
from analogep.ep.price import OTHERS, Price, echo_price, price
from analogep.ep.traces import eligibility, forward_random, uoro
from analogep.ep.trajectory import Run, rtrl
from analogep.errors import NetlistError, SpecError
from analogep.learning.cost import Quadratic
from analogep.models import EquilibriumTransformer
from analogep.models.hamiltonian import Oscillators
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, Capacitor, Resistor, Summer
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.gyrators import gyrator
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")


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


def test_prices_of_perturbations_and_finite_times():
    netlist, weights = recurrent(), 2 * N * N  # W and B
    assert price("node_perturbation", netlist) == Price(2 * N + 1, wires=N, stored_voltages=N)
    assert price("random_nodes", netlist) == Price(3, wires=N, stored_numbers=N)
    assert price("random_nodes", netlist, directions=4) == Price(9, wires=N, stored_voltages=N, stored_numbers=N)
    assert price("random_weights", netlist, directions=4) == Price(9, stored_numbers=weights)
    # three outputs' errors to five other nodes: an array of 15 devices between 3 + 5 lines
    fed = price("feedback_alignment", netlist, outputs=3)
    assert fed == Price(1, devices=15, wires=8, stored_voltages=N)
    assert price("eligibility", netlist) == Price(0, runs=1, stored_numbers=weights)
    assert price("eligibility", netlist, outputs=3) == Price(0, 15, wires=8, runs=1, stored_numbers=weights)
    # the correction and what is stored are those of AsymEP
    assert price("truncated_nudge", netlist) == Price(
        1, devices=2 * N * N, cells=2 * N, wires=2 * 4 * N, stored_voltages=2 * N + N + N, runs=2
    )
    # the linearized circuit: W, the slopes of tanh, the states; capacitor, leak, array, slope and stage have 7 N lines
    once = {"devices": N * N, "cells": N, "capacitors": N, "wires": 7 * N}
    assert price("two_timescales", netlist) == Price(1, **once, runs=1)
    assert price("forward_random", netlist) == Price(0, **once, runs=1, stored_numbers=weights)
    assert price("uoro", netlist) == Price(0, **once | {"wires": 8 * N}, runs=1, stored_numbers=weights)
    assert price("rtrl", netlist) == Price(0, **{what: weights * k for what, k in once.items()}, runs=1)


def test_current_goes_into_driven_nodes_that_weights_push_into():
    """A state and an ideal stage, each pushing into the other through a weight."""
    netlist = Netlist({"a": Bus(), "b": Bus()}, {}, {"up": np.array(1e-5), "down": np.array(1e-5)}).add(
        *(Capacitor("c", "a", GROUND, 1e-14), Resistor("r", "a", GROUND, 2e-5), Summer("s", "b", 1e-5)),
        *(VCCS("u", GROUND, "b", "a", GROUND, "up"), VCCS("d", GROUND, "a", "b", GROUND, "down")),
    )
    assert price("node_perturbation", netlist) == Price(5, wires=2, stored_voltages=2)
    assert price("feedback_alignment", netlist, outputs=1) == Price(1, wires=1, stored_voltages=1)


def test_prices_are_what_the_estimators_say_of_themselves():
    """Phases that were settled, and numbers that were held, of five nodes with 25 weights."""
    at, key = task("ideal").at_rest, jax.random.key(0)
    netlist = at.system.netlist
    said = {
        "node_perturbation": node_perturbation(at),
        "random_nodes": random_nodes(at, key, directions=3),
        "random_weights": random_weights(at, key, directions=3),
        "feedback_alignment": feedback_alignment(at, random_feedback(at.system, key, "z")),
        "rtrl": rtrl(Run(at, 1)),
        "forward_random": forward_random(Run(at, 1), key),
        "uoro": uoro(Run(at, 1), key),
        "eligibility": eligibility(Run(at, 1)),
    }
    for name, found in said.items():
        counted = price(name, netlist, directions=3)
        assert counted.settles == found.settles, name
        if name not in ("node_perturbation", "random_nodes", "feedback_alignment"):
            assert counted.capacitors + counted.stored_numbers == found.stored, name


def test_the_price_of_an_echo():
    start, theta = (jnp.ones(3), jnp.zeros(3)), Oscillators(3).init(jax.random.key(0))
    cost = Quadratic("q", jnp.zeros(3), 1.0, Scale())
    assert hamiltonian_echo(Oscillators(3, 0.1), cost, start, theta, steps=1).runs == echo_price(Oscillators(3)).runs
    # two lines of each of three capacitors are crossed; three fluxes and three charges are kept for the second echo
    passive = Price(0, switches=6, runs=3, stored_numbers=6)
    assert echo_price(Oscillators(3, 0.1)) == echo_price(Oscillators(3), active=True) == passive
    amplified = Price(0, cells=3, wires=3, switches=6, runs=3, stored_numbers=6)
    assert echo_price(Oscillators(3, 0.1), active=True) == amplified


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
    prices = {name: price(name, netlist) for name in (*RULES, *OTHERS) if name not in ("gyrator_flip", "energy_ep")}
    arrays = {k: g for k, g in netlist.arrays.items() if k != "embed"}  # inputs have no adjoint
    devices = model.tokens * sum(np.count_nonzero(g) for g in arrays.values())
    assert prices["twin"].devices == devices
    assert prices["asym_ep"].devices == 2 * devices
    assert prices["reversed"].devices == prices["reversed"].wires == 0
    assert prices["asym_ep"].cells == 2 * prices["twin"].cells > 0
    assert prices["dyadic_ep"].settles == 1
    own = sum(np.count_nonzero(g) for g in netlist.arrays.values())
    assert prices["rtrl"].devices == own * devices
    # tokens share a weight, but each has its own device and so its own trace
    assert prices["random_weights"].stored_numbers == own
    assert prices["eligibility"].stored_numbers == model.tokens * own
    assert all(set(p.to_dict()) == set(Price(1).to_dict()) for p in prices.values())
