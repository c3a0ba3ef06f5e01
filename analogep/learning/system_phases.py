"""Phases of any system with a loss of its states: what is added to it, and the signals that it then shows.

FREE is the system at rest. NUDGED injects -beta dL/dv. CORRECTED injects +2 A (v - v*) besides, TWIN is the adjoint
beside the system, REVERSED and GYRATOR are the adjoint in its place, DYADIC is two coupled copies, HOLOMORPHIC a circle
of complex nudges, CLAMPED holds the outputs a little nearer to their targets. A compiled transformer has its nudge in
its netlist instead: `learning.phases`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.learning.adjoints import Adjoints
from analogep.learning.altered import Clamped, Injected, Injection, Linear, correction
from analogep.learning.cost import Cost, Quadratic
from analogep.learning.doubled import MINUS, PLUS
from analogep.learning.holomorphic import fourier_coefficient
from analogep.learning.phases import PhaseRun, Tree, nudge_options, over_samples
from analogep.learning.reversal import flipped, hold
from analogep.learning.rule import Phase
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import Solve, linear_response
from analogep.simulate.settle import SettleOptions, settle_near
from analogep.simulate.system import System

Pair = tuple[PhaseRun, PhaseRun]


class SystemPhases(Adjoints):
    """The phases of a system with a loss, all forward-only.

    Parameters
    ----------
    system : a Circuit, or another System, whose transposed products are then dense.
    cost : the loss; it must look at states only.
    options : how every phase settles.
    points : number of complex nudges of the HOLOMORPHIC phase.

    Raises
    ------
    NetlistError
        By a phase: where the loss looks at a bus that is no state, or the system has no such phase (see `supported`).
    """

    def __init__(
        self,
        system: System,
        cost: Cost,
        options: SettleOptions | None = None,
        *,
        points: int = 4,
    ) -> None:
        super().__init__(system)
        self.cost, self.options, self.points = cost, options or SettleOptions(), points

    @property
    def netlist(self) -> Netlist:
        """The circuit in which the weights sit.

        Raises
        ------
        NetlistError
            If the system is no circuit, so that no weight has terminals.
        """
        return self._circuit("local gradients").netlist

    return_netlist = netlist

    @property
    def unit(self) -> float:
        """Current times voltage that the nudge injects per unit of dL/dv at beta = 1."""
        return self.system.scale.amperes * self.system.scale.volts

    @cached_property
    def supported(self) -> frozenset[Phase]:
        """Phases that this system can run and that its weights can read.

        Where a weight pushes into an ideally driven node, that node has no displacement of its own: lambda is known
        there to TWIN and REVERSED only. GYRATOR needs a circuit of gyrators and reciprocal elements; CLAMPED a
        quadratic loss.
        """
        missing = set() if isinstance(self.cost, Quadratic) else {Phase.CLAMPED}
        gyrating = {Phase.GYRATOR_PLUS, Phase.GYRATOR_MINUS}
        if not isinstance(self.system, Circuit):
            return frozenset(set(Phase) - missing - gyrating)
        try:
            flipped(self.system.netlist)
        except NetlistError:
            missing |= gyrating
        driven = {bus for e in self.system.netlist if e.array for bus in e.drives} - set(self.system.states)
        if driven - {bus for e in self.system.netlist for bus in e.forces}:
            at_states = {Phase.CORRECTED_PLUS, Phase.DYADIC_PLUS, Phase.HOLOMORPHIC}
            missing |= at_states | {Phase.CORRECTED_MINUS, Phase.DYADIC_MINUS}
        return frozenset(set(Phase) - missing)

    def force(self, v: Voltages, x: Voltages, theta: Parameters) -> Currents:
        """Nudging currents into the states at beta = 1; `v` holds the voltages of the states, or of all buses.

        Raises
        ------
        NetlistError
            If the loss is of nodes that are no states.
        """
        pushed = self.cost.force(v, x, theta)
        if strangers := sorted(set(pushed) - set(self.system.states)):
            raise NetlistError(
                f"the loss looks at {strangers[0]!r}, which is no state, so a nudge cannot move it; compile at level "
                "'parasitic', or give it a capacitor"
            )
        return pushed

    def nudge(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array | float) -> Injection:
        """States -> nudging currents at the strength beta."""
        self.force(free.voltages, x, theta)  # a loss of other nodes than states is refused here, where all are known
        return lambda v: {bus: beta * i for bus, i in self.force(v, x, theta).items()}

    def corrected_nudge(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array | float) -> Injection:
        """States -> nudging currents and 2 A (v - v*), A that of the free state v*."""
        (adjoint, held), nudge = self.adjoint_system(free, x, theta), self.nudge(free, x, theta, beta)
        more = correction(self.system, free.settled.v, x, theta, adjoint=adjoint, held=held)

        def inject(v: Voltages) -> Currents:
            pushed, corrected = nudge(v), more(v)
            return {bus: pushed.get(bus, 0.0) + corrected[bus] for bus in corrected}

        return inject

    def _settle_nudged(
        self,
        base: System,
        free: PhaseRun,
        inputs: Voltages,
        theta: Parameters,
        nudge: Injection,
        options: SettleOptions,
        *,
        inverse: Solve | None = None,
        held: Currents | None = None,
    ) -> PhaseRun:
        system = Injected(base, nudge)
        start = {bus: free.settled.v[bus] for bus in base.states}
        settled = settle_near(system, inputs, theta, v0=start, sources=held, inverse=inverse, options=options)
        return PhaseRun(system.voltages(settled.v, inputs, theta, 0.0, held), settled)

    # The phases, one sample each

    @partial(jax.jit, static_argnames=("self",))
    def free(self, x: Voltages, theta: Parameters, v0: Voltages | None = None) -> PhaseRun:
        """Settle the system as it is, from 0 V or `v0`."""
        settled = settle_near(self.system, x, theta, v0=v0, options=self.options)
        return PhaseRun(self.system.voltages(settled.v, x, theta), settled)

    @partial(jax.jit, static_argnames=("self", "options"))
    def nudged(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions) -> PhaseRun:
        """Settle with -beta dL/dv injected."""
        near = linear_response(self.system, free.settled.v, x, theta)
        return self._settle_nudged(self.system, free, x, theta, self.nudge(free, x, theta, beta), options, inverse=near)

    @partial(jax.jit, static_argnames=("self", "options"))
    def corrected(
        self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions
    ) -> PhaseRun:
        """Settle with -beta dL/dv + 2 A (v - v*) injected."""
        turned, held = self.adjoint_system(free, x, theta)
        near = linear_response(turned, jax.tree.map(jnp.zeros_like, free.settled.v), held, theta)
        inject = self.corrected_nudge(free, x, theta, beta)
        return self._settle_nudged(self.system, free, x, theta, inject, options, inverse=near)

    @partial(jax.jit, static_argnames=("self",))
    def twin(self, free: PhaseRun, x: Voltages, theta: Parameters) -> PhaseRun:
        """Settle the adjoint with -dL/dv injected; it is linear, so beta is 1."""
        turned, held = self.adjoint_system(free, x, theta)
        pushed = self.force(free.voltages, x, theta)
        settled = settle_near(turned, held, theta, sources=pushed, options=self.options)
        return PhaseRun(turned.voltages(settled.v, held, theta, 0.0, pushed), settled)

    @partial(jax.jit, static_argnames=("self", "options", "flip"))
    def turned(
        self,
        free: PhaseRun,
        x: Voltages,
        theta: Parameters,
        beta: Array,
        options: SettleOptions,
        flip: bool = False,
    ) -> PhaseRun:
        """Settle with one-way couplings reversed (or gyrators flipped) about the held v*, and -beta dL/dv injected."""
        rest, inject = free.settled.v, self.nudge(free, x, theta, beta)
        if not isinstance(self.system, Circuit) and not flip:
            base: System = Linear(self.system, self.system.conductance(rest, x, theta).T, rest)
            near = linear_response(base, rest, x, theta)
            return self._settle_nudged(base, free, x, theta, inject, options, inverse=near)
        circuit = self.flipped_circuit if flip else self.reversed_circuit
        inputs = {**x, **self.held(free.voltages)}
        # the held current makes v* a rest point; it does not move, so polishing may use the linear response about there
        at_rest, near = hold(circuit, free.voltages, inputs, theta), linear_response(circuit, rest, inputs, theta)
        return self._settle_nudged(circuit, free, inputs, theta, inject, options, inverse=near, held=at_rest)

    @partial(jax.jit, static_argnames=("self", "options"))
    def dyadic(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions) -> Pair:
        """Settle two coupled copies from the free state, one nudged by +beta/2 and one by -beta/2."""
        rest, pair = free.settled.v, self.doubled()
        turned, held = self.adjoint_system(free, x, theta)
        along = linear_response(self.system, rest, x, theta)
        back = linear_response(turned, jax.tree.map(jnp.zeros_like, rest), held, theta)
        system = Injected(pair, pair.split(self.nudge(free, x, theta, beta)))
        settled = settle_near(system, x, theta, v0=pair.twice(rest), inverse=pair.inverse(along, back), options=options)
        up, down = (pair.copy(settled.v, sign) for sign in (PLUS, MINUS))
        return (
            PhaseRun(self.system.voltages(up, x, theta), settled._replace(v=up)),
            PhaseRun(self.system.voltages(down, x, theta), settled._replace(v=down)),
        )

    @partial(jax.jit, static_argnames=("self", "options"))
    def holomorphic(
        self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions
    ) -> PhaseRun:
        """First Fourier coefficient of the states under `points` complex nudges of size beta."""
        return PhaseRun(
            *fourier_coefficient(
                self.system,
                self.nudge(free, x, theta, 1.0),
                free.settled.v,
                x,
                theta,
                beta,
                points=self.points,
                tolerance=options.tolerance,
            )
        )

    @partial(jax.jit, static_argnames=("self", "options"))
    def clamped(self, free: PhaseRun, x: Voltages, theta: Parameters, eta: Array, options: SettleOptions) -> PhaseRun:
        """Settle with the outputs clamped a part eta of the way from their free voltages to the targets."""
        cost = self.cost
        if not isinstance(cost, Quadratic):
            raise NetlistError("coupled learning clamps outputs to targets, which a Quadratic loss has; give one")
        rest = free.settled.v[cost.bus]
        nodes = np.broadcast_to(np.asarray(cost.weight) > 0, np.shape(rest))
        target = rest + eta * (cost.target * cost.scale.volts - rest)
        system = Clamped(self.system, {cost.bus: target}, {cost.bus: nodes})
        settled = settle_near(system, x, theta, v0=free.settled.v, options=options)
        return PhaseRun(system.voltages(settled.v, x, theta), settled)

    def run(
        self,
        x: Voltages,
        theta: Parameters,
        phases: frozenset[Phase],
        beta: float,
        v0: Voltages | None = None,
    ) -> dict[Phase, PhaseRun]:
        """Run the free phase and those of `phases` for a batch of inputs (leading axis of x: samples).

        Parameters
        ----------
        x : input voltages; {} for a system without inputs, which takes one sample.
        beta : nudging strength; the part eta of the way for CLAMPED.
        v0 : where the free phase starts, one for all samples; 0 V when None.
        """
        x, theta = dict(x), dict(theta)
        free = _over(self.free, (), x, theta, v0)
        runs, near = {Phase.FREE: free}, nudge_options(self.options, beta)
        for program, phase, strength, more in (
            (self.nudged, Phase.NUDGED_PLUS, beta, ()),
            (self.nudged, Phase.NUDGED_MINUS, -beta, ()),
            (self.corrected, Phase.CORRECTED_PLUS, beta, ()),
            (self.corrected, Phase.CORRECTED_MINUS, -beta, ()),
            (self.turned, Phase.REVERSED_PLUS, beta, (False,)),
            (self.turned, Phase.REVERSED_MINUS, -beta, (False,)),
            (self.turned, Phase.GYRATOR_PLUS, beta, (True,)),
            (self.turned, Phase.GYRATOR_MINUS, -beta, (True,)),
            (self.holomorphic, Phase.HOLOMORPHIC, beta, ()),
            (self.clamped, Phase.CLAMPED, beta, ()),
        ):
            if phase in phases:
                runs[phase] = _over(program, (free,), x, theta, jnp.asarray(strength), near, *more)
        if Phase.TWIN in phases:
            runs[Phase.TWIN] = _over(self.twin, (free,), x, theta)
        if phases & {Phase.DYADIC_PLUS, Phase.DYADIC_MINUS}:
            copies: Pair = _over(self.dyadic, (free,), x, theta, jnp.asarray(beta), near)
            runs |= dict(zip((Phase.DYADIC_PLUS, Phase.DYADIC_MINUS), copies, strict=True))
        return runs


def _over(program: Callable[..., Tree], first: tuple, x: Voltages, *shared: object) -> Tree:
    """`over_samples`, where a system without inputs counts as one sample."""
    if x or first:
        return over_samples(program, (*first, x), *shared)
    return jax.tree.map(lambda leaf: leaf[None], program(x, *shared))
