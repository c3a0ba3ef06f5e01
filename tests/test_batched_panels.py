"""Panels of a batch in one call, against factorizations one at a time and against the panel of a circuit."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import minimize_scalar

from analogep import diagnostics as dx
from analogep.compile.recurrent import compile_recurrent, weights_at
from analogep.errors import NetlistError
from analogep.netlist.elements import Capacitor, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCALE = Scale(0.1, 1e-5, 1e-14)
N = 32


def grcar(n):
    return -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4))


def batch():
    """Named matrices G and capacitances C of one size."""
    rng = np.random.default_rng(0)
    noise, ramp = rng.standard_normal((N, N)) / np.sqrt(N), np.diag(np.linspace(1.5, 4, N))
    ringing = ramp - 1.2 * np.eye(N, k=1)
    ringing[:2, :2] = [[0.2, -3.0], [3.0, 0.2]]
    ones, spread = np.ones(N), 10 ** rng.uniform(-0.5, 0.5, N)
    return {
        "growing": (0.4 * noise + ramp - 2.0 * np.eye(N, k=1), spread),
        "Hopf": (ringing, ones),
        "Grcar": (2.4 * np.eye(N) - grcar(N), ones),
        "Jordan": (0.9 * np.eye(N) - np.eye(N, k=1), ones),
        "contracting": (noise + 3 * np.eye(N), ones),
        "reciprocal": (noise + noise.T + 4 * np.eye(N), spread),
        "unstable": (noise - 0.5 * np.eye(N), ones),
    }


@cache
def together():
    G, C = (np.array(parts) for parts in zip(*batch().values(), strict=True))
    return jax.tree.map(np.asarray, dx.panels(G, C))


def member(name):
    where = list(batch()).index(name)
    return type(together())(*(field[where] for field in together()))


@pytest.mark.parametrize("name", batch())
def test_a_member_is_the_matrix_alone(name):
    G, C = batch()[name]
    found, root = member(name), np.sqrt(C)
    J, S, A = -G / np.outer(root, root), (G + G.T) / 2, (G - G.T) / 2
    assert found.converged
    if name != "Jordan":  # its eigenvalues are not well conditioned
        values = np.linalg.eigvals(J)
        lead = values[np.argmax(values.real)]
        assert found.spectral_abscissa == pytest.approx(lead.real, rel=1e-8)
        assert found.hopf_frequency == pytest.approx(abs(lead.imag) / (2 * np.pi), rel=1e-8)
    assert found.numerical_abscissa == pytest.approx(np.linalg.eigvalsh((J + J.T) / 2)[-1], rel=1e-10)
    assert found.asymmetry_ratio == pytest.approx(np.linalg.norm(A, 2) / np.linalg.norm(S, 2), rel=1e-8)
    rho = np.max(np.abs(np.linalg.eigvals(np.linalg.solve(S, A))))
    assert found.rho_sinv_a == pytest.approx(rho, rel=1e-6)
    if name == "unstable":
        assert found.peak_growth == found.peak_time == np.inf
    elif found.numerical_abscissa <= 0:
        assert (found.peak_growth, found.peak_time) == (1.0, 0.0)
    else:
        sharp = minimize_scalar(
            lambda t: -np.linalg.norm(scipy.linalg.expm(t * J), 2),
            bounds=(0.7 * found.peak_time, 1.4 * found.peak_time),
            options={"xatol": 1e-7},
        )
        assert found.peak_growth == pytest.approx(-sharp.fun, rel=1e-8)
        assert found.peak_growth == pytest.approx(dx.peak_growth(J), rel=1e-6)


def test_the_batch_holds_all_kinds():
    all_of_it = together()
    assert np.sum(np.isinf(all_of_it.peak_growth)) == 1
    assert np.sum(all_of_it.peak_growth == 1) == 2
    assert np.sum((all_of_it.peak_growth > 1.005) & np.isfinite(all_of_it.peak_growth)) == 4
    assert np.sum(all_of_it.rho_sinv_a == 0) == 1


def test_a_circuit_at_several_states():
    rng = np.random.default_rng(1)
    rest = rng.uniform(-1, 1, 6)
    weights, drive = weights_at(2 * np.eye(6) + rng.standard_normal((6, 6)), rest)
    circuit = Circuit(compile_recurrent(weights, drive, level="parasitic", scale=SCALE), SCALE)
    points = [
        {name: SCALE.volts * rng.uniform(-1, 1, bus.shape) for name, bus in circuit.states.items()} for _ in "abc"
    ]
    stacked = {name: jnp.stack([point[name] for point in points]) for name in circuit.states}
    found = dx.system_panels(circuit, stacked, {}, circuit.theta)
    for k, point in enumerate(points):
        alone = dx.panel(circuit, point, {}, circuit.theta, horizon=None)
        for name in dx.Panels._fields[:6]:
            assert getattr(found, name)[k] == pytest.approx(getattr(alone, name), rel=1e-6), name


def test_capacitors_between_live_nodes_are_refused():
    netlist = Netlist({"a": Bus(), "b": Bus()}).add(
        Capacitor("Ca", "a", "0", 1e-14), Capacitor("Cb", "b", "0", 1e-14), Capacitor("Cf", "a", "b", 1e-14),
        Resistor("R", "a", "b", 1e-5), Resistor("Ra", "a", "0", 1e-5),
    )  # fmt: skip
    circuit = Circuit(netlist, SCALE)
    v = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    with pytest.raises(NetlistError, match="point by point"):
        dx.system_panels(circuit, v, {}, circuit.theta)
