"""The figures of the documentation, made by analogep itself. Run alone: python docs/figures.py [folder]."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from codesign_figures import FIGURES as CODESIGN
from diagnostics_figures import FIGURES as DIAGNOSTICS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from on_devices_figures import FIGURES as ON_DEVICES
from pareto_figures import FIGURES as PARETO
from simulator_figures import FIGURES as SIMULATOR
from technology_figures import FIGURES as TECHNOLOGY

from analogep.cells import Activation
from analogep.compile import compile_transformer
from analogep.compile.stages import Stages
from analogep.compile.transformer import Compiled
from analogep.demo.run import block_graph
from analogep.diagnostics import growth_curve, in_metric, numerical_abscissa, rho_sinv_a
from analogep.learning.nudge import rails
from analogep.learning.phases import Injected
from analogep.models.objective import make_batch
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import Capacitor, ISource, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.plot.circuit import block_diagram
from analogep.plot.style import (
    BLUE,
    FAINT,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    describe,
    dressed,
    legend,
    new_figure,
)
from analogep.plot.waveforms import waveforms
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions, settle
from analogep.simulate.transient import to_dataset, transient
from analogep.units import Scale

SCALE = Scale(0.1, 1e-5, 1e-14)
TIGHT = SettleOptions(approach=1e-9, rtol=1e-9, horizon=400.0)


def small_block(level: str = "parasitic", epsilon: float = 0.1) -> tuple[Compiled, dict[str, np.ndarray]]:
    """A block of 4 tokens and 8 channels on a toy alphabet, and the rails of one window."""
    model = EquilibriumTransformer(4, 8, 2, 12, 6, 1.0, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    compiled = compile_transformer(model, weights, level=level, scale=SCALE, epsilon=epsilon)
    batch = make_batch(np.array([[0, 3, 1, 4, 2]]), "next_token", 6)
    return compiled, {name: value[0] for name, value in rails(batch, SCALE.volts).items()}


def block() -> Figure:
    """Block diagram of the default transformer."""
    model = EquilibriumTransformer(8, 16, 2, 32, 27, 1.0, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    compiled = compile_transformer(model, weights, scale=SCALE)
    return block_diagram(block_graph(Circuit(compiled.netlist, SCALE))).get_figure(root=True)


def settling() -> Figure:
    """A free phase from 0 V: the states, and a layer of cells that follows them."""
    compiled, x = small_block()
    circuit = Circuit(compiled.netlist, SCALE)
    times = np.linspace(0.0, 8.0 * SCALE.seconds, 161)
    waves = to_dataset(transient(circuit, times, x, circuit.theta), circuit)
    figure = new_figure((9.6, 3.6))
    left, right = figure.subplots(1, 2)
    waveforms(waves, "z", left, title="States z: damping capacitors, τ = 1 ns")
    waveforms(waves, "a", right, title="Cells a: GELU outputs, $τ_{cell}$ = 0.1 ns")
    return figure


def _network(n: int, seed: int) -> tuple[Netlist, np.ndarray, np.ndarray]:
    """n nodes with leaks and capacitors, all-to-all one-way coupling W, and W's two parts."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((n, n)) / np.sqrt(n)
    symmetric, antisymmetric = 0.35 * (raw + raw.T) / np.sqrt(2), (raw - raw.T) / np.sqrt(2)
    netlist = Netlist({"v": Bus((n,))}, {}, {"w": SCALE.siemens * symmetric}).add(
        Resistor("leak", "v", GROUND, 2.0 * SCALE.siemens),
        Capacitor("c", "v", GROUND, SCALE.farads),
        ISource("drive", GROUND, "v", rng.standard_normal(n) * SCALE.amperes),
        Crossbar("w", "v", "v", "w"),
    )
    return netlist, symmetric, antisymmetric


