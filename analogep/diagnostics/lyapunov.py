"""Finite-time Lyapunov exponent: how fast neighboring trajectories part or meet, in the C metric."""

from __future__ import annotations

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.diagnostics.analyzed import Analyzed
from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.system import System


def finite_time_lyapunov(
    system: System,
    v0: Voltages,
    x: Voltages,
    theta: Parameters,
    horizon: float,
    *,
    vectors: int = 2,
    key: Array | None = None,
    align: float = 0.1,
    rtol: float = 1e-5,
    max_steps: int = 20_000,
) -> float:
    """Leading finite-time Lyapunov exponent along the trajectory that starts at `v0`.

    State and tangent vectors are integrated together (Tsit5, error-controlled) and the vectors re-orthonormalized once
    a tau.

    Parameters
    ----------
    horizon : length of the trajectory, in units of tau.
    vectors : tangent vectors carried; two follow a complex pair.
    key : JAX random key of their start; key 0 when None.
    align : first part of the horizon that is not counted, in which random tangents turn to the leading direction.
    max_steps : largest number of integrator steps a segment of one tau.

    Returns
    -------
    In units of 1/tau, tau = `system.scale.seconds`. Negative: trajectories meet. At a settled state it tends to the
    spectral abscissa as the horizon grows, and it never exceeds the largest numerical abscissa met on the way.

    Raises
    ------
    ConvergenceError
        If the integrator gives up.

    Reference
    ---------
    Benettin, Galgani, Giorgilli, Strelcyn 1980, "Lyapunov characteristic exponents", Meccanica 15.
    """
    segments = max(2, int(np.ceil(horizon)))
    start = {name: jnp.asarray(value, float) for name, value in (system.zeros() | dict(v0)).items()}
    key = jax.random.key(0) if key is None else key
    vectors = min(vectors, Analyzed(system).states)
    logs, success = _stretches(
        system, start, dict(x), dict(theta), key, horizon / segments, rtol, segments, vectors, max_steps
    )
    if not bool(success):
        raise ConvergenceError(
            f"the trajectory of the Lyapunov exponent could not be followed for {horizon:g} time constants; it runs "
            "away or is stiff: shorten the horizon or raise max_steps"
        )
    counted = np.asarray(logs)[int(align * segments) :]
    return float(np.max(counted.sum(axis=0))) / (len(counted) * horizon / segments)


@partial(jax.jit, static_argnames=("system", "segments", "vectors", "max_steps"))
def _stretches(system, v0, x, theta, key, span, rtol, segments, vectors, max_steps):
    """Logarithms of the stretching of each vector over each segment [segments, vectors], and whether all went well.

    State and tangents are the rows of one array, which keeps the compiled program small.
    """
    part, tau, unit = Analyzed(system), system.scale.seconds, system.scale.volts
    shapes = {name: system.states[name].shape for name in part.moving}
    cuts = np.cumsum([system.states[name].size for name in part.moving])
    farads = part.capacitance / system.scale.farads
    root = np.sqrt(farads) if farads.ndim == 1 else np.linalg.cholesky(farads).T
    # tangents of the size of the voltages, so that one tolerance fits both
    size = unit * np.sqrt(part.states)

    def pack(v):
        return jnp.concatenate([jnp.ravel(v[name]) for name in part.moving])

    def unpack(row):
        pieces = jnp.split(row, cuts[:-1])
        return {name: piece.reshape(shape) for piece, (name, shape) in zip(pieces, shapes.items(), strict=True)}

    def rate(s, y, _):
        def moved(row):
            return tau * pack(system.rate({**v0, **unpack(row)}, x, theta, s * tau))

        rates, push = jax.linearize(moved, y[0])
        return jnp.concatenate([rates[None], jax.vmap(push)(y[1:])])

    def orthonormal(tangents):
        flat = jax.vmap(lambda row: part.flatten(unpack(row)))(tangents)
        _, r = jnp.linalg.qr((root * flat).T if root.ndim == 1 else root @ flat.T)
        fresh = size * jax.scipy.linalg.solve_triangular(r.T, tangents, lower=True)
        return fresh, jnp.log(jnp.abs(jnp.diag(r)) / size)

    def segment(carry, s):
        y, dt = carry
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rate), diffrax.Tsit5(), s, s + span, dt, y, max_steps=max_steps, throw=False,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol * unit), adjoint=diffrax.ForwardMode(),
        )  # fmt: skip
        end = solution.ys[-1]
        tangents, logs = orthonormal(end[1:])
        steps = jnp.maximum(solution.stats["num_accepted_steps"], 1)
        success = solution.result == diffrax.RESULTS.successful
        return (jnp.concatenate([end[:1], tangents]), span / steps), (logs, success)

    drawn = jax.random.normal(key, (vectors, part.states))
    tangents, _ = orthonormal(jax.vmap(lambda flat: pack(part.place(flat, system.zeros())))(drawn))
    first = jnp.concatenate([pack(v0)[None], tangents])
    _, (logs, success) = jax.lax.scan(segment, (first, 1e-3 * span), span * jnp.arange(segments))
    return logs, jnp.all(success) & jnp.all(jnp.isfinite(logs))
