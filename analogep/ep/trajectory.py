"""Finite time: the gradient of an unsettled run, carried forward with the state.

Steps are Euler's on C dv/dt = -i. Quantities are dimensionless: u = v / volts, w = theta / siemens, time in tau.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from analogep.ep.task import Gradient, Task
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.system import System

Step = Callable[[Array, Parameters], Array]


def euler(system: System, x: Voltages, dt: float | Array) -> Step:
    """One step u, w -> u + dt du/dt of the packed state; `dt` in units of tau."""
    scale = system.scale

    def step(u: Array, w: Parameters) -> Array:
        theta = {name: g * scale.siemens for name, g in w.items()}
        rate = system.rate(system.unpack(u * scale.volts), x, theta)
        return u + dt * scale.seconds / scale.volts * system.pack(rate)

    return step


def finite(tree: object) -> Array:
    """Whether all numbers of a tree are finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


Carry = Callable[[Array, Array, Array], Array]
"""State u, weights w and influence du/dw [weights, states] -> influence after one step."""
Slope = Callable[[Array, Array, Array], Array]
"""State, weights and influence -> gradient of the loss there [weights]."""


class Run:
    """A run from `v0` in dimensionless vectors, on which influences are carried forward."""

    def __init__(self, task: Task, steps: int, dt: float, v0: Voltages | None, when: Array | None) -> None:
        scale, system = task.system.scale, task.system
        self.task, self.steps = task, steps
        self.w, self.unravel = ravel_pytree({name: jnp.asarray(g) / scale.siemens for name, g in task.theta.items()})
        start = system.zeros() | dict(v0 or {})
        self.start = system.pack({name: jnp.asarray(v) for name, v in start.items()}) / scale.volts
        self.when = jnp.zeros(steps).at[-1].set(1.0) if when is None else jnp.asarray(when, float)
        if self.when.shape != (steps,):
            raise ValueError(f"`when` weighs the loss after each of {steps} steps; got shape {self.when.shape}")
        step = euler(system, task.x, dt)
        self.step = lambda u, w: step(u, self.unravel(w))

    def volts(self, u: Array) -> dict[str, Array]:
        """State voltages."""
        return self.task.system.unpack(u * self.task.system.scale.volts)

    def theta(self, w: Array) -> dict[str, Array]:
        """Conductances (siemens)."""
        return {name: g * self.task.system.scale.siemens for name, g in self.unravel(w).items()}

    def voltages(self, u: Array, w: Array) -> dict[str, Array]:
        """Voltages of all buses."""
        return self.task.system.voltages(self.volts(u), self.task.x, self.theta(w))

    def loss(self, u: Array, w: Array) -> Array:
        """The loss at a state."""
        return self.task.loss(self.volts(u), self.theta(w))

    def slope(self, u: Array, w: Array, du: Array, dw: Array) -> Array:
        """Change of the loss along (du, dw), forward."""
        return jax.jvp(self.loss, (u, w), (du, dw))[1]

    def gradient(self, per_weight: Array, loss: Array, end: Array, stored: int) -> Gradient:
        """The result for a gradient with respect to w."""
        system, task = self.task.system, self.task
        gradient = {name: g / system.scale.siemens for name, g in self.unravel(per_weight).items()}
        v = self.volts(end)
        residual = system.residual(system.pack(system.current(v, task.x, task.theta)), system.pack(v))
        return Gradient(gradient, loss, residual, finite((gradient, loss, residual)), 0, stored)


def accumulate(run: Run, carry: Carry, slope: Slope, stored: int) -> Gradient:
    """Step the state and an influence [weights, states] together, and add up the loss's slopes where it is read."""

    def step(state: tuple, when: Array) -> tuple[tuple, None]:
        u, influence, total, loss = state
        influence = carry(u, run.w, influence)
        u = run.step(u, run.w)
        now = jax.lax.cond(when != 0, slope, lambda u, w, p: jnp.zeros_like(w), u, run.w, influence)
        return (u, influence, total + when * now, loss + when * run.loss(u, run.w)), None

    nothing = jnp.zeros((run.w.size, run.start.size))
    begin = (run.start, nothing, jnp.zeros_like(run.w), jnp.zeros(()))
    (end, _, total, loss), _ = jax.lax.scan(step, begin, run.when)
    return run.gradient(total, loss, end, stored)


def rtrl(task: Task, steps: int, *, dt: float = 0.1, v0: Voltages | None = None, when: Array | None = None) -> Gradient:
    """Exact gradient of a run of `steps` Euler steps, by real-time recurrent learning.

    The influence of every weight on every state, du/dw, is carried forward with the state; the result equals
    backpropagation through the same steps, needs no way back in time, and is ready at every step. The price is n p
    stored numbers (n states, p weights), n^2 p products a step, and that every state learns of every weight: nothing
    about it is local. No settles, no variance, no bias with respect to the finite time.

    Parameters
    ----------
    dt : in units of tau.
    v0 : start; 0 V by default.
    when : weight of the loss after each step [steps]; by default the loss is read at the end only.

    Raises
    ------
    ValueError
        If `when` has another length than the run.

    Reference
    ---------
    Williams and Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks".
    """
    return _rtrl(task, steps, dt, v0, when)


@partial(jax.jit, static_argnames=("steps",))
def _rtrl(task: Task, steps: int, dt: float, v0: Voltages | None, when: Array | None) -> Gradient:
    run = Run(task, steps, dt, v0, when)
    directions = jnp.eye(run.w.size)

    def carry(u: Array, w: Array, influence: Array) -> Array:
        along = jax.vmap(lambda du, dw: jax.jvp(run.step, (u, w), (du, dw))[1])
        return along(influence, directions)

    def slope(u: Array, w: Array, influence: Array) -> Array:
        return jax.vmap(lambda du, dw: run.slope(u, w, du, dw))(influence, directions)

    return accumulate(run, carry, slope, run.w.size * run.start.size)
