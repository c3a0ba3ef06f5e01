"""Buses and the immutable netlist: the one truth of a circuit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import networkx as nx
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist.element import GROUND, Element


@dataclass(frozen=True, eq=False)
class Bus:
    """An array of nodes; a plain SPICE node is the bus of shape ().

    `exists` (same shape, bool) leaves out nodes that are not built, such as the attention scores of later tokens.
    """

    shape: tuple[int, ...] = ()
    exists: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.exists is not None and self.exists.shape != self.shape:
            raise NetlistError(f"a bus of shape {self.shape} has an existence mask of shape {self.exists.shape}")

    @property
    def indices(self) -> np.ndarray:
        """Flat indices of the nodes that exist, in C order."""
        if self.exists is None:
            return np.arange(self.size)
        return np.flatnonzero(self.exists)

    @property
    def size(self) -> int:
        """Entries of the array, built or not."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nodes(self) -> int:
        """Number of nodes that exist."""
        return len(self.indices)

    def has(self, index: tuple[int, ...]) -> bool:
        """Whether the node at `index` exists."""
        return self.exists is None or bool(self.exists[index])

    def labels(self, name: str) -> list[str]:
        """Scalar node names `name_i_j` of the nodes that exist, in C order."""
        return [node_name(name, np.unravel_index(i, self.shape)) for i in self.indices]


def node_name(bus: str, index: Iterable[int] = ()) -> str:
    """Name of one scalar node of a bus, as it appears in decks: `z_3_7`; ground stays `0`."""
    return "_".join([bus, *(str(int(i)) for i in index)])


@dataclass(frozen=True, eq=False)
class Netlist:
    """A circuit as immutable data.

    Parameters
    ----------
    buses : name -> Bus. Ground, `0`, is implicit.
    elements : name -> Element, in the order in which they were added.
    arrays : name -> signed conductances [columns, rows] in siemens of each programmable array; several elements may
        use one array (the copies for every token, or its two directions).
    title : first line of a deck.
    """

    buses: Mapping[str, Bus] = field(default_factory=dict)
    elements: Mapping[str, Element] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    title: str = "analogep netlist"

    def __post_init__(self) -> None:
        for name in ("buses", "elements", "arrays"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __iter__(self) -> Iterator[Element]:
        return iter(self.elements.values())

    def add(
        self,
        *elements: Element,
        buses: Mapping[str, Bus] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Netlist:
        """A new netlist with more elements, buses and arrays.

        Raises
        ------
        NetlistError
            If a name is taken.
        """
        new = {}
        for element in elements:
            if element.name in self.elements or element.name in new:
                raise NetlistError(f"element {element.name!r} is already in the netlist; give it another name")
            new[element.name] = element
        for kind, own, more in (("bus", self.buses, buses or {}), ("array", self.arrays, arrays or {})):
            taken = sorted(set(own) & set(more))
            if taken:
                raise NetlistError(f"{kind} {taken[0]!r} is already in the netlist; give it another name")
        return replace(
            self,
            buses={**self.buses, **(buses or {})},
            elements={**self.elements, **new},
            arrays={**self.arrays, **(arrays or {})},
        )

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> Netlist:
        """The same circuit with other conductances in its programmable arrays."""
        unknown = sorted(set(arrays) - set(self.arrays))
        if unknown:
            raise NetlistError(f"the netlist has no array {unknown[0]!r}; it has {', '.join(sorted(self.arrays))}")
        for name, value in arrays.items():
            if np.shape(value) != np.shape(self.arrays[name]):
                raise NetlistError(f"array {name!r} has shape {np.shape(self.arrays[name])}, not {np.shape(value)}")
        return replace(self, arrays={**self.arrays, **{k: np.asarray(v) for k, v in arrays.items()}})

    def replace_elements(self, *elements: Element) -> Netlist:
        """The same circuit with elements of the same names exchanged (values of sources, for example)."""
        for element in elements:
            if element.name not in self.elements:
                raise NetlistError(f"the netlist has no element {element.name!r} to replace")
        return replace(self, elements={**self.elements, **{e.name: e for e in elements}})

    def shape(self, bus: str) -> tuple[int, ...]:
        """Shape of a bus; ground has the shape ()."""
        return () if bus == GROUND else self.buses[bus].shape

    def touching(self, bus: str) -> list[Element]:
        """Elements with a terminal on the bus."""
        return [e for e in self if bus in e.terminals.values()]

    def graph(self) -> nx.MultiDiGraph:
        """Signal-flow graph: an edge bus -> bus for each element that reads the first and drives the second."""
        graph = nx.MultiDiGraph(title=self.title)
        graph.add_nodes_from((name, {"bus": bus}) for name, bus in self.buses.items())
        for element in self:
            if element.shunts:
                continue  # a load to ground carries no signal
            for source in element.reads:
                for target in (*element.drives, *element.forces):
                    if GROUND not in (source, target):
                        graph.add_edge(source, target, key=element.name, element=element)
        return graph
