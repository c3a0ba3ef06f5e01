"""Digital baselines that differentiate backward, but not through the whole relaxation.

Like the oracle, these are references: no estimator, phase, rule or local trainer imports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from analogep.ep.oracle import Reference
from analogep.ep.trajectory import Run, euler
from analogep.models.objective import cross_entropy
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Parameters
from analogep.simulate.circuit import Circuit


@partial(jax.jit, static_argnames=("model", "steps"))
def phantom(
    model: EquilibriumTransformer,
    theta: Mapping[str, Array],
    z: Array,
    inputs: Array,
    targets: Array,
    weights: Array,
    *,
    steps: int = 5,
    damping: float = 0.5,
) -> Reference:
    """Phantom gradient: backpropagation through `steps` damped steps taken at the settled state.

    The steps are z <- z + damping F(z) / (1 + c). At rest they do not move; their gradient is the first K terms of the
    Neumann series of the implicit one, (1 - (1 - D)^K) lambda for lambda with D = damping (1 + c)^-1 G^T, biased by
    what is cut off. K -> infinity is the implicit gradient where the steps contract. `truncated_nudge` is the same sum
    made by a relaxing circuit. The price is K stored states and K products with the transposed Jacobian; no settles
    beside the free phase.

    Parameters
    ----------
    z : settled states [B, T, d].
    inputs, targets, weights : batch arrays [B, ...].
    steps : K >= 1.
    damping : in (0, 1].

    Reference
    ---------
    Geng et al. 2021, "On training implicit models" (unrolling-based phantom gradient).
    """
    leak = jnp.asarray(model.leak)

    def one(z: Array, x: Array, y: Array, w: Array) -> Reference:
        def loss(theta: Mapping[str, Array]) -> Array:
            def step(at: Array, _: None) -> tuple[Array, None]:
                return at + damping * model.force(at, x, theta) / leak, None

            at, _ = jax.lax.scan(step, jax.lax.stop_gradient(z), length=steps)
            return cross_entropy(model.logits(at, theta), y, w)

        value, gradient = jax.value_and_grad(loss)(dict(theta))
        return Reference(gradient, value, jnp.linalg.norm(model.force(z, x, theta)) / jnp.linalg.norm(z))

    batched = jax.vmap(one)(z, inputs, targets, weights)
    gradient = jax.tree.map(lambda g: g.mean(0), batched.gradient)
    return Reference(gradient, batched.loss.mean(), batched.residual.max())


def jacobian_free(
    model: EquilibriumTransformer,
    theta: Mapping[str, Array],
    z: Array,
    inputs: Array,
    targets: Array,
    weights: Array,
) -> Reference:
    """Jacobian-free backpropagation: the inverse Jacobian is replaced by the identity, one step z <- z + F / (1 + c).

    lambda becomes -dL/dz / (1 + c). A descent direction if the step contracts enough; biased otherwise. The price is
    one product with the transposed Jacobian of one step, and no stored path.

    Parameters
    ----------
    z, inputs, targets, weights : as for `phantom`.

    Reference
    ---------
    Fung et al. 2022, "JFB: Jacobian-free backpropagation for implicit networks".
    """
    return phantom(model, theta, z, inputs, targets, weights, steps=1, damping=1.0)


@jax.jit
def unrolled(run: Run) -> Reference:
    """BPTT of a run: backpropagation through the Euler steps that `rtrl` carries forward.

    Parameters
    ----------
    run : of a circuit, which is built anew without its forward-only guard, or of another system that has none.

    Returns
    -------
    Gradient in 1/siemens, the loss, and the relative residual of the state reached.
    """
    task, system, scale = run.task, run.task.system, run.task.system.scale
    if isinstance(system, Circuit):
        system = Circuit(system.netlist, scale)
    step = euler(system, task.x, run.dt)

    def total(theta: Parameters) -> tuple[Array, Array]:
        w = {name: g / scale.siemens for name, g in theta.items()}

        def forward(u: Array, when: Array) -> tuple[Array, Array]:
            u = step(u, w)
            v = system.voltages(system.unpack(u * scale.volts), task.x, theta)
            return u, when * task.phases.cost.loss(v, task.x, theta)

        end, losses = jax.lax.scan(forward, run.start, run.reads)
        return losses.sum(), end

    (loss, end), gradient = jax.value_and_grad(total, has_aux=True)(dict(task.theta))
    v = system.unpack(end * scale.volts)
    residual = system.residual(system.pack(system.current(v, task.x, task.theta)), system.pack(v))
    return Reference(gradient, loss, residual)
