"""The panel from products with vectors, against dense matrices, closed forms, and cases that must be flagged."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import minimize_scalar
from small_blocks import phases, sample

from analogep import diagnostics as dx
from analogep.diagnostics import iterative, iterative_growth, pencil
from analogep.diagnostics import operators as operators_module
from analogep.diagnostics.exponentials import Exponentials
from analogep.diagnostics.operators import Operators
from analogep.errors import NetlistError, SpecError
from analogep.netlist.elements import VCCS, Capacitor, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCALE = Scale(0.1, 1e-5, 1e-14)
NUMBERS = (
    *("spectral_abscissa", "hopf_frequency", "numerical_abscissa"),
    *("asymmetry_ratio", "rho_sinv_a", "peak_growth"),
)


class Matrix(System):
    """C dv/dt = -G v, with the dimensionless G in theta."""

    def __init__(self, C):
        self.states, self.capacitance = {"v": Bus((len(C),))}, {"v": C * SCALE.farads}
        self.theta, self.scale = {}, SCALE

    def current(self, v, x, theta, t=0.0, sources=None):
        return {"v": SCALE.siemens * jnp.asarray(theta["G"]) @ v["v"] - (sources or {}).get("v", 0.0)}

    def voltages(self, v, x, theta, t=0.0, sources=None):
        return dict(v)


def operators(G, C=None):
    system = Matrix(np.ones(len(G)) if C is None else C)
    return Operators(system, system.zeros(), {}, {"G": G})


def iterated(G, C):
    system = Matrix(C)
    return dx.panel(system, system.zeros(), {}, {"G": G}, horizon=None, matrix_free=True)


def grcar(n):
    return -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4))


def random_case(n, seed):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n)) / np.sqrt(n) + np.diag(np.linspace(1.5, 4, n)) - 1.5 * np.eye(n, k=1)
    return G, 10 ** rng.uniform(-0.5, 0.5, n)


def hopf_case(n=80):
    """A pair -0.2 +- 3i to the right of all real eigenvalues, fed by a strictly triangular part."""
    G = np.diag(np.linspace(0.3, 5, n))
    G[:2, :2] = [[0.2, -3.0], [3.0, 0.2]]
    return G + np.triu(0.3 * np.random.default_rng(1).standard_normal((n, n)), 2), np.ones(n)


def convection_diffusion(n=60):
    """-u'' / 10 + u' on [0, 1] with zero ends, times 1/(n + 1): a Toeplitz matrix with a definite symmetric part."""
    h = 1 / (n + 1)
    return 0.1 / h * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) + (np.eye(n, k=1) - np.eye(n, k=-1)) / 2


CASES = {
    "random, S indefinite, capacitors": random_case(100, 0),
    "Hopf pair": hopf_case(),
    "Grcar": (2.4 * np.eye(32) - grcar(32), np.ones(32)),
    "convection-diffusion": (convection_diffusion(), np.ones(60)),
}


@pytest.mark.parametrize("name", CASES)
def test_textbook_matrices(name):
    G, C = CASES[name]
    found = iterated(G, C)
    assert found.unconverged == ()
    S, A, root = (G + G.T) / 2, (G - G.T) / 2, np.sqrt(C)
    J = -G / np.outer(root, root)
    values = np.linalg.eigvals(J)
    lead = values[np.argmax(values.real)]
    assert found.spectral_abscissa == pytest.approx(lead.real, rel=1e-6)
    assert found.hopf_frequency == pytest.approx(abs(lead.imag) / (2 * np.pi), rel=1e-6)
    assert found.numerical_abscissa == pytest.approx(np.linalg.eigvalsh((J + J.T) / 2)[-1], rel=1e-9)
    assert found.asymmetry_ratio == pytest.approx(np.linalg.norm(A, 2) / np.linalg.norm(S, 2), rel=1e-9)
    rho = np.max(np.abs(np.linalg.eigvals(np.linalg.solve(S, A))))
    assert found.rho_sinv_a == pytest.approx(rho, rel=1e-6)
    assert found.peak_growth == pytest.approx(dense_peak(J, found.peak_time), rel=1e-6)


