"""A stiff solver for cascades of cells: implicit in every cell, at the price of walks through the circuit.

Between the damped feedback buses a circuit is a cascade: each cell's pole is driven by buses upstream only, and its
equation is linear in its own voltage. The coupled stages of a fully implicit Runge-Kutta method are then solved for all
cells by one walk in topological order, where a small matrix takes the place of the companion model that SPICE puts at
each capacitor (Nagel 1975, ch. 4). The feedback buses are iterated: their own loads are implicit as well, and what is
left of their coupling contracts. The method is Radau IIA collocation (Hairer and Wanner 1996, section IV.8): L-stable,
accurate in the stiff cells too, and its polynomial is the waveform between the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.collocation import radau
from analogep.simulate.system import System

STAGES = 5
"""Stages of the method: order 9, and an error estimate of order 5."""

ITERATIONS = 10
"""Largest number of corrections of the feedback buses in a step; what is then missing counts as error."""

DENSE_LIMIT = 4096
"""Largest number of states of which a dense Jacobian is made."""

CLOSE = 0.1
"""Correction, in units of the tolerance, at which the feedback buses count as solved."""

_RADAU = radau(STAGES)
_POWERS = np.arange(1, STAGES + 1)


def worst_rms(values: Array) -> Array:
    """Root mean square over the states; the largest one of a batch [samples, states]."""
    return jnp.sqrt(jnp.mean(values**2, axis=-1)).max()


class StepPolynomial(diffrax.AbstractLocalInterpolation):
    """Collocation polynomial of one step: start + sum_k terms[k - 1] u^k, u from 0 to 1 over the step."""

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    start: Array
    terms: Array

    def evaluate(self, t0, t1=None, left=True):
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        u = (t0 - self.t0) / (self.t1 - self.t0)
        return self.start + jnp.einsum("k,...kn->...n", u**_POWERS, self.terms)


class LastStep(NamedTuple):
    """What a step leaves to the next one: its polynomial at the feedback buses, its length, the slope at its end."""

    start: Array
    terms: Array
    length: Array
    slope: Array


class Cascade(diffrax.AbstractAdaptiveSolver):
    """Radau IIA collocation on a circuit, implicit in its cells by walks, iterated on its feedback buses.

    The state is the circuit's packed vector [states], or a batch [samples, states] that shares its steps; `args` of the
    solve are (x, theta, sources), x and sources with the same leading axis; the term is the rate in units of tau.

    Parameters
    ----------
    rtol, atol : tolerances of the step size controller (atol in volts).
    still : whether waveforms are held at their value at t = 0.
    fixed : take the same number of corrections in every step, so that the oracle can differentiate them.
    """

    circuit: Circuit
    rtol: float
    atol: float
    still: bool = False
    fixed: bool = False
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = StepPolynomial

    def order(self, terms: Any) -> int:
        return 2 * STAGES - 1

    def error_order(self, terms: Any) -> int:
        return STAGES + 1

    def init(self, terms, t0, t1, y0, args):
        slope, core = self.func(terms, t0, y0, args), _Core(self.circuit)
        length = jnp.broadcast_to(t1 - t0, y0.shape[:-1])
        line = length[..., None] * core.take(slope)  # the step before the first: a straight line into y0
        terms = jnp.stack([line, *[jnp.zeros_like(line)] * (STAGES - 1)], axis=-2)
        return LastStep(core.take(y0) - line, terms, length, slope)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        last = solver_state
        if self.circuit.has_corners:  # only then can the slope at t0 differ from the last one
            last = jax.lax.cond(made_jump, lambda: self.init(terms, t0, t1, y0, args), lambda: last)
        x, theta, sources = args
        one = partial(self._step, t0, t1 - t0, theta)
        end, error, polynomial, here = (jax.vmap(one) if y0.ndim > 1 else one)(y0, x, sources, last)
        error = jnp.where(jnp.isfinite(error), error, jnp.inf)
        return end, error, {"start": y0, "terms": polynomial}, here, diffrax.RESULTS.successful

    def _step(
        self,
        t0: Array,
        h: Array,
        theta: Parameters,
        y0: Array,
        x: Voltages,
        sources: Voltages | None,
        last: LastStep,
    ) -> tuple[Array, Array, Array, LastStep]:
        """State at the end of a step, its error, the terms of its polynomial, and what the next step needs."""
        circuit, core = self.circuit, _Core(self.circuit)
        tau = circuit.scale.seconds
        start = circuit.unpack(y0)
        kappa = {
            bus: h * tau * _one(circuit.settled.load(bus, theta)) / _one(farads)
            for bus, farads in circuit.capacitance.items()
        }
        responses = {bus: _response(k) for bus, k in kappa.items()}

        @partial(jax.vmap, axis_name="stage")
        def walk(z: Array, time: Array, rows: Voltages) -> tuple[Array, dict[str, Array]]:
            def stage(bus: str, inflow: Array, load: Array) -> Array:
                target = jnp.broadcast_to(inflow / load, circuit.settled.shapes[bus])
                if bus not in rows:  # an ideal stage
                    return target
                return target + _apply(rows[bus], jax.lax.all_gather(start[bus] - target, "stage"))

            v, leaving = circuit.settled(core.spread(z), x, theta, time, sources, stage)
            return core.gather({bus: -tau * leaving[bus] / circuit.capacitance[bus] for bus in core.buses}), v

        times = (t0 + _RADAU.nodes * h) * (0.0 if self.still else tau)
        z0 = core.gather(start)
        leak = core.gather({bus: jnp.broadcast_to(kappa[bus], circuit.states[bus].shape) for bus in core.buses})
        unit = self.atol + self.rtol * jnp.abs(z0)

        def solve(z: Array, slopes: Array) -> Array:
            """Feedback buses at the stages: their coupling as of z, their own loads implicit."""
            if not core.buses:
                return z
            known = jax.vmap(core.spread)(z0 + _RADAU.weights @ (h * slopes + leak * z))
            return jax.vmap(core.gather)(
                {bus: jax.vmap(_apply, (0, None))(responses[bus], known[bus]) for bus in core.buses}
            )

        def correct(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            z, _, count = state
            new = solve(z, walk(z, times, responses)[0])
            return new, worst_rms((new - z) / unit), count + 1

        def far(state: tuple[Array, Array, Array]) -> Array:
            _, change, count = state
            return (change > CLOSE) & (count < ITERATIONS)

        powers = (1 + _RADAU.nodes * (h / last.length))[:, None] ** _POWERS
        extrapolated = last.start + powers @ last.terms
        begin = (extrapolated, jnp.asarray(jnp.inf), jnp.asarray(0))
        z, _, _ = (
            jax.lax.fori_loop(0, ITERATIONS, lambda _, state: correct(state), begin)
            if self.fixed
            else jax.lax.while_loop(far, correct, begin)
        )
        slopes, v = walk(z, times, responses)
        new = solve(z, slopes)
        values = jax.vmap(circuit.pack)({bus: v[bus] for bus in circuit.states} | jax.vmap(core.spread)(new))
        moved = values - y0
        # only the two slopes are wanted of all states in every step; the polynomial is made where samples are
        ends = np.stack([_RADAU.coefficients[0], _POWERS @ _RADAU.coefficients]) @ moved
        error = self._error(kappa, core, h * last.slope - ends[0], (new - z)[-1])
        here = LastStep(z0, _RADAU.coefficients @ (new - z0), h, ends[1] / h)
        return values[-1], error, _RADAU.coefficients @ moved, here

    def _error(self, kappa: Voltages, core: _Core, kink: Array, missed: Array) -> Array:
        """Error of a step: the change of slope at its start, filtered in the cells as their poles do (Hairer and Wanner
        1996, eq. IV.8.19), and the last correction of the feedback buses."""
        weight = {bus: _RADAU.damping / (1 + _RADAU.damping * k) for bus, k in kappa.items()}
        weight |= dict.fromkeys(core.buses, _RADAU.damping)
        states = self.circuit.states
        added = {bus: jnp.zeros(shape.shape) for bus, shape in states.items()} | core.spread(missed)
        full = {bus: jnp.broadcast_to(weight[bus], shape.shape) for bus, shape in states.items()}
        return self.circuit.pack(full) * kink + self.circuit.pack(added)


class _Core:
    """The feedback buses as one vector."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit, self.buses = circuit, circuit.core

    def gather(self, values: Mapping[str, Array]) -> Array:
        return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(values[bus]) for bus in self.buses)])

    def spread(self, vector: Array) -> dict[str, Array]:
        out, start = {}, 0
        for bus in self.buses:
            shape = self.circuit.states[bus]
            out[bus] = vector[start : start + shape.size].reshape(shape.shape)
            start += shape.size
        return out

    def take(self, packed: Array) -> Array:
        """Their part of packed vectors [..., states]."""
        parts, start = [packed[..., :0]], 0
        for bus, shape in self.circuit.states.items():
            if bus in self.buses:
                parts.append(packed[..., start : start + shape.size])
            start += shape.size
        return jnp.concatenate(parts, axis=-1)


