"""Crossbars with wires in the place of ideal ones, and the fold that makes them ideal ones again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import VCVS
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.wires import Wires, tile

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class WiredCrossbar(Element):
    """A buffered crossbar of pairs of devices on two tiles with wires: one collects, the other is subtracted.

    Its array holds signed weights, whose devices follow from `minimum`; or both devices of every pair as they are,
    `with_devices`. Its law is that of a Crossbar with the difference of the two tiles' effective matrices, computed at
    every evaluation; `fold_wires` computes it once for all of them. Wire capacitance is in the deck only.

    Parameters
    ----------
    rows, columns : bus names, [..., n_rows] and [..., n_columns] with equal leading axes: a pair of tiles each.
    weights : name of the programmable array, in siemens: [n_columns, n_rows], signed; or [2, n_columns, n_rows], the
        device that adds and the one that subtracts.
    wires : of both tiles.
    minimum : of signed weights, conductance of the device of a pair that is off (siemens).
    transpose : drive the bit lines where they are sensed, and collect at the word lines' drivers.
    """

    rows: str
    columns: str
    weights: str
    wires: Wires
    minimum: float = 0.0
    transpose: bool = False

    def ideal(self, weights: str) -> Crossbar:
        """A plain crossbar in its place."""
        return Crossbar(self.name, self.rows, self.columns, weights, transpose=self.transpose)

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"rows": self.rows, "columns": self.columns}

    @property
    def mixes(self) -> int:
        return 1

    @property
    def array(self) -> str:
        return self.weights

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.columns if self.transpose else self.rows,)

    @property
    def drives(self) -> tuple[str, ...]:
        return (self.rows if self.transpose else self.columns,)

    def devices(self, weights: Array) -> jax.Array:
        """Both devices of every pair [2, columns, rows], of an array in either form (siemens)."""
        given = jnp.asarray(weights, float)
        if given.ndim == 3:
            return given
        return jnp.stack([jnp.maximum(given, 0.0), jnp.maximum(-given, 0.0)]) + self.minimum

    def effective(self, weights: Array) -> jax.Array:
        """Signed effective matrix [columns, rows] of an array in either form (siemens)."""
        plus, minus = effective_matrix(self.devices(weights), self.wires)
        return plus - minus

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self.ideal(self.weights).currents(v, {self.weights: self.effective(theta[self.weights])}, t)

    def adjoint(self) -> tuple[Element, ...]:
        return (replace(self, transpose=not self.transpose),)  # reciprocal tiles, driven from the other side

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        raise self._wrong(
            "its devices' voltages do not follow from its terminals' alone; fold_wires gives a netlist whose arrays "
            "are effective matrices, and the map whose pullback takes their gradients to the weights"
        )

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        given = np.asarray(arrays.get(self.weights, 0.0))
        if given.ndim == 3:
            if len(given) != 2:
                raise self._wrong(
                    f"array {self.weights!r} of shape {given.shape}; give signed weights [columns, rows], or pairs of "
                    "devices [2, columns, rows]"
                )
            if np.any(given < 0):
                raise self._wrong(f"array {self.weights!r} holds a device of {given.min():g} S; none may be negative")
            arrays = {**arrays, self.weights: given[0] - given[1]}
        self.ideal(self.weights).check(buses, arrays)
        if not (np.isfinite(self.minimum) and self.minimum >= 0):
            raise self._wrong(f"minimum conductance {self.minimum:g} S; it must not be negative")
        for bus in (self.rows, self.columns):
            if buses[bus].exists is not None:
                raise self._wrong(f"not all nodes of {bus!r} are built; a tile needs all of its rows and columns")

    def spice(self, deck: Deck) -> Iterator[str]:
        (source,), (target,) = self.reads, self.drives
        copies, driven, out = deck.shape(source)[:-1], f"driven.{self.name}", deck.shape(target)
        buses = {source: deck.buses[source], driven: deck.buses[source]}
        yield from VCVS(f"{self.name}.driver", driven, source, GROUND, 1.0).spice(deck.inside(Netlist(buses)))
        pair = np.asarray(self.devices(deck.arrays[self.weights]))
        for g, sign in zip(pair, ("p", "n"), strict=True):
            name = f"{self.name}.{sign}"
            collected = f"{name}.out"
            ends = (collected, driven) if self.transpose else (driven, collected)
            piece = tile(name, *ends, g, self.wires, copies=copies)
            inner = deck.inside(replace(piece, buses={**piece.buses, **buses, collected: Bus(out)}))
            for element in piece:
                yield from element.spice(inner)
            for index in np.ndindex(out):
                # what flows into the amplifier's virtual ground is pushed into the column, or drawn from it
                meter, to = deck.instance("V", f"{name}.sense", index), deck.node(target, index)
                yield f"{meter} {inner.node(collected, index)} 0 0"
                nodes = f"0 {to}" if sign == "p" else f"{to} 0"
                yield f"{deck.instance('F', f'{name}.mirror', index)} {nodes} {meter} 1"


def with_devices(netlist: Netlist, pairs: Mapping[str, Array]) -> Netlist:
    """The netlist with both devices of each pair as they are, such as badly written, drifted or stuck ones.

    Parameters
    ----------
    netlist : compiled at level `device`, wires not folded.
    pairs : array name -> [2, columns, rows] (siemens), as `technology.to_pairs` and effects on it give them; arrays
        that are left out stay as they are.

    Raises
    ------
    NetlistError
        For an array that does not exist, has another shape, or is not on tiles of its own.
    """
    arrays = dict(netlist.arrays)
    for name, pair in pairs.items():
        if name not in arrays:
            raise NetlistError(f"the netlist has no array {name!r}; it has {', '.join(sorted(arrays))}")
        plain = [e for e in netlist if e.array == name and not isinstance(e, WiredCrossbar)]
        if plain:
            raise NetlistError(
                f"array {name!r}: {type(plain[0]).__name__} {plain[0].name!r} has no two devices for a weight; compile "
                "at level 'device', and fold wires afterward"
            )
        if np.shape(pair) != (2, *np.shape(arrays[name])[-2:]):
            raise NetlistError(f"array {name!r}: pairs of shape {np.shape(pair)} for weights {np.shape(arrays[name])}")
        arrays[name] = np.asarray(pair, float)
    return replace(netlist, arrays=arrays)


@dataclass(frozen=True)
class Folded:
    """A netlist whose wired crossbars have become plain ones.

    Attributes
    ----------
    netlist : with the effective matrix of each array `w` under wires as the array `w.wired`.
    tiles : name of an effective array -> a wired crossbar that makes it from the array of its weights.
    """

    netlist: Netlist
    tiles: Mapping[str, WiredCrossbar]

    def effective(self, theta: Parameters) -> dict[str, Array]:
        """Parameters of the folded netlist from those of the wired one: a differentiable map, once per theta.

        A gradient for the folded netlist's arrays is taken to the weights by its pullback, `jax.vjp(effective, theta)`:
        products of every device's voltages in two fields of its tile.
        """
        kept = {name: theta[name] for name in self.netlist.arrays if name not in self.tiles}
        return {**kept, **{name: part.effective(theta[part.weights]) for name, part in self.tiles.items()}}


def fold_wires(netlist: Netlist) -> Folded:
    """Plain crossbars of effective matrices in the place of wired ones, exact for voltages and currents at rest.

    Wired crossbars of one array, with equal wires, share one effective array, in both directions. Wire capacitance is
    left out: the wires' own time constants are those of ohms and femtofarads.
    """
    names: dict[tuple, str] = {}
    tiles: dict[str, WiredCrossbar] = {}
    elements: dict[str, Element] = {}
    for element in netlist:
        if isinstance(element, WiredCrossbar):
            same = (element.weights, element.wires, element.minimum)
            if same not in names:
                count = sum(part.weights == element.weights for part in tiles.values())
                names[same] = f"{element.weights}.wired{count + 1 if count else ''}"
                tiles[names[same]] = element
            element = element.ideal(names[same])
        elements[element.name] = element
    used = {element.array for element in elements.values()}
    wired = {part.weights for part in tiles.values()}
    arrays = {name: g for name, g in netlist.arrays.items() if name in used or name not in wired}
    folded = Netlist(netlist.buses, elements, arrays, netlist.title)
    matrices = {name: np.asarray(part.effective(netlist.arrays[part.weights])) for name, part in tiles.items()}
    return Folded(folded.add(arrays=matrices), tiles)
