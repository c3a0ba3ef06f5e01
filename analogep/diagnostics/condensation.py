"""Solves with the symmetric part S of G by static condensation: tokens first, each by itself, what joins them last.

In a compiled block tokens meet in the attention alone. With two of its buses set aside, what is left of S falls into
one block for each token, so that its factors cost as much as those blocks and one dense matrix of the nodes set aside:
12,288 of 102,656 in a block of 64 tokens and 96 channels. Unlike MINRES it does not mind eigenvalues on both sides of
0.
"""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import scipy.sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import SuperLU, splu

from analogep.netlist.graph import Bus

LARGEST = 16_384
"""Most nodes that are set aside, whose matrix is dense (2 GiB)."""
WIDEST = 4_096
"""Most nodes of a token's block."""
_STRIP = 256
"""Rows of the dense matrix that are updated at a time, so that a product stays small."""


def condensed(G: scipy.sparse.csr_array, buses: tuple[Bus, ...]) -> Condensed | None:
    """Factors of the symmetric part S of a sparse G [n, n], in its unit.

    None where it is too large, or one lane by itself is singular.
    """
    try:
        return Condensed(((G + G.T) / 2).tocsr(), buses)
    except (TooLarge, RuntimeError):  # SuperLU's word for a singular block
        return None


class TooLarge(Exception):
    """A circuit has too many nodes in one lane, or between lanes, for their dense matrices."""


class Condensed:
    """Factors of a sparse symmetric matrix whose nodes have lanes (tokens) that few buses join.

    Parameters
    ----------
    S : [n, n], symmetric, not necessarily definite.
    buses : of its nodes, in order. The second to last axis of a bus numbers its lanes.

    Attributes
    ----------
    aside : number of nodes set aside, which join the lanes.
    singular : whether S has no inverse.

    Raises
    ------
    TooLarge
        If a lane or what is set aside has too many nodes.

    Reference
    ---------
    Guyan 1965, "Reduction of stiffness and mass matrices", AIAA J. 3 (static condensation); Bunch & Kaufman 1977 (the
    factors of a symmetric indefinite matrix).
    """

    def __init__(self, S: scipy.sparse.csr_array, buses: tuple[Bus, ...]) -> None:
        lanes, kinds = _lanes(buses), np.repeat(np.arange(len(buses)), [bus.nodes for bus in buses])
        aside = np.isin(kinds, list(_joining(S, lanes, kinds)))
        order = np.argsort(lanes, kind="stable")
        self._last = order[aside[order]]  # lane after lane, so that causal lanes touch a leading part only
        inner = order[~aside[order]]
        self._lanes = np.split(inner, np.flatnonzero(np.diff(lanes[inner])) + 1)
        self.aside, widest = len(self._last), max(map(len, self._lanes))
        if self.aside > LARGEST or widest > WIDEST:
            raise TooLarge(f"{self.aside} nodes between lanes of up to {widest}; the most are {LARGEST} and {WIDEST}")
        self._factorize(S)

    def _factorize(self, S: scipy.sparse.csr_array) -> None:
        rest = S[self._last][:, self._last].toarray()
        self._blocks: list[SuperLU] = []
        self._joins: list[scipy.sparse.csr_array] = []
        for nodes in self._lanes:
            rows = S[nodes]
            factors = splu(rows[:, nodes].tocsc(), permc_spec="MMD_AT_PLUS_A")
            join = rows[:, self._last].tocsr()
            self._blocks.append(factors)
            self._joins.append(join)
            _condense(rest, factors, join)
        self.singular = False
        if len(rest):
            room = int(lapack.dsytrf_lwork(len(rest), lower=1)[0])  # less would be done column by column
            self._rest, self._pivots, zero = lapack.dsytrf(rest.T, lower=1, lwork=room, overwrite_a=1)
            self.singular = zero > 0

    def solve(self, b: np.ndarray) -> np.ndarray:
        """S^-1 b [n]."""
        y, last = np.empty_like(b), b[self._last]
        for nodes, factors, join in zip(self._lanes, self._blocks, self._joins, strict=True):
            y[nodes] = factors.solve(b[nodes])
            last = last - join.T @ y[nodes]
        if len(last):
            last = lapack.dsytrs(self._rest, self._pivots, last, lower=1)[0].ravel()
            y[self._last] = last
            for nodes, factors, join in zip(self._lanes, self._blocks, self._joins, strict=True):
                y[nodes] -= factors.solve(join @ last)
        return y


def _lanes(buses: tuple[Bus, ...]) -> np.ndarray:
    """Lane of every node: its index along the second to last axis, 0 where a bus has none."""
    found = [np.indices(bus.shape)[-2].ravel() if len(bus.shape) > 1 else np.zeros(bus.size, int) for bus in buses]
    return np.concatenate([lane[bus.indices] for lane, bus in zip(found, buses, strict=True)])


def _joining(S: scipy.sparse.csr_array, lanes: np.ndarray, kinds: np.ndarray) -> set[int]:
    """The buses with the fewest nodes that have an end of every entry between two lanes."""
    entries = S.tocoo()
    between = lanes[entries.row] != lanes[entries.col]
    ends = np.stack([kinds[entries.row[between]], kinds[entries.col[between]]])
    graph = nx.Graph(map(tuple, np.unique(ends, axis=1).T.tolist()))
    nodes = np.bincount(kinds)
    return set().union(*(_cover(graph.subgraph(part), nodes) for part in nx.connected_components(graph)))


def _cover(graph: nx.Graph, nodes: np.ndarray) -> set[int]:
    """The vertex cover with the fewest nodes, of a handful of buses."""
    covers = (
        set(chosen)
        for count in range(1, len(graph) + 1)
        for chosen in combinations(graph, count)
        if all({*edge} & {*chosen} for edge in graph.edges)
    )
    return min(covers, key=lambda cover: int(nodes[list(cover)].sum()))


def _condense(rest: np.ndarray, factors: SuperLU, join: scipy.sparse.csr_array) -> None:
    """Subtract join^T block^-1 join from the upper triangle of the matrix of the nodes set aside (in C order)."""
    touching = np.flatnonzero(np.diff(join.indptr))
    touched = np.unique(join.indices)
    if not len(touched):
        return
    unit = np.zeros((join.shape[0], len(touching)))
    unit[touching, np.arange(len(touching))] = 1.0
    inverse = factors.solve(unit)[touching]
    across = join[touching][:, touched].T.tocsr()  # [touched, touching]
    response = np.ascontiguousarray((across @ inverse.T).T)
    for first in range(0, len(touched), _STRIP):
        strip = touched[first : first + _STRIP]
        part = across[first : first + _STRIP] @ response[:, first:]
        if touched[-1] - touched[first] == len(touched) - 1 - first:
            rest[strip[0] : strip[-1] + 1, touched[first] : touched[-1] + 1] -= part
        else:
            rest[np.ix_(strip, touched[first:])] -= part
