"""Small-signal conductances of one element as a list, entry by entry: for circuits too large for a matrix of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.element import Element
from analogep.netlist.transposed import small_signal

MOST = 10**8
"""Most conductances that are probed of an element that says nothing of its structure."""


class Couplings(NamedTuple):
    """Conductances from the nodes of one bus to those of another.

    Attributes
    ----------
    target, source : bus where the current leaves, and bus whose voltage sets it.
    rows, columns : node numbers in those buses, in C order [K].
    siemens : d i_target[row] / d v_source[column] [K].
    """

    target: str
    source: str
    rows: np.ndarray
    columns: np.ndarray
    siemens: np.ndarray


def listable(element: Element, v: Voltages) -> bool:
    """Whether the couplings of an element are known to be few, or are few enough to probe all pairs of its nodes."""
    if element.mixes is not None or hasattr(element, "couplings"):
        return True
    reads, drives = (sum(np.size(v[bus]) for bus in buses) for buses in (element.reads, element.drives))
    return reads * drives <= MOST


def couplings(element: Element, v: Voltages, theta: Parameters) -> Iterator[Couplings]:
    """Small-signal conductances of an element about the voltages `v`; entries may be zero.

    The element's own `couplings` where it has some. Else by forward mode, with one probe for each node of the trailing
    axes within which it `mixes`; an element that says nothing of itself is probed node by node.
    """
    element = element.given(theta)
    own = getattr(element, "couplings", None)
    if own is not None:
        yield from own(v)
    elif element.mixes is None:
        for (target, source), slope in small_signal(element, v, theta).items():
            matrix = np.asarray(slope).reshape(np.size(v[target]), -1)
            rows, columns = np.indices(matrix.shape).reshape(2, -1)
            yield Couplings(target, source, rows, columns, matrix.ravel())
    else:
        for source in dict.fromkeys(element.reads):
            yield from _probed(element, source, v, theta, element.mixes)


def _probed(element: Element, source: str, v: Voltages, theta: Parameters, axes: int) -> Iterator[Couplings]:
    """Couplings from one bus, for an element that mixes within the last `axes` axes (0 or 1) of its buses."""
    at = jnp.asarray(v[source], float)
    size = at.shape[-1] if axes else 1

    def leaving(moved: Array) -> dict[str, Array]:
        return element.currents({**v, source: moved}, theta, 0.0)

    slopes = jax.vmap(lambda probe: jax.jvp(leaving, (at,), (jnp.broadcast_to(probe, at.shape),))[1])(
        jnp.eye(size) if axes else jnp.ones((1, 1))
    )
    for target, slope in slopes.items():
        ends = slope.shape[-1] if axes else 1
        siemens = np.moveaxis(np.asarray(slope).reshape(size, -1, ends), 0, -1)  # [lanes, ends, size]
        lane, end, begin = np.indices(siemens.shape).reshape(3, -1)
        yield Couplings(target, source, lane * ends + end, lane * size + begin, siemens.ravel())
