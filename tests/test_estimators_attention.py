"""Exact estimators on free and mixed attention, as circuits and as F(z), over weight scales and the rho found."""

from functools import cache

import jax
import numpy as np
import pytest
from dense_circuits import SCALE
from small_networks import radius_of

from analogep.compile import compile_transformer, to_conductances
from analogep.compile.recurrent import STATE
from analogep.compile.transformer import LOGITS
from analogep.ep import oracle
from analogep.ep.estimators import EXACT, RULES, Estimators
from analogep.ep.fidelity import fidelity
from analogep.errors import NetlistError
from analogep.learning.cost import LogitCrossEntropy
from analogep.learning.model_phases import ModelPhases
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase, displacement
from analogep.learning.system_phases import SystemPhases
from analogep.models import EquilibriumTransformer, make_batch
from analogep.models.objective import cross_entropy

pytestmark = pytest.mark.usefixtures("quick_compilation")

BETA = 1e-3
HERE = tuple(name for name in EXACT if name != "gyrator_flip")


# Attention, free and mixed, at both levels.


@cache
def attention(kind, level):
    """A small block and the phases of its circuit; weights of any scale run through the same programs."""
    model = EquilibriumTransformer(3, 4, 1, 6, 5, 1.0, kind, layer_norm_epsilon=0.1)
    rng = np.random.default_rng(0)
    windows = rng.integers(5, size=(1, model.tokens + 1))
    batch = make_batch(windows, "next_token" if kind == "free" else "last_token", 5)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(2)).items()}
    return model, weights, batch, CircuitPhases(compile_transformer(model, weights, level=level))


MIXED = [pytest.param("mixed", level, marks=pytest.mark.slow) for level in ("ideal", "parasitic")]


@pytest.mark.parametrize(
    ("kind", "level"), [pytest.param("free", "ideal", marks=pytest.mark.slow), ("free", "parasitic"), *MIXED]
)
def test_attention_over_weight_scales(kind, level):
    model, weights, batch, phases = attention(kind, level)
    estimators, x, found = Estimators(phases), rails(batch, SCALE.volts), []
    conductance = jax.jit(phases.circuit.conductance)
    names = tuple(name for name in HERE if name in estimators.available)
    assert set(names) == {"twin", "reversed"} | ({"asym_ep"} if level == "parasitic" else set())
    for gain in (0.5, 1.0, 2.0):
        scaled = {name: gain * w for name, w in weights.items()}
        theta = to_conductances(scaled, SCALE)
        settled = estimators.run(names, x, theta, BETA)
        free = settled[Phase.FREE].settled.require(f"gain {gain}")
        v = {bus: value[0] for bus, value in free.v.items()}
        g = np.asarray(conductance(v, {n: r[0] for n, r in x.items()}, theta)) / SCALE.siemens
        found.append(radius_of(g))
        z = free.v[STATE] / SCALE.volts
        exact = oracle.implicit(model, scaled, z, batch.inputs, batch.targets, batch.weights).gradient
        for name in names:
            estimate = estimators.gradient(name, settled, BETA)
            where = f"{kind}, {level}, gain {gain}, rho {found[-1]:.2f}: {name}"
            assert bool(estimate.converged), where
            gradient = {array: value * SCALE.siemens for array, value in estimate.gradient.items()}
            total = fidelity(gradient, exact)[0]
            assert total.relative_error <= 1e-3, f"{where}: {total.relative_error:.1e}"
            assert total.cosine >= 0.9999, where
    # compiled, G has every cell's coupling in it; F(z) itself is damped and its rho small
    assert (max(found) > 1) == (level == "parasitic"), f"rho over gain: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["free", "mixed"])
def test_attention_as_written_over_weight_scales(kind):
    """F(z) itself: lambda at z by every exact estimator, against the dense transpose of a Jacobian made here."""
    model, weights, batch, _ = attention(kind, "ideal")
    phases = ModelPhases(model, weights)
    x = {"token": batch.inputs, "target": batch.targets, "weight": batch.weights}
    wanted = frozenset(phase for name in HERE for phase in RULES[name].phases)
    slope = jax.jit(jax.jacrev(lambda z, theta: model.force(z, batch.inputs[0], theta)))
    for gain in (0.5, 1.0, 2.0):
        theta = {name: gain * w for name, w in weights.items()}
        found = phases.run(x, theta, wanted, BETA)
        assert all(bool(run.settled.converged.all()) for run in found.values())
        z = found[Phase.FREE].settled.v["z"][0]

        def loss(z, theta=theta):
            return cross_entropy(model.logits(z, theta), batch.targets[0], batch.weights[0])

        g = -np.asarray(slope(z, theta)).reshape(z.size, z.size)
        lam = np.linalg.solve(g.T, -np.ravel(jax.grad(loss)(z)))
        for name in HERE:
            states = {phase: run.settled.v for phase, run in found.items()}
            at_z = np.ravel(displacement(RULES[name], states, BETA)["z"][0])
            miss = np.linalg.norm(at_z - lam) / np.linalg.norm(lam)
            assert miss <= 1e-3, f"{kind}, gain {gain}, rho {radius_of(g):.2f}, {name}: {miss:.1e}"


@pytest.mark.slow
def test_dyadic_ep_on_attention():
    """Two copies of the whole circuit, its loss at the logit nodes."""
    model, weights, batch, circuits = attention("free", "parasitic")
    phases = SystemPhases(circuits.circuit, LogitCrossEntropy(LOGITS, SCALE))
    theta, x = to_conductances(weights, SCALE), rails(batch, SCALE.volts)
    found = phases.run(x, theta, RULES["dyadic_ep"].phases, BETA)
    estimate = Estimators(phases).gradient("dyadic_ep", found, BETA)
    assert bool(estimate.converged)
    free = found[Phase.FREE].voltages
    logits, z = free[LOGITS][0] / SCALE.volts, free[STATE] / SCALE.volts
    inputs = {name: value[0] for name, value in x.items()}
    exact = oracle.implicit(model, weights, z, batch.inputs, batch.targets, batch.weights)
    assert float(phases.cost.loss({LOGITS: logits * SCALE.volts}, inputs)) == pytest.approx(float(exact.loss))
    gradient = {array: value * SCALE.siemens for array, value in estimate.gradient.items()}
    assert fidelity(gradient, exact.gradient)[0].relative_error <= 1e-4
    with pytest.raises(NetlistError, match="the loss looks at 'logits', which is no state"):
        SystemPhases(attention("free", "ideal")[3].circuit, phases.cost).force(free, x, theta)
