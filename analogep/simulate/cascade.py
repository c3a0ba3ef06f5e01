"""A stiff solver for cascades of cells: implicit in every cell, at the price of one evaluation a stage.

Between the damped feedback buses a circuit is a cascade: each cell's pole is driven by buses upstream only. An
implicit stage for the cells is then solved by one walk in topological order, in which each capacitor is replaced by
its companion model, the conductance C / (h gamma) and a current source, as SPICE does (Nagel 1975, ch. 4). The
feedback buses are not stiff and are stepped explicitly. The pair of schemes is the additive Runge-Kutta method of
Kennedy and Carpenter (2003), whose implicit half is L-stable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System

_EXPLICIT, _IMPLICIT = diffrax.KenCarp4.tableau.tableaus
_STAGES = len(_IMPLICIT.b_sol)
_GAMMA = float(np.asarray(_IMPLICIT.a_diagonal)[-1])


def _square(rows: Iterable[np.ndarray]) -> jax.Array:
    """Lower-triangular coefficients as a square array, one row for each stage."""
    return jnp.asarray(np.stack([np.pad(row, (0, _STAGES - len(row))) for row in (np.zeros(0), *rows)]))


_A_EXPLICIT, _A_IMPLICIT = _square(_EXPLICIT.a_lower), _square(_IMPLICIT.a_lower)
_C = jnp.asarray(np.concatenate([[0.0], _EXPLICIT.c]))


class Cascade(diffrax.AbstractAdaptiveSolver):
    """Additive Runge-Kutta 4(3): explicit on the feedback buses of a circuit, implicit on its cells.

    The state is the circuit's packed vector, `args` of the solve are (x, theta, sources), and the term is the circuit's
    rate in units of tau.
    """

    circuit: Circuit
    still: bool = False
    """Whether waveforms are held at their value at t = 0."""
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        return 4

    def init(self, terms, t0, t1, y0, args):
        return self.func(terms, t0, y0, args)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        x, theta, sources = args
        circuit, h = self.circuit, t1 - t0
        tau, clock = circuit.scale.seconds, 0.0 if self.still else circuit.scale.seconds
        farads = circuit.pack(_full(circuit.capacitance, circuit))
        core = circuit.core
        feedback = circuit.pack({name: np.full(bus.shape, name in core) for name, bus in circuit.states.items()})
        gamma = _GAMMA
        companion = jnp.where(feedback, 0.0, farads / (h * gamma * tau))
        loads = circuit.unpack(companion)
        first = solver_state
        if circuit.has_corners:  # only then can the slope at t0 differ from the last one
            first = jax.lax.cond(made_jump, lambda: self.func(terms, t0, y0, args), lambda: solver_state)

        def stage(n, slopes):
            # one traced stage for all: the walk is the bulk of the program
            known = y0 + h * jnp.where(feedback, _A_EXPLICIT[n] @ slopes, _A_IMPLICIT[n] @ slopes)
            pushed = circuit.unpack(companion * known)
            for bus, current in (sources or {}).items():
                pushed[bus] = pushed.get(bus, 0.0) + current
            at = circuit.unpack(known)
            time = (t0 + _C[n] * h) * clock
            v, leaving = circuit.settled({bus: at[bus] for bus in core}, x, theta, time, pushed, loads)
            i = circuit.pack({bus: leaving.get(bus, jnp.zeros(shape.shape)) for bus, shape in circuit.states.items()})
            slope = jnp.where(feedback, -i * tau / farads, (circuit.pack(v) - known) / (h * gamma))
            return slopes.at[n].set(slope)

        slopes = jnp.zeros((_STAGES, *y0.shape)).at[0].set(first)
        slopes = jax.lax.fori_loop(1, _STAGES, stage, slopes)
        y1 = y0 + h * (_IMPLICIT.b_sol @ slopes)
        last = self.func(terms, t1, y1, args)
        dense = {"y0": y0, "y1": y1, "k0": h * first, "k1": h * last}
        return y1, h * (_IMPLICIT.b_error @ slopes), dense, last, diffrax.RESULTS.successful


def _full(values: Voltages, circuit: Circuit) -> dict[str, Array]:
    return {name: jnp.broadcast_to(values[name], bus.shape) for name, bus in circuit.states.items()}


def solver(name: str, system: System, *, still: bool = False) -> diffrax.AbstractSolver:
    """The diffrax solver called `name`; `auto` is the cascade for circuits with cell poles, else Tsit5.

    Parameters
    ----------
    still : hold waveforms at their value at t = 0, as the term of the solve must do as well.

    Raises
    ------
    NetlistError
        If the cascade is asked for a system that is no circuit, or that has capacitors between live nodes.
    """
    if name == "auto":
        stiff = isinstance(system, Circuit) and len(system.core) < len(system.states) and not system.floating
        name = "cascade" if stiff else "tsit5"
    if name == "cascade":
        if not isinstance(system, Circuit) or system.floating:
            raise NetlistError("solver 'cascade' needs a circuit whose capacitors all go to ground; choose 'kvaerno3'")
        return Cascade(system, still)
    return {"tsit5": diffrax.Tsit5, "kvaerno3": diffrax.Kvaerno3}[name]()