def dense_peak(J, near):
    """Highest ||exp(t J)|| on a fine grid and around its top, at least 1; `near` only extends the grid."""
    times = np.geomspace(1e-3, max(20.0, 2 * near), 120)
    norms = [np.linalg.norm(scipy.linalg.expm(t * J), 2) for t in times]
    top = int(np.argmax(norms))
    if norms[top] <= 1:
        return 1.0
    bounds = (times[max(top - 1, 0)], times[min(top + 1, len(times) - 1)])
    sharp = minimize_scalar(
        lambda t: -np.linalg.norm(scipy.linalg.expm(t * J), 2), bounds=bounds, options={"xatol": 1e-7}
    )
    return max(1.0, -sharp.fun)


def test_cases_are_what_they_are_called():
    G, _ = CASES["random, S indefinite, capacitors"]
    ends = np.linalg.eigvalsh((G + G.T) / 2)[[0, -1]]
    assert ends[0] < 0 < ends[1]
    G, _ = CASES["convection-diffusion"]
    assert np.linalg.eigvalsh((G + G.T) / 2)[0] > 0
    assert abs(np.linalg.eigvals(hopf_case()[0]).imag).max() == pytest.approx(3.0)


# ---- a compiled block: products come from the circuit and its adjoint network ----------------------------------------


@cache
def block(level="parasitic"):
    circuits, (x, theta) = phases("free", level), sample("free", level=level)
    rails = {name: value for name, value in x.items() if name in circuits.circuit.inputs()}
    return circuits.circuit, circuits.free(x, theta).settled.require("the block").v, rails, theta


@pytest.mark.parametrize(("level", "listed"), [("ideal", 0), ("parasitic", 0), ("parasitic", operators_module.LISTED)])
def test_products_are_those_of_the_matrix(level, listed, monkeypatch):
    """By directional derivatives and the adjoint network, and by the list of conductances."""
    monkeypatch.setattr(operators_module, "LISTED", listed)
    circuit, v, x, theta = block(level)
    matrices = Operators(circuit, v, x, theta)
    G = matrices.part.conductance(v, x, theta) / circuit.scale.siemens
    C = matrices.part.capacitance / circuit.scale.farads
    Jc = dx.in_metric(G, C)
    u = np.random.default_rng(0).standard_normal(matrices.n)
    for product, matrix in (
        (matrices.G, G), (matrices.Gt, G.T), (matrices.J, Jc), (matrices.Jt, Jc.T), (matrices.S, (G + G.T) / 2),
        (matrices.A, (G - G.T) / 2), (matrices.log_norm, (Jc + Jc.T) / 2),
        (matrices.J_inverse, np.linalg.inv(Jc)), (matrices.Jt_inverse, np.linalg.inv(Jc).T),
    ):  # fmt: skip
        np.testing.assert_allclose(product(u), matrix @ u, rtol=1e-9, atol=1e-9 * np.linalg.norm(matrix @ u))
    if level == "parasitic":  # nodes of one bus act on each other through other buses only
        np.testing.assert_allclose(matrices.diagonal, np.diag(G), rtol=1e-12)


@pytest.mark.parametrize("listed", [0, operators_module.LISTED])
def test_a_compiled_block_matrix_free(listed, monkeypatch):
    monkeypatch.setattr(operators_module, "LISTED", listed)
    circuit, v, x, theta = block()
    dense = dx.panel(circuit, v, x, theta, horizon=None, matrix_free=False)
    found = dx.panel(circuit, v, x, theta, horizon=None, matrix_free=True)
    assert found.unconverged == ()
    assert (found.states, found.states_total, found.time_unit) == (dense.states, dense.states_total, dense.time_unit)
    for name in set(NUMBERS) - {"peak_growth"}:
        assert getattr(found, name) == pytest.approx(getattr(dense, name), rel=1e-6, abs=1e-9), name
    assert found.contraction_margin == -found.numerical_abscissa
    part = dx.Analyzed(circuit)
    Jc = dx.in_metric(part.conductance(v, x, theta) / circuit.scale.siemens, part.capacitance / circuit.scale.farads)
    around = (0.8 * found.peak_time, 1.25 * found.peak_time)
    sharp = minimize_scalar(lambda t: -dx.norm2(scipy.linalg.expm(t * Jc)), bounds=around, options={"xatol": 1e-6})
    assert found.peak_growth == pytest.approx(-sharp.fun, rel=1e-6)
    assert found.peak_growth == pytest.approx(dense.peak_growth, rel=3e-3)
    assert set(found.accuracy) == set(NUMBERS)
    assert dense.accuracy == {}
    assert set(found.to_dict()) == set(dense.to_dict())
    best = np.interp(found.growth.times, dense.growth.times, dense.growth.norms)
    assert np.all(found.growth.norms < 1.02 * best)  # samples are lower bounds, the rest is interpolation


