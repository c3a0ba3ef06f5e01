"""Diagnostics against textbook matrices, circuits with known answers, and a compiled transformer block."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from analogep import diagnostics as dx
from analogep.compile.transformer import compile_transformer
from analogep.diagnostics import growth as growth_module
from analogep.diagnostics.spectrum import causal_parts
from analogep.errors import ConvergenceError, NetlistError
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist.elements import VCCS, Capacitor, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.simulate.system import ModelSystem, System
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")


def random_matrix(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n))


def jordan(n, a=-1.0):
    return a * np.eye(n) + np.eye(n, k=1)


def fine_peak(J, horizon, count=4000):
    """Largest norm on a fine uniform grid, by repeated products of one exponential."""
    step, E, best = scipy.linalg.expm(horizon / count * J), np.eye(len(J)), 1.0
    for _ in range(count):
        E = E @ step
        best = max(best, np.linalg.norm(E, 2))
    return best


class Linear(System):
    """C dv/dt = -G v, with G in theta."""

    def __init__(self, C, scale):
        self.states, self.capacitance = {"v": Bus((len(C),))}, {"v": np.asarray(C, float)}
        self.theta, self.scale = {}, scale

    def current(self, v, x, theta, t=0.0, sources=None):
        return {"v": jnp.asarray(theta["G"]) @ v["v"]}

    def voltages(self, v, x, theta, t=0.0, sources=None):
        return dict(v)


# ---- textbook matrices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 12])
def test_jordan_block(n):
    a = -0.9
    J = jordan(n, a)
    assert dx.spectral_abscissa(dx.eigenvalues(J)) == a  # n parts of one state: exact
    assert dx.numerical_abscissa(J) == pytest.approx(a + np.cos(np.pi / (n + 1)), abs=1e-13)
    curve = dx.growth_curve(J)
    assert curve.closed
    for t, norm in zip(curve.times, curve.norms, strict=True):
        assert norm == pytest.approx(np.linalg.norm(scipy.linalg.expm(t * J), 2), rel=1e-11)
    fine = fine_peak(J, curve.times[-1])
    assert dx.peak_growth(J) == pytest.approx(fine, rel=1e-6)
    assert dx.peak_growth(J) >= fine * (1 - 1e-12)


def test_grcar_eigenvalues_and_growth():
    n = 32
    J = -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4)) - 3.5 * np.eye(n)
    ours, theirs = dx.eigenvalues(J), np.linalg.eigvals(J)
    assert np.all(np.diff(ours.real) <= 0)
    assert np.max(np.min(np.abs(ours[:, None] - theirs), axis=1)) < 1e-10
    assert dx.peak_growth(J) == pytest.approx(fine_peak(J, 12.0), rel=1e-5)


@pytest.mark.parametrize(("a", "b", "c"), [(-1.0, 30.0, -2.0), (-1.0, 0.5, -3.0)])
def test_two_by_two_has_a_closed_form(a, b, c):
    J = np.array([[a, b], [0.0, c]])
    t = np.linspace(0.01, 6, 150)
    p, q, r = np.exp(a * t), b * (np.exp(a * t) - np.exp(c * t)) / (a - c), np.exp(c * t)
    frobenius, determinant = p**2 + q**2 + r**2, p * r
    exact = np.sqrt((frobenius + np.sqrt(frobenius**2 - 4 * determinant**2)) / 2)
    np.testing.assert_allclose(dx.growth_curve(J, t).norms, exact, rtol=1e-12)
    assert dx.peak_growth(J) == pytest.approx(max(1.0, exact.max()), rel=2e-3)
    assert dx.numerical_abscissa(J) == pytest.approx((a + c) / 2 + np.hypot((a - c) / 2, b / 2), rel=1e-13)


@pytest.mark.parametrize("n", [40, 320])
def test_initial_slope_is_the_numerical_abscissa(n):
    J = random_matrix(n, 3) - 3 * np.sqrt(n) * np.eye(n) + 12 * np.eye(n, k=1)
    t = 1e-6
    curve = dx.growth_curve(J, [t])
    omega = dx.numerical_abscissa(J)
    assert (curve.norms[0] - 1) / t == pytest.approx(omega, abs=1e-2)
    assert curve.slopes[0] == pytest.approx(omega, abs=1e-2)


def test_slopes_are_the_derivative_of_the_norm():
    J, h = jordan(6, -0.6), 1e-5
    for t in (0.3, 2.0, 7.0):
        low, mid, high = (dx.growth_curve(J, [t + k * h]) for k in (-1, 0, 1))
        assert mid.slopes[0] == pytest.approx((high.norms[0] - low.norms[0]) / (2 * h), rel=1e-6)


def test_large_matrices_take_other_paths_to_the_same_numbers():
    n = 420
    G = random_matrix(n) / np.sqrt(n) + np.diag(np.linspace(1.5, 4, n)) - 1.5 * np.eye(n, k=1)
    S, A = dx.split(G)
    assert dx.norm2(A) == pytest.approx(np.linalg.norm(A, 2), rel=1e-9)
    assert dx.asymmetry_ratio(G) == pytest.approx(np.linalg.norm(A, 2) / np.linalg.norm(S, 2), rel=1e-9)
    exact = np.max(np.abs(np.linalg.eigvals(np.linalg.solve(S, A))))
    assert dx.rho_sinv_a(G) == pytest.approx(exact, rel=1e-8)
    curve = dx.growth_curve(-G)
    picked = [0, len(curve.times) // 2, -2]
    exact_norms = [np.linalg.norm(scipy.linalg.expm(-t * G), 2) for t in curve.times[picked]]
    np.testing.assert_allclose(curve.norms[picked], exact_norms, rtol=1e-7)
    fine = max(np.linalg.norm(scipy.linalg.expm(-t * G), 2) for t in np.geomspace(*_around_top(curve), 6))
    assert dx.peak_growth(-G, curve) == pytest.approx(fine, rel=3e-3)
    assert dx.peak_growth(-G, curve) >= fine * (1 - 1e-6)


def _around_top(curve):
    top = int(np.argmax(curve.norms))
    return curve.times[max(top - 1, 0)], curve.times[top + 1]


def test_growth_without_bound_is_infinite_and_no_dynamics_is_one():
    assert dx.peak_growth(jordan(2, 0.0)) == np.inf
    assert dx.peak_growth(np.diag([0.1, -1.0])) == np.inf
    assert dx.peak_growth(np.zeros((3, 3))) == 1.0
    lossless = np.array([[0.0, 2.0], [-0.5, 0.0]])  # an ellipse with axes 2 : 1
    assert dx.peak_growth(lossless) == pytest.approx(2.0, rel=1e-4)


# ---- block-triangular structure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_eigenvalues_of_hidden_block_triangular_matrices(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 6)
    ends = np.cumsum(sizes)
    J = rng.standard_normal((ends[-1], ends[-1]))
    for end, size in zip(ends, sizes, strict=True):
        J[end - size : end, end:] = 0
    hidden = rng.permutation(ends[-1])
    J = J[np.ix_(hidden, hidden)]
    parts = causal_parts(J)
    assert sorted(map(len, parts)) == sorted(sizes)
    order = np.concatenate(parts)
    position = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    ordered = J[np.ix_(order, order)]
    assert not ordered[position[:, None] < position[None, :]].any()
    square = growth_module._square(ordered, np.cumsum([len(part) for part in parts]))
    np.testing.assert_allclose(square, ordered @ ordered, atol=1e-12)
    ours, theirs = dx.eigenvalues(J), np.linalg.eigvals(J)
    assert np.max(np.min(np.abs(ours[:, None] - theirs), axis=1)) < 1e-8
    assert np.max(np.min(np.abs(ours[:, None] - theirs), axis=0)) < 1e-8


def test_causal_products_equal_full_ones(monkeypatch):
    J = np.tril(random_matrix(30, 5)) - 4 * np.eye(30)
    monkeypatch.setattr(growth_module, "_PANEL", 7)
    hidden = np.random.default_rng(1).permutation(30)
    curve = dx.growth_curve(J[np.ix_(hidden, hidden)])
    np.testing.assert_allclose(curve.norms, dx.growth_curve(J, curve.times).norms, rtol=1e-10)
    np.testing.assert_allclose(curve.slopes, dx.growth_curve(J, curve.times).slopes, rtol=1e-7, atol=1e-9)


def test_rightmost_pair_and_hopf_frequency():
    ringing = np.array([[-0.2, 3.0], [-3.0, -0.2]])
    for real, expected in ((-1.0, 3 / (2 * np.pi)), (-0.1, 0.0)):
        values = dx.eigenvalues(scipy.linalg.block_diag(ringing, [[real]]))
        assert dx.hopf_frequency(values) == pytest.approx(expected, rel=1e-13)
        assert dx.pair_frequency(values) == pytest.approx(3 / (2 * np.pi), rel=1e-13)
        assert dx.rightmost_pair(values) == pytest.approx(-0.2 + 3j)
    assert np.isnan(dx.rightmost_pair(dx.eigenvalues(np.diag([-1.0, -2.0]))))


# ---- circuits: two matrices, two names -------------------------------------------------------------------------------


def rc_network(n, seed=0):
    """G and C of a random passive reciprocal RC network with capacitors to ground."""
    rng = np.random.default_rng(seed)
    between = np.triu(rng.exponential(1.0, (n, n)) * (rng.random((n, n)) < 0.4), 1)
    between = between + between.T
    return np.diag(between.sum(axis=1) + rng.uniform(0.05, 0.5, n)) - between, 10.0 ** rng.uniform(-1.5, 1.5, n)


def test_a_reciprocal_rc_network_looks_non_normal_only_outside_the_metric():
    G, C = rc_network(24)
    naive = -G / C[:, None]
    assert dx.rho_sinv_a(naive) > 0.3
    assert dx.peak_growth(naive) > 1.05
    Jc = dx.in_metric(G, C)
    assert dx.rho_sinv_a(Jc) < 1e-12
    assert dx.rho_sinv_a(G) < 1e-12
    assert dx.peak_growth(Jc) == 1.0
    assert dx.spectral_abscissa(dx.eigenvalues(Jc)) == pytest.approx(np.max(np.linalg.eigvals(naive).real), rel=1e-9)


@pytest.mark.parametrize("gyration", [0.1, 1.0, 30.0])
def test_gyrators_make_rho_grow_but_never_the_norm(gyration):
    G, C = rc_network(16, 2)
    gyrators = random_matrix(16, 4)
    G = G + gyration * (gyrators - gyrators.T)
    Jc = dx.in_metric(G, C)
    assert dx.numerical_abscissa(Jc) < 0
    assert dx.peak_growth(Jc) == 1.0
    S, A = dx.split(G)
    values = np.linalg.eigvals(np.linalg.solve(S, A))
    assert np.max(np.abs(values.real)) < 1e-9 * np.max(np.abs(values))
    assert dx.rho_sinv_a(G) == pytest.approx(np.max(np.abs(values)), rel=1e-9)


def test_a_capacitance_matrix_is_a_metric_too():
    G, C = rc_network(9, 3)
    coupled = np.diag(C) + 0.2 * (9 * np.eye(9) - np.ones((9, 9)))
    Jc = dx.in_metric(G + random_matrix(9), coupled)
    root = scipy.linalg.sqrtm(coupled)
    symmetric_root = -np.linalg.solve(root, G + random_matrix(9)) @ np.linalg.inv(root)
    assert dx.numerical_abscissa(Jc) == pytest.approx(dx.numerical_abscissa(symmetric_root), rel=1e-10)
    assert dx.growth_curve(Jc, [0.7]).norms[0] == pytest.approx(dx.growth_curve(symmetric_root, [0.7]).norms[0])
    np.testing.assert_allclose(dx.in_metric(G, np.diag(C)), dx.in_metric(G, C), rtol=1e-13)


def test_memoryless_nodes_are_refused():
    with pytest.raises(NetlistError, match="eliminate memoryless nodes"):
        dx.in_metric(np.eye(2), np.array([1.0, 0.0]))
    with pytest.raises(NetlistError, match="eliminate memoryless nodes"):
        dx.in_metric(np.eye(2), np.ones((2, 2)))


def test_singular_symmetric_part_has_infinite_rho_and_no_asymmetry_has_zero():
    gyrator = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert dx.rho_sinv_a(gyrator) == np.inf
    assert dx.asymmetry_ratio(gyrator) == np.inf
    assert dx.rho_sinv_a(gyrator + np.diag([1.0, 0.0])) == np.inf
    assert dx.rho_sinv_a(np.eye(3)) == dx.asymmetry_ratio(np.eye(3)) == 0.0
    assert dx.rho_sinv_a(2 * np.eye(2) + 3 * gyrator) == pytest.approx(1.5)


SCALE = Scale(0.1, 1e-5, 1e-14)


def oscillator(leak, floating=False):
    """Two capacitors 1 and 4 joined by a gyrator of 3 (units of SCALE), leaks in proportion to the capacitors."""
    nodes = [("a", 1.0), ("b", 4.0)]
    elements = [Capacitor(f"C{k}", k, "0", c * SCALE.farads) for k, c in nodes]
    for k, c in nodes:
        conductance = leak * c * SCALE.siemens
        if leak >= 0:
            elements.append(Resistor(f"R{k}", k, "0", conductance))
        else:
            elements.append(VCCS(f"R{k}", k, "0", k, "0", conductance))
    g = 3 * SCALE.siemens
    elements += [VCCS("ab", "a", "0", "b", "0", g), VCCS("ba", "b", "0", "a", "0", -g)]
    if floating:
        elements.append(Capacitor("Cf", "a", "b", 0.5 * SCALE.farads))
    return Circuit(Netlist({k: Bus() for k, _ in nodes}).add(*elements), SCALE)


@pytest.mark.parametrize("leak", [0.3, -0.02])
def test_panel_of_an_oscillator_with_a_known_hopf_pair(leak):
    circuit = oscillator(leak)
    start = {"a": 0.1, "b": 0.0}
    found = dx.panel(circuit, circuit.zeros(), {}, circuit.theta, lyapunov_from=start)
    assert found.spectral_abscissa == pytest.approx(-leak, rel=1e-12)
    assert found.numerical_abscissa == pytest.approx(-leak, rel=1e-12)
    assert found.contraction_margin == -found.numerical_abscissa
    assert found.hopf_frequency == pytest.approx(3 / np.sqrt(4) / (2 * np.pi), rel=1e-12)
    assert found.asymmetry_ratio == pytest.approx(3 / (4 * abs(leak)), rel=1e-12)
    assert found.rho_sinv_a == pytest.approx(3 / (2 * abs(leak)), rel=1e-12)
    assert found.lyapunov_finite_time == pytest.approx(-leak, rel=1e-3)
    assert found.peak_growth == (1.0 if leak > 0 else np.inf)
    assert found.time_unit == pytest.approx(1e-9)
    assert (found.states, found.states_total) == (2, 2)


def test_panel_with_a_capacitor_between_live_nodes():
    circuit = oscillator(0.3, floating=True)
    found = dx.panel(circuit, circuit.zeros(), {}, circuit.theta, lyapunov_from={"a": 0.1})
    C = np.array([[1.5, -0.5], [-0.5, 4.5]])
    G = np.array([[0.3, 3.0], [-3.0, 1.2]])
    assert found.eigenvalues[0] == pytest.approx(np.linalg.eigvals(-np.linalg.solve(C, G))[0].real + 1j * abs(
        np.linalg.eigvals(-np.linalg.solve(C, G))[0].imag))  # fmt: skip
    assert found.peak_growth == 1.0
    assert found.lyapunov_finite_time == pytest.approx(found.spectral_abscissa, rel=1e-2)


# ---- Lyapunov exponents ----------------------------------------------------------------------------------------------


def test_lyapunov_exponent_of_linear_systems():
    rng = np.random.default_rng(7)
    C = 10.0 ** rng.uniform(-0.5, 0.5, 6)
    reciprocal = -(random_matrix(6) + random_matrix(6).T) / 4 - 2 * np.eye(6)
    system, v0 = Linear(C * SCALE.farads, SCALE), {"v": 0.1 * np.ones(6)}
    for J in (reciprocal, jordan(6, -1.5), random_matrix(6, 1) / 3 - np.eye(6)):
        root = np.sqrt(C)
        theta = {"G": -root[:, None] * J * root[None, :] * SCALE.siemens}  # so that J is the Jacobian in the C metric
        alpha, omega = np.max(np.linalg.eigvals(J).real), dx.numerical_abscissa(J)
        long = dx.finite_time_lyapunov(system, v0, {}, theta, 300.0)
        assert long == pytest.approx(alpha, abs=0.06)
        for seed in range(3):
            short = dx.finite_time_lyapunov(system, v0, {}, theta, 2.0, align=0.0, key=jax.random.key(seed))
            assert short <= omega + 1e-4


def test_a_trajectory_that_runs_away_is_an_error():
    system, theta = Linear(np.ones(2), Scale()), {"G": -400.0 * np.eye(2)}
    with pytest.raises(ConvergenceError, match="runs away or is stiff"):
        dx.finite_time_lyapunov(system, {"v": np.ones(2)}, {}, theta, 10.0)


# ---- a transformer block ---------------------------------------------------------------------------------------------

KEYS = {
    *("spectral_abscissa", "numerical_abscissa", "rho_sinv_a", "peak_growth", "hopf_frequency"),
    *("asymmetry_ratio", "lyapunov_finite_time", "contraction_margin"),
}


@pytest.fixture(scope="module")
def block():
    """Panels of F(z), of the ideal and of the parasitic circuit, and the parasitic circuit with its point."""
    model = EquilibriumTransformer(4, 8, 2, 12, 11, 1.0, layer_norm_epsilon=0.1)
    weights = model.init(jax.random.key(0))
    token = np.zeros((4, 15))
    token[np.arange(4), [3, 1, 7, 3]] = token[np.arange(4), 11 + np.arange(4)] = 1
    systems = {"model": ModelSystem(model, weights)}
    for level in ("ideal", "parasitic"):
        compiled = compile_transformer(model, weights, level=level)
        systems[level] = Circuit(compiled.netlist, compiled.scale)
    out = {}
    for name, system in systems.items():
        x = {"token": jnp.asarray(token * system.scale.volts)}
        v = settle(system, x, system.theta).require(name).v
        out[name] = (system, v, x, dx.panel(system, v, x, system.theta))
    return out


def test_panels_of_model_and_ideal_circuit_agree(block):
    model, ideal = block["model"][-1], block["ideal"][-1]
    for key in KEYS - {"lyapunov_finite_time"}:
        assert getattr(ideal, key) == pytest.approx(getattr(model, key), abs=1e-8), key
    assert ideal.lyapunov_finite_time == pytest.approx(model.lyapunov_finite_time, abs=1e-6)
    assert np.max(np.abs(ideal.eigenvalues - model.eigenvalues)) < 1e-8
    np.testing.assert_allclose(ideal.growth.norms, model.growth.norms, rtol=1e-8)
    assert (model.time_unit, ideal.time_unit) == (1.0, pytest.approx(1e-9))
    assert model.states == ideal.states == 32


def test_panels_are_consistent(block):
    for name, (system, _, _, found) in block.items():
        assert found.spectral_abscissa < 0, name
        assert found.spectral_abscissa <= found.numerical_abscissa
        assert found.peak_growth >= 1
        if found.numerical_abscissa <= 0:
            assert found.peak_growth == pytest.approx(1.0, abs=1e-9)
        assert found.growth.closed
        assert found.lyapunov_finite_time == pytest.approx(found.spectral_abscissa, abs=0.15)
        assert found.states_total == len(system.labels)
        values = found.to_dict()
        assert set(values) == KEYS
        assert all(type(value) is float for value in values.values())
        assert json.loads(json.dumps(values)) == values


def test_parasitic_panel_looks_at_the_loops_of_the_full_matrix(block):
    circuit, v, x, found = block["parasitic"]
    names = {label for name in circuit.loops for label in circuit.states[name].labels(name)}
    rows = [k for k, label in enumerate(circuit.labels) if label in names]
    G = np.asarray(circuit.conductance(v, x, circuit.theta))[np.ix_(rows, rows)]
    C = circuit.capacitances[rows]
    assert found.states == len(rows) < found.states_total
    np.testing.assert_allclose(dx.Analyzed(circuit).conductance(v, x, circuit.theta), G, atol=1e-18)
    Jc = -found.time_unit * G / np.sqrt(np.outer(C, C))
    assert found.numerical_abscissa == pytest.approx(np.linalg.eigvalsh((Jc + Jc.T) / 2)[-1], rel=1e-9)
    assert found.spectral_abscissa == pytest.approx(np.max(np.linalg.eigvals(Jc).real), rel=1e-8)
    assert found.asymmetry_ratio == pytest.approx(np.linalg.norm(G - G.T, 2) / np.linalg.norm(G + G.T, 2), rel=1e-9)
    exact = np.max(np.abs(np.linalg.eigvals(np.linalg.solve(G + G.T, G - G.T))))
    assert found.rho_sinv_a == pytest.approx(exact, rel=1e-8)
    fine = max(np.linalg.norm(scipy.linalg.expm(t * Jc), 2) for t in np.geomspace(*_around_top(found.growth), 6))
    assert found.peak_growth == pytest.approx(fine, rel=3e-3)
    assert found.peak_growth >= fine * (1 - 1e-6)


def test_leaving_the_lyapunov_exponent_out(block):
    system, v, x, found = block["model"]
    without = dx.panel(system, v, x, system.theta, horizon=None)
    assert np.isnan(without.lyapunov_finite_time)
    assert without.peak_growth == found.peak_growth


def test_growth_with_nearly_equal_singular_values():
    r = np.random.default_rng(0).standard_normal((12, 12))
    assert dx.peak_growth(-np.eye(12) + 2 * (r - r.T)) == pytest.approx(1.0, abs=1e-9)
