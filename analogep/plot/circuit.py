"""Block diagram of a circuit: buses as boxes, elements as labelled arrows, feedback around the outside."""

from __future__ import annotations

from collections import Counter, defaultdict

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path

from analogep.plot.feedback import Columns, Feedback
from analogep.plot.layout import Item, Layers, heights, layers
from analogep.plot.pen import (
    ELEMENT,
    GAP,
    MARGIN,
    NAME,
    PORT,
    ROUTE,
    SHAPE,
    WIDTH,
    Box,
    Pen,
    legend_columns,
    legend_handles,
    shape_text,
    text_width,
)
from analogep.plot.style import TITLE, new_figure


def block_diagram(graph: nx.MultiDiGraph, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Draw a circuit as a layered block diagram, signals from left to right.

    Edges that close a loop (into state buses first) run around the outside. An element with several inputs, such as
    a multiplier, is labelled once, where its arrows meet.

    Parameters
    ----------
    graph : nodes are buses with `shape` (tuple) and `kind` (`state`, `input`, `driven` or `cell`); edges have `label`
        (element name) and `kind` (`crossbar`, `cell` or `source`).
    ax : axes to draw in, text scaled to fit; a new figure of natural size when None.
    title : heading.

    Returns
    -------
    The axes; their data unit is one inch of the unscaled diagram.
    """
    found = layers(graph)
    boxes, x = _place(graph, found)
    routed = Feedback(graph, found, boxes, x)
    bottom, top = routed.extent
    left, right = routed.sides
    left, right = min(left, (left + right - WIDTH) / 2), max(right, (left + right + WIDTH) / 2)
    handles = legend_handles(graph)
    columns = legend_columns(handles, right - left)
    low, high = bottom - 0.24 * -(-len(handles) // columns) - 0.06, top + (0.34 if title else 0.0)
    width, height = right - left + 2 * MARGIN, high - low + 2 * MARGIN
    if ax is None:
        ax = new_figure((width, height), constrained=False).add_axes((0, 0, 1, 1))
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.set(xlim=(left - MARGIN, right + MARGIN), ylim=(low - MARGIN, high + MARGIN), aspect="equal")
    ax.set_axis_off()
    place = ax.get_position()
    inches = figure.get_size_inches()
    scale = float(min(place.width * inches[0] / width, place.height * inches[1] / height))
    draw = Pen(ax, scale)
    for ends in found.routes:
        _forward(draw, graph, found, boxes, x, ends)
    column = {item: k for k, items in enumerate(found.columns) for item in items}
    for bus in graph:
        for label, height in boxes[bus].ports.items():
            draw.text(x[column[bus]][0] - 0.02, height + 0.035, label, ELEMENT, ha="left", va="bottom")
    routed.draw(draw)
    for bus, data in graph.nodes(data=True):
        draw.bus(str(bus), boxes[bus], tuple(data.get("shape", ())), data.get("kind", "driven"))
    draw.legend(handles, columns, (left + right) / 2, low)
    if title:
        draw.text(left, high, title, TITLE, weight="bold", ha="left", va="top")
    return ax


def _incoming(graph: nx.MultiDiGraph, found: Layers, bus: Item) -> dict[str, list[Item]]:
    """Label of each element that enters the bus from the left -> the buses that it reads."""
    back, entering = set(found.feedback), defaultdict(list)
    for u, v, key, data in graph.in_edges(bus, keys=True, data=True):
        if (u, v, key) not in back:
            entering[str(data.get("label", key))].append(u)
    return entering


def _place(graph: nx.MultiDiGraph, found: Layers) -> tuple[dict[Item, Box], Columns]:
    """Boxes and columns."""
    entering = {bus: _incoming(graph, found, bus) for bus in graph}
    width = {
        bus: max(0.62, text_width(str(bus), NAME) + 0.26, text_width(shape_text(tuple(s or ())), SHAPE) + 0.2)
        for bus, s in graph.nodes(data="shape")
    }
    size: dict[Item, float] = {item: 0.12 for column in found.columns for item in column}
    size |= {bus: max(0.56, PORT * len(labels) + 0.1) for bus, labels in entering.items()}
    y = heights(found, size, GAP)
    columns, right = [], 0.0
    for k, column in enumerate(found.columns):
        said = [label for bus in column if bus in entering for label in entering[bus]]
        stub = max((text_width(label, ELEMENT) for label in said), default=0.0) + 0.2
        start = right + ROUTE if k else right
        left = start + stub if k else right
        right = left + max([width[bus] for bus in column if bus in width], default=0.3)
        columns.append((start, left, right))
    boxes = {}
    for (_, left, right), column in zip(columns, found.columns, strict=True):
        for bus in column:
            middle = (left + right) / 2
            half = (right - left) / 2 if bus in entering else 0.0
            boxes[bus] = Box(middle, -y[bus], half, size[bus] / 2)
    for bus, labels in entering.items():
        before = {(u, bus): found.routes[u, bus][-2] for us in labels.values() for u in us}
        order = sorted(labels, key=lambda label: -np.mean([boxes[before[u, bus]].y for u in labels[label]]))
        middle = (len(order) - 1) / 2
        boxes[bus].ports = {label: boxes[bus].y + PORT * (middle - k) for k, label in enumerate(order)}
    _straighten(found, boxes)
    return boxes, columns


def _straighten(found: Layers, boxes: dict[Item, Box], slack: float = 0.21) -> None:
    """Remove small steps: bends take the height of what comes before, and so does the only arrow into a bus."""
    entering = Counter(v for _, v in found.links)
    for a, b in found.links:
        near = boxes[a].y
        if b not in boxes or entering[b] != 1:
            continue
        if not boxes[b].ports and not boxes[b].width and abs(boxes[b].y - near) < slack:
            boxes[b].y = near
        for label, height in boxes[b].ports.items():
            if abs(height - near) < slack:
                boxes[b].ports[label] = near


def _forward(
    draw: Pen, graph: nx.MultiDiGraph, found: Layers, boxes: dict[Item, Box], x: Columns, ends: tuple[Item, Item]
) -> None:
    """The edges between two buses: bends between the columns, straight through every column on the way."""
    u, v = ends
    column = next(k for k, items in enumerate(found.columns) if u in items)
    back = set(found.feedback)
    for key, data in graph.get_edge_data(u, v).items():
        if (u, v, key) in back:
            continue
        label = str(data.get("label", key))
        at = (boxes[u].x + boxes[u].width, boxes[u].y)
        points, codes = [at], [Path.MOVETO]
        for k, item in enumerate(found.routes[u, v][1:], start=column + 1):
            start, left, right = x[k]
            height = boxes[item].ports[label] if item == v else boxes[item].y
            middle = (at[0] + start) / 2
            points += [(middle, at[1]), (middle, height), (start, height)]
            codes += [Path.CURVE4] * 3
            at = (left if item == v else right, height)
            points.append(at)
            codes.append(Path.LINETO)
        draw.arrow(Path(points, codes), data.get("kind", "cell"))
