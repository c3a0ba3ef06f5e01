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

SIZE = 13.0
"""Font size in points."""


def picture(latex: str) -> str:
    """An `img` element that holds the equation as SVG; the LaTeX is its alternative text."""
    text = " ".join(latex.split()).replace("\\frac", "\\dfrac")
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "analogep", "mathtext.fontset": "cm"}):
        figure = Figure()
        FigureCanvasSVG(figure)
        figure.text(0, 0, f"${text}$", fontsize=SIZE)
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.03, metadata={"Date": None})
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img class="equation" src="data:image/svg+xml;base64,{data}" alt="{html.escape(latex, quote=True)}">'


def inline(self: Any, node: nodes.math) -> None:
    """Visitor of a formula in a line."""
    self.body.append(picture(node.astext()))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """Visitor of a displayed equation."""
    self.body.append(f'<div class="math">{picture(node.astext())}</div>')
    raise nodes.SkipNode
