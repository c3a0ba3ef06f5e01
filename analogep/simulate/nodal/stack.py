"""Elements of one kind evaluated together: their laws see arrays, however many lines the deck has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Voltages
from analogep.netlist.element import Element, NoiseSource

Numbers = Mapping[str, Array]
"""Name of a numeric field -> its values in the elements of a stack, shape [count]."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Scalar elements that differ in their nodes and numbers only.

    Attributes
    ----------
    label : prefix of its numbers among the circuit's parameters.
    names : of the elements, [count].
    prototype : one of them on nodes named after its roles.
    index : place of each role's unknown in the state vector, [roles, count]; ground comes after the last unknown.
    numbers : values of the numeric fields.
    """

    label: str
    names: tuple[str, ...]
    prototype: Element
    index: np.ndarray
    numbers: dict[str, np.ndarray]

    @classmethod
    def of(cls, label: str, elements: Sequence[Element], place: Mapping[str, int]) -> Stack:
        """Stack elements of equal `kind`; `place` is the position of each unknown, ground included."""
        index = np.array([[place[name] for name in e.unknowns.values()] for e in elements], int).reshape(
            len(elements), -1
        )
        fields = elements[0].numbers
        numbers = {field: np.array([e.numbers[field] for e in elements], float) for field in fields}
        return cls(label, tuple(e.name for e in elements), elements[0].prototype(), index.T, numbers)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """Names of the prototype's unknowns, in the order of `index`."""
        return tuple(self.prototype.unknowns.values())

    def _each(self, law: Callable[[Element, Voltages], Mapping[str, Array]], x: Array, numbers: Numbers) -> Array:
        """A law of every element, [count, roles]; `x` has ground appended."""
        return jax.vmap(self._one(law))(x[self.index.T], dict(numbers))

    def _one(self, law: Callable[[Element, Voltages], Mapping[str, Array]]) -> Callable[[Array, Numbers], Array]:
        def one(at: Array, numbers: Numbers) -> Array:
            out = law(self.prototype.with_numbers(numbers), dict(zip(self.roles, at, strict=True)))
            return jnp.stack([jnp.asarray(out.get(role, 0.0), float) for role in self.roles])

        return one

    def stamp(self, x: Array, numbers: Numbers, t: Array | float) -> Array:
        """Currents that leave, and branch residuals, [count, roles]."""
        return self._each(lambda e, v: e.stamp(v, {}, t), x, numbers)

    def charges(self, x: Array, numbers: Numbers) -> Array:
        """Charges and fluxes, [count, roles]."""
        return self._each(lambda e, v: e.charges(v), x, numbers)

    def linearized(self, x: Array, numbers: Numbers, t: Array | float) -> tuple[Array, Array, Array, Array]:
        """Stamp and charges [count, roles], their derivatives by the element's own unknowns [count, roles, roles]."""

        def both(at: Array, numbers: Numbers) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            value = self._one(lambda e, v: e.stamp(v, {}, t))(at, numbers)
            charge = self._one(lambda e, v: e.charges(v))(at, numbers) if self.stores else jnp.zeros_like(value)
            return (value, charge), (value, charge)

        slopes, values = jax.vmap(jax.jacfwd(both, has_aux=True))(x[self.index.T], dict(numbers))
        return (*values, *slopes)

    @cached_property
    def stores(self) -> bool:
        """Whether its elements hold charge or flux."""
        return type(self.prototype).charges is not Element.charges

    def noise(self, x: Array, numbers: Numbers, frequency: Array | float) -> list[tuple[str, int, int, Array]]:
        """Noise currents: kind, rows of `index` of their two nodes, one-sided densities [count] (A^2/Hz)."""
        shapes: list[tuple[str, int, int]] = []

        def one(at: Array, numbers: Numbers) -> tuple[Array, ...]:
            element = self.prototype.with_numbers(numbers)
            sources: tuple[NoiseSource, ...] = element.noise(dict(zip(self.roles, at, strict=True)), {}, frequency)
            shapes[:] = [(s.kind, self.roles.index(s.a), self.roles.index(s.b)) for s in sources]
            return tuple(jnp.asarray(s.density, float) for s in sources)

        densities = jax.vmap(one)(x[self.index.T], dict(numbers))
        return [(*shape, density) for shape, density in zip(shapes, densities, strict=True)]


def stack(elements: Sequence[Element], place: Mapping[str, int]) -> list[Stack]:
    """Stacks of scalar elements by kind, in order of appearance."""
    kinds: dict[object, list[Element]] = {}
    for element in elements:
        kinds.setdefault(element.kind, []).append(element)
    return [Stack.of(f"stack{k}", group, place) for k, group in enumerate(kinds.values())]
