"""Lyapunov exponents: how fast neighboring trajectories part or meet, over a finite time and in the long run."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.splitting import in_metric, split
from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.system import System

_BLOCKS = 8
"""Parts of a run whose scatter gives the error of its exponents."""


class Lyapunov(NamedTuple):
    """Lyapunov exponents along a trajectory, in units of 1/tau, tau = `system.scale.seconds`.

    Attributes
    ----------
    exponents : mean stretching rates over the counted part of the trajectory, largest first, [vectors].
    error : their standard error, from the scatter of the means over eight equal blocks of that part, [vectors].
    times : ends of the counted intervals, from the start of the counted part (units of tau), [intervals].
    running : mean rates from there up to each of them, [intervals, vectors]; their limit are the exponents.
    """

    exponents: np.ndarray
    error: np.ndarray
    times: np.ndarray
    running: np.ndarray


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
    vectors = min(vectors, Analyzed(system).states)
    logs = _logs(system, v0, x, theta, horizon, segments, vectors, key, rtol, max_steps)
    counted = logs[int(align * segments) :]
    return float(np.max(counted.sum(axis=0))) / (len(counted) * horizon / segments)


def lyapunov_spectrum(
    system: System,
    v0: Voltages,
    x: Voltages,
    theta: Parameters,
    horizon: float,
    *,
    vectors: int | None = None,
    interval: float | None = None,
    key: Array | None = None,
    align: float = 0.1,
    rtol: float = 1e-8,
    max_steps: int = 20_000,
) -> Lyapunov:
    """Lyapunov exponents along the trajectory that starts at `v0`, the leading ones or all, by QR.

    Their sum is the mean divergence of the vector field when all are taken. They tend to the asymptotic exponents as
    the horizon grows; at a settled state these are the real parts of the eigenvalues of J.

    Parameters
    ----------
    horizon : length of the trajectory, in units of tau.
    vectors : exponents wanted; all when None.
    interval : time between orthonormalizations, in units of tau. When None it is such that the fastest and the slowest
        direction part by at most e^4 in between: the tolerance of the integrator would hide the slowest else. That
        takes the matrix J at `v0`; along trajectories that become stiffer, give it.
    key : JAX random key of the tangents' start; key 0 when None.
    align : first part of the horizon that is not counted: transients, and tangents that turn to their directions.
    rtol : relative tolerance of the integrator.
    max_steps : largest number of integrator steps an interval.

    Raises
    ------
    ConvergenceError
        If the integrator gives up.

    Reference
    ---------
    Benettin, Galgani, Giorgilli, Strelcyn 1980, Meccanica 15; Geist, Parlitz & Lauterborn 1990, "Comparison of
    different methods for computing Lyapunov exponents", Prog. Theor. Phys. 83.
    """
    part = Analyzed(system)
    count = part.states if vectors is None else min(vectors, part.states)
    if interval is None:
        start = {name: jnp.asarray(value, float) for name, value in (system.zeros() | dict(v0)).items()}
        Jc = in_metric(part.conductance(start, x, theta) / system.scale.siemens, part.capacitance / system.scale.farads)
        rates = np.linalg.eigvalsh(split(Jc)[0])
        interval = float(np.clip(4.0 / max(rates[-1] - rates[0], 1e-300), 0.0, 1.0))
    segments = max(4, int(np.ceil(horizon / interval)))
    span = horizon / segments
    logs = _logs(system, v0, x, theta, horizon, segments, count, key, rtol, max_steps)
    counted = logs[int(align * segments) :]
    counted = counted[:, np.argsort(-counted.sum(axis=0), kind="stable")]
    times = span * np.arange(1, len(counted) + 1)
    running = np.cumsum(counted, axis=0) / times[:, None]
    blocks = [block.mean(axis=0) / span for block in np.array_split(counted, min(_BLOCKS, len(counted)))]
    error = np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks))
    return Lyapunov(running[-1], error, times, running)


def _logs(
    system: System,
    v0: Voltages,
    x: Voltages,
    theta: Parameters,
    horizon: float,
    segments: int,
    vectors: int,
    key: Array | None,
    rtol: float,
    max_steps: int,
) -> np.ndarray:
    """Logarithms of the stretching over `segments` equal parts of the horizon [segments, vectors], or an error."""
    start = {name: jnp.asarray(value, float) for name, value in (system.zeros() | dict(v0)).items()}
    key = jax.random.key(0) if key is None else key
    logs, success = _stretches(
        system, start, dict(x), dict(theta), key, horizon / segments, rtol, segments, vectors, max_steps
    )
    if not bool(success):
        raise ConvergenceError(
            f"the trajectory of the Lyapunov exponent could not be followed for {horizon:g} time constants; it runs "
            "away or is stiff: shorten the horizon or raise max_steps"
        )
    return np.asarray(logs)


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
