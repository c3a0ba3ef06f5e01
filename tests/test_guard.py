"""No backward pass: the primitive that forbids it, the scan that finds it, and the imports that keep it away."""

import ast
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block, one, phases, sample
from small_networks import network, setting

import analogep
from analogep.compile import compile_transformer
from analogep.ep.estimators import MODEL_RULES, RULES, Estimators
from analogep.ep.task import Task
from analogep.ep.truncated import nudged_steps
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.model_phases import ModelPhases
from analogep.learning.nudge import rails, with_nudge
from analogep.learning.phases import nudge_options
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import cross_entropy
from analogep.simulate.circuit import Circuit
from analogep.simulate.forward_only import forward_only
from analogep.simulate.settle import SettleOptions
from analogep.simulate.system import ModelSystem
from analogep.training.local import settled_loss, twin_gradient

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = ["free", "energy"]
REFUSED = "reverse-mode differentiation through a forward-only system"
X = jnp.array([0.3, -1.0, 2.0])


def guarded(x):
    return jnp.tanh(forward_only(x)) ** 2


def plain(x):
    return jnp.tanh(x) ** 2


def test_forward_mode_passes():
    np.testing.assert_array_equal(guarded(X), plain(X))
    np.testing.assert_array_equal(jax.jit(guarded)(X), jax.jit(plain)(X))
    np.testing.assert_array_equal(
        jax.vmap(guarded)(jnp.stack([X, 2 * X]))[1], jax.vmap(plain)(jnp.stack([X, 2 * X]))[1]
    )
    for f in (guarded, jax.jit(guarded)):
        value, slope = jax.jvp(f, (X,), (jnp.ones(3),))
        np.testing.assert_allclose(slope, jax.jvp(plain, (X,), (jnp.ones(3),))[1], rtol=1e-15)
        np.testing.assert_allclose(value, plain(X), rtol=1e-15)
        np.testing.assert_allclose(jax.jacfwd(f)(X), jax.jacfwd(plain)(X), rtol=1e-15)
    np.testing.assert_allclose(jax.linearize(guarded, X)[1](X), jax.jvp(plain, (X,), (X,))[1], rtol=1e-15)


def test_it_passes_whole_trees_and_plain_numbers():
    tree = {"a": X, "b": (1.5, np.arange(3.0))}
    out = forward_only(tree)
    assert jax.tree.structure(out) == jax.tree.structure(tree)
    np.testing.assert_array_equal(out["b"][1], np.arange(3.0))
    assert float(out["b"][0]) == 1.5


@pytest.mark.parametrize(
    "backward",
    [
        lambda f: jax.grad(lambda x: f(x).sum())(X),
        lambda f: jax.value_and_grad(lambda x: f(x).sum())(X),
        lambda f: jax.vjp(f, X)[1](jnp.ones(3)),
        lambda f: jax.jacrev(f)(X),
        lambda f: jax.hessian(lambda x: f(x).sum())(X),
        lambda f: jax.grad(jax.jit(lambda x: f(x).sum()))(X),
        lambda f: jax.jit(jax.grad(lambda x: f(x).sum()))(X),
        lambda f: jax.vmap(jax.grad(lambda x: f(x).sum()))(X[None]),
        lambda f: jax.grad(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: f(y), x).sum())(X),
        lambda f: jax.linear_transpose(lambda d: jax.jvp(f, (X,), (d,))[1], X)(X),
    ],
)
def test_reverse_mode_is_refused(backward):
    backward(plain)
    with pytest.raises(NotImplementedError, match=REFUSED):
        backward(guarded)


def shared_loss(x):
    return plain(x).sum()


@pytest.mark.parametrize(
    "program",
    [
        jax.grad(shared_loss),
        jax.jit(jax.grad(jax.jit(shared_loss))),
        jax.vmap(jax.grad(lambda x: x**2)),
        jax.jacrev(plain),
        lambda x: jax.vjp(plain, x)[1](x)[0],
        lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y - jax.grad(shared_loss)(y), x),
        lambda x: jax.lax.while_loop(lambda y: y[0] > 0, jax.grad(shared_loss), x),
        lambda x: jax.lax.scan(lambda y, _: (jax.grad(shared_loss)(y), None), x, length=2)[0],
        lambda x: jax.lax.cond(x[0] > 0, jax.grad(shared_loss), lambda y: y, x),
        lambda x: jax.lax.map(jax.grad(jnp.sin), x),
        lambda x: jax.linear_transpose(lambda y: 2 * y, x)(x)[0],
        lambda x: jax.scipy.sparse.linalg.gmres(lambda y: jax.vjp(lambda z: 2 * z, y)[1](y)[0], x)[0],
    ],
)
def test_the_scan_finds_reverse_mode(program):
    assert reverse_mode_uses(program, X)


@pytest.mark.parametrize(
    "program",
    [
        plain,
        jax.jit(jax.jacfwd(plain)),
        lambda x: jax.linearize(plain, x)[1](x),
        lambda x: jnp.linalg.solve(jnp.eye(3) + x, x.T) @ x[None].T,
        lambda x: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(jnp.eye(3) + x), x),
        lambda x: jax.scipy.sparse.linalg.gmres(lambda y: 2 * y, x)[0],
    ],
)
def test_the_scan_passes_forward_programs(program):
    assert reverse_mode_uses(program, X) == []


