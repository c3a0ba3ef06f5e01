"""Recurrent networks of 8 nodes with a chosen conductance matrix G = S + A, one circuit for all of them."""

from functools import cache

import numpy as np
from dense_circuits import SCALE

from analogep.compile.recurrent import RECURRENT, STATE, compile_recurrent, weights_at
from analogep.learning.cost import Quadratic
from analogep.learning.system_phases import SystemPhases
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Bus
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions

N = 8
REST = np.random.default_rng(1).uniform(-0.6, 0.6, N)
TARGET, LOOK = np.linspace(-0.5, 0.5, N), np.where(np.arange(N) < 3, 1.0, 0.0)
SLOPE = LOOK * (REST - TARGET)
"""dL/dz at rest."""

TURNS = {
    0.3: (0.508, -1.123, 0.153, 0.043, 0.188, -0.508),
    1.0: (0.580, -0.894, -0.733, 0.530, 0.307, -0.580),
    3.0: (0.024, -0.458, 1.804, -1.399, -0.855, -0.024),
    10.0: (0.0, -4.517, -0.766, 1.821, -6.421, 0.0),
}
"""Upper triangles of A, with which S = diag(1.5, 1.5, -0.3, -0.3) is stable at that rho.

Below rho = 1 one negative direction of S alone never is: det(S + t A) keeps its sign for t in 0 ... 1. Two can be.
"""


def antisymmetric(upper, size):
    a = np.zeros((size, size))
    a[np.triu_indices(size, 1)] = upper
    return a - a.T


def radius(s, a):
    return np.abs(np.linalg.eigvals(np.linalg.solve(s, a))).max()


def radius_of(g):
    """rho(S^-1 A) of a conductance matrix."""
    return radius(g + g.T, g - g.T)


@cache
def split(rho, definite):
    """S (positive definite, or with two negative directions) and A with spectral radius rho of S^-1 A; S + A stable."""
    rng = np.random.default_rng(3)
    s, a = np.diag(np.linspace(0.6, 1.6, N)), antisymmetric(rng.normal(size=N * (N - 1) // 2), N)
    if not definite:
        s[:4, :4] = np.diag([1.5, 1.5, -0.3, -0.3])
        a *= 0.1 * rho / radius(s, a)
        a[:4], a[:, :4] = 0.0, 0.0
        a[:4, :4] = antisymmetric(TURNS[rho], 4)
    a *= rho / radius(s, a)
    turn = np.linalg.qr(rng.normal(size=(N, N)))[0]
    s, a = turn @ s @ turn.T, turn @ a @ turn.T
    assert np.isclose(radius(s, a), rho)
    assert (np.linalg.eigvalsh(s).min() > 0) == definite
    assert np.linalg.eigvals(s + a).real.min() > 0.3
    return s, a


@cache
def network(level="ideal", points=4):
    """Phases of dz/dt = -z + W tanh(z) + B x; W and B are programmable, x is a rail."""
    netlist = compile_recurrent(np.zeros((N, N)), np.zeros(N), level=level, scale=SCALE)
    netlist = netlist.add(
        VSource("x", "x", np.zeros(N)),
        Crossbar("bias", "x", STATE, "bias"),
        buses={"x": Bus((N,))},
        arrays={"bias": np.zeros((N, N))},
    )
    cost = Quadratic(STATE, TARGET, LOOK, SCALE)
    return SystemPhases(Circuit(netlist, SCALE), cost, SettleOptions(rtol=1e-9), points=points)


def setting(conductance):
    """Inputs, conductances and a start near REST, of the network that rests there with G = `conductance`."""
    weights, drive = weights_at(conductance, REST)
    theta = {RECURRENT: weights * SCALE.siemens, "bias": np.eye(N) * SCALE.siemens}
    return {"x": drive[None] * SCALE.volts}, theta, {STATE: (REST + 1e-3) * SCALE.volts}


def multipliers(conductance):
    """lambda = -G^-T dL/dz, by a dense solve."""
    return np.linalg.solve(conductance.T, -SLOPE)


def implicit_gradient(conductance):
    """dL/dW = -lambda tanh(z)^T, dL/dB = -lambda x^T."""
    lam, drive = multipliers(conductance), weights_at(conductance, REST)[1]
    return {RECURRENT: -np.outer(lam, np.tanh(REST)), "bias": -np.outer(lam, drive)}
