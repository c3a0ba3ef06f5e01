"""Two timescales: weights drift slowly while the circuit and its twin relax, and nothing ever waits for a phase."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.ep.task import Task, weight_gradient
from analogep.errors import NetlistError
from analogep.netlist._types import Array
from analogep.simulate.circuit import Circuit


class Drift(NamedTuple):
    """Weights that moved while the circuit relaxed.

    Attributes
    ----------
    theta : array name -> conductances at the end (siemens).
    loss : along the way, before each step.
    residual : relative residual of the circuit along the way: how far it lagged behind its weights.
    converged : whether the free phase had settled, and all numbers stayed finite.
    """

    theta: dict[str, Array]
    loss: Array
    residual: Array
    converged: Array


def two_timescales(task: Task, steps: int, *, slowness: float, dt: float = 0.05) -> Drift:
    """Learn without phases: from the free state circuit, twin and weights all move at once, the weights slowest.

    C dv/dt = -i(v, theta), C dlambda/dt = -G(v)^T lambda - dL/dv, and slowness tau dw/dt = -dL/dw as lambda and v show
    it at the moment (w = theta / siemens). The weights follow gradient flow with an error of order 1 / slowness, as
    long as the circuit settles; no signal is stored. The price is the twin's second set of wires, no settles beside the
    free phase, and a learning rate bounded by the circuit's own speed.

    Parameters
    ----------
    steps, dt : Euler steps in units of tau.
    slowness : time constant of the weights in units of tau.

    Raises
    ------
    NetlistError
        If the system is no circuit, so that its weights have no terminals, if capacitors join its live nodes, or if the
        loss is of nodes that are no states.

    Reference
    ---------
    Tikhonov's theorem (Kokotović, Khalil and O'Reilly 1986, ch. 1); Ernoult et al. 2020, "Equilibrium propagation with
    continual weight updates".
    """
    if not isinstance(task.system, Circuit):
        raise NetlistError(f"two timescales: {type(task.system).__name__} has no weights with terminals; compile it")
    if task.system.floating:
        raise NetlistError(f"two timescales: Capacitor {task.system.floating[0].name!r} joins two live nodes")
    return _drift(task.at_rest, steps, slowness, dt)


@partial(jax.jit, static_argnames=("steps",))
def _drift(task: Task, steps: int, slowness: float, dt: float) -> Drift:
    system, x, free = task.system, task.x, task.free
    assert isinstance(system, Circuit)
    scale = system.scale

    def step(state: tuple, _: None) -> tuple[tuple, tuple[Array, Array]]:
        v, lam, theta = state
        leaving = system.current(v, x, theta)
        seen = (task.loss(v, theta), system.residual(system.pack(leaving), system.pack(v)))
        back, push = task.phases.transposed(v, lam, x, theta), task.push(v, theta)
        gradient = weight_gradient(system, system.voltages(v, x, theta), lam)

        def moved(at: dict[str, Array], current: dict[str, Array]) -> dict[str, Array]:
            return {bus: at[bus] + dt * scale.seconds * current[bus] / system.capacitance[bus] for bus in at}

        # dw = -(dt / slowness) dL/dw with w = theta / siemens, so dtheta takes siemens twice
        rate = dt / slowness * scale.siemens**2
        theta = {name: g - rate * gradient[name] if name in gradient else g for name, g in theta.items()}
        v = moved(v, {bus: -i for bus, i in leaving.items()})
        return (v, moved(lam, {bus: push[bus] - back[bus] for bus in push}), theta), seen

    start = {bus: jnp.asarray(v) for bus, v in free.settled.v.items()}
    theta = {name: jnp.asarray(g) for name, g in task.theta.items()}
    (_, _, theta), (loss, residual) = jax.lax.scan(step, (start, system.zeros(), theta), length=steps)
    finite = jnp.all(jnp.isfinite(loss)) & jnp.all(jnp.isfinite(residual))
    return Drift(theta, loss, residual, free.settled.converged & finite)
