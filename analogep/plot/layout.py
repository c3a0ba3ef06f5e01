"""Layered placement of a signal-flow graph: which column, in which order, at which height.

Reference
---------
Sugiyama, Tagawa & Toda 1981, "Methods for visual understanding of hierarchical system structures".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

Item = Hashable
"""A bus, or a bend `(source, target, column)` where a long edge passes a column."""


@dataclass(frozen=True)
class Layers:
    """Columns of items.

    Attributes
    ----------
    columns : items of each column, top to bottom.
    routes : (source, target) -> items from source to target, one for each column on the way.
    feedback : edges (source, target, key) that were broken to make the graph acyclic.
    """

    columns: list[list[Item]]
    routes: dict[tuple[Item, Item], list[Item]]
    feedback: list[tuple[Item, Item, Item]]

    @property
    def links(self) -> list[tuple[Item, Item]]:
        """Pairs of items in neighboring columns that an edge joins."""
        pairs = {pair: None for route in self.routes.values() for pair in pairwise(route)}
        return list(pairs)


def feedback_edges(graph: nx.MultiDiGraph) -> list[tuple[Item, Item, Item]]:
    """Edges that close a loop: first those into state buses, then whatever cycles are left."""
    states = [bus for bus, kind in graph.nodes(data="kind") if kind == "state"]
    back = [
        (u, v, key) for v in states for u, _, key in graph.in_edges(v, keys=True) if u == v or nx.has_path(graph, v, u)
    ]
    rest = graph.copy()
    rest.remove_edges_from(back)
    while True:
        try:
            edge = nx.find_cycle(rest)[-1]
        except nx.NetworkXNoCycle:
            return back
        back.append((edge[0], edge[1], edge[2]))
        rest.remove_edge(*edge[:3])


def layers(graph: nx.MultiDiGraph) -> Layers:
    """Columns by longest path, with few crossings."""
    back = feedback_edges(graph)
    rest = graph.copy()
    rest.remove_edges_from(back)
    depth: dict[Item, int] = {}
    for bus in nx.topological_sort(rest):
        depth[bus] = max((depth[u] + 1 for u in rest.predecessors(bus)), default=0)
    for bus in rest:  # an input stands right before what it feeds
        if rest.in_degree(bus) == 0 and rest.out_degree(bus) > 0:
            depth[bus] = min(depth[v] for v in rest.successors(bus)) - 1
    columns: list[list[Item]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for bus in graph:
        columns[depth[bus]].append(bus)
    routes: dict[tuple[Item, Item], list[Item]] = {}
    for u, v in rest.edges():
        if (u, v) not in routes:
            bends: list[Item] = [(u, v, column) for column in range(depth[u] + 1, depth[v])]
            for bend, column in zip(bends, range(depth[u] + 1, depth[v]), strict=True):
                columns[column].append(bend)
            routes[u, v] = [u, *bends, v]
    found = Layers(columns, routes, back)
    return Layers(_ordered(found.columns, found.links), routes, back)


def _crossings(columns: Sequence[Sequence[Item]], links: Sequence[tuple[Item, Item]]) -> int:
    place = {item: (c, k) for c, column in enumerate(columns) for k, item in enumerate(column)}
    ends = [(place[a][0], place[a][1], place[b][1]) for a, b in links]
    return sum(
        ends[i][0] == ends[j][0] and (ends[i][1] - ends[j][1]) * (ends[i][2] - ends[j][2]) < 0
        for i in range(len(ends))
        for j in range(i)
    )


def _ordered(columns: list[list[Item]], links: list[tuple[Item, Item]], sweeps: int = 12) -> list[list[Item]]:
    """Columns reordered by barycenters and swaps of neighbors; the best arrangement seen."""
    columns = [list(column) for column in columns]
    best, fewest = [list(c) for c in columns], _crossings(columns, links)
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        for c in range(len(columns)) if forward else reversed(range(len(columns))):
            beside = columns[c - 1] if forward and c else columns[c + 1] if not forward and c + 1 < len(columns) else []
            rank = {item: k / max(len(beside) - 1, 1) for k, item in enumerate(beside)}
            near: dict[Item, list[float]] = {item: [] for item in columns[c]}
            for a, b in links:
                here, there = (b, a) if forward else (a, b)
                if here in near and there in rank:
                    near[here].append(rank[there])
            own = {item: k / max(len(columns[c]) - 1, 1) for k, item in enumerate(columns[c])}
            columns[c].sort(key=lambda item: float(np.mean(near[item])) if near[item] else own[item])
        _swap(columns, links)
        count = _crossings(columns, links)
        if count < fewest:
            best, fewest = [list(c) for c in columns], count
    return best


def _swap(columns: list[list[Item]], links: list[tuple[Item, Item]]) -> None:
    """Exchange neighbors wherever that removes a crossing."""
    fewest = _crossings(columns, links)
    for column in columns:
        for k in range(len(column) - 1):
            column[k], column[k + 1] = column[k + 1], column[k]
            count = _crossings(columns, links)
            if count < fewest:
                fewest = count
            else:
                column[k], column[k + 1] = column[k + 1], column[k]


def heights(found: Layers, size: Mapping[Item, float], gap: float, sweeps: int = 40) -> dict[Item, float]:
    """Height of the center of each item (downwards), near its neighbors and `gap` apart from the next in its column.

    Parameters
    ----------
    size : vertical extent of each item.
    """
    near: dict[Item, list[Item]] = {item: [] for column in found.columns for item in column}
    for a, b in found.links:
        near[a].append(b)
        near[b].append(a)
    y: dict[Item, float] = {}
    for column in found.columns:
        y |= zip(column, _apart(np.zeros(len(column)), [size[i] for i in column], gap), strict=True)
    for sweep in range(sweeps):
        for column in found.columns if sweep % 2 == 0 else reversed(found.columns):
            want = np.array([np.mean([y[other] for other in near[item]] or [y[item]]) for item in column])
            y |= zip(column, _apart(want, [size[i] for i in column], gap), strict=True)
    return y


def _apart(want: np.ndarray, size: Sequence[float], gap: float) -> list[float]:
    """Positions closest to `want` in least squares, in the same order, without overlap (pool adjacent violators)."""
    extent = np.asarray(size, float)
    offset = np.concatenate([[0.0], np.cumsum((extent[1:] + extent[:-1]) / 2 + gap)])[: len(extent)]
    blocks: list[list[float]] = []
    for value in want - offset:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + value * count) / (last[1] + count)
            last[1] += count
    pooled = np.concatenate([np.full(int(n), v) for v, n in blocks]) if blocks else np.zeros(0)
    return list(map(float, pooled + offset))
