"""Display equations drawn by matplotlib: pages that show them without LaTeX, and without a script from the network."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import matplotlib
from docutils import nodes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

SIZE = 13.0
"""Font size in points."""


PAD = 0.03
"""Margin around an equation in inches."""


def picture(latex: str) -> str:
    """An `img` element with the equation as SVG, its baseline on that of the text; the LaTeX is its `alt`."""
    text = " ".join(latex.split()).replace("\\frac", "\\dfrac")
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "analogep", "mathtext.fontset": "cm"}):
        figure = Figure()
        FigureCanvasSVG(figure)
        figure.text(0, 0, f"${text}$", fontsize=SIZE)
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=PAD, metadata={"Date": None})
    depth = MathTextParser("path").parse(f"${text}$", prop=FontProperties(size=SIZE)).depth + 72 * PAD
    data = base64.b64encode(out.getvalue()).decode()
    alt, style = html.escape(latex, quote=True), f"vertical-align: -{depth:.1f}pt"
    return f'<img class="equation" style="{style}" src="data:image/svg+xml;base64,{data}" alt="{alt}">'


def inline(self: Any, node: nodes.math) -> None:
    """Visitor of a formula in a line."""
    self.body.append(picture(node.astext()))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """Visitor of a displayed equation."""
    self.body.append(f'<div class="math">{picture(node.astext())}</div>')
    raise nodes.SkipNode