def displacement() -> Figure:
    """What three phases read for lambda in a non-reciprocal network, and how that depends on its asymmetry."""
    n, beta = 24, 1e-3
    netlist, symmetric, antisymmetric = _network(n, 3)
    circuit, transposed = Circuit(netlist, SCALE), Circuit(adjoint(netlist), SCALE)
    push = np.random.default_rng(4).standard_normal(n)  # -dL/dv in units
    nudge = {"v": beta * push * SCALE.amperes}

    def solve(a: float) -> dict[str, np.ndarray]:
        theta = {"w": SCALE.siemens * (symmetric + a * antisymmetric)}
        free = settle(circuit, {}, theta, options=TIGHT).require("free").v

        def inject(v):
            away = {"v": v["v"] - free["v"]}
            forward = jax.jvp(lambda at: circuit.current(at, {}, theta), (free,), (away,))[1]
            return {"v": forward["v"] - transposed.current(away, {}, theta)["v"]}

        plain = settle(circuit, {}, theta, v0=free, sources=nudge, options=TIGHT).require("nudged").v
        corrected = settle(Injected(circuit, inject), {}, theta, v0=free, sources=nudge, options=TIGHT)
        twin = settle(transposed, {}, theta, sources={"v": push * SCALE.amperes}, options=TIGHT).require("twin").v
        G = np.asarray(circuit.conductance(free, {}, theta)) / SCALE.siemens
        lam = np.linalg.solve(G.T, push)
        S, A = (G + G.T) / 2, (G - G.T) / 2
        N = np.linalg.solve(S, A)
        return {
            "rho": rho_sinv_a(G),
            "lambda": lam,
            "plain": np.asarray(plain["v"] - free["v"]) / (beta * SCALE.volts),
            "asym": np.asarray(corrected.require("corrected").v["v"] - free["v"]) / (beta * SCALE.volts),
            "twin": np.asarray(twin["v"]) / SCALE.volts,
            "cayley": np.linalg.solve(np.eye(n) + N, (np.eye(n) - N) @ lam),
        }

    figure = new_figure((9.6, 4.2))
    left, right = figure.subplots(1, 2)
    dressed(left), dressed(right)
    at = solve(1.0)
    reach = 1.12 * np.max(np.abs(np.r_[at["lambda"], at["plain"]]))
    left.plot([-reach, reach], [-reach, reach], color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    left.plot(at["lambda"], at["plain"], "o", color=VERMILION, markersize=6, label="plain EP")
    left.plot(at["lambda"], at["cayley"], "x", color=INK, markersize=6, label="(I + N)⁻¹(I − N) λ")
    left.plot(at["lambda"], at["asym"], "s", color=BLUE, markersize=7, markerfacecolor="none", label="AsymEP")
    left.plot(at["lambda"], at["twin"], "+", color=GREEN, markersize=8, label="twin")
    left.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    describe(
        left, "λ from a dense solve (units)", "read at the same node (units)", f"One network, ρ(S⁻¹A) = {at['rho']:.2f}"
    )
    legend(left, loc="lower right")
    found = [solve(a) for a in np.geomspace(0.06, 12.0, 7)]
    rho = [f["rho"] for f in found]

    def cosine(name):
        return [float(f[name] @ f["lambda"] / np.linalg.norm(f[name]) / np.linalg.norm(f["lambda"])) for f in found]

    right.plot(rho, cosine("plain"), "o", color=VERMILION, label="plain EP")
    right.plot(rho, cosine("cayley"), color=INK, linewidth=1, label="(I + N)⁻¹(I − N) λ")
    right.plot(rho, cosine("asym"), "s", color=BLUE, markerfacecolor="none", markersize=7, label="AsymEP")
    right.plot(rho, cosine("twin"), "+", color=GREEN, markersize=8, label="twin")
    right.axvline(1, color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)))
    right.set_xscale("log")
    describe(right, "ρ(S⁻¹A) of G", "cosine with λ", "The same network as its asymmetry grows")
    legend(right, loc="lower left")
    return figure


