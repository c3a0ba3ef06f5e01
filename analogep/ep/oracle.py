"""Reference gradients, apart from everything local: implicit differentiation, BPTT, finite differences.

Only this module differentiates backward. No estimator, phase, rule or local trainer imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.transformer import LOGITS
from analogep.models.objective import cross_entropy
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.cascade import solver as make_solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import packed_rate

Weights = Mapping[str, Array]


class Reference(NamedTuple):
    """A reference gradient: per array, the loss, and the relative residual |F| / |z| of the state it was taken at."""

    gradient: dict[str, Array]
    loss: Array
    residual: Array


def _loss(model: EquilibriumTransformer, z: Array, theta: Weights, targets: Array, weights: Array) -> Array:
    return cross_entropy(model.logits(z, theta), targets, weights)


def _residual(model: EquilibriumTransformer, z: Array, x: Array, theta: Weights) -> Array:
    return jnp.linalg.norm(model.force(z, x, theta)) / jnp.linalg.norm(z)


def _mean(batched: Reference) -> Reference:
    gradient = jax.tree.map(lambda g: g.mean(0), batched.gradient)
    return Reference(gradient, batched.loss.mean(), batched.residual.max())


@partial(jax.jit, static_argnames=("model",))
def implicit(
    model: EquilibriumTransformer, theta: Weights, z: Array, inputs: Array, targets: Array, weights: Array
) -> Reference:
    """Implicit gradient of the mean loss at settled states, of F(z) as written.

    dL/dtheta = dL/dtheta|_z + lambda^T dF/dtheta with (dF/dz)^T lambda = -dL/dz, by a dense solve.

    Parameters
    ----------
    z : settled states [B, T, d]; a few Newton steps sharpen them first.
    inputs, targets, weights : batch arrays [B, ...].
    """

    def one(z: Array, x: Array, y: Array, w: Array) -> Reference:
        shape = z.shape

        def force(flat, theta):
            return model.force(flat.reshape(shape), x, theta).ravel()

        at = z.ravel()
        for _ in range(3):
            at = at - jnp.linalg.solve(jax.jacrev(force)(at, theta), force(at, theta))
        loss, (dz, direct) = jax.value_and_grad(
            lambda flat, theta: _loss(model, flat.reshape(shape), theta, y, w), argnums=(0, 1)
        )(at, theta)
        lam = jnp.linalg.solve(jax.jacrev(force)(at, theta).T, -dz)
        through = jax.vjp(lambda theta: force(at, theta), theta)[1](lam)[0]
        gradient = jax.tree.map(jnp.add, direct, through)
        return Reference(gradient, loss, _residual(model, at.reshape(shape), x, theta))

    return _mean(jax.vmap(one)(z, inputs, targets, weights))


@partial(jax.jit, static_argnames=("model", "steps"))
def bptt(
    model: EquilibriumTransformer,
    theta: Weights,
    inputs: Array,
    targets: Array,
    weights: Array,
    *,
    steps: int = 150,
    dt: float = 0.2,
) -> Reference:
    """Backpropagation through `steps` Euler steps of dz/dt = F(z) from z = 0: the digital reference.

    It differentiates the finite unroll, not the fixed point; `residual` says how far apart the two are.
    """

    def one(x: Array, y: Array, w: Array) -> Reference:
        def unroll(theta):
            def step(z, _):
                return z + dt * model.force(z, x, theta), None

            z = jax.lax.scan(step, jnp.zeros((model.tokens, model.channels)), length=steps)[0]
            return _loss(model, z, theta, y, w), z

        (loss, z), gradient = jax.value_and_grad(unroll, has_aux=True)(theta)
        return Reference(gradient, loss, _residual(model, z, x, theta))

    return _mean(jax.vmap(one)(inputs, targets, weights))


@partial(jax.jit, static_argnames=("circuit", "horizon", "rtol"))
def circuit_bptt(
    circuit: Circuit, theta: Parameters, x: Voltages, *, horizon: float = 30.0, rtol: float = 1e-6
) -> Reference:
    """Backpropagation through the settling solver of the circuit, with diffrax's checkpointed adjoint.

    Parameters
    ----------
    circuit : a Circuit built without the forward-only guard.
    x : rails of a batch, with `token`, `target` and `weight` (leading axis samples).
    horizon : simulated time in units of tau.

    Returns
    -------
    Gradient in 1/siemens.
    """
    unit = circuit.scale.volts

    def loss(theta, x):
        solution = diffrax.diffeqsolve(
            packed_rate(circuit),
            make_solver("auto", circuit, rtol=rtol, fixed=True),
            t0=0.0,
            t1=horizon,
            dt0=1e-3,
            y0=circuit.pack(circuit.zeros()),
            args=(x, theta, None),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol * unit),
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
            max_steps=4096,
        )
        v = circuit.unpack(solution.ys[-1])
        logits = circuit.voltages(v, x, theta)[LOGITS] / unit
        residual = circuit.residual(circuit.pack(circuit.current(v, x, theta)), solution.ys[-1])
        return cross_entropy(logits, x["target"] / unit, x["weight"] / unit), residual

    def one(x: Voltages) -> Reference:
        (value, residual), gradient = jax.value_and_grad(loss, has_aux=True)(theta, x)
        return Reference(gradient, value, residual)

    return _mean(jax.vmap(one)(x))


def contract(
    model: EquilibriumTransformer, theta: Weights, z: Array, lam: Array, inputs: Array, targets: Array, weights: Array
) -> dict[str, Array]:
    """The reduced gradient -lambda^T dF/dtheta + dL/dtheta|_z for a given lambda: not local, it differentiates F.

    Parameters
    ----------
    z, lam : states and multipliers [B, T, d], with G^T lambda = -dL/dz and G = -dF/dz.
    """

    def one(z, lam, x, y, w):
        through = jax.vjp(lambda theta: -model.force(z, x, theta), theta)[1](lam)[0]
        direct = jax.grad(lambda theta: _loss(model, z, theta, y, w))(theta)
        return jax.tree.map(jnp.add, direct, through)

    batched = jax.vmap(one)(z, lam, inputs, targets, weights)
    return jax.tree.map(lambda g: g.mean(0), batched)


def pullback(function: Callable[[Array], Array], at: Array, gradient: Array) -> Array:
    """Gradient with respect to what goes into `function` at `at`, from that with respect to what comes out of it.

    For what stands between devices and the matrix that a circuit sees, such as wires.
    """
    return jax.vjp(function, at)[1](gradient)[0]


def finite_differences(
    loss: Callable[[Weights], float], theta: Weights, entries: Mapping[str, list[tuple[int, int]]], step: float = 1e-5
) -> dict[str, np.ndarray]:
    """Centred differences of `loss` (of settled states) in chosen entries of the weights.

    Returns
    -------
    array name -> one derivative for each entry of that array.
    """

    def shifted(name: str, entry: tuple[int, int], by: float) -> float:
        value = np.array(theta[name], float)
        value[entry] += by
        return float(loss({**theta, name: value}))

    return {
        name: np.array([(shifted(name, e, step) - shifted(name, e, -step)) / (2 * step) for e in chosen])
        for name, chosen in entries.items()
    }


def energy_contrast(
    model: EquilibriumTransformer, theta: Weights, plus: Array, minus: Array, beta: float, batch: tuple[Array, ...]
) -> dict[str, Array]:
    """[d(E + beta L)/dtheta at z+  -  d(E - beta L)/dtheta at z-] / (2 beta): energy EP on the model as written.

    Parameters
    ----------
    plus, minus : states [B, T, d] settled under the nudges +beta and -beta.
    batch : inputs, targets and weights.
    """

    def slope(z, b, x, y, w):
        return jax.grad(lambda theta: model.energy(z, x, theta) + b * _loss(model, z, theta, y, w))(theta)

    def one(up, down, x, y, w):
        return jax.tree.map(lambda a, b: (a - b) / (2 * beta), slope(up, beta, x, y, w), slope(down, -beta, x, y, w))

    return jax.tree.map(lambda g: g.mean(0), jax.vmap(one)(plus, minus, *batch))
