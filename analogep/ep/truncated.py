"""Finite time: what lambda has become after K steps of the corrected nudged phase."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.ep.task import Task
from analogep.ep.trajectory import euler, finite
from analogep.learning.phases import Injected, PhaseRun
from analogep.learning.system_phases import SystemPhases
from analogep.netlist._types import Array
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


def truncated_nudge(
    task: Task,
    steps: int,
    *,
    dt: float = 0.1,
    beta: float = 1e-3,
    corrected: bool = True,
    free: PhaseRun | None = None,
) -> Relaxed:
    """lambda after 0 ... `steps` Euler steps of the corrected nudged phase from rest, of either sign of beta.

    With M = dt tau C^-1 G^T and lambda = G^-T (-dL/dv) it is (1 - (1 - M)^K) lambda up to an error of order beta^2,
    which is what K steps of backpropagation through time from the settled state give, at any asymmetry; K -> infinity
    is AsymEP. Uncorrected it has G in the place of G^T, and equals those K steps in a reciprocal system only (Ernoult
    et al. 2019). The price is two short nudged phases beside the free one, n stored voltages v* and the
    correction +2 A (v - v*) of AsymEP; deterministic, with the bias (1 - M)^K lambda that the truncation leaves.

    Parameters
    ----------
    steps : K; all of them are returned, K n numbers.
    dt : in units of tau; smaller than twice the fastest time constant, or the steps grow.
    beta : nudging strength.
    corrected : add the current +2 A (v - v*).
    free : the state from which to start; the settled free phase by default.

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.

    Reference
    ---------
    Scurria et al. 2026 (the correction); Ernoult et al. 2019, theorem 1 (equality with truncated BPTT).
    """
    free = task.free if free is None else free
    path = _steps(task, free, jnp.asarray(beta), steps, dt, corrected)
    lam = {bus: jnp.concatenate([jnp.zeros((1, *values.shape[1:])), values]) for bus, values in path.items()}
    return Relaxed(dt * jnp.arange(steps + 1), lam, free.settled.converged & finite(lam))


def truncated_nudge_in_time(
    task: Task,
    times: Sequence[float],
    *,
    beta: float = 1e-3,
    corrected: bool = True,
    rtol: float = 1e-6,
    free: PhaseRun | None = None,
) -> Relaxed:
    """`truncated_nudge` as the circuit does it, in continuous time: (1 - exp(-C^-1 G^T t)) lambda.

    Parameters
    ----------
    times : since the nudge began, in units of tau, rising.
    rtol : relative tolerance of the integrator; it is sharpened by beta.
    beta, corrected, free : as there.

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.
    ConvergenceError
        If the integrator gives up.
    """
    free = task.free if free is None else free
    rest, system = free.settled.v, task.system
    seconds = np.asarray(times, float) * system.scale.seconds
    runs = []
    for sign in (1, -1):
        nudged = _nudged(task, free, sign * beta, corrected)
        waves = transient(nudged, seconds, task.x, task.theta, v0=rest, rtol=rtol * beta)
        runs.append(waves.v)
    lam = jax.tree.map(lambda plus, minus: (plus - minus) / (2 * beta), *runs)
    return Relaxed(jnp.asarray(times, float), lam, free.settled.converged & finite(lam))


def _nudged(task: Task, free: PhaseRun, beta: Array | float, corrected: bool) -> Injected:
    """The system with beta (-dL/dv), and with the correction +2 A (v - v*), pushed into its states."""
    task.push(free.settled.v)  # refuses a loss of nodes that are no states
    phases, at = SystemPhases(task.system, task.cost), (task.x, task.theta, beta)
    return Injected(task.system, phases.corrected_nudge(free, *at) if corrected else phases.nudge(*at))


@partial(jax.jit, static_argnames=("steps", "corrected"))
def _steps(task: Task, free: PhaseRun, beta: Array, steps: int, dt: float, corrected: bool) -> dict[str, Array]:
    """lambda after 1 ... `steps` steps."""
    system, scale = task.system, task.system.scale
    w = {name: g / scale.siemens for name, g in task.theta.items()}
    forward = [euler(_nudged(task, free, sign * beta, corrected), task.x, dt) for sign in (1, -1)]

    def step(both: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        plus, minus = (each(u, w) for each, u in zip(forward, both, strict=True))
        return (plus, minus), (plus - minus) * scale.volts / (2 * beta)

    start = system.pack(free.settled.v) / scale.volts
    return jax.vmap(system.unpack)(jax.lax.scan(step, (start, start), length=steps)[1])