def growth() -> Figure:
    """The metric matters, and omega decides growth, not asymmetry."""
    rng = np.random.default_rng(11)
    n = 8
    couplings = np.triu(rng.exponential(1.0, (n, n)) * (rng.random((n, n)) < 0.6), 1)
    couplings = couplings + couplings.T
    G = np.diag(couplings.sum(1) + 0.3) - couplings  # resistors between nodes and to ground: reciprocal, passive
    C = np.exp(1.4 * rng.standard_normal(n))
    J = -G / C[:, None]
    figure = new_figure((9.6, 4.3))
    left, right = figure.subplots(1, 2)
    dressed(left), dressed(right)
    times = np.geomspace(1e-3, 20.0, 160)
    naive, proper = growth_curve(J, times), growth_curve(in_metric(G, C), times)
    S, A = (J + J.T) / 2, (J - J.T) / 2
    rho = float(np.max(np.abs(np.linalg.eigvals(np.linalg.solve(S, A)))))
    left.plot(times, naive.norms, color=VERMILION, label=f"naive: −C⁻¹G, peak {naive.norms.max():.2f}, “ρ” {rho:.2f}")
    label = f"C metric: peak {max(1.0, proper.norms.max()):.3f}, ρ(S⁻¹A) of G {rho_sinv_a(G):.0f}"
    left.plot(times, proper.norms, color=BLUE, label=label)
    left.set_ylim(0, 1.1 * naive.norms.max())
    describe(left, "time (RC)", "‖exp(tJ)‖", "A passive reciprocal RC network")
    raw = rng.standard_normal((n, n))
    turning = (raw - raw.T) / 2
    chain = np.eye(n, k=-1)
    for matrix, color, name in (
        (-np.diag(np.linspace(1.0, 2.0, n)) + 4.0 * turning, BLUE, "S < 0, strong A"),
        (-np.eye(n) + 1.7 * chain, VERMILION, "one-way chain"),
        (np.diag(np.linspace(0.1, 0.2, n)) + 2.0 * turning, PURPLE, "past a Hopf point"),
    ):
        curve = growth_curve(matrix, np.linspace(0.02, 9.0, 200))
        alpha, omega = float(np.max(np.linalg.eigvals(matrix).real)), numerical_abscissa(matrix)
        right.plot(curve.times, curve.norms, color=color, label=f"{name}: α = {alpha:+.2f}, ω = {omega:+.2f}")
    right.set_yscale("log")
    right.set_ylim(1e-2, 60)
    describe(right, "time (τ)", "‖exp(tJ)‖", "ω decides whether anything can grow")
    for ax in (left, right):
        ax.axhline(1, color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)))
    left.set_xscale("log")
    legend(left, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    legend(right, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def cascade() -> Figure:
    """Integrator steps of a free phase as the cells get faster."""
    n = 24
    rng = np.random.default_rng(2)
    weights = {"w": SCALE.siemens * rng.standard_normal((n, n)) / np.sqrt(n)}
    epsilons = (0.3, 0.1, 0.03, 0.01)
    steps: dict[str, list[int]] = {"tsit5": [], "cascade": []}
    for epsilon in epsilons:
        stages = Stages("parasitic", SCALE, epsilon)
        netlist = Netlist({"z": Bus((n,)), "h": Bus((n,))}, {}, weights).add(
            *stages.state("z", np.full(n, 2.0)),
            ISource("drive", GROUND, "z", rng.standard_normal(n) * SCALE.amperes),
            Activation("act", ("z",), "h", SCALE.siemens, SCALE.volts, kind="tanh"),
            *stages.output("h"),
            Crossbar("w", "h", "z", "w"),
        )
        circuit = Circuit(netlist, SCALE)
        for name, taken in steps.items():
            waves = transient(circuit, [20 * SCALE.seconds], {}, circuit.theta, solver=name)
            taken.append(int(waves.steps))
    ax = dressed(None, (6.4, 3.6))
    for taken, color, said in zip(steps.values(), (VERMILION, BLUE), ("explicit Tsit5", "cascade"), strict=True):
        ax.plot(epsilons, taken, "o-", color=color, label=said)
    ax.set(xscale="log", yscale="log")
    ax.set_yticks([50, 100, 200, 500], ["50", "100", "200", "500"])
    ax.set_xticks(epsilons, [f"{e:g}" for e in epsilons])
    ax.minorticks_off()
    ax.invert_xaxis()
    describe(ax, "ε = $τ_{cell}$ / τ (faster cells to the right)", "integrator steps for 20 τ", "What stiffness costs")
    legend(ax)
    return ax.get_figure(root=True)


def _blank(size: tuple[float, float], reach: tuple[float, float]) -> Axes:
    figure = new_figure(size, constrained=False)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, reach[0]), ylim=(0, reach[1]), aspect="equal")
    ax.set_axis_off()
    return ax


