"""Passive networks of resistors, bending one-ports and gyrators, with a chosen rho(S^-1 A) at a chosen rest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from ._q1_ladder import Instance, built
from ._q1_networks import antisymmetric, radius

NODES = ("a", "b", "c", "d")
LEAK, BEND, FEED = 0.5, 0.4, 1.0
"""Conductances at every node (units): to ground, of a one-port i = BEND tanh(v), and from the input rail."""
TARGET = 0.8
"""What the first node, the output, is asked to be."""


@cache
def phases() -> Any:
    """Phases of four nodes, each pair joined by a programmable resistor and a programmable gyrator."""
    from analogep.learning.cost import Quadratic
    from analogep.netlist.element import GROUND
    from analogep.netlist.elements import BSource, Capacitor, Resistor, VSource
    from analogep.netlist.graph import Bus, Netlist
    from analogep.netlist.gyrators import gyrator
    from analogep.simulate.circuit import Circuit
    from analogep.units import Scale

    scale = Scale(0.1, 1e-5, 1e-14)
    rails = {f"x{node}": Bus() for node in NODES}
    netlist = Netlist({node: Bus() for node in NODES} | rails, {}, {})
    for node in NODES:
        bend = f"{BEND * scale.amperes}*tanh(v({node})/{scale.volts})"
        netlist = netlist.add(
            VSource(f"x{node}", f"x{node}", 0.0),
            Resistor(f"f{node}", f"x{node}", node, FEED * scale.siemens),
            Resistor(f"l{node}", node, GROUND, LEAK * scale.siemens),
            Capacitor(f"c{node}", node, GROUND, scale.farads),
            BSource(f"b{node}", node, GROUND, current=bend),
        )
    for one, other in combinations(NODES, 2):
        r, y = f"r{one}{other}", f"y{one}{other}"
        zero = {r: np.array(0.0), y: np.array(0.0)}
        netlist = netlist.add(Resistor(r, one, other, r), *gyrator(y, one, other, y), arrays=zero)
    return built(Circuit(netlist, scale), Quadratic(NODES[0], np.array(TARGET), 1.0, scale))


def passive(rho: float, seed: int) -> Instance:
    """The seed's resistors and rest, its gyrators scaled to rho; the loss looks at the first node."""
    from analogep.netlist.elements import VCCS

    rng, run = np.random.default_rng([seed, 5]), phases()
    scale, n = run.system.scale, len(NODES)
    rest = rng.uniform(-0.6, 0.6, n)
    joined = np.triu(rng.uniform(0.2, 1.0, (n, n)), 1)
    joined += joined.T
    linear = np.diag(joined.sum(0)) - joined + (LEAK + FEED) * np.eye(n)
    s = linear + np.diag(BEND / np.cosh(rest) ** 2)
    a = antisymmetric(rng, n)
    a *= rho / radius(s + a)
    inputs = ((linear + a) @ rest + BEND * np.tanh(rest)) / FEED
    lam = np.linalg.solve((s + a).T, -np.eye(n)[0] * (rest[0] - TARGET))
    theta, exact = {}, {}
    for i, j in combinations(range(n), 2):
        r, y = (f"{kind}{NODES[i]}{NODES[j]}" for kind in "ry")
        theta |= {r: joined[i, j] * scale.siemens, y: a[i, j] * scale.siemens}
        exact |= {r: (lam[i] - lam[j]) * (rest[i] - rest[j]), y: lam[i] * rest[j] - lam[j] * rest[i]}
    x = {f"x{node}": np.array([value]) * scale.volts for node, value in zip(NODES, inputs, strict=True)}
    resistors = {name: e for name, e in run.netlist.elements.items() if not isinstance(e, VCCS)}
    return Instance(
        run,
        x,
        {name: np.asarray(g) for name, g in theta.items()},
        {node: np.asarray((z + 1e-3) * scale.volts) for node, z in zip(NODES, rest, strict=True)},
        dict(zip(NODES, rest, strict=True)),
        s + a,
        {name: np.asarray(g) for name, g in exact.items()},
        replace(run.netlist, elements=resistors),
    )
