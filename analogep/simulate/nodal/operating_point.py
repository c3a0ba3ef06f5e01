"""Operating point: Newton, and where it fails, gmin stepping, source stepping and pseudo-transient continuation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters
from analogep.simulate.nodal.conditions import free_conditions
from analogep.simulate.nodal.failures import KLU_ERRORS, is_singular, singular, without_number
from analogep.simulate.nodal.newton import Root, differentiable, newton
from analogep.simulate.nodal.system import Nodal, stamp

VOLTS, AMPERES = 1e-12, 1e-18
"""Steps of an unknown that count as zero, beside 1e-9 of its value."""
STEPS = 200
"""Largest number of continuation steps."""


class OperatingPoint(NamedTuple):
    """A circuit at rest.

    Attributes
    ----------
    x : state vector.
    method : what found it: `newton`, `gmin stepping`, `source stepping` or `pseudo-transient`.
    iterations : Newton steps in all.
    residual : largest current that a node lacks (amperes), or voltage that a branch lacks.
    """

    x: jax.Array
    method: str
    iterations: int
    residual: float


class Homotopy(NamedTuple):
    """What a continuation adds to the equations: i(x) + gmin (x - anchor) - (1 - sources) i(0) = 0 at the nodes.

    Without current in any device at 0 V, i(0) is what the independent sources push: `sources` = 0 turns them off.
    """

    gmin: Array | float = 0.0
    sources: Array | float = 1.0
    anchor: Array | float = 0.0


PLAIN = Homotopy()
"""The circuit itself."""


class Held(NamedTuple):
    """Unknowns whose equation is replaced by x = value, for initial conditions."""

    mask: Array
    value: Array


def tolerances(nodal: Nodal) -> np.ndarray:
    """Steps of each unknown that count as zero."""
    return np.where(nodal.is_node, VOLTS, AMPERES)


def _residual(nodal: Nodal, i: Array, x: Array, off: Array, homotopy: Homotopy, held: Held | None) -> Array:
    """What the circuit lacks at x, where the currents i leave its nodes."""
    nodes = jnp.asarray(nodal.is_node, float)
    lacking = i - (1 - homotopy.sources) * off + homotopy.gmin * nodes * (x - homotopy.anchor)
    return lacking if held is None else jnp.where(held.mask, x - held.value, lacking)


@partial(jax.jit, static_argnames=("nodal", "most"))
def find(
    nodal: Nodal,
    theta: Parameters,
    guess: Array,
    t: Array | float = 0.0,
    homotopy: Homotopy = PLAIN,
    held: Held | None = None,
    most: int = 100,
) -> Root:
    """Newton's method from a guess; to be traced, batched by vmap, and differentiated by `theta`."""
    off = nodal.stamp(jnp.zeros(nodal.size), theta, t)
    constant, silent = jax.lax.stop_gradient((theta, off))
    pattern, nodes = nodal.pattern, jnp.asarray(nodal.is_node, float)

    def equations(x: Array) -> tuple[Array, Array]:
        i, _, values, _ = nodal.linearized(x, constant, t)
        values = values.at[pattern.diagonal].add(homotopy.gmin * nodes)
        if held is not None:
            values = jnp.where(held.mask[pattern.rows], jnp.asarray(pattern.rows == pattern.columns, float), values)
        return _residual(nodal, i, x, silent, homotopy, held), values

    def residual(x: Array) -> Array:
        return _residual(nodal, nodal.stamp(x, theta, t), x, off, homotopy, held)

    start, zero = jax.lax.stop_gradient(guess), tolerances(nodal)
    root = newton(equations, pattern, start, absolute=zero, junctions=nodal.junctions, most=most)
    return root._replace(x=differentiable(root, residual, pattern))


def operating_point(
    nodal: Nodal,
    theta: Parameters | None = None,
    *,
    guess: Array | None = None,
    held: Mapping[str, float] | None = None,
    nodesets: Mapping[str, float] | None = None,
    t: float = 0.0,
) -> OperatingPoint:
    """The circuit at rest, sources at their value at `t`.

    Parameters
    ----------
    guess : state to start from; 0 V when None.
    held : nodes kept at a voltage (initial conditions), volts.
    nodesets : nodes kept at a voltage first and released then, to choose among several solutions.

    Raises
    ------
    ConvergenceError
        If no method converges; the message names the node that is farthest from a solution.
    NetlistError
        If a matrix is singular whatever is tried, a held node is not in the circuit, or a source fixes it elsewhere.
    """
    theta = nodal.theta if theta is None else theta
    start = jnp.zeros(nodal.size) if guess is None else jnp.asarray(guess, float)
    fixed = free_conditions(nodal, held or {}, theta, t)
    if nodesets:
        first = free_conditions(nodal, {**fixed, **nodesets}, theta, t, strict=False)
        start = _solved(nodal, theta, start, t, _held(nodal, first)).x
    return _solved(nodal, theta, start, t, _held(nodal, fixed))