def _box(ax: Axes, x: float, y: float, w: float, h: float, text: str, color: str = BLUE, size: float = 9.5) -> None:
    patch = FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.12", linewidth=1.3)
    patch.set(edgecolor=color, facecolor=color + "14")
    ax.add_patch(patch)
    ax.text(x, y, text, ha="center", va="center", fontsize=size, color=INK, linespacing=1.35)


def _arrow(
    ax: Axes, a: tuple[float, float], b: tuple[float, float], text: str = "", color: str = GRAY, **where
) -> None:
    bend = where.pop("bend", 0.0)
    ax.add_patch(
        FancyArrowPatch(
            a, b, arrowstyle="-|>", mutation_scale=11, color=color, linewidth=1.3, shrinkA=2, shrinkB=2,
            connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip
    if text:
        x, y = where.get("at", ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2 + 0.16))
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK if color == GRAY else color)


def overview() -> Figure:
    """From text to a local gradient and a SPICE deck."""
    ax = _blank((9.6, 3.1), (9.6, 3.1))
    middle = 1.75
    _box(ax, 0.85, middle, 1.3, 0.8, "text, spec\n(TOML)", GRAY)
    _box(ax, 2.65, middle, 1.3, 0.8, "Model\ndz/dt = F(z)", BLUE)
    _box(ax, 4.85, middle, 1.7, 0.8, "Netlist\nbuses, elements,\narrays", BLUE)
    _box(ax, 7.0, 2.45, 1.7, 0.7, "System\n(JAX, diffrax)", GREEN)
    _box(ax, 7.0, 0.85, 1.7, 0.7, "SPICE deck\n(ngspice)", ORANGE)
    _box(ax, 8.95, 2.45, 1.15, 0.7, "phases,\nlocal update", GREEN, 9)
    _arrow(ax, (1.5, middle), (2.0, middle))
    _arrow(ax, (3.3, middle), (4.0, middle), "compile", at=(3.65, middle + 0.2))
    _arrow(ax, (5.7, middle + 0.15), (6.15, 2.4))
    _arrow(ax, (5.7, middle - 0.15), (6.15, 0.95))
    _arrow(ax, (7.85, 2.45), (8.37, 2.45))
    _arrow(ax, (7.0, 1.2), (7.0, 2.1), "same nodes, compared", PURPLE, at=(7.88, 1.65))
    _arrow(ax, (7.0, 2.1), (7.0, 1.2), color=PURPLE)
    _box(ax, 2.65, 0.55, 1.9, 0.6, "oracle: implicit, BPTT\n(reference only)", GRAY, 8.5)
    _arrow(ax, (2.65, 1.35), (2.65, 0.86))
    ax.plot([3.6, 8.95], [0.3, 0.3], color=GRAY, linewidth=1.2)
    _arrow(ax, (8.95, 0.3), (8.95, 2.08))
    ax.text(5.0, 0.44, "how close is the local gradient?", fontsize=8.5, color=INK, ha="center", va="center")
    return ax.get_figure(root=True)


