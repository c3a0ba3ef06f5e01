"""Words that a page uses without saying what they are, so that it can be read alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from analogep.report import Report
from analogep.report.content import Block, Cards, Code, Explorer, Paragraph, Picture

GLOSSARY = {
    r"S\^-1 A|S⁻¹A|G\^-T|2A\b": (
        "G, S, A",
        "conductance matrix G = di/dv of the circuit at rest, and its symmetric and antisymmetric parts; A = 0: "
        "reciprocal. J = -C^-1 G gives the motion about that state.",
    ),
    r"\brho\b": (
        "rho",
        "rho(S^-1 A), the largest absolute eigenvalue of S^-1 A: how far from reciprocal a circuit is.",
    ),
    r"\balpha\b": ("alpha", "spectral abscissa, the largest real part of the eigenvalues of J: below 0, it settles."),
    r"\bomega\b": (
        "omega",
        "numerical abscissa, the largest eigenvalue of the symmetric part of J in the metric of C: how fast a small "
        "displacement may grow at first; at 0 or below nothing grows.",
    ),
    r"\bgrowth\b|exp\(tJ\)": ("growth", "the largest ||exp(tJ)|| over all times: 1 if nothing grows."),
    r"\btau\b": ("tau", "time constant of a state node, the unit of time."),
    r"\bbeta\b": (
        "beta",
        "strength of a nudge; one-sided estimates compare the nudged state with the free one, centred ones two states "
        "nudged either way.",
    ),
    r"\bresiduals?\b": ("residual", "|F|/|z|: what still pushes the state, over the state's size; 0 at rest."),
    r"\blambda\b": (
        "lambda",
        "-G^-T dL/dv: what each node's current does to the loss. A weight's gradient is the product of a voltage and "
        "of lambda at its own terminals.",
    ),
    r"\bimplicit\b": ("implicit gradient", "that of the loss of the state at rest."),
    r"\bBPTT|\bfinite-time\b": (
        "finite-time gradient",
        "that of the loss of the state when the run is stopped: what backpropagation through time (BPTT) gives.",
    ),
    r"\b[Rr]elative errors?\b": ("relative error", "|found - true| / |true|; 1 is the error of no answer at all."),
    r"\bplain EP\b": (
        "plain EP",
        "equilibrium propagation: nudge the outputs, and take how far each node moves for lambda.",
    ),
    r"\bAsymEP\b|\binjection\b": (
        "AsymEP, 2A injection",
        "plain EP with currents 2A (v - v*) injected while nudged, so that the circuit answers as its transpose would.",
    ),
    r"\bREVERSED\b|\breversed couplings\b": (
        "REVERSED",
        "each one-way coupling turned round in place for the second settle, small signals about the held state.",
    ),
    r"\btwins?\b": ("twin", "a second circuit, wired as the transpose of the first: its voltages at rest are lambda."),
    r"\bgyrators?\b": ("gyrator", "a passive, lossless part that is not reciprocal; flipping all turns A into -A."),
    r"\bDyadic EP\b": (
        "Dyadic EP",
        "two copies that act on each other as the transpose does; their difference, over the nudge, is lambda.",
    ),
    r"\bRTRL\b": ("RTRL", "real-time recurrent learning: every derivative of the state is carried along the run."),
    r"\bUORO\b": ("UORO", "RTRL's numbers kept as one random rank-one matrix, right in the mean."),
    r"\b[Ee]cho\b": ("echo", "the motion is turned back in time, and retraces itself where nothing is lost."),
}
"""Pattern of a word -> the word, and what it is."""


def words(report: Report) -> None:
    """Append a section that explains the words of the glossary that the report uses."""
    lines = (line for section in report.sections for block in section.blocks for line in _said(block))
    text = "\n".join((report.lead, *lines))
    rows = [{"word": word, "is": said} for pattern, (word, said) in GLOSSARY.items() if re.search(pattern, text)]
    if rows:
        report.section("Words").table(rows, caption="What some words of this page stand for.", name="words")


def _said(block: Block) -> Iterable[str]:
    """What a reader reads of it."""
    if isinstance(block, Cards | Code):
        return ()
    if isinstance(block, Picture | Explorer):
        return (block.caption,)
    if isinstance(block, Paragraph):
        return (block.text,)
    cells = (cell.shown for row in block.rows for cell in row)
    return (block.caption, *block.columns, *block.units, *cells)
