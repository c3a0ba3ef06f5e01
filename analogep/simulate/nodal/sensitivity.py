"""How results move with the numbers of elements: derivatives, and Monte Carlo over their spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Parameters
from analogep.simulate.nodal.failures import settled, singular_named
from analogep.simulate.nodal.system import Nodal

Result = TypeVar("Result")


def sensitivity(
    nodal: Nodal, result: Callable[[Parameters], Array], numbers: Sequence[str], theta: Parameters | None = None
) -> dict[str, Array]:
    """Derivative of a result by each of some numbers `element.field`.

    The result may be anything that is computed from theta: `find(nodal, theta, guess).x`, `ac(...)` at such a point,
    `sampled(...)` waveforms. Roots are differentiated implicitly, so nothing is unrolled; forward mode runs all numbers
    in one batch.

    Returns
    -------
    number -> d result / d number, shaped like the result.

    Raises
    ------
    NetlistError
        If the circuit is singular on the way, or a number is not there.
    """
    base = {k: jnp.asarray(v) for k, v in (nodal.theta if theta is None else theta).items()}
    start = jnp.stack([nodal.value(number, base) for number in numbers])

    def moved(values: Array) -> Array:
        return result(nodal.with_numbers(base, dict(zip(numbers, values, strict=True))))

    with singular_named("sensitivity", nodal, None, base):
        slopes = settled(jax.jit(jax.jacfwd(moved))(start))
    return {number: slopes[..., k] for k, number in enumerate(numbers)}


def gradient(nodal: Nodal, result: Callable[[Parameters], Array], theta: Parameters | None = None) -> dict[str, Array]:
    """Derivative of one scalar result by all numbers at once, by reverse mode: one adjoint solve.

    Serves operating points and AC; transients are differentiated in forward mode (`sensitivity`).

    Returns
    -------
    `element.field` -> derivative.
    """
    base = {k: jnp.asarray(v) for k, v in (nodal.theta if theta is None else theta).items()}
    with singular_named("gradient", nodal, None, base):
        slopes = settled(jax.jit(jax.grad(result))(base))
    return {number: sum(slopes[key][k] for key, k in nodal.places(number)) for number in nodal.numbers}


def monte_carlo(
    nodal: Nodal,
    result: Callable[[Parameters], Result],
    spread: Mapping[str, float],
    *,
    count: int,
    key: Array,
    batch: int = 256,
    theta: Parameters | None = None,
) -> tuple[Result, dict[str, np.ndarray]]:
    """A result over random circuits: normal deviations, relative to each number's value.

    Parameters
    ----------
    spread : number `element.field` -> relative standard deviation.
    count : circuits.
    batch : circuits in one vmapped call.

    Returns
    -------
    The result with a leading axis of circuits, and the numbers that were drawn, each [count].
    """
    base = {k: jnp.asarray(v) for k, v in (nodal.theta if theta is None else theta).items()}
    names = tuple(spread)
    center = jnp.stack([nodal.value(name, base) for name in names])
    width = center * jnp.asarray([spread[name] for name in names])
    drawn = center + width * jax.random.normal(key, (count, len(names)))

    def one(values: Array) -> Result:
        return result(nodal.with_numbers(base, dict(zip(names, values, strict=True))))

    together = jax.jit(lambda drawn: jax.lax.map(one, drawn, batch_size=min(batch, count)))
    with singular_named("Monte Carlo", nodal, None, base):
        every = settled(together(drawn))
    return every, {name: np.asarray(drawn[:, k]) for k, name in enumerate(names)}