def _node(ax: Axes, x: float, y: float, text: str, color: str = INK) -> None:
    ax.add_patch(Circle((x, y), 0.24, facecolor="white", edgecolor=color, linewidth=1.4, zorder=3))
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=color, zorder=4)


def _wire(ax: Axes, *points: tuple[float, float], color: str = INK) -> None:
    ax.plot(*zip(*points, strict=True), color=color, linewidth=1.2, solid_capstyle="round", zorder=1)


def _ground(ax: Axes, x: float, y: float) -> None:
    for k, half in enumerate((0.13, 0.085, 0.04)):
        _wire(ax, (x - half, y - 0.05 * k), (x + half, y - 0.05 * k))


def _resistor(ax: Axes, x: float, top: float, bottom: float, text: str = "") -> None:
    middle = (top + bottom) / 2
    _wire(ax, (x, top), (x, bottom))
    ax.add_patch(
        Rectangle((x - 0.065, middle - 0.17), 0.13, 0.34, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=2)
    )
    ax.text(x - 0.13, middle, text, ha="right", va="center", fontsize=8.5, color=INK)
    _ground(ax, x, bottom)


def _capacitor(ax: Axes, x: float, top: float, bottom: float, text: str = "") -> None:
    middle = (top + bottom) / 2
    _wire(ax, (x, top), (x, middle + 0.05))
    _wire(ax, (x, middle - 0.05), (x, bottom))
    for side in (0.05, -0.05):
        ax.plot([x - 0.15, x + 0.15], [middle + side] * 2, color=INK, linewidth=1.8)
    ax.text(x + 0.2, middle, text, ha="left", va="center", fontsize=8.5, color=INK)
    _ground(ax, x, bottom)


def transpose() -> Figure:
    """A circuit and its adjoint network."""
    ax = _blank((9.0, 3.0), (9.0, 3.0))
    for x, names, color, title in ((0.0, ("$v_a$", "$v_b$"), BLUE, "circuit"),
                                   (4.7, ("$λ_a$", "$λ_b$"), GREEN, "adjoint network")):  # fmt: skip
        ax.text(x + 0.5, 2.78, title, fontsize=10.5, fontweight="bold", color=color, va="center")
        for k, name in enumerate(names):
            at = x + 1.0 + 2.2 * k
            _wire(ax, (at, 1.7), (at, 1.45), (at - 0.3, 1.45))
            _wire(ax, (at, 1.45), (at + 0.3, 1.45))
            _resistor(ax, at - 0.3, 1.45, 0.55, "R")
            _capacitor(ax, at + 0.3, 1.45, 0.55, "C")
            _node(ax, at, 1.85, name, color)
        forward = color == BLUE
        a, b = (x + 1.27, x + 2.93) if forward else (x + 2.93, x + 1.27)
        _arrow(ax, (a, 1.85), (b, 1.85), color=color)
        said = "reads $v_a$, draws $g\\,v_a$ from b" if forward else "reads $λ_b$, draws $g\\,λ_b$ from a"
        ax.text(x + 2.1, 2.28, said, fontsize=9, color=INK, ha="center")
    ax.text(2.1, 0.12, "input current x, settles at v*", fontsize=9, color=GRAY, ha="center")
    ax.text(6.8, 0.12, "input current −∂L/∂v, settles at λ", fontsize=9, color=GRAY, ha="center")
    return ax.get_figure(root=True)


