"""Adjoint paths as built: recurrent circuits with every node a state, mismatch, calibration, and slow or weak copies.

A settled phase of a linear network is the solution of its equations, so phases are dense solves here; a phase that does
not settle is seen by its spectral abscissa and shows no gradient (cosine 0). The part `netlist` checks the same
matrices against settled phases and ngspice.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from analogep.errors import DataError

if TYPE_CHECKING:
    from .q3 import Config

CALIBRATED = ("twin", "injection")
PATHS = (*CALIBRATED, "reversed", "gyrator_flip")
OUTPUTS = 2
"""Nodes that the loss looks at, where nudges enter."""
NUDGES = 20
"""Random nudges over which cosines are averaged."""


class Network(NamedTuple):
    """One circuit: its netlist, G [n, n] of its states, and the state z [n] where it rests."""

    netlist: Any
    conductance: np.ndarray
    state: np.ndarray


def drawn(rng: np.random.Generator, nodes: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """G = S + A with eigenvalues of S in 0.5 ... 1.5 and rho(S^-1 A) = rho, and a state."""
    turn = np.linalg.qr(rng.normal(size=(nodes, nodes)))[0]
    root = turn * np.sqrt(rng.uniform(0.5, 1.5, nodes)) @ turn.T
    skew = rng.normal(size=(nodes, nodes))
    skew -= skew.T
    a = root @ (rho * skew / np.abs(np.linalg.eigvals(skew)).max()) @ root  # S^-1 A is similar to skew
    return root @ root + a, rng.uniform(-0.5, 0.5, nodes)


def voltages(state: np.ndarray) -> dict[str, np.ndarray]:
    """All node voltages of a circuit at rest at a state."""
    from analogep.compile.recurrent import HIDDEN, STATE

    return {STATE: state * scale().volts, HIDDEN: np.tanh(state) * scale().volts}


@cache
def scale() -> Any:
    """Physical size of one unit: 0.1 V, 10 uS, 10 fF."""
    from analogep.units import Scale

    return Scale(0.1, 1e-5, 1e-14)


def stamped(network: Network, state: np.ndarray | None = None) -> Any:
    """Stamps of a circuit at rest, or held at another state; dimensionless."""
    from analogep.learning.mismatch import stamps

    at = voltages(network.state if state is None else state)
    return stamps(network.netlist, at, network.netlist.arrays).scaled(1 / scale().siemens)


@cache
def population(config: Config, seed: int, rho: float, epsilon: float) -> tuple[list[Network], Any, np.ndarray]:
    """Circuits of a seed that settle with cells of that epsilon, their stamps at once, and the nodes' capacitance."""
    from dataclasses import replace

    from analogep.compile.recurrent import compile_recurrent, weights_at
    from analogep.learning.mismatch import settles

    rng, n = np.random.default_rng([seed, 3, round(1000 * rho)]), config.nodes
    capacitance, networks, each = np.repeat([1.0, epsilon], n), [], []
    for _ in range(20 * config.circuits):
        g, z = drawn(rng, n, rho)
        netlist = compile_recurrent(*weights_at(g, z), level="parasitic", scale=scale(), epsilon=epsilon)
        one = stamped(Network(netlist, g, z))
        if settles(one.matrix(), capacitance):
            networks.append(Network(netlist, g, z))
            each.append(one)
        if len(each) == config.circuits:
            return networks, replace(each[0], siemens=np.stack([one.siemens for one in each])), capacitance
    raise DataError(f"circuits of rho {rho:g} do not settle with cells of epsilon {epsilon:g}; lower one of them")


def cosines(matrix: np.ndarray, conductance: np.ndarray, nodes: int, decays: np.ndarray) -> np.ndarray:
    """Mean cosine of what a path shows at the states with -G^-T dL/dv; 0 where it does not settle.

    One sample's gradient is an outer product of lambda with voltages that every path takes from the same circuit, so
    this is the cosine of the gradient of W.
    """
    nudges = np.zeros((conductance.shape[-1], NUDGES))
    nudges[:OUTPUTS] = np.random.default_rng(0).normal(size=(OUTPUTS, NUDGES))
    found, true = (np.linalg.solve(m, nudges)[..., :nodes, :] for m in (matrix, conductance.swapaxes(-1, -2)))
    return np.where(decays, angle(found, true).mean(-1), 0.0)


