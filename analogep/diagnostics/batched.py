"""Many small panels in one jitted call."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.diagnostics.analyzed import Analyzed
from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.system import System

_OCTAVES, _FIRST = 34, 0.125
"""Doublings of the growth curve's time at most, and its first time in units of 1/||J||."""
_POWER, _NEWTON = 12, 8
"""Power iterations at a coarse sample, and improvements of the peak's time."""
_TERMS = 18
"""Taylor terms of the exponential of a matrix of norm 1/2: the rest is below 1e-22."""


class Panels(NamedTuple):
    """Stability of every matrix of a batch, each an array [batch]; rates in the unit of J.

    Attributes
    ----------
    spectral_abscissa, hopf_frequency : alpha and |Im| / (2 pi) of the rightmost eigenvalue.
    numerical_abscissa : omega in the C metric; its negative is the contraction margin.
    rho_sinv_a, asymmetry_ratio : spectral radius of S^-1 A and ||A||_2 / ||S||_2, of G.
    peak_growth, peak_time : largest ||exp(t J)|| in the C metric and when; infinite where alpha >= 0.
    converged : whether the growth curve came down and the search for its peak ended. The other numbers are factorized.
    """

    spectral_abscissa: Array
    hopf_frequency: Array
    numerical_abscissa: Array
    rho_sinv_a: Array
    asymmetry_ratio: Array
    peak_growth: Array
    peak_time: Array
    converged: Array


@jax.jit
def panels(G: Array, C: Array | float = 1.0) -> Panels:
    """The stability panel of a batch of matrices, dense, in one call.

    Runs on the CPU only: JAX has no eigenvalues of nonsymmetric matrices elsewhere. Memory is some ten matrices a
    member of the batch. The peak is searched around the highest of samples half an octave apart, so that of two humps
    of nearly the same height it may take the lower one.

    Parameters
    ----------
    G : conductance matrices [batch, n, n], float64, in units of the scale's conductance.
    C : capacitances [n] or [batch, n], positive, in units of the scale's capacitance.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", section 14.
    """
    root = jnp.sqrt(jnp.broadcast_to(jnp.asarray(C, float), G.shape[:2]))
    # one matrix after another: batched LAPACK calls beside matrix products were seen to wait for each other forever
    return jax.lax.map(lambda one: _one(*one), (jnp.asarray(G), root))


@partial(jax.jit, static_argnames="system")
def system_panels(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Panels:
    """The panels of a system at a batch of operating points, over its states on feedback loops; rates in 1/tau.

    Parameters
    ----------
    v, x : state and input voltages with a leading axis [batch, ...].

    Raises
    ------
    NetlistError
        With capacitors between live nodes, whose metric is a matrix.
    """
    part, scale = Analyzed(system), system.scale
    farads = part.capacitance
    if farads.ndim > 1:
        raise NetlistError("capacitors join live nodes, so that the metric is a matrix; take `panel` point by point")

    def conductance(v: Voltages, x: Voltages) -> Array:
        def leaving(flat: Array) -> Array:
            return part.flatten(system.current(part.place(flat, v), x, theta))

        return jax.jacfwd(leaving)(part.flatten(v)) / scale.siemens

    return panels(jax.vmap(conductance)(dict(v), dict(x)), farads / scale.farads)


def _one(G: Array, root: Array) -> Panels:
    J = -G / root[:, None] / root[None, :]
    values = jnp.linalg.eigvals(J)
    alpha, size = jnp.max(values.real), jnp.max(jnp.abs(values))
    lead = values[jnp.argmax(values.real)]
    frequency = jnp.where(jnp.abs(lead.imag) > 1e-9 * size, jnp.abs(lead.imag) / (2 * jnp.pi), 0.0)
    omega = jnp.linalg.eigvalsh((J + J.T) / 2)[-1]
    S, A = (G + G.T) / 2, (G - G.T) / 2
    reciprocal = jnp.max(jnp.abs(A)) == 0
    below = jnp.abs(jnp.linalg.eigvalsh(S))
    above = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(-A @ A)[-1], 0.0))
    singular = jnp.min(below) < len(G) * jnp.finfo(G.dtype).eps * jnp.max(below)
    rho = jnp.max(jnp.abs(jnp.linalg.eigvals(jnp.linalg.solve(S, A))))
    rho = jnp.where(reciprocal, 0.0, jnp.where(singular, jnp.inf, rho))
    unstable = alpha > 1e-9 * size
    peak, time, found = _peak(J, skip=unstable | (omega <= 0))
    bounded = omega <= 0
    return Panels(
        spectral_abscissa=alpha,
        hopf_frequency=frequency,
        numerical_abscissa=omega,
        rho_sinv_a=rho,
        asymmetry_ratio=jnp.where(reciprocal, 0.0, above / jnp.max(below)),
        peak_growth=jnp.where(unstable, jnp.inf, jnp.where(bounded, 1.0, peak)),
        peak_time=jnp.where(unstable, jnp.inf, jnp.where(bounded, 0.0, time)),
        converged=unstable | bounded | found,
    )


