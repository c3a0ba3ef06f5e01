"""Finite time: what lambda, and every weight's update, have become after K steps of a nudged phase."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.ep.task import Task, weight_gradient
from analogep.ep.trajectory import euler, finite
from analogep.errors import NetlistError
from analogep.learning.altered import Injected
from analogep.netlist._types import Array
from analogep.simulate.circuit import Circuit
from analogep.simulate.transient import transient


class Relaxed(NamedTuple):
    """lambda along a nudged phase that starts at rest.

    Attributes
    ----------
    times : since the nudge began, in units of tau [K + 1].
    lam : bus -> (v+ - v-) / (2 beta) at these times (volts) [K + 1, ...].
    converged : whether the free phase had settled, and all numbers stayed finite.
    """

    times: Array
    lam: dict[str, Array]
    converged: Array


def truncated_nudge(task: Task, steps: int, *, dt: float = 0.1, beta: float = 1e-3, corrected: bool = True) -> Relaxed:
    """lambda after 0 ... `steps` Euler steps of the corrected nudged phase from rest, of either sign of beta.

    With M = dt tau C^-1 G^T and lambda = G^-T (-dL/dv) it is (1 - (1 - M)^K) lambda up to an error of order beta^2,
    which is what K steps of backpropagation through time from the settled state give, at any asymmetry; K -> infinity
    is AsymEP. Uncorrected it has G in the place of G^T, and equals those K steps in a reciprocal system only (Ernoult
    et al. 2019). The price is two short nudged phases beside the free one, n stored voltages v* and the
    correction +2 A (v - v*) of AsymEP; deterministic, with the bias (1 - M)^K lambda that the truncation leaves.

    Parameters
    ----------
    task : the nudge starts from its free state.
    steps : K; all of them are returned, K n numbers.
    dt : in units of tau; smaller than twice the fastest time constant, or the steps grow.
    beta : nudging strength.
    corrected : add the current +2 A (v - v*).

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.

    Reference
    ---------
    Scurria et al. 2026 (the correction); Ernoult et al. 2019, theorem 1 (equality with truncated BPTT).
    """
    task = task.at_rest
    plus, minus = (_displaced(task, sign * jnp.asarray(beta), steps, dt, corrected) for sign in (1, -1))
    lam = jax.tree.map(lambda one, other: (one + other) / 2, plus, minus)
    return Relaxed(dt * jnp.arange(steps + 1), lam, task.free.settled.converged & finite(lam))


def truncated_nudge_in_time(
    task: Task, times: Sequence[float], *, beta: float = 1e-3, corrected: bool = True, rtol: float = 1e-6
) -> Relaxed:
    """`truncated_nudge` as the circuit does it, in continuous time: (1 - exp(-C^-1 G^T t)) lambda.

    Parameters
    ----------
    times : since the nudge began, in units of tau, rising.
    rtol : relative tolerance of the integrator; it is sharpened by beta.
    beta, corrected : as there.

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.
    ConvergenceError
        If the integrator gives up.
    """
    task = task.at_rest
    rest, system = task.free.settled.v, task.system
    seconds = np.asarray(times, float) * system.scale.seconds
    runs = []
    for sign in (1, -1):
        nudged = _nudged(task, sign * beta, corrected)
        waves = transient(nudged, seconds, task.x, task.theta, v0=rest, rtol=rtol * beta)
        runs.append(waves.v)
    lam = jax.tree.map(lambda plus, minus: (plus - minus) / (2 * beta), *runs)
    return Relaxed(jnp.asarray(times, float), lam, task.free.settled.converged & finite(lam))


def nudged_steps(
    task: Task, steps: int, *, dt: float = 0.1, beta: float = 1e-3, corrected: bool = False
) -> dict[str, Array]:
    """What each Euler step of one nudged phase, from rest, would write into the weights.

    As beta falls, update k of a symmetric system is the part of the gradient that backpropagation through the same
    Euler steps at rest gives to step k from the end (Ernoult et al. 2019, theorem 1); they add up to the gradient of
    the truncated unroll. With `corrected` it holds for any system: (1 - dt C^-1 G^T)^k C^-1 is the transpose of
    (1 - dt C^-1 G)^k C^-1, whatever the capacitors. The price is one nudged phase of K steps, and the drives of the
    free phase stored at every weight; nothing is stored along the path.

    Parameters
    ----------
    task : of a circuit; the nudge starts from its free state.
    steps, dt, beta, corrected : as for `truncated_nudge`; one sign of beta leaves an error of order beta.

    Returns
    -------
    array name -> updates [K, *shape] (1/siemens).

    Raises
    ------
    NetlistError
        If the system is no circuit, if the loss is of nodes that are no states, or if weights push into such nodes.
    """
    system = task.system
    if not isinstance(system, Circuit):
        raise NetlistError(f"nudged steps: {type(system).__name__} has no weights with terminals; compile it")
    task = task.at_rest
    path = _displaced(task, jnp.asarray(beta), steps, dt, corrected)
    written = jax.tree.map(lambda values: jnp.diff(values, axis=0), path)
    return jax.vmap(lambda lam: weight_gradient(system, task.free.voltages, lam))(written)


def _nudged(task: Task, beta: Array | float, corrected: bool) -> Injected:
    """The system with beta (-dL/dv), and with the correction +2 A (v - v*), pushed into its states."""
    nudge = task.phases.corrected_nudge if corrected else task.phases.nudge
    return Injected(task.system, nudge(task.free, task.x, task.theta, beta))


@partial(jax.jit, static_argnames=("steps", "corrected"))
def _displaced(task: Task, beta: Array, steps: int, dt: float, corrected: bool) -> dict[str, Array]:
    """(v - v*) / beta after 0 ... `steps` steps (volts)."""
    system, scale = task.system, task.system.scale
    w = {name: g / scale.siemens for name, g in task.theta.items()}
    step, rest = euler(_nudged(task, beta, corrected), task.x, dt), system.pack(task.free.settled.v) / scale.volts

    def one(u: Array, _: None) -> tuple[Array, Array]:
        u = step(u, w)
        return u, (u - rest) * scale.volts / beta

    path = jax.lax.scan(one, rest, length=steps)[1]
    return jax.vmap(system.unpack)(jnp.concatenate([jnp.zeros((1, *rest.shape)), path]))
