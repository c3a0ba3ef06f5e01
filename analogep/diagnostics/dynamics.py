"""The linearized circuit C dx/dt = -G x over what moves: memoryless unknowns eliminated, currents given their sign."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from analogep.diagnostics.splitting import in_metric
from analogep.errors import NetlistError
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VSource
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System

_NOTHING = 1e-12
"""Relative size below which a capacitance mode is none, and a reciprocal condition below which nothing is solved."""


class Dynamics(NamedTuple):
    """C dx/dt = -G x of the states that store energy x^T C x / 2.

    Attributes
    ----------
    G : [n, n]; rows of inductors are equations of their voltage, with the sign that makes their storage positive.
    C : capacitances and inductances [n], or a matrix [n, n]; positive definite.
    sigma : +1 for voltages and -1 for currents, [n]. The circuit is reciprocal where Sigma G is symmetric.
    names : of the states; `mode k` where capacitors between nodes leave fewer states than nodes.
    """

    G: np.ndarray
    C: np.ndarray
    sigma: np.ndarray
    names: tuple[str, ...]

    @property
    def Jc(self) -> np.ndarray:
        """J = -C^-1 G in the metric of the stored energy (1/s): growth and settling are read off here."""
        return in_metric(self.G, self.C)


def dynamics(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Dynamics:
    """The linearized circuit at a state, over all states that store energy.

    Of a Nodal, nodes held by grounded voltage sources are dropped, and unknowns without a derivative (nodes without a
    capacitor, currents of voltage sources) are eliminated: what is left has a positive definite diag(C, L).

    Parameters
    ----------
    system : any System. Of a Circuit all states are taken, readouts included.
    v : its state by name; x : input voltages.

    Raises
    ------
    NetlistError
        If nothing stores energy, if charges are not reciprocal (then no energy is stored in them), or if a memoryless
        part has no solution of its own: a capacitor across a source that is not grounded, an inductor in series with a
        current source.
    """
    if isinstance(system, Nodal):
        return _of_nodal(system, v, theta)
    G = np.asarray(_conductance(system, dict(v), dict(x), dict(theta)))
    coupled = isinstance(system, Circuit) and bool(system.floating)
    C = system.capacitance_matrix if isinstance(system, Circuit) and coupled else system.capacitances
    return Dynamics(G, C, np.ones(len(G)), tuple(system.labels))


_conductance = jax.jit(System.conductance, static_argnums=0)


def _of_nodal(nodal: Nodal, v: Voltages, theta: Parameters) -> Dynamics:
    G, C = nodal.matrices(nodal.pack(v), theta)
    sigma = np.where(nodal.is_node, 1.0, -1.0)
    G, C = sigma[:, None] * G, sigma[:, None] * C
    held = [e for e in nodal.netlist if isinstance(e, VSource) and e.b == GROUND]
    fixed = {nodal.place[name] for e in held for name in (e.a, e.branch)}
    kept = np.array([k for k in range(nodal.size) if k not in fixed], int)
    G, C, sigma = G[np.ix_(kept, kept)], C[np.ix_(kept, kept)], sigma[kept]
    names = [nodal.unknowns[k] for k in kept]
    moving = C.any(axis=0)
    G, C = _eliminated(G, C, moving, names)
    sigma, names = sigma[moving], [name for name, moves in zip(names, moving, strict=True) if moves]
    if not names:
        raise NetlistError("the circuit stores no energy, so nothing moves: give the nodes that matter a Capacitor")
    if np.max(np.abs(C - C.T)) > 1e-9 * np.max(np.abs(C)):
        raise NetlistError("charges depend on voltages in one direction only (transcapacitances): no energy is stored")
    if not (C - np.diag(np.diag(C))).any() and np.all(np.diag(C) > 0):
        return Dynamics(G, np.diag(C).copy(), sigma, tuple(names))
    return _modes(G, C, sigma, names)


def _modes(G: np.ndarray, C: np.ndarray, sigma: np.ndarray, names: list[str]) -> Dynamics:
    """Capacitors between nodes: C as it is where it is definite, else its modes, those without energy eliminated."""
    root = np.sqrt(np.maximum(np.diag(C), np.finfo(float).tiny))
    values, T, signs = np.zeros(0), np.zeros((len(C), 0)), np.zeros(0)
    for sign in (1.0, -1.0):  # charges and fluxes do not mix
        part = np.flatnonzero(sigma == sign)
        found, vectors = np.linalg.eigh(C[np.ix_(part, part)] / np.outer(root[part], root[part]))
        placed = np.zeros((len(C), len(part)))
        placed[part] = vectors / root[part, None]
        values, T, signs = np.r_[values, found], np.hstack([T, placed]), np.r_[signs, np.full(len(part), sign)]
    if np.all(values > _NOTHING):
        return Dynamics(G, C, sigma, tuple(names))
    moving = values > _NOTHING
    modes = [f"mode {k}" for k in range(len(values))]
    G, C = _eliminated(T.T @ G @ T, np.diag(np.where(moving, values, 0.0)), moving, modes)
    return Dynamics(G, values[moving], signs[moving], tuple(np.array(modes)[moving]))


def _eliminated(G: np.ndarray, C: np.ndarray, moving: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """G and C with the unknowns that no derivative touches solved for: 0 = G_aa x_a + G_am x_m + C_am dx_m/dt."""
    m, a = np.flatnonzero(moving), np.flatnonzero(~moving)
    if not a.size:
        return G, C
    inner = G[np.ix_(a, a)]
    rows = np.max(np.abs(inner), axis=1)
    singular = not np.all(rows > 0)
    if not singular:
        scaled = inner / rows[:, None]
        scaled = scaled / np.maximum(np.max(np.abs(scaled), axis=0), np.finfo(float).tiny)
        singular = bool(np.linalg.cond(scaled) > 1 / _NOTHING)
    if singular:
        listed = ", ".join(names[k] for k in a[:8])
        raise NetlistError(
            f"the memoryless unknowns {listed} do not follow from the others: a capacitor across a voltage source that "
            "is not grounded, or an inductor in series with a current source; put a small resistor there"
        )
    back = G[np.ix_(m, a)]
    follow = np.linalg.solve(inner, np.hstack([G[np.ix_(a, m)], C[np.ix_(a, m)]]))
    return G[np.ix_(m, m)] - back @ follow[:, : m.size], C[np.ix_(m, m)] - back @ follow[:, m.size :]
