"""What an imperfection is: a pure function of values and a random key, and how several follow one another.

Effects on devices take conductances and return conductances (siemens); effects on signals take and return voltages.
Any shape goes. All of them work under jit and vmap and in forward and reverse mode (wires in reverse mode only); a
quantizer's derivative is zero.
What an effect draws depends on the key alone. An effect that is fixed when the chip is made gets the same key every
time that it is applied, one that changes from reading to reading a new key each time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import SpecError
from analogep.netlist._types import Array

Devices = dict[str, Array]
"""Array name -> conductances of its pairs [2, columns, rows]: plus and minus device, siemens, not negative."""


class Effect(Protocol):
    """A frozen dataclass of numbers that can be called."""

    def __call__(self, values: Array, key: Array, /) -> jax.Array:
        """Values after the effect, in the unit and shape that they came in."""
        ...


@dataclass(frozen=True)
class Composed:
    """Effects one after another; `compose` makes it.

    Each gets a key of its own, from its class name and its place among those of that class. So the draws of an effect
    stay what they are when another one is added or left out, and a difference between two runs is that effect's alone.
    """

    effects: tuple[Effect, ...]

    def __iter__(self) -> Iterator[Effect]:
        return iter(self.effects)

    def __call__(self, values: Array, key: Array) -> jax.Array:
        seen: Counter[str] = Counter()
        values = jnp.asarray(values, float)
        for effect in self.effects:
            name = getattr(effect, "__name__", type(effect).__name__)
            values = effect(values, jax.random.fold_in(named_key(key, name), seen[name]))
            seen[name] += 1
        return values


def compose(*effects: Effect) -> Composed:
    """Effects applied from left to right; composed ones among them are taken apart. None: values as they are."""
    return Composed(tuple(part for each in effects for part in (each if isinstance(each, Composed) else (each,))))


def apply(effect: Effect, devices: Mapping[str, Array], key: Array) -> Devices:
    """An effect on all arrays; every array has its own draws, which do not depend on what other arrays there are."""
    return {name: effect(pair, named_key(key, name)) for name, pair in devices.items()}


def named_key(key: Array, name: str) -> jax.Array:
    """A key for something with a name."""
    return jax.random.fold_in(key, crc32(name.encode()))


def normal(key: Array, like: Array) -> jax.Array:
    """Standard normal numbers in the shape and precision of `like`."""
    like = jnp.asarray(like, float)
    return jax.random.normal(key, like.shape, like.dtype)


def require(owner: object, low: float = 0.0, high: float = math.inf, /, *, above: bool = False, **values: Any) -> None:
    """Raise unless every number is within low ... high (above: and not equal to low).

    Numbers that are being traced, and None, are let through: what jit or a derivative puts in cannot be looked at.

    Raises
    ------
    SpecError
        Naming the owner, the field, its value and the range.
    """
    for name, value in values.items():
        if value is None or isinstance(value, jax.core.Tracer):
            continue
        number = np.asarray(value, float)
        if not np.all((number > low if above else number >= low) & (number <= high)):
            given = f"{number:g}" if number.ndim == 0 else f"{value}"
            least = f"above {low:g}" if above else f"at least {low:g}"
            most = "" if math.isinf(high) else f" and at most {high:g}"
            raise SpecError(f"{type(owner).__name__}: {name} = {given}; give a number {least}{most}")