def _exponential(J: Array, t: Array, size: Array) -> Array:
    """exp(t J), scaled to norm 1/2 and squared; `size` bounds ||J||."""
    halvings = jnp.maximum(jnp.ceil(jnp.log2(2 * t * size + 1e-300)), 0.0)
    small, unit = t * 2.0**-halvings * J, jnp.eye(len(J), dtype=J.dtype)
    E = jax.lax.fori_loop(0, _TERMS, lambda k, E: unit + small @ E / (_TERMS - k), unit)
    return jax.lax.fori_loop(0, halvings.astype(int), lambda _, E: E @ E, E)


def _peak(J: Array, *, skip: Array) -> tuple[Array, Array, Array]:
    """Largest ||exp(t J)||, its time, and whether it was found; nothing is computed where `skip`."""
    size = jnp.linalg.norm(J)
    first = _FIRST / size
    start = jnp.stack([first, jnp.sqrt(2.0) * first])

    def go_on(state):
        k, _, norms, *_ = state
        return (k < _OCTAVES) & (norms[-1] > 1) & (norms[-1] < 1e15) & ~skip

    def octave(state):
        k, chains, _, rights, best, when, top = state
        times = start * 2.0**k
        norms, rights = jax.vmap(_roughly)(chains, rights)
        high = jnp.argmax(norms)
        better = norms[high] > best
        best, when = jnp.where(better, norms[high], best), jnp.where(better, times[high], when)
        return k + 1, chains @ chains, norms, rights, best, when, jnp.where(better, rights[high], top)

    _, vectors = jnp.linalg.eigh((J + J.T) / 2)
    chains = jax.vmap(lambda t: _exponential(J, t, size))(start)
    steepest = vectors[:, -1]
    rights = jnp.stack([steepest, steepest])
    ready = (0, chains, jnp.full(2, 2.0), rights, jnp.asarray(0.0), first, steepest)
    _, _, norms, _, _, when, _ = jax.lax.while_loop(go_on, octave, ready)
    peak, time, ended = _refined(J, size, when, skip)
    return jnp.maximum(peak, 1.0), time, ended & (norms[-1] <= 1)


def _roughly(E: Array, right: Array) -> tuple[Array, Array]:
    """||E|| and its right vector by a few power iterations from `right`: a lower bound."""
    noise = jnp.cos(1.0 + 7.0 * jnp.arange(len(right)) ** 1.3)
    right = right + 1e-2 * noise / jnp.linalg.norm(noise)

    def sweep(_, u):
        u = E.T @ (E @ u)
        return u / jnp.linalg.norm(u)

    right = jax.lax.fori_loop(0, _POWER, sweep, right)
    return jnp.linalg.norm(E @ right), right


def _refined(J: Array, size: Array, t: Array, skip: Array) -> tuple[Array, Array, Array]:
    """The maximum near a sampled time, by a bracketed secant search for a zero of the slope ||E|| u^T J u."""
    octave = jnp.sqrt(2.0)

    def at(t):
        E = _exponential(J, t, size)
        squares, vectors = jnp.linalg.eigh(E.T @ E)
        norm = jnp.sqrt(jnp.maximum(squares[-1], 0.0))
        u = E @ vectors[:, -1] / norm
        return norm, norm * (u @ (J @ u))

    def go_on(state):
        k, *_, done = state
        return (k < 4 * _NEWTON) & ~done & ~skip

    def improve(state):
        k, t, low, high, best, when, old, _ = state
        norm, slope = at(t)
        low, high = jnp.where(slope > 0, t, low), jnp.where(slope > 0, high, t)
        curvature = (slope - old[1]) / (t - old[0])
        step = jnp.where(curvature < 0, -slope / curvature, jnp.inf)
        fresh = t + step
        fresh = jnp.where((fresh > low) & (fresh < high), fresh, (low + high) / 2)
        done = jnp.abs(slope * (fresh - t)) <= 1e-9 * norm
        better = norm > best
        best, when = jnp.where(better, norm, best), jnp.where(better, t, when)
        return k + 1, fresh, low, high, best, when, (t, slope), done

    low, high = t / octave, t * octave
    first = (0, t, low, high, jnp.asarray(0.0), t, (low, jnp.asarray(jnp.inf)), jnp.asarray(False))
    *_, best, when, _, done = jax.lax.while_loop(go_on, improve, first)
    return best, when, done
