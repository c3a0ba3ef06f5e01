"""What a block diagram is drawn with: boxes, arrows, text, all in inches of the unscaled diagram."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from matplotlib.textpath import TextToPath

from analogep.plot.style import BLUE, GRAY, GREEN, INK, ORANGE, PURPLE, SMALL

NAME, SHAPE, ELEMENT = 10.5, 8.0, 8.0
"""Font sizes in points, of an unscaled diagram."""
ROUTE, LANE, PORT, GAP, MARGIN, WIDTH = 0.3, 0.24, 0.22, 0.2, 0.12, 4.0
"""Inches: zone where edges bend, spacing of feedback lanes, of arrows into a box, of boxes; border, least width."""

BUSES = {
    "input": ("input", "#fbf1dc", ORANGE),
    "state": ("state (damping capacitor)", "#dcebf5", BLUE),
    "cell": ("cell output (own pole)", "#ddf1ea", GREEN),
    "driven": ("driven (no state)", "#f5f6f7", GRAY),
}
EDGES: dict[str, tuple[str, dict[str, Any]]] = {
    "crossbar": ("crossbar (programmable)", {"color": BLUE, "linewidth": 2.0}),
    "cell": ("cell (fixed)", {"color": INK, "linewidth": 1.0}),
    "source": ("source", {"color": PURPLE, "linewidth": 1.2, "linestyle": (0, (1.5, 1.5))}),
}


@dataclass
class Box:
    """A bus on the page: center, half extents, and the arrows that enter on its left."""

    x: float
    y: float
    width: float
    height: float
    ports: dict[str, float] = field(default_factory=dict)


def text_width(text: str, size: float) -> float:
    """Width in inches."""
    return TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)[0] / 72


def shape_text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if shape else "1 node"


def rounded(points: list[tuple[float, float]], radius: float = 0.14) -> Path:
    """A polygon line with rounded corners."""
    at, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for other, code in ((before, Path.LINETO), (after, Path.CURVE3)):
            step = np.subtract(other, corner)
            length = float(np.hypot(*step)) or 1.0
            near = corner + step * min(radius, length / 2) / length
            if code == Path.CURVE3:
                at.append(corner)
                codes.append(Path.CURVE3)
            at.append((float(near[0]), float(near[1])))
            codes.append(code)
    return Path([*at, points[-1]], [*codes, Path.LINETO])


@dataclass
class Pen:
    """Draws in inches of the unscaled diagram; fonts and lines follow the scale of the axes."""

    ax: Axes
    scale: float

    def text(self, x: float, y: float, text: str, size: float, *, clear: bool = False, **options: Any) -> None:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6} if clear else None
        defaults = {"color": INK, "zorder": 6, "fontsize": size * self.scale, "bbox": box}
        self.ax.text(x, y, text, **{**defaults, **options})

    def arrow(self, path: Path, kind: str) -> None:
        style = dict(EDGES.get(kind, EDGES["cell"])[1])
        style["linewidth"] *= self.scale
        head = 9 * self.scale
        self.ax.add_patch(
            FancyArrowPatch(path=path, arrowstyle="-|>,head_length=0.5,head_width=0.26", mutation_scale=head, zorder=3,
                            joinstyle="round", capstyle="butt", **style)
        )  # fmt: skip

    def bus(self, name: str, box: Box, shape: tuple[int, ...], kind: str) -> None:
        _, face, edge = BUSES.get(kind, BUSES["driven"])
        corner = (box.x - box.width, box.y - box.height)
        style = "round,pad=0,rounding_size=0.07"
        line = self.scale * (1.8 if kind == "state" else 1.1)
        self.ax.add_patch(
            FancyBboxPatch(corner, 2 * box.width, 2 * box.height, boxstyle=style, facecolor=face, edgecolor=edge,
                           linewidth=line, zorder=4)
        )  # fmt: skip
        self.text(box.x, box.y + 0.03, name, NAME, ha="center", va="bottom", weight="bold")
        self.text(box.x, box.y - 0.04, shape_text(shape), SHAPE, ha="center", va="top", color=GRAY)

    def legend(self, handles: list[Patch | Line2D], columns: int, x: float, y: float) -> None:
        if not handles:
            return
        for handle in handles:
            handle.set_linewidth(handle.get_linewidth() * self.scale)
        self.ax.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(x, y), bbox_transform=self.ax.transData, ncols=columns,
            fontsize=SMALL * self.scale, frameon=False, labelcolor=INK, borderaxespad=0, columnspacing=1.4, borderpad=0,
        )  # fmt: skip


def legend_handles(graph: nx.MultiDiGraph) -> list[Patch | Line2D]:
    """One entry for every kind of bus and element in the graph."""
    buses = {kind or "driven" for _, kind in graph.nodes(data="kind")}
    edges = {kind or "cell" for *_, kind in graph.edges(data="kind")}
    patches = [
        Patch(facecolor=face, edgecolor=edge, linewidth=1.1, label=label)
        for kind, (label, face, edge) in BUSES.items()
        if kind in buses
    ]
    return [
        *patches,
        *(Line2D([], [], label=label, **style) for kind, (label, style) in EDGES.items() if kind in edges),
    ]


def legend_columns(handles: list[Patch | Line2D], width: float) -> int:
    """How many entries fit side by side in `width` inches."""
    sizes = [text_width(str(handle.get_label()), SMALL) + 0.52 for handle in handles]
    for columns in range(len(sizes), 1, -1):
        rows = -(-len(sizes) // columns)
        if sum(max(sizes[k : k + rows]) for k in range(0, len(sizes), rows)) <= width:
            return columns
    return 1
