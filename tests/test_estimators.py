"""Local estimators against the oracle: which are exact, which are biased and by what law, and what is flagged."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import SCALE
from small_blocks import block, one, phases, sample

from analogep.compile import compile_reciprocal, compile_transformer
from analogep.compile.transformer import STATE
from analogep.ep import oracle
from analogep.ep.compare import OracleOptions, compare_circuit
from analogep.ep.estimators import ENERGY_EP, RULES, TWIN, VECTOR_FIELD_EP, VECTOR_FIELD_EP_ONE_SIDED, Estimators
from analogep.ep.fidelity import fidelity
from analogep.errors import ConvergenceError, SpecError
from analogep.learning.altered import Injected
from analogep.learning.phases import CircuitPhases, nudge_options
from analogep.learning.rule import Phase, has_energy, local_gradient
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, Capacitor, ISource, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate import linear
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import SettleOptions, settle_near

pytestmark = pytest.mark.usefixtures("quick_compilation")

BETA = 1e-3


@cache
def compared():
    """`compare` on the causal block, both samples in one batch."""
    model, weights, batch = block("free")
    assert model.causal
    return compare_circuit(phases("free"), weights, batch, beta=BETA, reference=OracleOptions(steps=300))


@pytest.mark.slow
def test_asym_ep_and_twin_are_exact_on_the_causal_block():
    result = compared()
    assert result.converged
    assert result.residual < 1e-10
    for name in ("asym_ep", "twin"):
        row = result.rows[name]
        assert row.local
        assert row.total.cosine >= 0.9999
        assert row.total.relative_error <= 1e-3
        assert row.total.norm_ratio == pytest.approx(1.0, abs=1e-3)
    assert "energy_ep" not in result.rows
    assert set(result.rows["twin"].arrays) == set(block("free")[0].weight_shapes)


def test_the_local_gradient_is_the_reduced_implicit_gradient():
    """lambda_post v_pre at every weight of the full circuit, against the adjoint of F(z), array by array."""
    for name, each in compared().rows["twin"].arrays.items():
        assert each.relative_error <= 1e-10, name


def test_plain_ep_is_biased_on_the_causal_block():
    for name in ("vector_field_ep", "vector_field_ep_one_sided"):
        row = compared().rows[name]
        assert row.converged
        assert row.total.relative_error > 0.1
        assert row.total.cosine < 0.9


def test_bptt_agrees_and_the_json_is_complete():
    result = compared()
    assert result.bptt[1].relative_error < 1e-4
    assert float(result.bptt[0].residual) < 1e-6
    out = result.to_dict()
    assert set(out) == {"estimators", "bptt", "residual", "loss"}
    for row in out["estimators"].values():
        assert {"cosine", "relative_error", "norm_ratio", "local", "residual", "converged", "arrays"} <= set(row)
    assert {"cosine", "relative_error", "residual", "loss"} <= set(out["bptt"])
    assert out["loss"] == pytest.approx(out["bptt"]["loss"], rel=1e-6)


@cache
def settled(kind, which):
    """The free phase and the twin of one sample."""
    circuits, (x, theta) = phases(kind), sample(kind, which)
    free = circuits.free(x, theta)
    free.settled.require("the free phase")
    return free, circuits.twin(free, x, theta)


@cache
def estimated(kind, which, beta, nudge=True):
    """Gradients of one sample by every estimator; all strengths run the same compiled phases."""
    circuits, (x, theta) = phases(kind), sample(kind, which)
    near = nudge_options(circuits.options, 1e-3)
    free, twin = settled(kind, which)
    runs = {Phase.FREE: free, Phase.TWIN: twin}
    for sign, nudged, corrected in (
        (1, Phase.NUDGED_PLUS, Phase.CORRECTED_PLUS),
        (-1, Phase.NUDGED_MINUS, Phase.CORRECTED_MINUS),
    ):
        runs[corrected] = circuits.corrected(free, x, theta, jnp.asarray(sign * beta), near)
        if nudge:
            runs[nudged] = circuits.nudged(free, x, theta, jnp.asarray(sign * beta), near)
    runs = jax.tree.map(lambda leaf: leaf[None], runs)
    estimators = Estimators(circuits)
    known = [name for name in estimators.available if RULES[name].phases <= set(runs)]
    found = {name: estimators.gradient(name, runs, beta) for name in known}
    assert all(bool(estimate.converged) for estimate in found.values())
    return {name: jax.tree.map(lambda g: g * SCALE.siemens, e.gradient) for name, e in found.items()}


@cache
def implicit(kind, which):
    model, weights, batch = block(kind)
    z = settled(kind, which)[0].voltages[STATE][None] / phases(kind).scale.volts
    chosen = one(batch, which)
    return oracle.implicit(model, weights, z, chosen.inputs, chosen.targets, chosen.weights).gradient


def error(kind, which, name, beta=BETA, **options):
    return fidelity(estimated(kind, which, beta, **options)[name], implicit(kind, which))[0].relative_error


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("kind", "nudge"), [("energy", True), ("mixed", False)])
def test_asym_ep_and_twin_are_exact_on_other_blocks(kind, nudge, which):
    """The reciprocal model with one prediction a settle, and the mixed one with masked tokens."""
    gradients = estimated(kind, which, BETA, nudge)
    for name in ("asym_ep", "twin"):
        total, arrays = fidelity(gradients[name], implicit(kind, which))
        assert total.cosine >= 0.9999
        assert total.relative_error <= 1e-3
        assert name != "twin" or max(each.relative_error for each in arrays.values()) <= 1e-10


@pytest.mark.parametrize("which", [0, 1])
def test_the_energy_contrast_is_exact_where_own_node_displacement_is_not(which):
    """One-way cells make the circuit of a conservative model non-reciprocal."""
    assert error("energy", which, "energy_ep") <= 1e-3
    assert error("energy", which, "vector_field_ep") > 0.1


@pytest.mark.parametrize("name", ["asym_ep", "energy_ep"])
def test_centred_estimators_err_by_the_square_of_beta(name):
    errors = [error("energy", 0, name, beta) for beta in (0.02, 0.01, 0.005)]
    assert errors[-1] > 1e-6  # above round-off
    np.testing.assert_allclose([a / b for a, b in pairwise(errors)], 4.0, rtol=0.15)


def test_a_strong_nudge_still_settles():
    """Polishing about the free state gains little a step there, and must not give up."""
    assert 0.2 > error("energy", 0, "asym_ep", 0.08) > error("energy", 0, "asym_ep", 0.02)


def test_the_ideal_level_knows_lambda_at_the_states_only():
    """So AsymEP is no local rule there; `compare` still shows it, contracted (tests/test_cli.py)."""
    estimators, (x, theta) = Estimators(phases("free", "ideal")), sample("free", level="ideal")
    assert "asym_ep" not in estimators.available
    assert "twin" in estimators.available
    with pytest.raises(SpecError, match=r"estimator 'asym_ep' does not exist for this circuit; available: .*twin"):
        estimators.run(("asym_ep",), {name: value[None] for name, value in x.items()}, theta, BETA)


def test_an_unsettled_phase_is_flagged():
    model, weights, _ = block("free")
    circuits, (x, theta) = phases("free", "ideal"), sample("free", level="ideal")
    short = SettleOptions(horizon=0.01)
    unsettled = CircuitPhases(compile_transformer(model, weights, level="ideal"), short).free(x, theta)
    assert not bool(unsettled.settled.converged)
    with pytest.raises(ConvergenceError, match="the free phase did not settle"):
        unsettled.settled.require("the free phase")
    free = circuits.free(x, theta)
    near = replace(nudge_options(circuits.options, BETA), horizon=0.01)
    nudged = circuits.nudged(free, x, theta, jnp.asarray(BETA), near)
    assert not bool(nudged.settled.converged)
    runs = jax.tree.map(lambda leaf: leaf[None], {Phase.FREE: free, Phase.NUDGED_PLUS: nudged})
    estimate = Estimators(circuits).gradient(VECTOR_FIELD_EP_ONE_SIDED.name, runs, BETA)
    assert not bool(estimate.converged)


# Linear networks of resistors and controlled sources with a chosen G = S + A.

LINEAR_NODES = ("n0", "n1", "n2", "n3")


def split(rho, definite):
    """S (definite or not) and A, dimensionless, with spectral radius rho of S^-1 A."""
    signs = np.array([1.0, 1.0, 1.0, 1.0 if definite else -0.4])
    turn = np.zeros((4, 4))
    turn[0, 1], turn[2, 3] = rho, 0.3 * rho * np.sqrt(abs(signs[3]))
    turn -= turn.T
    mix = np.eye(4) + 0.3 * np.random.default_rng(1).normal(size=(4, 4))  # congruence keeps S^-1 A similar
    s, a = mix.T @ np.diag(signs) @ mix, mix.T @ turn @ mix
    n = np.linalg.solve(s, a)
    assert np.abs(np.linalg.eigvals(n)).max() == pytest.approx(rho)
    assert (np.linalg.eigvalsh(s).min() > 0) == definite
    return s, a, n


def linear_network(s, a):
    """Resistors where S allows them, else one-way sources; gyrators for A; every gyrator half programmable."""
    g0, elements, arrays = SCALE.siemens, [], {}
    for i, at in enumerate(LINEAR_NODES):
        elements.append(Capacitor(f"c{i}", at, GROUND, SCALE.farads))
        elements.append(ISource(f"i{i}", GROUND, at, (0.3 - 0.2 * i) * SCALE.amperes))
        shunt = g0 * (s[i].sum())
        elements.append(
            Resistor(f"g{i}", at, GROUND, shunt) if shunt > 0 else VCCS(f"g{i}", at, GROUND, at, GROUND, shunt)
        )
        for j, to in enumerate(LINEAR_NODES):
            if j < i:
                g = -g0 * s[i, j]
                elements.append(Resistor(f"s{i}{j}", at, to, g) if g > 0 else VCCS(f"s{i}{j}", at, to, at, to, g))
            if j != i:
                arrays[f"a{i}{j}"] = np.array(g0 * a[i, j])
                elements.append(VCCS(f"a{i}{j}", at, GROUND, to, GROUND, f"a{i}{j}"))
    return Netlist({name: Bus() for name in LINEAR_NODES}, {}, arrays).add(*elements)


@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("rho", [0.3, 1.0, 3.0, 10.0])
def test_plain_ep_is_the_cayley_transform_of_lambda(rho, definite):
    """(I + N)^-1 (I - N) lambda with N = S^-1 A, at any rho: the series in N is only its expansion."""
    s, a, n = split(rho, definite)
    circuit = Circuit(linear_network(s, a), SCALE)
    g = np.asarray(circuit.conductance(circuit.zeros(), {}, circuit.theta)) / SCALE.siemens
    np.testing.assert_allclose(g, s + a, rtol=0, atol=1e-12 * np.abs(g).max())
    at_zero = circuit.current(circuit.zeros(), {}, circuit.theta)
    rest = circuit.unflatten(-np.linalg.solve(g, np.asarray(circuit.flatten(at_zero))) / SCALE.siemens)
    slope = np.array([0.0, 0.5, -1.0, 0.2])  # dL/dv, in 1/volts
    unit = SCALE.amperes * SCALE.volts
    push = circuit.unflatten(jnp.asarray(-slope * unit))
    lam = np.linalg.solve(s - a, -slope) * unit / SCALE.siemens
    moved = linear_response(circuit, rest, {}, circuit.theta)(push)
    cayley = np.linalg.solve(np.eye(4) + n, (np.eye(4) - n) @ lam)
    np.testing.assert_allclose(circuit.flatten(moved), cayley, rtol=0, atol=1e-10 * np.abs(cayley).max())
    # the engine's gradients: plain EP has the transformed lambda where the twin has lambda itself
    displaced = {bus: rest[bus] + BETA * moved[bus] for bus in rest}
    back = {bus: rest[bus] - BETA * moved[bus] for bus in rest}
    signals = {Phase.FREE: rest, Phase.NUDGED_PLUS: displaced, Phase.NUDGED_MINUS: back}
    plain = local_gradient(VECTOR_FIELD_EP, circuit.netlist, signals, BETA, unit)
    exact = local_gradient(
        TWIN, circuit.netlist, {Phase.FREE: rest, Phase.TWIN: circuit.unflatten(jnp.asarray(lam))}, 1.0, unit
    )
    v = np.asarray(circuit.flatten(rest))
    for found, multipliers in ((plain, cayley), (exact, lam)):
        expected = np.outer(multipliers, v) / unit
        for name, value in found.items():
            i, j = int(name[1]), int(name[2])
            assert float(value) == pytest.approx(expected[i, j], rel=1e-7, abs=1e-7 * np.abs(expected).max())
    assert fidelity(plain, exact)[0].relative_error > min(0.3 * rho, 0.5)


def test_the_twin_of_a_linear_network_settles_on_lambda():
    """At rho = 3, from the physical adjoint network, against finite differences of the loss."""
    s, a, _ = split(3.0, True)
    netlist = linear_network(s, a)
    circuit, slope = Circuit(netlist, SCALE), np.array([0.0, 0.5, -1.0, 0.2])

    def voltages(theta):
        g = circuit.conductance(circuit.zeros(), {}, theta)
        return np.linalg.solve(g, -np.asarray(circuit.flatten(circuit.current(circuit.zeros(), {}, theta))))

    twin, unit = Circuit(adjoint(netlist), SCALE), SCALE.amperes * SCALE.volts
    pushed = twin.unflatten(jnp.asarray(-slope * unit))
    lam = settle_near(twin, {}, twin.theta, sources=pushed).require("the twin").v
    signals = {Phase.FREE: circuit.unflatten(jnp.asarray(voltages(circuit.theta))), Phase.TWIN: lam}
    found = local_gradient(TWIN, netlist, signals, 1.0, unit)
    for name in ("a01", "a10", "a23", "a31"):
        step = 1e-4 * SCALE.siemens
        up, down = (slope @ voltages({**circuit.theta, name: circuit.theta[name] + by}) for by in (step, -step))
        assert float(found[name]) == pytest.approx((up - down) / (2 * step), rel=1e-6)


# A reciprocal network of plain resistors.

TARGET = np.array([0.05, -0.08, 0.03, 0.0, 0.1])
MEASURED = np.array([1.0, 0.0, 1.0, 0.0, 1.0])


@cache
def reciprocal():
    rng = np.random.default_rng(2)
    w = rng.normal(size=(5, 5)) * 0.3
    w = np.triu(w, 1) + np.triu(w, 1).T
    return Circuit(compile_reciprocal(w, rng.normal(size=5), damping=1.0, scale=SCALE), SCALE)


def pull(v):
    """-dL/dv of the loss below, as a current at beta = 1."""
    return {"zp": -SCALE.siemens * MEASURED * (v["zp"] - TARGET)}


def quadratic_loss(v):
    return 0.5 * float(np.sum(MEASURED * ((np.asarray(v["zp"]) - TARGET) / SCALE.volts) ** 2))


@cache
def reciprocal_phases(beta):
    circuit = reciprocal()

    @jax.jit
    def nudged(strength):
        system = Injected(circuit, lambda v: {bus: strength * i for bus, i in pull(v).items()})
        return settle_near(system, {}, circuit.theta, options=SettleOptions(tolerance=1e-12))

    runs = {Phase.FREE: 0.0, Phase.NUDGED_PLUS: beta, Phase.NUDGED_MINUS: -beta}
    return {phase: nudged(strength).require(phase).v for phase, strength in runs.items()}


@cache
def reciprocal_gradient():
    """Finite differences of the loss in every resistor that is there."""
    circuit = reciprocal()

    def loss(theta):
        g = circuit.conductance(circuit.zeros(), {}, theta)
        i = circuit.flatten(circuit.current(circuit.zeros(), {}, theta))
        return quadratic_loss(circuit.unflatten(jnp.linalg.solve(g, -i)))

    entries = {name: list(zip(*map(list, np.nonzero(g)), strict=True)) for name, g in circuit.theta.items()}
    return entries, oracle.finite_differences(loss, circuit.theta, entries, step=1e-4 * SCALE.siemens)


def reciprocal_error(rule, beta):
    entries, exact = reciprocal_gradient()
    unit = SCALE.amperes * SCALE.volts
    found = local_gradient(rule, reciprocal().netlist, reciprocal_phases(beta), beta, unit)
    chosen = {name: np.array([found[name][entry] for entry in entries[name]]) for name in exact}
    return fidelity(chosen, exact)[0]


@pytest.mark.parametrize("rule", [VECTOR_FIELD_EP, ENERGY_EP], ids=lambda rule: rule.name)
def test_plain_ep_is_exact_on_resistors(rule):
    """Own-node displacement and energy contrast: a reciprocal circuit is its own adjoint."""
    assert has_energy(reciprocal().netlist)
    assert reciprocal_error(rule, 1e-3).relative_error < 2e-6
    assert reciprocal_error(rule, 1e-3).cosine > 1 - 1e-10


@pytest.mark.parametrize(
    ("rule", "order"), [(VECTOR_FIELD_EP_ONE_SIDED, 1), (VECTOR_FIELD_EP, 2)], ids=["one_sided", "centred"]
)
def test_order_of_the_error_on_resistors(rule, order):
    errors = [reciprocal_error(rule, beta).relative_error for beta in (0.08, 0.04, 0.02)]
    np.testing.assert_allclose([a / b for a, b in pairwise(errors)], 2.0**order, rtol=0.15)


def test_circuits_too_large_for_dense_solves_learn_as_well(monkeypatch):
    """Krylov iterations in Newton steps and linear responses, behind the barrier against reverse mode."""
    monkeypatch.setattr(linear, "NEWTON_LIMIT", 4)
    monkeypatch.setattr(linear, "DENSE_LIMIT", 4)
    model, weights, _ = block("free")
    circuits, (x, theta) = CircuitPhases(compile_transformer(model, weights, level="ideal")), sample("free")
    near = nudge_options(circuits.options, BETA)
    free = circuits.free(x, theta)
    found = [circuits.twin(free, x, theta), circuits.corrected(free, x, theta, jnp.asarray(BETA), near)]
    assert all(bool(run.settled.converged) for run in found)
    lam, moved = (run.settled.v[STATE] for run in found)
    # settled to 1e-10 by the flag; the corrected displacement is beta lambda, to the order of beta
    np.testing.assert_allclose((moved - free.settled.v[STATE]) / BETA, lam, rtol=0, atol=0.05 * np.abs(lam).max())
