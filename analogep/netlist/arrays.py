"""Crossbars: one element for a whole matrix of conductances between two buses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


def differential_pair(signed: Array) -> tuple[Array, Array]:
    """Two non-negative conductances whose difference is `signed` (siemens); the smaller one is 0."""
    return np.maximum(signed, 0.0), np.maximum(-np.asarray(signed), 0.0)


@dataclass(frozen=True, eq=False)
class Crossbar(Element):
    """A matrix of conductances between the last axes of two buses; leading axes are copies (tokens).

    Parameters
    ----------
    rows, columns : bus names. Shapes [..., n_rows] and [..., n_columns] with equal leading axes.
    weights : name of the programmable array, [n_columns, n_rows] in siemens.
    coupling : `buffered` pushes the current g v_row into each column (signed g: a differential pair of devices;
        one-way, so non-reciprocal); `resistive` joins row and column by plain resistors (g >= 0; reciprocal).
    transpose : drive the array from its columns: `rows` and `columns` keep their names, and the element reads the
        columns' bus and pushes into the rows' bus.
    """

    rows: str
    columns: str
    weights: str
    coupling: Literal["buffered", "resistive"] = "buffered"
    transpose: bool = False

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
    def source(self) -> str:
        """The bus that drives the array (buffered coupling)."""
        return self.columns if self.transpose else self.rows

    @property
    def target(self) -> str:
        """The bus that collects the current (buffered coupling)."""
        return self.rows if self.transpose else self.columns

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,) if self.coupling == "buffered" else (self.rows, self.columns)

    @property
    def drives(self) -> tuple[str, ...]:
        return (self.target,) if self.coupling == "buffered" else (self.rows, self.columns)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        g = jnp.asarray(theta[self.weights])
        if self.coupling == "buffered":
            return {self.target: -(v[self.source] @ (g if self.transpose else g.T))}
        rows, columns = v[self.rows], v[self.columns]
        out: Currents = {self.rows: rows * g.sum(0) - columns @ g}
        into_columns = columns * g.sum(1) - rows @ g.T
        out[self.columns] = into_columns + out.get(self.columns, 0.0)  # an array may join a bus to itself
        return out

    def adjoint(self) -> tuple[Element, ...]:
        if self.coupling == "resistive":
            return (self,)
        return (Crossbar(self.name, self.rows, self.columns, self.weights, transpose=not self.transpose),)

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        if self.coupling == "buffered":
            matrix = -jnp.einsum("...c,...r->cr", post[self.target], pre[self.source])
            return matrix.T if self.transpose else matrix
        across = [x[self.rows][..., None, :] - x[self.columns][..., :, None] for x in (pre, post)]
        product = across[0] * across[1]
        return product.sum(tuple(range(product.ndim - 2)))

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if self.weights not in arrays:
            known = ", ".join(sorted(arrays)) or "none"
            raise self._wrong(f"array {self.weights!r} is missing; the netlist has {known}")
        if GROUND in (self.rows, self.columns):
            raise self._wrong(f"it joins {self.rows!r} to {self.columns!r}; rows and columns must be buses, not ground")
        g = np.asarray(arrays[self.weights])
        rows, columns = buses[self.rows].shape, buses[self.columns].shape
        if not rows or not columns or rows[:-1] != columns[:-1] or g.shape != (columns[-1], rows[-1]):
            raise self._wrong(
                f"array {self.weights!r} of shape {g.shape} cannot join rows {self.rows!r} {rows} to columns "
                f"{self.columns!r} {columns}; it must be [columns, rows] and leading axes must agree"
            )
        if not np.all(np.isfinite(g)):
            raise self._wrong(f"array {self.weights!r} holds a conductance that is not finite")
        if self.coupling == "resistive" and np.any(g < 0):
            raise self._wrong(
                f"array {self.weights!r} holds {g.min():g} S; a resistive array needs g >= 0 "
                "(for signed weights use signed_resistive with dual rails)"
            )

    def spice(self, deck: Deck) -> Iterator[str]:
        g = np.asarray(deck.arrays[self.weights])
        copies = deck.shape(self.rows)[:-1]
        devices = [(c, r, g[c, r]) for c, r in zip(*np.nonzero(g), strict=True)]
        for copy in np.ndindex(copies):
            rows = [deck.node(self.rows, (*copy, r)) for r in range(g.shape[1])]
            columns = [deck.node(self.columns, (*copy, c)) for c in range(g.shape[0])]
            for c, r, value in devices:
                instance = deck.instance("R" if self.coupling == "resistive" else "G", self.name, (*copy, c, r))
                if self.coupling == "resistive":
                    yield f"{instance} {rows[r]} {columns[c]} {deck.number(1 / value)}"
                    continue
                source, target = (columns[c], rows[r]) if self.transpose else (rows[r], columns[c])
                # the positive device of the pair pushes into the summing node, the negative one draws from it
                out, sign = (f"0 {target}", "p") if value > 0 else (f"{target} 0", "n")
                yield f"{instance}_{sign} {out} {source} 0 {deck.number(abs(value))}"


def signed_resistive(
    name: str, rows: tuple[str, str], columns: tuple[str, str], weights: Array
) -> tuple[tuple[Crossbar, ...], dict[str, np.ndarray]]:
    """Signed reciprocal coupling between dual-rail buses, out of plain resistors.

    A positive weight joins equal rails, a negative one joins opposite rails; with rails at +v and -v the column sees
    g (v_row - v_col) for g > 0 and |g| (-v_row - v_col) for g < 0: the weighted input less the loading |g| v_col.

    Parameters
    ----------
    rows, columns : (plus rail, minus rail) bus names.
    weights : signed conductances [n_columns, n_rows] in siemens.

    Returns
    -------
    The four crossbars, and their arrays `<name>.plus` and `<name>.minus`.
    """
    plus, minus = differential_pair(weights)
    (rp, rn), (cp, cn) = rows, columns
    bars = (
        Crossbar(f"{name}.pp", rp, cp, f"{name}.plus", "resistive"),
        Crossbar(f"{name}.nn", rn, cn, f"{name}.plus", "resistive"),
        Crossbar(f"{name}.pn", rp, cn, f"{name}.minus", "resistive"),
        Crossbar(f"{name}.np", rn, cp, f"{name}.minus", "resistive"),
    )
    return bars, {f"{name}.plus": np.asarray(plus), f"{name}.minus": np.asarray(minus)}