# ---- closed forms ----------------------------------------------------------------------------------------------------


def gyrator_pairs(n=40):
    """n pairs of nodes joined by a gyrator; leaks and capacitors over three decades."""
    rng = np.random.default_rng(2)
    leaks, C, gyration = 10 ** rng.uniform(-3, 0, (2, n)), 10 ** rng.uniform(-1, 1, (2, n)), rng.uniform(0.1, 1, n)
    elements = []
    for bus, g, c in zip("ab", leaks, C, strict=True):
        elements += [Resistor(f"R{bus}", bus, "0", g * SCALE.siemens), Capacitor(f"C{bus}", bus, "0", c * SCALE.farads)]
    elements += [VCCS("ab", "a", "0", "b", "0", gyration * SCALE.siemens)]
    elements += [VCCS("ba", "b", "0", "a", "0", -gyration * SCALE.siemens)]
    return Circuit(Netlist({"a": Bus((n,)), "b": Bus((n,))}).add(*elements), SCALE), leaks, C, gyration


def test_gyrators_with_leaks_of_three_decades():
    circuit, (g, h), (c, d), y = gyrator_pairs()
    found = dx.panel(circuit, circuit.zeros(), {}, circuit.theta, horizon=None, matrix_free=True)
    mean, half = (g / c + h / d) / 2, (g / c - h / d) / 2
    roots = -mean + np.sqrt(half**2 - y**2 / (c * d) + 0j)
    lead = roots[np.argmax(roots.real)]
    assert found.spectral_abscissa == pytest.approx(lead.real, rel=1e-6)
    assert found.hopf_frequency == pytest.approx(abs(lead.imag) / (2 * np.pi), rel=1e-6)
    assert found.numerical_abscissa == pytest.approx(-min((g / c).min(), (h / d).min()), rel=1e-6)
    assert found.rho_sinv_a == pytest.approx((y / np.sqrt(g * h)).max(), rel=1e-6)
    assert found.asymmetry_ratio == pytest.approx(y.max() / max(g.max(), h.max()), rel=1e-8)
    assert (found.peak_growth, found.peak_time) == (1.0, 0.0)
    assert found.accuracy["rho_sinv_a"].method.endswith("CG")
    assert found.unconverged == ()


def test_the_diagonal_preconditions():
    circuit, *_ = gyrator_pairs()
    matrices = Operators(circuit, circuit.zeros(), {}, circuit.theta)
    ends = iterative.symmetric_range(matrices)
    with_it = pencil.rho_sinv_a(matrices, ends)
    object.__setattr__(matrices, "diagonal", None)
    assert with_it.products < 0.5 * pencil.rho_sinv_a(matrices, ends).products


def test_exponentials_forth_and_back():
    G, C = random_case(60, 3)
    J = dx.in_metric(40 * G, C)  # stiff enough for several steps
    flows = Exponentials(operators(40 * G, C))
    u = np.random.default_rng(0).standard_normal(60)
    for t in (1e-3, 0.05, 0.6):
        E = scipy.linalg.expm(t * J)
        for ours, exact in ((flows.forward(t, u), E @ u), (flows.backward(t, u), E.T @ u)):
            np.testing.assert_allclose(ours, exact, atol=1e-9 * np.linalg.norm(exact))
    assert not flows.failed


def test_a_diagonal_has_invariant_krylov_spaces():
    rates = np.repeat([1.0, 2.0, 3.0], 8)
    flows = Exponentials(operators(np.diag(rates)))
    np.testing.assert_allclose(flows.forward(2.0, np.ones(24)), np.exp(-2 * rates), rtol=1e-11)