def free_run(circuits, x, theta):
    """Shapes of a free phase: enough to trace the phases that start from it."""
    return jax.eval_shape(circuits.free, x, theta)


@pytest.mark.parametrize(("kind", "level"), [("free", "parasitic"), ("energy", "parasitic"), ("free", "ideal")])
def test_phases_go_forward_only(kind, level):
    circuits, (x, theta) = phases(kind, level), sample(kind, level=level)
    assert reverse_mode_uses(circuits.free, x, theta) == []
    free, near = free_run(circuits, x, theta), nudge_options(circuits.options, 1e-3)
    for phase in (circuits.nudged, circuits.corrected):
        assert reverse_mode_uses(lambda *args, p=phase: p(*args, near), free, x, theta, jnp.asarray(1e-3)) == []
    assert reverse_mode_uses(circuits.twin, free, x, theta) == []


@pytest.mark.parametrize("kind", KINDS)
def test_whole_runs_and_rules_go_forward_only(kind):
    """Every estimator as it is run, on the circuit and on F(z)."""
    model, weights, batch = block(kind)
    batch = one(batch, 0)
    circuits, (_, theta) = phases(kind), sample(kind)
    estimators, x = Estimators(circuits), rails(batch, circuits.scale.volts)
    names = estimators.available

    def gradients(x, theta):
        runs = estimators.run(names, x, theta, 1e-3)
        return [estimators.gradient(name, runs, 1e-3).gradient for name in names]

    known = {"vector_field_ep", "vector_field_ep_one_sided", "asym_ep", "twin", "reversed"}
    assert set(names) == known | ({"energy_ep"} if kind == "energy" else set())
    assert reverse_mode_uses(gradients, x, theta) == []
    inputs = {"token": batch.inputs, "target": batch.targets, "weight": batch.weights}
    on_model = ModelPhases(model, weights)
    wanted = frozenset(phase for name in MODEL_RULES for phase in RULES[name].phases)
    assert reverse_mode_uses(lambda x, theta: on_model.run(x, theta, wanted, 1e-3), inputs, weights) == []


def test_phases_of_any_system_go_forward_only():
    """All of them on a small recurrent circuit, the complex ones and the step-by-step nudge included."""
    on_circuit, (x, theta, v0) = network(), setting(np.eye(8))
    estimators = Estimators(on_circuit)

    def gradients(x, theta):
        runs = on_circuit.run(x, theta, on_circuit.supported, 1e-3, v0)
        return [estimators.gradient(name, runs, 1e-3).gradient for name in estimators.available]

    assert reverse_mode_uses(gradients, x, theta) == []
    first = {bus: rail[0] for bus, rail in x.items()}
    at = Task(on_circuit, first, theta, rest=jax.eval_shape(on_circuit.free, first, theta))
    assert reverse_mode_uses(lambda task: nudged_steps(task, 3), at) == []
    x1 = {"x": jnp.zeros(8)}
    for circuit in (on_circuit.system, on_circuit.transposed_circuit, on_circuit.reversed_circuit):
        inputs = {**x1, "free.z": jnp.zeros(8)}
        with pytest.raises(NotImplementedError, match=REFUSED):
            jax.eval_shape(jax.grad(lambda v, c=circuit, x=inputs: c.current(v, x, theta)["z"].sum()), circuit.zeros())


def test_the_rule_engine_goes_forward_only():
    netlist = with_nudge(phases("energy").compiled, return_path=True)
    v = {bus: jnp.ones(shape.shape) for bus, shape in netlist.buses.items()}
    for rule in RULES.values():
        signals = dict.fromkeys(Phase, v)
        assert reverse_mode_uses(lambda s, r=rule: local_gradient(r, netlist, s, 1e-3, 1.0), signals) == []