def _held(nodal: Nodal, values: Mapping[str, float]) -> Held | None:
    if not values:
        return None
    mask, value = np.zeros(nodal.size, bool), np.zeros(nodal.size)
    for name, volts in values.items():
        mask[nodal.place[name]], value[nodal.place[name]] = True, volts
    return Held(jnp.asarray(mask), jnp.asarray(value))


def _solved(nodal: Nodal, theta: Parameters, start: Array, t: float, held: Held | None) -> OperatingPoint:
    attempts = {
        "newton": _direct,
        "gmin stepping": _gmin_stepping,
        "source stepping": _source_stepping,
        "pseudo-transient": _pseudo_transient,
    }
    iterations, best = 0, None
    for method, attempt in attempts.items():
        try:
            root, count = attempt(nodal, theta, start, t, held)
        except KLU_ERRORS as error:  # KLU found no pivot
            if not is_singular(error):
                raise
            continue
        iterations += count
        if bool(root.converged):
            lacking = np.asarray(stamp(nodal, root.x, theta, t))
            free = np.ones(nodal.size, bool) if held is None else ~np.asarray(held.mask)
            return OperatingPoint(root.x, method, iterations, float(np.max(np.abs(lacking[free]), initial=0.0)))
        best = root
    if best is None:
        raise singular("operating point", nodal, None, theta)
    raise ConvergenceError(
        f"no operating point found after {iterations} Newton steps (gmin, source and pseudo-transient stepping "
        f"included); {_lacking(nodal, theta, best.x, start, t)}"
    )


def _lacking(nodal: Nodal, theta: Parameters, x: Array, start: Array, t: float) -> str:
    """What keeps x from being a solution, and what to do."""
    wrong = without_number(nodal, x, theta, t) or without_number(nodal, start, theta, t)
    if wrong:
        return f"{wrong} gave no finite number on the way; limit the arguments of its functions"
    lacking = np.abs(np.asarray(stamp(nodal, x, theta, t)))
    worst = int(np.argmax(np.where(nodal.is_node, lacking, 0.0)))
    branch = int(np.argmax(np.where(nodal.is_node, 0.0, lacking)))
    # a branch is off by volts where a node is off by rounding
    if lacking[worst] > 1e-12 or lacking[branch] < 1e-6:
        return f"node {nodal.unknowns[worst]!r} lacks {lacking[worst]:.3g} A; give .nodeset values"
    missed = f"the equation of {nodal.unknowns[branch]!r} lacks {lacking[branch]:.3g} V"
    return f"{missed}; look for a source that contradicts itself"


def _direct(nodal: Nodal, theta: Parameters, start: Array, t: float, held: Held | None) -> tuple[Root, int]:
    root = find(nodal, theta, start, t, PLAIN, held)
    return root, int(root.iterations)


def _gmin_stepping(nodal: Nodal, theta: Parameters, start: Array, t: float, held: Held | None) -> tuple[Root, int]:
    """From a conductance at every node that settles anything, down to none, in steps that grow while they succeed."""
    gmin, factor, x, count = 1e-2, 10.0, start, 0
    for _ in range(STEPS):
        root = find(nodal, theta, x, t, Homotopy(gmin=gmin), held)
        count += int(root.iterations)
        if bool(root.converged):
            x = root.x
            if gmin < 1e-14:
                break
            factor = min(factor**1.5, 10.0)
            gmin /= factor
        else:  # back to the last conductance that settled, and a shorter step from there
            if factor < 1.001:
                break
            gmin *= factor ** (3 / 4)
            factor = factor**0.25
    root = find(nodal, theta, x, t, PLAIN, held)
    return root, count + int(root.iterations)


def _source_stepping(nodal: Nodal, theta: Parameters, start: Array, t: float, held: Held | None) -> tuple[Root, int]:
    """Sources from nothing to their value."""
    done, step, x, count = 0.0, 0.1, jnp.zeros(nodal.size), 0
    root = find(nodal, theta, x, t, Homotopy(sources=0.0), held)
    x = jnp.where(root.converged, root.x, x)
    for _ in range(STEPS):
        target = min(done + step, 1.0)
        root = find(nodal, theta, x, t, Homotopy(sources=target), held)
        count += int(root.iterations)
        if bool(root.converged):
            x, done, step = root.x, target, 2 * step
            if done >= 1.0:
                break
        else:
            step /= 4
            if step < 1e-6:
                break
    return root, count


def _pseudo_transient(nodal: Nodal, theta: Parameters, start: Array, t: float, held: Held | None) -> tuple[Root, int]:
    """Implicit Euler with a capacitor at every node, in growing steps: the conductance 1/step about the last state."""
    gmin, x, count = 1.0, start, 0
    for _ in range(STEPS):
        root = find(nodal, theta, x, t, Homotopy(gmin=gmin, anchor=x), held)
        count += int(root.iterations)
        if bool(root.converged):
            x, gmin = root.x, gmin / 2
            if gmin < 1e-13:
                break
        else:
            gmin *= 8
            if gmin > 1e6:
                break
    root = find(nodal, theta, x, t, PLAIN, held)
    return root, count + int(root.iterations)
