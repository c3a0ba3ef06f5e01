"""Phases of a compiled circuit: what is added to it, and the signals that it then shows.

FREE is the circuit at rest. NUDGED adds the output nudge, with its way back through the readout array. CORRECTED
(AsymEP) nudges the logits and adds the current +2 A (v - v*) into the nodes, so that the nudged conductance matrix is
S - A = G^T. TWIN is the adjoint network beside the circuit; REVERSED is the adjoint network in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from analogep.compile.transformer import LOGITS, PREDICTION, Compiled
from analogep.learning.altered import Injected, correction
from analogep.learning.nudge import BETA, with_nudge
from analogep.learning.reversal import hold, reversed_network
from analogep.learning.rule import Phase
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import HELD
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import Settled, SettleOptions, settle_near
from analogep.technology.converters import Converter

Tree = TypeVar("Tree")


class PhaseRun(NamedTuple):
    """Voltages of all buses in a phase, and how it settled."""

    voltages: dict[str, jax.Array]
    settled: Settled


def nudge_options(options: SettleOptions, beta: float | Array) -> SettleOptions:
    """Tolerances for a state displaced by about beta: small against that, polishing does the rest."""
    return replace(options, rtol=min(options.rtol, 1e-6 * float(beta)))


class CircuitPhases:
    """The phases of one compiled circuit, all built forward-only.

    Parameters
    ----------
    compiled : the circuit.
    options : how every phase settles.
    nudge_bits : of the converter that makes the nudge beta w (y - p), full scale beta w; p is then held at its free
        value. None is an analog nudge, which follows p above `ideal`.
    """

    def __init__(
        self, compiled: Compiled, options: SettleOptions | None = None, *, nudge_bits: int | None = None
    ) -> None:
        self.compiled, self.options = compiled, options or SettleOptions()
        self.nudge_dac = None if nudge_bits is None else Converter(nudge_bits, compiled.scale.volts)
        self.scale = compiled.scale
        self.circuit = self._build(compiled.netlist)

    def _build(self, netlist: Netlist) -> Circuit:
        return Circuit(netlist, self.compiled.scale, forward_only=True)

    @cached_property
    def nudged_circuit(self) -> Circuit:
        """The circuit with nudge and return path."""
        return self._build(self.return_netlist)

    @cached_property
    def output_nudged_circuit(self) -> Circuit:
        """The circuit with the nudge at the logits only."""
        return self._build(with_nudge(self.compiled, return_path=False, held=self.nudge_dac is not None))

    @cached_property
    def twin_circuit(self) -> Circuit:
        """The adjoint network, as far as currents at the logits move it."""
        return self._build(adjoint(self.compiled.netlist, outputs=(LOGITS,)))

    @cached_property
    def transposed_circuit(self) -> Circuit:
        """The whole adjoint network, with which the 2A injection is made."""
        return self._build(adjoint(self.compiled.netlist))

    @cached_property
    def reversed_circuit(self) -> Circuit:
        """The circuit with every one-way coupling turned round."""
        return self._build(reversed_network(self.compiled.netlist))

    @property
    def netlist(self) -> Netlist:
        """The circuit in which the weights sit."""
        return self.compiled.netlist

    @cached_property
    def return_netlist(self) -> Netlist:
        """The circuit with the return paths of the nudge, on which energies are contrasted."""
        return with_nudge(self.compiled, return_path=True, held=self.nudge_dac is not None)

    @property
    def supported(self) -> frozenset[Phase]:
        """Phases that this circuit can run; at `ideal` the correction reads lambda at the states alone."""
        corrected = {Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS} if self.compiled.level != "ideal" else set()
        nudged = {Phase.FREE, Phase.NUDGED_PLUS, Phase.NUDGED_MINUS}
        return frozenset(nudged | corrected | {Phase.TWIN, Phase.REVERSED_PLUS, Phase.REVERSED_MINUS})

    @property
    def unit(self) -> float:
        """Current times voltage that the nudge injects per unit of dL/dlogit at beta = 1."""
        return self.scale.amperes * self.scale.volts

    @partial(jax.jit, static_argnames=("self",))
    def free(self, x: Voltages, theta: Parameters, v0: Voltages | None = None) -> PhaseRun:
        """Settle the circuit without a nudge, from 0 V or `v0`."""
        settled = settle_near(self.circuit, x, theta, v0=v0, options=self.options)
        return PhaseRun(self.circuit.voltages(settled.v, x, theta), settled)

    @partial(jax.jit, static_argnames=("self", "options"))
    def nudged(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions) -> PhaseRun:
        """Settle with the nudge of strength beta from the free state."""
        x = self.nudged_inputs(free, x, beta)
        near = linear_response(self.circuit, free.settled.v, x, theta)
        settled = settle_near(self.nudged_circuit, x, theta, v0=free.settled.v, inverse=near, options=options)
        return PhaseRun(self.nudged_circuit.voltages(settled.v, x, theta), settled)

    @partial(jax.jit, static_argnames=("self", "options"))
    def corrected(
        self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions
    ) -> PhaseRun:
        """Settle with the nudge and the injected current +2 A (v - v*), built from the circuit and its adjoint."""
        rest, held = free.settled.v, self.held(free)
        inject = correction(self.circuit, rest, x, theta, adjoint=self.transposed_circuit, held=held)
        nudged = self.nudged_inputs(free, x, beta)
        near = linear_response(self.transposed_circuit, jax.tree.map(jnp.zeros_like, rest), held, theta)
        # the nudge enters where the adjoint equations have it: at the logits if they are states, else at z
        base = self.nudged_circuit if self.compiled.level == "ideal" else self.output_nudged_circuit
        system = Injected(base, inject)
        settled = settle_near(system, nudged, theta, v0=rest, inverse=near, options=options)
        return PhaseRun(system.voltages(settled.v, nudged, theta), settled)

    @partial(jax.jit, static_argnames=("self",))
    def twin(self, free: PhaseRun, x: Voltages, theta: Parameters) -> PhaseRun:
        """Settle the adjoint network with -dL/dv injected at the logits; it is linear, so beta is 1."""
        held, pushed = self.held(free), self.output_push(free, x, theta)
        settled = settle_near(self.twin_circuit, held, theta, sources=pushed, options=self.options)
        return PhaseRun(self.twin_circuit.voltages(settled.v, held, theta, 0.0, pushed), settled)

    @partial(jax.jit, static_argnames=("self", "options"))
    def turned(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions) -> PhaseRun:
        """Settle the reversed circuit with the nudge of the free state; it is linear about there."""
        held, at_rest = self.held(free), hold(self.reversed_circuit, free.voltages, {**x, **self.held(free)}, theta)
        pushed = self.output_push(free, x, theta)[LOGITS]
        sources = {**at_rest, LOGITS: at_rest[LOGITS] + beta * pushed}
        inputs = {**x, **held}
        start = {bus: free.voltages[bus] for bus in self.reversed_circuit.states}
        settled = settle_near(self.reversed_circuit, inputs, theta, v0=start, sources=sources, options=options)
        return PhaseRun(self.reversed_circuit.voltages(settled.v, inputs, theta, 0.0, sources), settled)

    def held(self, free: PhaseRun) -> dict[str, jax.Array]:
        """Operating-point voltages on the held rails of the adjoint network."""
        return {HELD + bus: value for bus, value in free.voltages.items()}

    def nudged_inputs(self, free: PhaseRun, x: Voltages, beta: Array | float) -> dict[str, Array]:
        """Rails of a nudged circuit."""
        prediction = free.voltages[PREDICTION]
        if self.nudge_dac is not None:  # targets are 0 or full scale, so this rounds y - p itself
            prediction = self.nudge_dac.codes(prediction) * self.nudge_dac.step
        return {**x, BETA: jnp.asarray(beta * self.scale.volts), HELD + PREDICTION: prediction}

    def output_push(self, free: PhaseRun, x: Voltages, theta: Parameters) -> Currents:
        """Current w (y - p) into the logits at the free state, at beta = 1."""
        at = self.nudged_inputs(free, x, 1.0)
        error = self.output_nudged_circuit.voltages(free.settled.v, at, theta)["error"]
        return {LOGITS: self.scale.siemens * error}

    def run(
        self, x: Voltages, theta: Parameters, phases: frozenset[Phase], beta: float, *, free: PhaseRun | None = None
    ) -> dict[Phase, PhaseRun]:
        """Run the free phase and those of `phases` for a batch of inputs (leading axis of x: samples).

        Parameters
        ----------
        free : a free phase that was run before, perhaps when the conductances were others.
        """
        free = over_samples(self.free, (x,), theta) if free is None else free
        runs = {Phase.FREE: free}
        near = nudge_options(self.options, beta)
        programs: Iterable[tuple[Callable, Phase, float]] = (
            (self.nudged, Phase.NUDGED_PLUS, beta),
            (self.nudged, Phase.NUDGED_MINUS, -beta),
            (self.corrected, Phase.CORRECTED_PLUS, beta),
            (self.corrected, Phase.CORRECTED_MINUS, -beta),
            (self.turned, Phase.REVERSED_PLUS, beta),
            (self.turned, Phase.REVERSED_MINUS, -beta),
        )
        for program, phase, strength in programs:
            if phase in phases:
                runs[phase] = over_samples(program, (free, x), theta, jnp.asarray(strength), near)
        if Phase.TWIN in phases:
            runs[Phase.TWIN] = over_samples(self.twin, (free, x), theta)
        return runs


def over_samples(program: Callable[..., Tree], batched: tuple, *shared: Any) -> Tree:
    """vmap over the leading axis of `batched` arguments; one sample runs as it is, which compiles far faster."""
    samples = len(jax.tree.leaves(batched)[0])
    if samples > 1:
        return jax.vmap(lambda *one: program(*one, *shared))(*batched)
    return jax.tree.map(lambda leaf: leaf[None], program(*jax.tree.map(lambda leaf: leaf[0], batched), *shared))
