"""Feedback arrows of a block diagram: lanes above and below it, and loops of a bus onto itself."""

from __future__ import annotations

from collections import defaultdict

import networkx as nx

from analogep.plot.layout import Item, Layers
from analogep.plot.pen import ELEMENT, LANE, Box, Pen, rounded, text_width

Columns = list[tuple[float, float, float]]
"""Of each column: where its arrows' straight ends begin, its left and its right edge."""


class Feedback:
    """Lanes above and below the diagram, on which loops close."""

    def __init__(self, graph: nx.MultiDiGraph, found: Layers, boxes: dict[Item, Box], x: Columns) -> None:
        self.graph, self.found, self.boxes, self.x = graph, found, boxes, x
        self.column = {item: k for k, items in enumerate(found.columns) for item in items}
        self.low = min((b.y - b.height for b in boxes.values()), default=0.0)
        self.high = max((b.y + b.height for b in boxes.values()), default=0.0)
        loops = [edge for edge in found.feedback if edge[0] == edge[1]]
        self.loops = {(u, str(graph.edges[u, v, key].get("label", key))): key for u, v, key in loops}
        self.lanes: dict[int, list[tuple[Item, Item, Item]]] = {1: [], -1: []}
        for edge in found.feedback:
            if edge not in loops:
                self.lanes[self._side(*edge[:2])].append(edge)
        for lane in self.lanes.values():
            lane.sort(key=lambda e: abs(boxes[e[0]].x - boxes[e[1]].x))

    def _beyond(self, item: Item, side: int) -> int:
        """How many items of its column stand between it and the edge of the diagram."""
        column = self.found.columns[self.column[item]]
        return column.index(item) if side > 0 else len(column) - 1 - column.index(item)

    def _side(self, u: Item, v: Item) -> int:
        middle = (self.low + self.high) / 2
        above = (self._beyond(u, 1) + self._beyond(v, 1), self.boxes[u].y < middle)
        below = (self._beyond(u, -1) + self._beyond(v, -1), self.boxes[u].y >= middle)
        return 1 if above <= below else -1

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest point."""
        room = 0.2 if self.loops else 0.0
        below, above = (LANE * len(self.lanes[s]) + (0.16 if self.lanes[s] else 0.0) for s in (-1, 1))
        return self.low - max(below, room), self.high + max(above, room)

    @property
    def sides(self) -> tuple[float, float]:
        """Leftmost and rightmost point, with the risers beside the outer columns and the labels of lanes."""
        left, right = (self.x[0][1], self.x[-1][2]) if self.x else (0.0, 1.0)
        ends = [(side, u, v) for side, lane in self.lanes.items() for u, v, _ in lane]
        outer = any(self._beyond(u, side) and self.column[u] == len(self.x) - 1 for side, u, _ in ends)
        inner = any(self._beyond(v, side) and self.column[v] == 0 for side, _, v in ends)
        labels = [
            self.boxes[v].x + self.boxes[v].width + 0.12 + text_width(str(data.get("label", key)), ELEMENT)
            for v, key, data in ((v, key, self.graph.edges[u, v, key]) for u, v, key in self.found.feedback)
        ]
        return left - (0.4 if inner else 0.0), max([right + (0.4 if outer else 0.0), *labels])

    def draw(self, pen: Pen) -> None:
        """Every lane with its label, then the loops of a bus onto itself."""
        said: set[tuple[Item, str]] = set()
        for side, lane in self.lanes.items():
            entries, exits = defaultdict(list), defaultdict(list)
            for u, v, key in lane:
                entries[v].append((u, v, key))
                exits[u].append((u, v, key))
            for k, (u, v, key) in enumerate(lane):
                data = self.graph.edges[u, v, key]
                level = (self.high if side > 0 else self.low) + side * (0.2 + LANE * k)
                spread = exits[u].index((u, v, key)) - (len(exits[u]) - 1) / 2
                out = self._out(u, side, level, k, 0.16 * spread)
                enter = self._enter(v, side, level, k, entries[v].index((u, v, key)), len(entries[v]))
                pen.arrow(rounded([*out, *enter]), data.get("kind", "cell"))
                label = str(data.get("label", key))
                if (v, label) not in said:
                    x, y, anchor = self._label(u, v, side, level, enter[0][0])
                    pen.text(x, y, label, ELEMENT, ha="left", va=anchor, clear=True)
                    said.add((v, label))
        for (bus, label), key in self.loops.items():
            self._loop(pen, bus, label, key, (bus, label) in said)

    def _label(self, u: Item, v: Item, side: int, level: float, at: float) -> tuple[float, float, str]:
        """Where the label of a lane starts: right of its target, or outside a lane within one column."""
        if self.column[u] == self.column[v]:
            return at + 0.1, level + 0.035 * side, "bottom" if side > 0 else "top"
        return max(self.boxes[v].x, at) + self.boxes[v].width + 0.12, level + 0.035, "bottom"

    def _out(self, u: Item, side: int, level: float, k: int, shift: float) -> list[tuple[float, float]]:
        box = self.boxes[u]
        if not self._beyond(u, side):
            return [(box.x + shift, box.y + side * box.height), (box.x + shift, level)]
        riser = self.x[self.column[u]][2] + 0.1 + 0.06 * k
        return [(box.x + box.width, box.y), (riser, box.y), (riser, level)]

    def _enter(self, v: Item, side: int, level: float, k: int, index: int, count: int) -> list[tuple[float, float]]:
        box = self.boxes[v]
        if not self._beyond(v, side):
            # the innermost lane ends rightmost, so that lanes from the right never cross
            at = box.x + box.width * (0.0 if count == 1 else 0.35 - 0.95 * index / (count - 1))
            return [(at, level), (at, box.y + side * box.height)]
        left = self.x[self.column[v]][1]
        at = left - 0.2 - 0.06 * k
        height = box.y + side * box.height * 0.6
        return [(at, level), (at, height), (left, height)]

    def _loop(self, pen: Pen, bus: Item, label: str, key: Item, said: bool) -> None:
        box = self.boxes[bus]
        side = 1 if not any(v == bus for _, v, _ in self.lanes[1]) else -1
        y, a, b = box.y + side * box.height, box.x + 0.85 * box.width, box.x + 0.3 * box.width
        path = [(a, y), (a, y + side * 0.16), (b, y + side * 0.16), (b, y)]
        pen.arrow(rounded(path, 0.08), self.graph.edges[bus, bus, key].get("kind", "cell"))
        if not said:
            pen.text(a + 0.05, y + side * 0.1, label, ELEMENT, ha="left", va="center", clear=True)
