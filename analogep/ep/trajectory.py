"""Finite time: the gradient of an unsettled run, carried forward with the state.

Steps are Euler's on C dv/dt = -i. Quantities are dimensionless: u = v / volts, w = theta / siemens, time in tau.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@partial(jax.tree_util.register_dataclass, data_fields=["task", "dt", "when"], meta_fields=["steps"])
@dataclass(frozen=True, eq=False)
class Run:
    """A task over a finite time, whether or not it comes to rest: Euler steps from where the task starts.

    Its vectors are dimensionless: influences are carried forward on them.

    Parameters
    ----------
    task : it starts at `task.v0`, 0 V by default.
    steps : number of steps.
    dt : in units of tau.
    when : weight of the loss after each step [steps]; by default the loss is read at the end only.
    """

    task: Task
    steps: int
    dt: float | Array = 0.1
    when: Array | None = None

    @property
    def reads(self) -> Array:
        """Weight of the loss after each step.

        Raises
        ------
        ValueError
            If `when` has another length than the run.
        """
        reads = jnp.zeros(self.steps).at[-1].set(1.0) if self.when is None else jnp.asarray(self.when, float)
        if reads.shape != (self.steps,):
            raise ValueError(f"`when` weighs the loss after each of {self.steps} steps; got shape {reads.shape}")
        return reads

    @property
    def start(self) -> Array:
        """The state at first."""
        system = self.task.system
        v0 = system.zeros() | dict(self.task.v0)
        return system.pack({name: jnp.asarray(v) for name, v in v0.items()}) / system.scale.volts

    @property
    def w(self) -> Array:
        """All weights."""
        siemens = self.task.system.scale.siemens
        return ravel_pytree({name: jnp.asarray(g) / siemens for name, g in self.task.theta.items()})[0]

    def unravel(self, w: Array) -> dict[str, Array]:
        """Array name -> its part of a vector like `w`."""
        return ravel_pytree(dict(self.task.theta))[1](w)

    def step(self, u: Array, w: Array) -> Array:
        """The state after one step."""
        return euler(self.task.system, self.task.x, self.dt)(u, self.unravel(w))

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
    start, w = run.start, run.w

    def step(state: tuple, when: Array) -> tuple[tuple, None]:
        u, influence, total, loss = state
        influence = carry(u, w, influence)
        u = run.step(u, w)
        now = jax.lax.cond(when != 0, slope, lambda u, w, p: jnp.zeros_like(w), u, w, influence)
        return (u, influence, total + when * now, loss + when * run.loss(u, w)), None

    begin = (start, jnp.zeros((w.size, start.size)), jnp.zeros_like(w), jnp.zeros(()))
    (end, _, total, loss), _ = jax.lax.scan(step, begin, run.reads)
    return run.gradient(total, loss, end, stored)


@jax.jit
def rtrl(run: Run) -> Gradient:
    """Exact gradient of a run, by real-time recurrent learning.

    The influence of every weight on every state, du/dw, is carried forward with the state; the result equals
    backpropagation through the same steps, needs no way back in time, and is ready at every step. The price is n p
    stored numbers (n states, p weights), n^2 p products a step, and that every state learns of every weight: nothing
    about it is local. No settles, no variance, no bias with respect to the finite time.

    Raises
    ------
    ValueError
        If `run.when` has another length than the run.

    Reference
    ---------
    Williams and Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks".
    """
    directions = jnp.eye(run.w.size)

    def carry(u: Array, w: Array, influence: Array) -> Array:
        along = jax.vmap(lambda du, dw: jax.jvp(run.step, (u, w), (du, dw))[1])
        return along(influence, directions)

    def slope(u: Array, w: Array, influence: Array) -> Array:
        return jax.vmap(lambda du, dw: run.slope(u, w, du, dw))(influence, directions)

    return accumulate(run, carry, slope, run.w.size * run.start.size)