def test_shift_invert_takes_over_where_the_right_end_is_crowded():
    n = 500
    matrices = operators(2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    values, alpha = iterative.rightmost(matrices, restarts=12)
    exact = -4 * np.sin(np.arange(1, 5) * np.pi / (2 * (n + 1))) ** 2
    assert alpha.method == "shift-invert Arnoldi"
    assert alpha.converged
    np.testing.assert_allclose(values[:4].real, exact, rtol=1e-8)


def test_a_reciprocal_system_has_no_antisymmetric_part():
    G, C = random_case(30, 4)
    found = iterated(G + G.T, C)
    assert found.asymmetry_ratio == found.rho_sinv_a == 0.0


def test_an_unstable_state_grows_without_bound():
    G, C = random_case(30, 5)
    found = iterated(G - 3 * np.eye(30), C)
    assert found.spectral_abscissa > 0
    assert found.peak_growth == found.peak_time == np.inf
    assert found.unconverged == ()


# ---- what has not converged says so ----------------------------------------------------------------------------------


def test_an_eigenvalue_that_rounding_moves_is_flagged():
    n = 40
    found = iterated(0.9 * np.eye(n) - np.eye(n, k=1), np.ones(n))  # a Jordan block
    assert found.unconverged == ("spectral_abscissa", "hopf_frequency")
    assert np.isnan(found.to_dict()["spectral_abscissa"])
    assert found.numerical_abscissa == pytest.approx(-0.9 + np.cos(np.pi / (n + 1)), rel=1e-9)
    J = -0.9 * np.eye(n) + np.eye(n, k=1)
    assert found.peak_growth == pytest.approx(dense_peak(J, 40.0), rel=1e-6)


def test_short_iterations_are_flagged():
    matrices = operators(*random_case(100, 0))
    ends = iterative.symmetric_range(matrices)
    short = pencil.rho_sinv_a(matrices, ends, inner=5)
    assert np.isnan(short.value)
    assert not short.converged
    assert short.residual > pencil.INNER
    few = pencil.rho_sinv_a(matrices, ends, steps=3)
    assert not few.converged
    assert few.residual > pencil.OUTER
    crowded = operators(2 * np.eye(400) - np.eye(400, k=1) - np.eye(400, k=-1))
    omega = iterative.extreme(crowded, crowded.log_norm, iterations=1)[0]
    assert (omega.converged, np.isnan(omega.value)) == (False, True)
    alpha = iterative.rightmost(operators(grcar(200) - 3.5 * np.eye(200)), restarts=1)[1]
    assert not alpha.converged


def test_a_growth_curve_that_does_not_come_down_is_flagged(monkeypatch):
    matrices = operators(*CASES["Grcar"])
    alpha, (omega, steepest) = iterative.rightmost(matrices)[1], iterative.numerical_abscissa(matrices)
    monkeypatch.setattr(iterative_growth, "_SAMPLES", 8)
    assert not iterative_growth.peak_growth(matrices, alpha, omega, steepest)[0].converged


def test_refusals():
    system = Matrix(np.ones(8))
    with pytest.raises(SpecError, match="needs 16 states"):
        dx.panel(system, system.zeros(), {}, {"G": np.eye(8)}, horizon=None, matrix_free=True)
    floating = Circuit(
        Netlist({"a": Bus(), "b": Bus()}).add(
            Capacitor("Ca", "a", "0", 1e-14), Capacitor("Cb", "b", "0", 1e-14), Capacitor("Cf", "a", "b", 1e-14),
            Resistor("R", "a", "b", 1e-5), Resistor("Ra", "a", "0", 1e-5),
        ),
        SCALE,
    )  # fmt: skip
    with pytest.raises(NetlistError, match="matrix_free=False"):
        dx.panel(floating, floating.zeros(), {}, {}, horizon=None, matrix_free=True)
    assert dx.panel(floating, floating.zeros(), {}, {}, horizon=None).accuracy == {}
    large = Matrix(np.ones(5000))
    with pytest.raises(NetlistError, match="no netlist"):
        Operators(large, large.zeros(), {}, {"G": np.ones((1, 1))})
