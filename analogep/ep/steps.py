"""The nudged phase step by step: what each step of a relaxation would write into the weights."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from analogep.learning.phases import Injected, PhaseRun
from analogep.learning.rule import Phase, Rule, Term, local_gradient
from analogep.learning.system_phases import SystemPhases
from analogep.netlist._types import Array, Parameters, Voltages

_INCREMENT = Rule("increment", (Term(1.0, Phase.FREE, Phase.NUDGED_PLUS),), 1.0)


@partial(jax.jit, static_argnames=("phases", "steps", "corrected"))
def nudged_steps(
    phases: SystemPhases,
    free: PhaseRun,
    x: Voltages,
    theta: Parameters,
    *,
    beta: Array | float,
    steps: int,
    dt: float,
    corrected: bool = False,
) -> dict[str, Array]:
    """Updates of single Euler steps of a nudged phase, from the free state.

    As beta falls, update k of a symmetric system is the part of the gradient that backpropagation through the same
    Euler steps at rest gives to step k from the end (Ernoult et al. 2019, theorem 1); they add up to the gradient of
    the truncated unroll. With `corrected` it holds for any system: (1 - dt C^-1 G^T)^k C^-1 is the transpose of
    (1 - dt C^-1 G)^k C^-1, whatever the capacitors.

    Parameters
    ----------
    free : the settled free phase of one sample.
    beta : strength of the nudge, which stays on.
    steps : K.
    dt : Euler step in units of tau.
    corrected : inject +2 A (v - v*) as well, as AsymEP does.

    Returns
    -------
    array name -> updates [K, *shape] (1/siemens). Price: one nudged phase of K steps, and the drives of the free phase
    stored at every weight; nothing is stored along the path.
    """
    system, rest = phases.system, free.settled.v
    nudge = phases.corrected_nudge(free, x, theta, beta) if corrected else phases.nudge(x, theta, beta)
    nudged, tau = Injected(system, nudge), system.scale.seconds

    def step(v: dict[str, Array], _: None) -> tuple[dict[str, Array], dict[str, Array]]:
        rate = nudged.rate(v, x, theta)
        moved = {bus: v[bus] + dt * tau * rate[bus] for bus in rest}
        # the drive side is the free one; the post side is the increment
        increment = {bus: moved[bus] - v[bus] for bus in rest}
        still = {bus: jnp.zeros_like(value) for bus, value in free.voltages.items()}
        signals = {Phase.FREE: free.voltages, Phase.NUDGED_PLUS: {**still, **increment}}
        return moved, local_gradient(_INCREMENT, phases.netlist, signals, beta, phases.unit)

    return jax.lax.scan(step, {bus: jnp.asarray(rest[bus]) for bus in rest}, length=steps)[1]
