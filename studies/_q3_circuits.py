"""The adjoint network itself: settled phases against ngspice and dense solves; echoes; and what each path costs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._blocks import SIZES
from ._q3_networks import OUTPUTS, Network, angle, drawn, scale, stamped, voltages

if TYPE_CHECKING:
    from .q3 import Config

TWINS = ("exact", "mismatched", "calibrated")
SPREAD = 0.2
"""Of the mismatched twin that is exported."""


@cache
def phases(nodes: int, damping: float, epsilon: float) -> Any:
    """Phases of a network of that damping; weights, drive and target are given when it runs."""
    from analogep.compile.recurrent import STATE, compile_recurrent
    from analogep.learning.system_phases import SystemPhases
    from analogep.netlist.arrays import Crossbar
    from analogep.netlist.elements import VSource
    from analogep.netlist.graph import Bus
    from analogep.simulate.circuit import Circuit

    netlist = compile_recurrent(
        np.zeros((nodes, nodes)), np.zeros(nodes), leak=1 + damping, level="parasitic", scale=scale(), epsilon=epsilon
    ).add(
        VSource("x", "x", np.zeros(nodes)),
        Crossbar("bias", "x", STATE, "bias"),
        buses={"x": Bus((nodes,))},
        arrays={"bias": np.eye(nodes) * scale().siemens},
    )
    return SystemPhases(Circuit(netlist, scale()), cost(nodes))


def cost(nodes: int) -> Any:
    """L = |z - target|^2 / 2 over the outputs."""
    from analogep.compile.recurrent import STATE
    from analogep.learning.cost import Quadratic

    return Quadratic(STATE, np.linspace(1.0, -1.0, nodes), np.where(np.arange(nodes) < OUTPUTS, 1.0, 0.0), scale())


def measure_netlist(config: Config, seed: int, rho: float, damping: float) -> xr.Dataset:
    """The twin's settled phase, and three twins as decks in ngspice, each against a dense solve of its equations."""
    from analogep.compile.recurrent import HIDDEN, RECURRENT, STATE, compile_recurrent, weights_at
    from analogep.learning.calibration import calibrate
    from analogep.learning.mismatch import settles, twin_path, with_factors
    from analogep.netlist.adjoint import adjoint
    from analogep.netlist.element import GROUND
    from analogep.netlist.elements import ISource
    from analogep.simulate.reference import check_operating_point

    n, rng = config.nodes, np.random.default_rng([seed, 34, round(1000 * rho)])
    weights, drive = weights_at(*drawn(rng, n, rho))
    run = phases(n, damping, config.epsilon)
    theta = {**run.system.theta, RECURRENT: weights * scale().siemens}
    x = {"x": drive * scale().volts}
    free = run.free(x, theta)
    twin = run.twin(free, x, theta)
    state = np.asarray(free.settled.v[STATE]) / scale().volts
    netlist = compile_recurrent(
        weights, drive, leak=1 + damping, level="parasitic", scale=scale(), epsilon=config.epsilon
    )
    network = Network(netlist, np.empty(0), state)
    circuit, capacitance = stamped(network), np.repeat([1.0, config.epsilon], n)
    push = np.asarray(run.cost.force(voltages(state), {})[STATE]) / scale().amperes
    true = np.linalg.solve(circuit.matrix().T, np.append(push, np.zeros(n)))
    found = np.concatenate([np.asarray(twin.voltages[bus]) for bus in (STATE, HIDDEN)]) / scale().volts

    one = replace(circuit, siemens=circuit.siemens[None])
    path = twin_path(one, SPREAD, rng)
    trims = calibrate(one.matrix(), path, capacitance, drivers=np.arange(n), rng=rng, keep=[max(config.probes)]).trims[
        0
    ]
    built = path.copies.siemens[0] / circuit.siemens
    spice, cosine = [], []
    for factors in (np.ones_like(built), built, built * trims):
        matrix = circuit.scaled(factors).transposed.matrix()
        lam = np.linalg.solve(matrix, np.append(push, np.zeros(n)))
        deck = adjoint(with_factors(netlist, factors)).add(ISource("push", GROUND, STATE, push * scale().amperes))
        shown = {STATE: lam[:n] * scale().volts, HIDDEN: lam[n:] * scale().volts}
        spice.append(check_operating_point(deck, shown, held=voltages(state)).error)
        cosine.append(angle(lam[:n, None], true[:n, None])[0] if settles(matrix, capacitance) else 0.0)
    settled = bool(free.settled.converged) and bool(twin.settled.converged)
    error = np.linalg.norm(found - true) / np.linalg.norm(true)
    return xr.Dataset(
        {
            "error": error if settled else np.nan,
            "spice": ("twin", spice, {"long_name": "largest difference from ngspice, of full scale"}),
            "cosine": ("twin", cosine),
        },
        {"twin": list(TWINS)},
    )


ECHOES = ("passive", "active")


