"""Conductance matrices G = S + A with a chosen rho(S^-1 A): S definite, S indefinite, and lookalikes."""

from __future__ import annotations

from functools import cache

import numpy as np

NODES, OUTPUTS = 8, 3
"""Nodes of every network of one-way couplings; the loss looks at the first three of them."""
TARGET = np.linspace(-0.5, 0.5, NODES)
"""What the outputs are asked to be."""
STABLE = 0.05
"""Least real part of the eigenvalues of G (1/tau): slower networks are not used."""


def antisymmetric(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random antisymmetric matrix."""
    a = rng.normal(size=(size, size))
    return a - a.T


def split(conductance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """S and A."""
    return (conductance + conductance.T) / 2, (conductance - conductance.T) / 2


def radius(conductance: np.ndarray) -> float:
    """rho(S^-1 A)."""
    s, a = split(conductance)
    return float(np.abs(np.linalg.eigvals(np.linalg.solve(s, a))).max())


def slowest(conductance: np.ndarray) -> float:
    """Least real part of the eigenvalues: -alpha with unit capacitors."""
    return float(np.linalg.eigvals(conductance).real.min())


def turned(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same in a random orthonormal basis, so that nodes are no modes."""
    turn = np.linalg.qr(rng.normal(size=matrix.shape))[0]
    return turn @ matrix @ turn.T


def definite(rho: float, seed: int) -> np.ndarray:
    """S > 0, the same for all rho of a seed."""
    rng = np.random.default_rng([seed, 1])
    s, a = np.diag(rng.uniform(0.5, 1.5, NODES)), antisymmetric(rng, NODES)
    return turned(s + a * (rho / radius(s + a)), rng)


def indefinite(rho: float, seed: int) -> np.ndarray:
    """S with two negative directions, the same for all rho of a seed, and A that keeps it stable all the same."""
    rng = np.random.default_rng([seed, 2])
    up = rng.uniform(1.5, 2.5)
    down = rng.uniform(0.85, 0.92) * up
    whole = np.zeros((NODES, NODES))
    whole[:4, :4] = saddle(up, down, rho)
    s, a = np.diag(rng.uniform(0.5, 1.5, NODES - 4)), antisymmetric(rng, NODES - 4)
    whole[4:, 4:] = s + a * (rho / radius(s + a))
    return turned(whole, rng)


@cache
def saddle(up: float, down: float, rho: float) -> np.ndarray:
    """S + A with S = diag(up, up, -down, -down), stable by 2/3 of the widest margin that a family of A of that rho has.

    In complex coordinates S = diag(up, -down) and A = [[i p, q], [-q, i r]]. The eigenvalues i m1, i m2 of S^-1 A fix
    m1 + m2 = p / up - r / down and m1 m2 = (q^2 - p r) / (up down); m1 = rho, and m2 and p are searched for the
    smallest A. One negative direction alone could not be stable below rho = 1: det(S + t A) would keep its sign for t
    in 0 ... 1.
    """
    share, p = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-12, 12, 4801) * up * max(1.0, rho))
    second = share * rho
    r = down * (p / up - rho - second)
    square = rho * second * up * down + p * r
    trace, det = up - down + 1j * (p + r), (up + 1j * p) * (-down + 1j * r) + square
    root = np.sqrt(trace**2 - 4 * det)
    margin = np.where(square >= 0, np.minimum((trace + root).real, (trace - root).real) / 2, -np.inf)
    size = np.where(margin >= margin.max() * 2 / 3, p**2 + 2 * square + r**2, np.inf)
    best = np.unravel_index(np.argmin(size), size.shape)
    q, turn = np.sqrt(square[best]), np.array([[0.0, -1.0], [1.0, 0.0]])
    eye = np.eye(2)
    return np.block([[up * eye + p[best] * turn, q * eye], [-q * eye, -down * eye + r[best] * turn]])


KINDS = {"definite": definite, "indefinite": indefinite}


def at_rest(seed: int) -> np.ndarray:
    """State at which a seed's networks rest."""
    return np.random.default_rng([seed, 3]).uniform(-0.6, 0.6, NODES)


def pair(rho: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A network with S > 0 at a rho, and its mirrored lookalike; the seed's first draw for which both are stable.

    Outputs are held by a larger conductance of their own, which leaves room for what the lookalike takes of it.
    """
    from analogep.compile.lookalike import mirrored

    outputs = np.arange(NODES) < OUTPUTS
    for draw in range(1000):
        rng = np.random.default_rng([seed, 4, draw])
        a = antisymmetric(rng, NODES)
        s = turned(np.diag(rng.uniform(0.5, 1.5, NODES)), rng) + np.diag(1.0 * outputs)
        one = s + a * (rho / radius(s + a))
        other = mirrored(one, outputs)
        if min(slowest(one), slowest(other)) >= STABLE:
            return one, other
    raise ValueError(f"no stable pair at rho {rho:g}; lower it")
