"""Complex nudges on a circle: the derivative at zero nudge, read at a finite one (Laborieux and Zenke 2022)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import Settled
from analogep.simulate.system import System


def fourier_coefficient(
    system: System,
    force: Callable[[Voltages], Currents],
    rest: Voltages,
    x: Voltages,
    theta: Parameters,
    beta: Array | float,
    *,
    points: int,
    tolerance: float = 1e-10,
    steps: int = 20,
) -> tuple[dict[str, Array], Settled]:
    """What a lock-in reads of the fixed points under the nudges beta e^(2 pi i k / N): their first Fourier coefficient.

    It is beta dv/dbeta at 0 with an error of relative order beta^N, as long as beta is inside the radius in which v is
    analytic. The fixed points are found by complex Newton steps from the linear response; a real circuit has no complex
    voltages, so nothing here relaxes.

    Parameters
    ----------
    force : states -> nudging currents at strength 1, analytic.
    rest : free state.
    points : N, at least 2 (which is the centred difference).
    tolerance, steps : of the Newton iteration; the residual is relative, as in settling.

    Returns
    -------
    Voltages of all buses (their coefficient, real), and a Settled whose `converged` is false as well where a law is not
    analytic (its derivative along i d is not i times that along d); `steps` and `time` are 0.
    """
    unit = system.scale.siemens
    start, response = system.flatten(rest), system.flatten(linear_response(system, rest, x, theta)(force(rest)))
    turns = jnp.exp(2j * jnp.pi * jnp.arange(points) / points)

    def leaving(flat: Array, strength: Array) -> Array:
        v = system.unflatten(flat)
        pushed = force(v)
        left = system.current(v, x, theta)
        return system.flatten({bus: left[bus] - strength * pushed.get(bus, 0.0) for bus in left}) / unit

    def one(turn: Array) -> tuple[dict[str, Array], Array, Array]:
        strength = beta * turn

        def newton(_: Array, flat: Array) -> Array:
            slope = jax.jacfwd(leaving, holomorphic=True)(flat, strength)
            return flat - jnp.linalg.solve(slope, leaving(flat, strength))

        flat = jax.lax.fori_loop(0, steps, newton, start + strength * response)
        left = jnp.linalg.norm(leaving(flat, strength)) / jnp.linalg.norm(flat)
        along = [jax.jvp(lambda f: leaving(f, strength), (flat,), (d,))[1] for d in (response + 0j, 1j * response)]
        skew = jnp.linalg.norm(along[1] - 1j * along[0]) / (jnp.linalg.norm(along[0]) + 1e-300)
        return system.voltages(system.unflatten(flat), x, theta), left, skew

    voltages, left, skew = jax.vmap(one)(turns)

    def coefficient(v: Array) -> Array:
        return jnp.tensordot(jnp.conj(turns) / points, v, 1).real

    read = jax.tree.map(coefficient, voltages)
    residual = jnp.max(left)
    good = (residual <= tolerance) & (jnp.max(skew) <= 1e-8)
    none = jnp.asarray(0)
    return read, Settled({bus: read[bus] for bus in system.states}, residual, good, none, none * 0.0)