def _one(values: Array | float) -> Array | float:
    """A single number for known values that are all the same: one time constant for a whole bus."""
    if isinstance(values, jax.Array):
        return values
    values = np.asarray(values)
    return values.ravel()[0] if np.all(values == values.ravel()[0]) else values


def _response(kappa: Array) -> Array:
    """(1 + kappa A)^-1: what a pole leaves of its start at the stages; [s, s], or [s, s, *shape] for unequal poles."""
    kappa = jnp.asarray(kappa)
    matrices = _RADAU.numerator.reshape(STAGES, STAGES, STAGES, *(1,) * kappa.ndim)
    above = sum(matrix * kappa**k for k, matrix in enumerate(matrices))
    return above / sum(q * kappa**k for k, q in enumerate(_RADAU.denominator))


def _apply(row: Array, values: Array) -> Array:
    """Sum over the stages of [s, *shape] values, weighted by [s], or by [s, *shape] where the poles of a bus differ."""
    return jnp.tensordot(row, values, 1) if row.ndim == 1 else (row * values).sum(0)


def solver(
    name: str, system: System, *, rtol: float, still: bool = False, fixed: bool = False
) -> diffrax.AbstractSolver:
    """The diffrax solver called `name`; `auto` is the cascade for circuits with cell poles, else Tsit5.

    Parameters
    ----------
    rtol : relative tolerance that its steps will be held to; the absolute one is `rtol` of one unit.
    still : hold waveforms at their value at t = 0, as the term of the solve must do as well.
    fixed : take the same number of corrections in every step, for the oracle.

    Raises
    ------
    NetlistError
        If the cascade is asked for a system that is no circuit, or that has capacitors between live nodes; if a dense
        Jacobian would be too large.
    """
    if name == "auto":
        stiff = isinstance(system, Circuit) and len(system.core) < len(system.states) and not system.floating
        name = "cascade" if stiff else "tsit5"
    if name == "cascade":
        if not isinstance(system, Circuit) or system.floating:
            raise NetlistError("solver 'cascade' needs a circuit whose capacitors all go to ground; choose 'kvaerno3'")
        return Cascade(system, rtol, rtol * system.scale.volts, still, fixed)
    size = sum(bus.size for bus in system.states.values())
    if name == "kvaerno3" and size > DENSE_LIMIT:
        raise NetlistError(
            f"solver 'kvaerno3' makes a dense Jacobian of {size} states, above {DENSE_LIMIT}; choose 'cascade' or "
            "'tsit5', or simulate the circuit's deck, whose matrices are sparse"
        )
    return {"tsit5": diffrax.Tsit5, "kvaerno3": diffrax.Kvaerno3}[name]()


def controller(system: System, rtol: float) -> diffrax.PIDController:
    """Step size control to `rtol`, absolutely `rtol` of one unit; of a batch, by its worst sample."""
    return diffrax.PIDController(rtol=rtol, atol=rtol * system.scale.volts, norm=worst_rms)
