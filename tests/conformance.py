"""What the conformance suite shares: its cases by name, how circuits are put together, and each one solved."""

from functools import cache

import numpy as np
from dense_circuits import SCALE, load, solve_dense, weights

from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.subcircuit import flatten
from analogep.netlist.wired import fold_wires

UNIT = {"siemens": SCALE.siemens, "volts": SCALE.volts}
CASES = {}


def case(build):
    CASES[build.__name__] = build
    return build


def volts(*shape, seed=7):
    return SCALE.volts * np.random.default_rng(seed).normal(size=shape)


def scalars(*names):
    return {name: Bus() for name in names}


def fed(bus, shape, seed, inputs=2):
    """A loaded bus driven from a rail through a programmable array: buses, elements, arrays."""
    rail, array = f"{bus}.in", f"{bus}.w"
    return (
        {rail: Bus((*shape[:-1], inputs)), bus: Bus(shape)},
        (
            VSource(rail, rail, volts(*shape[:-1], inputs, seed=seed)),
            Crossbar(f"{bus}.x", rail, bus, array),
            *load(bus),
        ),
        {array: weights((shape[-1], inputs), seed)},
    )


def netlist_of(parts, *elements, **buses):
    """Fed buses, further loaded buses, and elements between them."""
    netlist = Netlist()
    for more_buses, more, arrays in parts:
        netlist = netlist.add(*more, buses=more_buses, arrays=arrays)
    loads = [part for bus in buses for part in load(bus, 1.3e-5, 4e-15)]
    return netlist.add(*loads, *elements, buses={k: v if isinstance(v, Bus) else Bus(v) for k, v in buses.items()})


STEP = 1e-4 * SCALE.siemens


class Solved:
    """A case, its operating point, G there, a loss L = slope . v of fitting size, its multipliers and its gradient."""

    def __init__(self, name):
        self.netlist = CASES[name]()
        self.flat = fold_wires(flatten(self.netlist)).netlist
        arrays = self.flat.arrays
        size = sum(g.size for g in arrays.values())
        batch, start = {}, 1
        for array, g in arrays.items():  # row 0 as built, then every conductance a step up, then down
            rows = np.repeat(g[None], 1 + 2 * size, axis=0)
            bumps = STEP * np.eye(g.size).reshape(g.size, *g.shape)
            rows[start : start + g.size] += bumps
            rows[start + size : start + size + g.size] -= bumps
            batch[array], start = rows, start + g.size
        self.v, x, rest, g = solve_dense(self.flat, batch)
        assert np.abs(rest / np.abs(g).max(axis=-1)).max() < 1e-12 * SCALE.volts
        self.g = g[0]
        self.slope = 0.1 * np.abs(np.diag(self.g)) * np.random.default_rng(11).normal(size=len(self.g))
        self.multipliers = -np.linalg.solve(self.g.T, self.slope)
        loss = x[1:] @ self.slope
        self.gradient = (loss[:size] - loss[size:]) / (2 * STEP)


built = cache(Solved)
