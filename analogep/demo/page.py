"""The demo's report: what was found, with pictures, numbers and the way on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analogep.demo.run import Results
from analogep.environment import versions
from analogep.ep.compare import Row
from analogep.ep.oracle import Reference
from analogep.plot.circuit import block_diagram
from analogep.plot.fidelity import estimator_bars, scatter
from analogep.plot.learning import learning_curves
from analogep.plot.stability import eigenvalues, growth_curve
from analogep.plot.waveforms import nudged, overlay, waveforms
from analogep.report import Card, Cell, Report

EXACT = 1e-3
"""Relative error up to which a gradient counts as exact at beta = 1e-3."""

LEAD = """A small transformer block, compiled into a circuit of resistive crossbars, nonlinear cells and damping
capacitors, settles on real text and learns by purely local updates: every conductance changes by the product of two
voltages at its own terminals. This page shows the circuit, how it settles, how stable it is, whether the local gradient
is the right one, and how far it learns beside digital backpropagation."""


def write_report(results: Results, folder: Path, seconds: float, command: str) -> Path:
    """Write the report folder; returns the path of its index.html."""
    spec = results.spec
    report = Report(
        "analogep demo",
        subtitle=str(results.summary["title"]),
        lead=LEAD,
        versions=versions(),
        seed=spec.seed,
        wall_seconds=seconds,
        command=command,
    )
    _key_numbers(report, results)
    _circuit(report, results)
    _settling(report, results)
    _stability(report, results)
    _gradient(report, results)
    _learning(report, results)
    _spice(report, results)
    _onward(report)
    report.attach("free_phase.cir", results.deck, "SPICE deck of the free phase (ngspice)")
    return report.write(folder)


def _key_numbers(report: Report, results: Results) -> None:
    rows, curves = results.before.rows, results.learning
    start, local, bptt = (
        float(curves["local_validation"][0]),
        float(curves["local_validation"][-1]),
        float(curves["bptt_validation"][-1]),
    )
    cards = [
        _gradient_card("Local gradient, twin", rows["twin"]),
        _gradient_card("Local gradient, AsymEP", rows["asym_ep"]),
        _gradient_card("Plain EP", rows["vector_field_ep"]),
        Card("Loss, local updates", f"{local:.3f}", "nats", note=f"from {start:.3f}; BPTT reaches {bptt:.3f}"),
    ]
    if results.overlay is not None:
        agreement = results.overlay.agreement
        cards.append(Card("Worst node, ngspice", f"{agreement.error:.1e}", note="of full scale, whole transient"))
    report.section("In short").cards(*cards)


def _gradient_card(label: str, row: Row) -> Card:
    """Cosine with the oracle; good only if the phases settled and the relative error is within EXACT."""
    error, doubt = row.total.relative_error, "" if row.converged else "; not settled"
    return Card(
        label,
        f"{row.total.cosine:.6f}",
        note=f"cosine with the implicit oracle; relative error {error:.1e}{doubt}",
        verdict="good" if row.converged and error <= EXACT else "bad",
    )


def _circuit(report: Report, results: Results) -> None:
    section = report.section("The circuit")
    counted = ("nodes", "states", "crossbars", "cells", "conductances", "programmable", "capacitors", "primitives")
    section.figure(
        block_diagram(results.graph),
        "The compiled netlist: buses of nodes, joined by crossbars and cells. Every token has its own copy.",
        alt="Block diagram of the compiled transformer block",
        name="circuit",
    )
    section.table(
        [{"quantity": key, "count": results.summary[key]} for key in counted],
        caption="What the netlist holds; `conductances` counts all tokens' copies, `primitives` the SPICE elements.",
    )


def _settling(report: Report, results: Results) -> None:
    section = report.section("Settling")
    section.paragraph(
        "The free phase starts at 0 V when the token rails switch on. Cells follow within "
        f"{results.spec.compile.epsilon:g} tau; the damped states z carry the slow modes."
    )
    section.figure(
        waveforms(results.free, "z"),
        "Free phase: voltages of some states z.",
        alt="Voltages of the state nodes settling over time",
        name="free",
    )
    section.figure(
        nudged(results.settled, results.plus, results.minus, "z", beta=results.spec.phases.beta),
        "Nudged phases: how the states move away from the free state for both signs of beta.",
        alt="Displacement of state nodes in the two nudged phases",
        name="nudged",
    )


def _stability(report: Report, results: Results) -> None:
    section, panel = report.section("Stability"), results.panel
    section.paragraph(
        "Four numbers, because no single one decides: the rightmost eigenvalue says whether disturbances decay, the "
        "numerical abscissa how fast one can grow at first, the peak how far, and rho(S^-1 A) how biased plain EP is."
    )
    section.figure(
        eigenvalues(panel.eigenvalues),
        "Eigenvalues of J at the operating point, in units of 1/tau.",
        alt="Eigenvalues in the complex plane",
        name="eigenvalues",
    )
    section.figure(
        growth_curve(panel.growth.times, panel.growth.norms),
        "Transient growth: the largest factor by which any disturbance is amplified after a time, in the C norm.",
        alt="Norm of exp(tJ) over time",
        name="growth",
    )
    units = {"spectral_abscissa": "1/tau", "numerical_abscissa": "1/tau", "hopf_frequency": "1/tau"}
    section.table(
        [{"quantity": k, "value": v, "per": units.get(k, "")} for k, v in panel.to_dict().items()],
        caption=f"The panel, over the {panel.states} states on a feedback loop.",
    )


def _gradient(report: Report, results: Results) -> None:
    section = report.section("Is the local gradient right?")
    rows = {name: row.total.to_dict() for name, row in results.before.rows.items()}
    rows["bptt"] = results.before.bptt[1].to_dict()
    section.figure(
        estimator_bars(rows),
        "Each estimator against implicit differentiation of F(z). BPTT is the digital reference.",
        alt="Cosine and relative error of each estimator",
        name="estimators",
    )
    shown = ("vector_field_ep", "asym_ep", "twin")
    section.figure(
        scatter({name: _flat(results.before.rows[name]) for name in shown}, _flat(results.before.implicit)),
        "Every weight: estimated gradient against the oracle's.",
        alt="Scatter of estimated against reference gradients",
        name="scatter",
    )
    section.table(
        [
            {"weights": when, "estimator": name, **row.total.to_dict(), "settled": _settled(row)}
            for when, comparison in (("initial", results.before), ("trained", results.after))
            for name, row in comparison.rows.items()
        ],
        caption="At the initial weights, and at the weights that local learning reached; the circuit is `parasitic`.",
        name="estimators",
    )


def _flat(source: Row | Reference) -> np.ndarray:
    return np.concatenate([np.ravel(source.gradient[name]) for name in sorted(source.gradient)])


def _settled(row: Row) -> Cell:
    return Cell("yes" if row.converged else "no", "good" if row.converged else "bad")


def _learning(report: Report, results: Results) -> None:
    section, training = report.section("Learning"), results.spec.training
    section.paragraph(
        f"{training.steps} steps of Adam at rate {training.rate:g} on batches of {training.batch} windows: once with "
        "the twin's local gradient on the circuit, once with BPTT on the same model, same batches, same start."
    )
    labels = {"local": "local updates (twin)", "bptt": "BPTT"}
    section.figure(
        learning_curves(results.learning, labels=labels),
        "Mini-batch loss (faint), its mean (lines) and validation loss (markers).",
        alt="Learning curves of local updates and of backpropagation through time",
        name="learning",
    )


def _spice(report: Report, results: Results) -> None:
    section = report.section("The same circuit in ngspice")
    if results.overlay is None:
        section.paragraph("ngspice is not installed here, so this comparison was left out. The deck is attached.")
        return
    found, agreement = results.overlay, results.overlay.agreement
    names = [name for name in found.names if name.startswith("z_")][:: max(1, len(found.names) // 700)][:4]
    names = [*names, agreement.node] if agreement.node not in names else names
    picked = [found.names.index(name) for name in names]
    section.figure(
        overlay(found.times, found.ours[:, picked], found.theirs[:, picked], names),
        f"Four states and the worst of {agreement.nodes} nodes, `{agreement.node}`.",
        alt="Waveforms of analogep and ngspice on top of each other, and their difference",
        name="ngspice",
    )
    quantities = {
        "settled, worst node": (results.settled_error, 1e-6),
        "transient, worst node": (agreement.error, 1e-4),
        "ngspice, seconds": (agreement.reference_seconds, None),
        "analogep, seconds": (agreement.seconds, None),
    }
    section.table(
        [{"quantity": name, "value": value, "limit": limit} for name, (value, limit) in quantities.items()],
        caption="Errors are fractions of the largest voltage. ngspice ran beside the training: `make bench` times it.",
        name="ngspice",
    )


def _onward(report: Report) -> None:
    section = report.section("How to go on from here")
    section.code("analogep compare --set model.damping=0.5\nanalogep diagnose --json", "Turn a knob, read the panel:")
    section.code("analogep compare --set model.asymmetry=0 --set data.objective=last_token", "A conservative block:")
    section.code("analogep export --phase adjoint --check -o adjoint.cir", "The adjoint as a netlist, checked:")
    section.code("analogep demo --set data.text=FILE --set model.channels=32", "Your own text, a larger block:")
