"""A stiff solver for cascades of cells: implicit in every cell, at the price of one evaluation a stage.

Between the damped feedback buses a circuit is a cascade: each cell's pole is driven by buses upstream only. An
implicit stage for the cells is then solved by one walk in topological order, in which each capacitor is replaced by
its companion model, the conductance C / (h gamma) and a current source, as SPICE does (Nagel 1975, ch. 4). The
feedback buses are not stiff and are stepped explicitly. The pair of schemes is the additive Runge-Kutta method of
Kennedy and Carpenter (2003), whose implicit half is L-stable.
"""

from __future__ import annotations

from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp

from analogep.simulate.circuit import Circuit

_EXPLICIT, _IMPLICIT = diffrax.KenCarp4.tableau.tableaus


class Cascade(diffrax.AbstractAdaptiveSolver):
    """Additive Runge-Kutta 4(3): explicit on the feedback buses of a circuit, implicit on its cells.

    `args` of the solve are (x, theta, sources); the term is the circuit's rate in units of tau.
    """

    circuit: Circuit
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms) -> int:
        return 4

    def init(self, terms, t0, t1, y0, args):
        return self.func(terms, t0, y0, args)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        x, theta, sources = args
        h, tau = t1 - t0, self.circuit.scale.seconds
        walk, core = self.circuit.settled, self.circuit.core
        # slopes of the explicit and of the implicit half, dv/d(t/tau)
        slopes = [jax.lax.cond(made_jump, lambda: self.func(terms, t0, y0, args), lambda: solver_state)]

        def combine(bus: str, weights) -> jax.Array:
            return y0[bus] + h * sum(float(w) * k[bus] for w, k in zip(weights, slopes, strict=True) if w)

        gamma = float(_IMPLICIT.a_diagonal[-1])
        for explicit, implicit, c in zip(_EXPLICIT.a_lower, _IMPLICIT.a_lower, _EXPLICIT.c, strict=True):
            feedback = {bus: combine(bus, explicit) for bus in core}
            known = {bus: combine(bus, implicit) for bus in y0 if bus not in core}
            companion = {bus: self.circuit.capacitance[bus] / (h * gamma * tau) for bus in known}
            pushed = dict(sources or {})
            for bus, g in companion.items():
                pushed[bus] = pushed.get(bus, 0.0) + g * known[bus]
            v, leaving = walk(feedback, x, theta, (t0 + float(c) * h) * tau, pushed, companion)
            slope = {bus: -leaving[bus] * tau / self.circuit.capacitance[bus] for bus in core}
            slopes.append(slope | {bus: (v[bus] - known[bus]) / (h * gamma) for bus in known})
        y1 = {bus: combine(bus, _IMPLICIT.b_sol) for bus in y0}
        error = {bus: h * sum(float(w) * k[bus] for w, k in zip(_IMPLICIT.b_error, slopes, strict=True)) for bus in y0}
        last = self.func(terms, t1, y1, args)
        k0, k1 = (jax.tree.map(lambda k: h * k, ends) for ends in (slopes[0], last))
        dense = {"y0": y0, "y1": y1, "k0": k0, "k1": k1}
        return y1, error, dense, last, diffrax.RESULTS.successful


def solver(name: str, system) -> diffrax.AbstractSolver:
    """The diffrax solver called `name`; `auto` is the cascade for circuits with cell poles, else Tsit5."""
    if name == "auto":
        stiff = isinstance(system, Circuit) and len(system.core) < len(system.states) and not system.floating
        name = "cascade" if stiff else "tsit5"
    if name == "cascade":
        return Cascade(system)
    return {"tsit5": diffrax.Tsit5, "kvaerno3": diffrax.Kvaerno3}[name]()