@cache
def backpropagated(steps: int, dt: float, units: int) -> Any:
    """Compiled: dL/dtheta of the run by backpropagation, for any damping."""
    import jax

    from analogep.models.hamiltonian import Oscillators

    target = echo_cost(units)
    network = Oscillators(units)

    def loss(theta: Any, start: Any, damping: Any) -> Any:
        def step(state: Any, _: None) -> Any:
            return network.step(*state, theta, 0.2, dt, damping=damping), None

        (q, _), _ = jax.lax.scan(step, start, length=steps)
        return target.loss({"q": q}, {}, theta)

    return jax.jit(jax.grad(loss))


@cache
def echo_cost(units: int) -> Any:
    """L = |q - target|^2 / 2 over the outputs."""
    from analogep.learning.cost import Quadratic
    from analogep.units import Scale

    return Quadratic("q", np.linspace(0.5, -0.5, units), np.where(np.arange(units) < OUTPUTS, 1.0, 0.0), Scale())


def measure_echo(config: Config, seed: int, damping: float, time: float) -> xr.Dataset:
    """Hamiltonian echo of damped oscillators, passive and with gain on its way back, against backpropagation."""
    import jax
    import jax.numpy as jnp

    from analogep.ep.echo import hamiltonian_echo
    from analogep.ep.fidelity import fidelity
    from analogep.models.hamiltonian import Oscillators

    units, steps = 4, round(time / config.dt)
    rng, network = np.random.default_rng([seed, 35]), Oscillators(4, damping)
    start = tuple(jnp.asarray(part) for part in rng.normal(size=(2, units)))
    theta = network.init(jax.random.key(seed))
    reference = backpropagated(steps, config.dt, units)(theta, start, damping)
    true = {name: np.asarray(g) for name, g in reference.items()}
    error, cosine, missed = [], [], []
    for kind in ECHOES:
        out = hamiltonian_echo(
            network, echo_cost(units), start, theta, x=0.2, steps=steps, dt=config.dt, active=kind == "active"
        )
        one = fidelity({name: np.asarray(g) for name, g in out.gradient.items()}, true)[0]
        error.append(one.relative_error if bool(out.converged) else np.nan)
        cosine.append(one.cosine)
        missed.append(float(out.missed))
    return xr.Dataset(
        {"error": ("echo", error), "cosine": ("echo", cosine), "missed": ("echo", missed)}, {"echo": list(ECHOES)}
    )


ITEMS = ("settles", "devices", "cells", "capacitors", "wires", "switches", "stored_voltages", "stored_currents")
PRICED = ("twin", "asym_ep", "reversed", "gyrator_flip")


def measure_price(config: Config, seed: int, circuit: str) -> xr.Dataset:
    """What each path adds to a circuit, counted, and the devices and cells that the circuit itself has."""
    from analogep.cells import Cell
    from analogep.ep.price import price
    from analogep.netlist.spice.write import Deck

    netlist = priced(config, circuit)
    names = [name for name in PRICED if (name == "gyrator_flip") == (circuit == "passive")]
    counted = {name: price(name, netlist).to_dict() for name in names}
    deck = Deck(netlist.buses, netlist.arrays)
    own = sum(sum(1 for _ in e.instances(deck)) for e in netlist if isinstance(e, Cell))
    numbers = [[counted.get(name, {}).get(item, np.nan) for item in ITEMS] for name in PRICED]
    return xr.Dataset(
        {"price": (("row", "item"), np.array(numbers, float)), "own_cells": float(own)},
        {"row": list(PRICED), "item": list(ITEMS)},
    )


def priced(config: Config, circuit: str) -> Any:
    """A recurrent network, a transformer block, and resistors with gyrators."""
    from analogep.compile import compile_transformer
    from analogep.compile.recurrent import compile_recurrent
    from analogep.models import EquilibriumTransformer
    from analogep.netlist.element import GROUND
    from analogep.netlist.elements import Capacitor, Resistor
    from analogep.netlist.graph import Bus, Netlist
    from analogep.netlist.gyrators import gyrator

    n, rng = config.nodes, np.random.default_rng(0)
    if circuit == "recurrent":
        return compile_recurrent(rng.normal(size=(n, n)), np.zeros(n), level="parasitic", scale=scale())
    if circuit == "block":
        import jax

        model = EquilibriumTransformer(**SIZES, damping=1.0)
        return compile_transformer(model, model.init(jax.random.key(0)), level="parasitic").netlist
    nodes, elements = [f"n{k}" for k in range(n)], []
    for k, one in enumerate(nodes):
        elements += [Capacitor(f"c.{one}", one, GROUND, 1e-14), Resistor(f"r.{one}", one, GROUND, 1e-5)]
        for other in nodes[:k]:
            elements += [Resistor(f"r.{one}.{other}", one, other, 1e-6), *gyrator(f"g.{one}.{other}", one, other, 1e-6)]
    return Netlist({node: Bus() for node in nodes}, {}, {}).add(*elements)
