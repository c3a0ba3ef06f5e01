"""Hamiltonian echo: run, reverse time, nudge, run back; weights compare what two echoes did at their own terminals."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.learning.cost import Cost
from analogep.models.hamiltonian import Oscillators
from analogep.netlist._types import Array, Parameters

FLUX = "q"
"""Bus of the fluxes in a Cost of an oscillator network; its scale is `Scale()`."""


class Echo(NamedTuple):
    """A gradient from echoes.

    Attributes
    ----------
    gradient : weight name -> dL/dtheta of the loss at the end of the forward run.
    loss : the loss there.
    missed : distance between where the echoes came back to, in the mean of both nudges, and where the run had begun,
        over its size sqrt(q^2 + p^2): 0 (order beta^2) if time was reversed, near 1 if the energy was lost on the way.
    converged : all numbers stayed finite.
    runs : passes through the network.
    """

    gradient: dict[str, Array]
    loss: Array
    missed: Array
    converged: Array
    runs: int | Array


@partial(jax.jit, static_argnames=("network", "cost", "steps", "active"))
def hamiltonian_echo(
    network: Oscillators,
    cost: Cost,
    start: tuple[Array, Array],
    theta: Parameters,
    *,
    x: Array | float = 0.0,
    steps: int,
    dt: float = 0.1,
    beta: float = 1e-3,
    active: bool = False,
) -> Echo:
    """dL/dtheta of the state after `steps` steps, from two echoes kicked by +-beta (-dL/dq).

    After the forward run all charges are reversed, which sends a lossless network back along its own path, and kicked
    by the output error. Liouville's theorem makes the displaced echo carry the adjoint, whatever the nonlinearity:

        dL/dtheta = (1 / 2 beta) sum over the echo of dt (dV/dtheta at q+  -  dV/dtheta at q-),

    and each term is local. Against backpropagation through the same steps the error is of order beta^2 at any step
    size, because Störmer-Verlet is symplectic and reversible itself. Damping breaks both properties: the echo neither
    returns nor carries the adjoint, and the error grows with damping x time (of order 1 once that is about 1). Far
    beyond, where both runs have come to rest, it falls again: the echo is then equilibrium propagation in a reciprocal
    network.

    The price is three runs (forward, and one echo for each sign), no stored path but the state at the turn (from which
    both echoes start), one sign flip for each capacitor at one instant, a kick at the outputs, and one product
    accumulated for each weight and echo; no second wiring, because the couplings are reciprocal. No variance.

    Parameters
    ----------
    cost : of the bus `q`, in units of `Scale()`, read at the end.
    start : (q, p), each [n].
    x : injected currents, broadcast to [n].
    steps, dt : of the forward run; dt in units of sqrt(L C).
    beta : the kick is beta (-dL/dq), in units of charge.
    active : run the echo with gain in the place of damping, and weigh its signals by exp(-gamma s) at echo time s:
        exact in the damped network as well, at the price of amplifiers matched to the losses; what they miss, and
        noise, grows like exp(gamma T).

    Reference
    ---------
    López-Pastor and Marquardt 2023; Pourcel and Ernoult 2025, "Learning long range dependencies through
    time reversal symmetry breaking" (echoes of both signs, and their discrete form).
    """
    gamma, back = network.damping, (-network.damping if active else network.damping)
    drive = jnp.broadcast_to(jnp.asarray(x, float), (network.units,))
    q0, p0 = (jnp.asarray(part, float) for part in start)

    def forward(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        q, p = state
        return network.step(q, p, theta, drive, dt), None

    (q, p), _ = jax.lax.scan(forward, (q0, p0), length=steps)
    kick = cost.force({FLUX: q}, {}, theta)[FLUX]

    # damping shrinks the adjoint by exp(-gamma s) as well, which an active echo does not do by itself
    faded = jnp.exp(-gamma * dt * (jnp.arange(steps) + 0.5)) if active else jnp.ones(steps)

    def echo(sign: float) -> tuple[dict[str, Array], Array]:
        def step(state: tuple, half: Array) -> tuple[tuple, None]:
            q, p, total = state
            before = network.slopes(q)
            q, p = network.step(q, p, theta, drive, dt, damping=back)
            total = jax.tree.map(lambda t, a, b: t + half * (a + b), total, before, network.slopes(q))
            return (q, p, total), None

        nothing = jax.tree.map(jnp.zeros_like, network.slopes(q))
        begin = (q, -p + sign * beta * kick, nothing)
        (at, moving, total), _ = jax.lax.scan(step, begin, faded * dt / 2)
        return total, jnp.stack([at, -moving])

    (plus, up), (minus, down) = echo(1.0), echo(-1.0)
    gradient = jax.tree.map(lambda a, b: (a - b) / (2 * beta), plus, minus)
    begun = jnp.stack([q0, p0])
    missed = jnp.linalg.norm((up + down) / 2 - begun) / jnp.linalg.norm(begun)
    loss = cost.loss({FLUX: q}, {}, theta)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves((gradient, loss, missed))]))
    return Echo(gradient, loss, missed, finite, 3)
