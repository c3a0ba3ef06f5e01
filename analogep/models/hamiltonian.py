"""Coupled nonlinear oscillators, lossless or damped: the network on which Hamiltonian echoes run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from analogep.errors import SpecError

Weights = Mapping[str, Array]


@dataclass(frozen=True)
class Oscillators:
    """dq/dt = p, dp/dt = -dV/dq - damping p with V = q K q / 2 + sum(cubic q^4) / 4 - x q, K = (k + k^T) / 2.

    As a circuit: n LC resonators in parallel form. q is a node's flux (the integral of its voltage, in units of a
    reference flux), p the charge on its unit capacitor (so p is the node voltage), time is in units of sqrt(L C). An
    inductor from node to node couples by -K_ij = 1 / L_ij, one to ground adds to K_ii; both are reciprocal, so only the
    symmetric part of `coupling` acts. `cubic` is an inductor that saturates (current cubic q^3 more), x an injected
    current, and `damping` the conductance across each capacitor. Reversing time means reversing the charge on every
    capacitor while the fluxes stay (in the dual, series circuit: the currents in all inductors).

    Parameters
    ----------
    units : number n of oscillators.
    damping : gamma >= 0, in units of 1 / sqrt(L C); the same for all.

    Raises
    ------
    SpecError
        If there are no units or the damping is negative.

    Reference
    ---------
    López-Pastor and Marquardt 2023, "Self-learning machines based on Hamiltonian echo backpropagation".
    """

    units: int
    damping: float = 0.0

    def __post_init__(self) -> None:
        if self.units < 1 or not self.damping >= 0:
            raise SpecError(f"oscillators need units >= 1 and damping >= 0; got {self.units} and {self.damping}")

    def init(self, key: Array, *, strength: float = 0.3, cubic: float = 0.3) -> dict[str, Array]:
        """Weights `coupling` [n, n] (1 / L0 on the diagonal, random symmetric couplings) and `cubic` [n].

        Parameters
        ----------
        strength : standard deviation of the couplings times sqrt(n).
        cubic : of every oscillator.
        """
        drawn = strength / jnp.sqrt(2 * self.units) * jax.random.normal(key, (self.units, self.units))
        return {"coupling": jnp.eye(self.units) + drawn + drawn.T, "cubic": jnp.full(self.units, float(cubic))}

    def potential(self, q: Array, theta: Weights, x: Array) -> Array:
        """V, the energy of all inductors and drives."""
        return q @ theta["coupling"] @ q / 2 + jnp.sum(theta["cubic"] * q**4) / 4 - x @ q

    def energy(self, q: Array, p: Array, theta: Weights, x: Array) -> Array:
        """H = V + p^2 / 2, kept by a lossless network."""
        return self.potential(q, theta, x) + p @ p / 2

    def force(self, q: Array, theta: Weights, x: Array) -> Array:
        """-dV/dq, written out."""
        k = theta["coupling"]
        return x - (k + k.T) @ q / 2 - theta["cubic"] * q**3

    def slopes(self, q: Array) -> dict[str, Array]:
        """dV/dtheta of every weight, each from the fluxes at its own terminals."""
        return {"coupling": jnp.outer(q, q) / 2, "cubic": q**4 / 4}

    def step(
        self, q: Array, p: Array, theta: Weights, x: Array, dt: float | Array, *, damping: float | Array | None = None
    ) -> tuple[Array, Array]:
        """One step of Störmer-Verlet between two half steps of damping: symplectic and time-reversible without it.

        Parameters
        ----------
        damping : in the place of the network's own; negative is gain, and undoes a step taken with the opposite one.

        Reference
        ---------
        Hairer, Lubich and Wanner 2003, "Geometric numerical integration illustrated by the Störmer-Verlet method".
        """
        shrink = jnp.exp(-(self.damping if damping is None else damping) * dt / 2)
        p = shrink * p + dt / 2 * self.force(q, theta, x)
        q = q + dt * p
        return q, shrink * (p + dt / 2 * self.force(q, theta, x))
