"""What every element of a netlist is: terminals, and one view for each use that is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck

GROUND = "0"
ROOM = 300.15
"""Temperature at which SPICE simulates unless told otherwise (kelvin)."""
BOLTZMANN = 1.380649e-23
"""Joules per kelvin (exact since 2019)."""
HELD = "free."
"""Prefix of the rails on which an adjoint network holds the operating-point voltages of the circuit it belongs to."""


class NoiseSource(NamedTuple):
    """A noise current between two nodes, and its one-sided power density (A^2/Hz)."""

    kind: Literal["thermal", "shot", "flicker"]
    a: str
    b: str
    density: Array | float


@dataclass(frozen=True, eq=False)
class Element(ABC):
    """Base of all elements. Bus-valued fields connect whole buses; an element is its class's array of instances.

    A class states its terminals, which of them it reads (its current depends on their voltage), drives (it pushes
    current there) and forces (it fixes their voltage), and then its views: law in JAX, SPICE text, adjoint, and local
    update if it is programmable.
    """

    name: str
    element_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that hold the name of another element."""

    @property
    @abstractmethod
    def terminals(self) -> Mapping[str, str]:
        """Terminal role -> bus name."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Buses whose voltages the element's current or forced voltage depends on."""
        return ()

    @property
    def drives(self) -> tuple[str, ...]:
        """Buses into which, or out of which, the element carries current."""
        return ()

    @property
    def forces(self) -> tuple[str, ...]:
        """Buses whose voltage the element fixes ideally (no loading): they are not states."""
        return ()

    @property
    def mixes(self) -> int | None:
        """Trailing axes of its buses (0 or 1) within which nodes act on each other; None where it does not say.

        The other axes are lanes: a node acts on nodes of its own lane alone.
        """
        return None

    @property
    def shunts(self) -> str | None:
        """The bus that the element loads with a conductance to ground and does nothing else to, or None."""
        return None

    def conductance(self, theta: Parameters) -> Array | float:
        """Conductance of an element that shunts a bus (siemens)."""
        raise TypeError(f"{type(self).__name__} {self.name!r} has no conductance")

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        """Current that leaves each driven bus through the element (amperes), shaped like that bus."""
        return {}

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        """Voltage of the forced bus (volts)."""
        raise TypeError(f"{type(self).__name__} forces no voltage")

    @property
    def branch(self) -> str | None:
        """Name of its branch current, an unknown beside the node voltages, for an element that defines a voltage."""
        return None

    @property
    def unknowns(self) -> Mapping[str, str]:
        """Role -> name of every unknown that `stamp` and `charges` touch: terminals, and currents of branches."""
        return self.terminals if self.branch is None else {**self.terminals, "branch": self.branch}

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        """The element's part of modified nodal analysis (Ho, Ruehli and Brennan 1975).

        Current that leaves each terminal (amperes), and under the branch's name what its equation lacks (volts).
        """
        return self.currents(v, theta, t)

    def charges(self, v: Voltages) -> Currents:
        """Charge at each terminal (coulombs), flux at the branch (webers): what d/dt acts on beside `stamp`."""
        return {}

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Its noise currents at the bias `v`."""
        return ()

    @property
    def numbers(self) -> Mapping[str, Any]:
        """Numeric fields by name, those of a model card as `model.field`: what Monte Carlo and sensitivities vary."""
        return _numbers(self)

    @property
    def tied(self) -> Mapping[str, str]:
        """Numeric fields that another element owns: field -> `element.field`."""
        return {}

    def with_numbers(self, numbers: Mapping[str, Array]) -> Element:
        """The element with other values in some of its `numbers`."""
        return _with_numbers(self, numbers)

    def given(self, theta: Parameters) -> Element:
        """The element with those of its `numbers` that theta holds, each as `element.field`; the rest stay its own."""
        held = {field: theta[key] for field in self.numbers if (key := f"{self.name}.{field}") in theta}
        return self.with_numbers(held) if held else self

    @property
    def kind(self) -> Hashable:
        """Equal for elements that differ in their terminals and numbers only, so that one evaluation serves them."""
        settings = _settings(self, {*self.unknowns, *self.element_fields, "name"})
        return (type(self), settings)

    def renamed(
        self, name: str, buses: Mapping[str, str], arrays: Mapping[str, str], elements: Mapping[str, str]
    ) -> Element:
        """The same element under another name, its buses, arrays and the elements that it refers to renamed."""
        changes: dict[str, Any] = {"name": name}
        connected = self.unknowns
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.element_fields:
                changes[field.name] = elements[value]
            elif isinstance(value, str) and value == self.array:
                changes[field.name] = arrays[value]
            elif isinstance(value, str) and connected.get(field.name) == value:
                changes[field.name] = buses[value]
        return replace(self, **changes)

    def prototype(self) -> Element:
        """The same element on nodes named after its roles: what elements of one `kind` have in common."""
        roles = {field.name: f"~{field.name}" for field in fields(self)}
        named = {role: roles[role] for role in (*self.unknowns, *self.element_fields) if role in roles}
        return replace(self, name="~", **named)

    @property
    def junctions(self) -> tuple[tuple[str, str], ...]:
        """Pairs of unknowns whose voltage drives an exponential; a solver does not let it run far ahead."""
        return ()

    @property
    def internals(self) -> tuple[str, ...]:
        """Nodes inside the element that no one else connects to (behind a series resistance)."""
        return ()

    def adjoint(self) -> tuple[Element, ...]:
        """The elements that stand for this one in the adjoint network (Director and Rohrer 1969).

        They read and drive buses of the same names, whose voltages there are the multipliers lambda; voltages of the
        circuit itself are read from the held rails `free.<bus>`.
        """
        raise NetlistError(f"element {self.name!r}: {type(self).__name__} has no adjoint; flatten the netlist first")

    @property
    def array(self) -> str | None:
        """Name of the programmable array that the element uses, or None."""
        return None

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        """Product of two signals at the element's own terminals, bilinear in (pre, post), shaped like its array.

        With pre the free voltages and post the multipliers lambda it equals lambda^T di/dg, the local gradient.
        """
        raise TypeError(f"{type(self).__name__} {self.name!r} is not programmable")

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:  # noqa: B027
        """Raise NetlistError where values or shapes of this element cannot be; by default none is refused."""

    @abstractmethod
    def spice(self, deck: Deck) -> Iterator[str]:
        """SPICE lines of all instances, scalar nodes named by `deck.node`."""

    def _check_values(self, what: str, values: Array | float, buses: Mapping[str, Bus]) -> None:
        """Raise NetlistError unless `values` are finite numbers, one for all instances or one each."""
        nodes = " and ".join(repr(bus) for bus in dict.fromkeys(self.terminals.values()))
        if not np.all(np.isfinite(np.asarray(values, float))):
            raise self._wrong(f"a {what} at {nodes} is not finite")
        shape = max((buses[bus].shape for bus in self.terminals.values() if bus != GROUND), key=len, default=())
        if np.ndim(values) and np.shape(values) != shape:
            raise self._wrong(f"{what} of shape {np.shape(values)} at {nodes} of shape {shape}; give one, or one each")

    def _wrong(self, message: str) -> NetlistError:
        return NetlistError(f"{type(self).__name__} {self.name!r}: {message}")


def _is_number(field: Field, value: Any) -> bool:
    return "float" in str(field.type) and isinstance(value, int | float | np.ndarray | np.generic | jax.Array)


def _is_card(value: Any) -> bool:
    """Whether a field holds a model card: a dataclass that is not a waveform (which has `at`)."""
    return is_dataclass(value) and not hasattr(value, "at")


def _numbers(of: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(of):
        value = getattr(of, field.name)
        if _is_card(value):
            found.update({f"{field.name}.{inner}": number for inner, number in _numbers(value).items()})
        elif _is_number(field, value):
            found[field.name] = value
    return found


def _with_numbers(of: Any, numbers: Mapping[str, Any]) -> Any:
    """A copy with other numbers, made without the checks of construction: they may be arrays or traced."""
    new = object.__new__(type(of))
    for field in fields(of):
        value = getattr(of, field.name)
        if _is_card(value):
            prefix = f"{field.name}."
            value = _with_numbers(
                value, {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
            )
        object.__setattr__(new, field.name, numbers.get(field.name, value))
    return new


def _settings(of: Any, ignored: Iterable[str]) -> tuple[Hashable, ...]:
    found: list[Hashable] = []
    for field in fields(of):
        value = getattr(of, field.name)
        if field.name in ignored:
            continue
        if _is_card(value):
            found.append((type(value), _settings(value, ())))
        else:
            found.append(None if _is_number(field, value) else (field.name, value))
    return tuple(found)