@pytest.mark.parametrize("kind", KINDS)
def test_local_training_goes_forward_only(kind):
    model, weights, batch = block(kind)
    compiled = compile_transformer(model, weights, level="ideal")
    x = rails(batch, compiled.scale.volts)
    assert reverse_mode_uses(twin_gradient(compiled, SettleOptions()), weights, x) == []
    assert reverse_mode_uses(settled_loss(compiled, SettleOptions()), weights, x) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_smuggled_vjp_is_caught(kind):
    """An adjoint taken by jax from an unguarded circuit: the scan sees it, whatever it is wrapped in."""
    model, weights, _ = block(kind)
    x, theta = sample(kind)
    compiled = compile_transformer(model, weights)
    circuit = Circuit(compiled.netlist, compiled.scale)
    v = circuit.zeros()

    def smuggled(v, theta):
        leaving, back = jax.vjp(lambda v, theta: circuit.current(v, x, theta), v, theta)
        return jax.lax.cond(v["z"].sum() > 0, lambda: back(leaving)[1], lambda: theta)

    assert reverse_mode_uses(smuggled, v, theta)
    assert reverse_mode_uses(jax.vmap(jax.jit(smuggled), (0, None)), jax.tree.map(lambda a: a[None], v), theta)
    assert reverse_mode_uses(lambda v: circuit.current(v, x, theta), v) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_circuits_of_local_learning_refuse_reverse_mode(kind):
    circuits, (x, theta) = phases(kind), sample(kind)
    free = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), free_run(circuits, x, theta))
    held, nudged = circuits.held(free), circuits.nudged_inputs(free, x, 1e-3)
    for circuit, rails_ in (
        (circuits.circuit, x),
        (circuits.nudged_circuit, nudged),
        (circuits.output_nudged_circuit, nudged),
        (circuits.twin_circuit, held),
        (circuits.transposed_circuit, held),
    ):
        v = circuit.zeros()
        jax.eval_shape(lambda v, c=circuit, r=rails_: jax.jvp(lambda v: c.current(v, r, theta), (v,), (v,)), v)
        for what, argnum in ((circuit.current, 0), (circuit.current, 1), (circuit.rate, 0), (circuit.voltages, 0)):
            loss = lambda v, th, w=what, r=rails_: sum(jnp.sum(part**2) for part in w(v, r, th).values())  # noqa: E731
            with pytest.raises(NotImplementedError, match=REFUSED):
                jax.eval_shape(jax.grad(loss, argnum), v, theta)


def test_settled_walks_and_models_refuse_reverse_mode():
    circuits, (x, theta) = phases("free"), sample("free")
    model, weights, batch = block("free")
    core = {bus: jnp.zeros(circuits.circuit.states[bus].shape) for bus in circuits.circuit.core}
    system = ModelSystem(model, weights, forward_only=True)
    inputs = {"token": batch.inputs[0]}
    for loss in (
        lambda theta: sum(jnp.sum(i**2) for i in circuits.circuit.settled(core, x, theta)[1].values()),
        lambda theta: sum(jnp.sum(i**2) for i in circuits.circuit.full(circuits.circuit.zeros(), x, theta)[1].values()),
    ):
        with pytest.raises(NotImplementedError, match=REFUSED):
            jax.eval_shape(jax.grad(loss), theta)
    with pytest.raises(NotImplementedError, match=REFUSED):
        jax.eval_shape(jax.grad(lambda z: jnp.sum(system.current({"z": z}, inputs, weights)["z"])), jnp.zeros((4, 8)))


def test_backpropagating_through_a_phase_is_refused():
    """The loss of a settled free phase, differentiated as a digital trainer would."""
    circuits, (x, theta) = phases("free"), sample("free")
    volts = circuits.scale.volts

    def loss(theta):
        logits = circuits.free(x, theta).voltages["logits"] / volts
        return cross_entropy(logits, x["target"] / volts, x["weight"] / volts)

    with pytest.raises((NotImplementedError, ValueError), match=REFUSED + "|[Rr]everse-mode"):
        jax.eval_shape(jax.grad(loss), theta)


ROOT = Path(analogep.__file__).parent


def modules(*packages):
    """Names of all modules of packages, those in subpackages too."""
    files = [path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("[!_]*.py")]
    return {".".join(("analogep", *path.with_suffix("").parts)) for path in files}


BESIDE_THE_ORACLE = {"analogep.ep.oracle", "analogep.ep.baselines", "analogep.ep.compare"}
"""Reference gradients and what is held against them; every other module of these packages is a local path."""
LOCAL = modules("ep", "learning", "diagnostics") - BESIDE_THE_ORACLE | {
    "analogep.training.device",
    "analogep.training.local",
}


def test_local_paths_do_not_load_the_oracle():
    code = f"import sys, {', '.join(sorted(LOCAL))}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded >= LOCAL >= {"analogep.ep.truncated", "analogep.ep.price", "analogep.learning.rule"}
    banned = {f"analogep.{path.removesuffix('.py').replace('/', '.')}" for path in REVERSE}
    assert not (banned | BESIDE_THE_ORACLE) & loaded


REVERSE = {"ep/oracle.py", "ep/baselines.py", "simulate/nodal/sensitivity.py"}
"""Where reverse mode has its place: reference gradients, digital baselines, and sensitivities of a deck's results."""
BACKWARD = {"grad", "value_and_grad", "vjp", "jacrev", "hessian", "linear_transpose"}
BACKWARD |= {f"filter_{name}" for name in ("grad", "value_and_grad", "vjp", "jacrev", "hessian")}
BACKWARD |= {"RecursiveCheckpointAdjoint", "BacksolveAdjoint", "ImplicitAdjoint", "DirectAdjoint"}


def test_reverse_mode_is_named_where_it_has_its_place_only():
    named = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            owner = ast.unparse(node.value) if isinstance(node, ast.Attribute) else None
            if name in BACKWARD and owner in (None, "jax", "eqx", "equinox", "diffrax"):
                named.setdefault(str(path.relative_to(ROOT)), set()).add(name)
    assert set(named) == REVERSE, f"reverse mode elsewhere: {named}"