def angle(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Cosines between vectors along the second axis from the end."""
    return (found * true).sum(-2) / np.linalg.norm(found, axis=-2) / np.linalg.norm(true, axis=-2)


def measure_mismatch(config: Config, seed: int, rho: float) -> xr.Dataset:
    """Cosines of every path as built, and of twin and injection after local calibration, over spread and circuits."""
    from analogep.learning.calibration import calibrate
    from analogep.learning.mismatch import injection_path, reversed_path, settles, twin_path

    networks, circuit, capacitance = population(config, seed, rho, config.epsilon)
    n, g = config.nodes, circuit.matrix()
    spreads, probes = list(config.spreads), sorted({0, *config.probes})
    built = np.zeros((len(PATHS), len(spreads), config.circuits))
    decays = np.ones(built.shape, bool)
    cosine = np.zeros((len(CALIBRATED), len(spreads), len(probes), config.circuits))
    railed, elsewhere = np.zeros((*cosine.shape[:2], config.circuits)), np.full(built.shape[1:], np.nan)
    # arrays are read from their other side when couplings are reversed; loads stay; cell gains are copies
    array = circuit.drives < n
    for k, spread in enumerate(spreads):
        rng = np.random.default_rng([seed, 33, round(1000 * rho), round(1000 * spread)])
        paths = {"twin": twin_path(circuit, spread, rng), "injection": injection_path(circuit, spread, rng)}
        paths["reversed"] = reversed_path(circuit, spread, rng, arrays=array | ~circuit.one_way)
        for p, (name, path) in enumerate(paths.items()):
            decays[p, k] = settles(path.matrix(), capacitance)
            built[p, k] = cosines(path.matrix(), g, n, decays[p, k])
            if name in CALIBRATED:
                out = calibrate(g, path, capacitance, drivers=np.arange(n), rng=rng, keep=probes)
                cosine[p, k] = [cosines(m, g, n, settles(m, capacitance)) for m in out.matrices]
                railed[p, k] = out.railed
            if name == "twin":
                factors = out.trims * path.copies.siemens / circuit.siemens
                elsewhere[k] = at_another_state(networks, factors, rng, capacitance)
        built[-1, k], decays[-1, k] = flipped(networks, spread, rng)
    over = {"path": list(PATHS), "calibrated": list(CALIBRATED), "spread": spreads, "probes": probes}
    return xr.Dataset(
        {
            "built": (("path", "spread", "circuit"), built, {"long_name": "cosine as built"}),
            "decays": (("path", "spread", "circuit"), decays.astype(float)),
            "cosine": (("calibrated", "spread", "probes", "circuit"), cosine),
            "railed": (("calibrated", "spread", "circuit"), railed),
            "elsewhere": (("spread", "circuit"), elsewhere),
        },
        {**over, "circuit": np.arange(config.circuits)},
    )


def at_another_state(
    networks: list[Network], factors: np.ndarray, rng: np.random.Generator, capacitance: np.ndarray
) -> np.ndarray:
    """Cosines of calibrated twins held at states that no probe has seen; NaN where the circuit would not rest there."""
    from analogep.learning.mismatch import settles

    out = []
    for network, factor in zip(networks, factors, strict=True):
        other = stamped(network, rng.uniform(-0.5, 0.5, len(network.state)))
        twin = other.scaled(factor).transposed.matrix()
        found = cosines(twin, other.matrix(), len(network.state), settles(twin, capacitance))
        out.append(found if settles(other.matrix(), capacitance) else np.nan)
    return np.array(out)


def flipped(networks: list[Network], spread: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same S and A as resistors and gyrators whose two halves differ; flipping turns the sign of both halves."""
    from analogep.learning.mismatch import settles, unequal

    g = np.stack([network.conductance for network in networks])
    s, a = (g + g.swapaxes(1, 2)) / 2, (g - g.swapaxes(1, 2)) / 2
    a = a * unequal(a.shape, spread, rng)
    decays = settles(s - a, np.ones(g.shape[-1])) & settles(s + a, np.ones(g.shape[-1]))
    return cosines(s - a, s + a, g.shape[-1], decays), decays


def measure_imperfection(config: Config, seed: int, rho: float) -> xr.Dataset:
    """Copies without mismatch that are slow, weak, or read with noise."""
    _, circuit, capacitance = population(config, seed, rho, config.lag_epsilon)
    alpha, late = lagged(config, circuit, capacitance)
    return xr.Dataset(
        {
            "alpha": (("path", "ratio", "circuit"), alpha, {"units": "1/tau"}),
            "late": (("path", "ratio", "circuit"), late, {"long_name": f"cosine after {config.wait:g} tau"}),
            "weak": (("weakened", "loop_gain", "circuit"), weakened(config, circuit, capacitance)),
            "noisy": (("reading", "noise", "circuit"), noisy(config, circuit, seed)),
        },
        {
            "path": list(PATHS),
            "ratio": list(config.ratios),
            "weakened": list(CALIBRATED),
            "loop_gain": list(config.loop_gains),
            "reading": list(READINGS),
            "noise": list(config.noises),
            "circuit": np.arange(config.circuits),
        },
    )


def lagged(config: Config, circuit: Any, capacitance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Abscissa [path, ratio, circuit] and the cosine after a wait, with a pole on the copies' current at each node.

    C dv/dt = -D v - y, tau dy/dt = O v - y: O are the copies, D what acts at once. Twin and REVERSED have the same
    matrices: loads act at once, couplings with the lag.
    """
    from scipy.linalg import expm

    n = config.nodes
    one_way = np.where(circuit.one_way, 1.0, 0.0)
    g, loads = circuit.matrix(), circuit.scaled(1 - one_way).matrix()
    turned = circuit.transposed.scaled(one_way).matrix()
    small = np.stack([reduced(one, n) for one in g])
    s, a = (small + small.swapaxes(1, 2)) / 2, (small - small.swapaxes(1, 2)) / 2
    parts = {
        "twin": (loads, turned, capacitance),
        "injection": (g, turned + loads - g, capacitance),
        "reversed": (loads, turned, capacitance),
        "gyrator_flip": (s, -a, np.ones(n)),
    }
    alpha, late = (np.zeros((len(PATHS), len(config.ratios), len(g))) for _ in range(2))
    rng = np.random.default_rng(0)
    for p, (at_once, copies, c) in enumerate(parts[name] for name in PATHS):
        nudge = np.zeros(2 * len(c))
        nudge[:OUTPUTS] = rng.normal(size=OUTPUTS)
        true = np.linalg.solve(at_once + copies, nudge[: len(c)])[:, :n, None]
        for k, ratio in enumerate(config.ratios):
            tau = ratio * config.lag_epsilon
            whole = with_lag(at_once, copies, c, tau)
            alpha[p, k] = np.linalg.eigvals(whole).real.max(-1)
            for j in np.flatnonzero(alpha[p, k] < 0):
                push = nudge / np.concatenate([c, c])
                gone = push - expm(whole[j] * config.wait) @ push
                late[p, k, j] = angle(-np.linalg.solve(whole[j], gone)[:n, None], true[j])[0]
    return alpha, late


def with_lag(at_once: np.ndarray, copies: np.ndarray, capacitance: np.ndarray, tau: float) -> np.ndarray:
    """d(v, y)/dt = M (v, y) for C dv/dt = -D v - y, tau dy/dt = O v - y; matrices [..., n, n]."""
    eye = np.broadcast_to(np.eye(len(capacitance)), copies.shape)
    at_once = np.broadcast_to(at_once, copies.shape)
    top = np.concatenate([-at_once, -eye], axis=-1) / capacitance[:, None]
    return np.concatenate([top, np.concatenate([copies, -eye], axis=-1) / tau], axis=-2)


def reduced(matrix: np.ndarray, nodes: int) -> np.ndarray:
    """Conductance matrix of the states alone, cell outputs eliminated (Kron)."""
    z, h = slice(0, nodes), slice(nodes, None)
    return matrix[z, z] - matrix[z, h] @ np.linalg.solve(matrix[h, h], matrix[h, z])


def weakened(config: Config, circuit: Any, capacitance: np.ndarray) -> np.ndarray:
    """Cosines [path, loop gain, circuit] when every one-way copy has the gain A / (1 + A) and the circuit has 1."""
    from analogep.learning.mismatch import injection_path, settles, twin_path

    rng, out = np.random.default_rng(0), []
    for make in (twin_path, injection_path):
        path = make(circuit, 0.0, rng)
        row = []
        for loop_gain in config.loop_gains:
            matrix = path.matrix(np.where(path.copies.one_way, loop_gain / (1 + loop_gain), 1.0))
            row.append(cosines(matrix, circuit.matrix(), config.nodes, settles(matrix, capacitance)))
        out.append(row)
    return np.array(out)


READINGS = {"linear path": None, "injection, beta 0.1": 0.1, "injection, beta 0.01": 0.01}
"""A linear path may be driven to full scale; the injection acts on the nonlinear circuit, so beta bounds the nudge."""


def noisy(config: Config, circuit: Any, seed: int) -> np.ndarray:
    """Cosines [reading, noise, circuit] when lambda is read with noise, a part of full scale, once for each phase.

    Full scale is one unit for the circuit's nodes, about twice the largest state; the linear path fills it.
    """
    rng, n = np.random.default_rng([seed, 333]), config.nodes
    nudges = np.zeros((circuit.nodes, NUDGES))
    nudges[:OUTPUTS] = rng.normal(size=(OUTPUTS, NUDGES))
    true = np.linalg.solve(circuit.matrix().swapaxes(1, 2), nudges)[:, :n]
    out = []
    for beta in READINGS.values():
        # two phases of opposite sign, their difference over 2 beta; a linear path needs one
        error = np.abs(true).max(1, keepdims=True) if beta is None else 1 / (np.sqrt(2) * beta)
        read = (true + noise * error * rng.normal(size=true.shape) for noise in config.noises)
        out.append([angle(found, true).mean(-1) for found in read])
    return np.array(out)