def levels() -> Figure:
    """One summing node of a crossbar at the three levels."""
    ax = _blank((9.8, 3.5), (9.8, 3.5))
    for k, (title, note) in enumerate((("ideal", "driven node, no dynamics"), ("parasitic", "a pole: $τ_{cell}$ = ε τ"),
                                       ("device", "planned"))):  # fmt: skip
        x = 0.35 + 3.2 * k
        ax.text(x, 3.3, title, fontsize=11, fontweight="bold", color=(BLUE, GREEN, GRAY)[k], va="center")
        ax.text(x + 0.95, 3.29, note, fontsize=8.5, color=GRAY, va="center")
        if k:
            ax.plot([x - 0.22] * 2, [0.15, 3.35], color=FAINT, linewidth=1)
        for j, y in enumerate((2.65, 2.0)):
            _wire(ax, (x, y), (x + 0.3, y))
            ax.text(x - 0.04, y + 0.13, f"$v_{j + 1}$", fontsize=9, color=INK)
            if k < 2:
                _box(ax, x + 0.58, y, 0.5, 0.3, f"$g_{j + 1}$", VERMILION, 9)
                _wire(ax, (x + 0.83, y), (x + 1.15, y))
            else:
                for sign, dy in (("+", 0.15), ("−", -0.15)):
                    _wire(ax, (x + 0.3, y), (x + 0.3, y + dy), (x + 0.36, y + dy))
                    _box(ax, x + 0.58, y + dy, 0.44, 0.24, f"$g_{j + 1}^{sign.replace('−', '-')}$", VERMILION, 8)
                    _wire(ax, (x + 0.8, y + dy), (x + 0.98, y + dy), (x + 0.98, y))
                _wire(ax, (x + 0.98, y), (x + 1.15, y))
        _wire(ax, (x + 1.15, 2.65), (x + 1.15, 2.0))
        node = (x + 1.15, 2.3)
        if k == 0:
            _wire(ax, node, (x + 1.5, 2.3))
            tri = Polygon(
                [(x + 1.5, 2.62), (x + 1.5, 1.98), (x + 2.05, 2.3)], closed=True, facecolor="white", edgecolor=BLUE
            )
            tri.set_linewidth(1.4)
            ax.add_patch(tri)
            ax.text(x + 1.67, 2.3, "$1/g_0$", fontsize=8, ha="center", va="center")
            _wire(ax, (x + 2.05, 2.3), (x + 2.5, 2.3))
            ax.text(x + 1.25, 1.2, "v = i / g₀, evaluated in\ntopological order", fontsize=9, ha="center", color=INK)
        else:
            if k == 2:
                ax.add_patch(
                    Rectangle((x + 1.25, 2.235), 0.3, 0.13, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=2)
                )
                ax.text(x + 1.4, 2.5, "wire R", fontsize=8, ha="center", color=INK)
            _wire(ax, node, (x + 2.5, 2.3))
            ax.add_patch(Circle((x + 1.95, 2.3), 0.04, color=INK, zorder=4))
            _wire(ax, (x + 1.95, 2.3), (x + 1.95, 1.75), (x + 1.6, 1.75))
            _wire(ax, (x + 1.95, 1.75), (x + 2.2, 1.75))
            _resistor(ax, x + 1.6, 1.75, 0.95, "$g_0$")
            _capacitor(ax, x + 2.2, 1.75, 0.95, "ε C")
        said = (
            "cells exact and instantaneous;\nthe circuit is F(z)",
            "every cell output is a state;\nstiff: 1/ε times faster than z",
            "pairs, wires, transistors,\nmismatch, noise, drift",
        )[k]
        ax.text(x + 1.25, 0.42, said, fontsize=9, ha="center", va="center", color=INK)
    return ax.get_figure(root=True)


OWN = (overview, block, settling, transpose, displacement, growth, cascade, levels)
FIGURES = {f.__name__: f for f in OWN} | SIMULATOR | DIAGNOSTICS | TECHNOLOGY | ON_DEVICES | CODESIGN | PARETO
"""File stem -> what draws it."""


def make_all(folder: Path) -> None:
    """Draw every figure as PNG into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_figures")
