"""Phases of a lane, the block that settles token after token: forward from the first, and the way back from the last.

Forward, a token reads keys and values of earlier tokens out of gain cells. So a key's multiplier collects what every
later token asks of it, and lambda runs from the last token to the first: with z of a token held again the lane stands
where it stood, and its adjoint settles once, under the token's own nudge and under what was asked of its key and value.
What it asks itself of earlier ones is the current that the stores would draw in the adjoint network; amplifiers in the
place of their rails collect it, and gain cells keep it. Weights learn token by token, from both signals at their own
terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.schedule import SELECT, held
from analogep.compile.transformer import INPUT, LOGITS, STATE, Compiled
from analogep.errors import NetlistError
from analogep.learning.nudge import TARGET, WEIGHT
from analogep.learning.phases import CircuitPhases, PhaseRun
from analogep.learning.reversal import hold, reversed_network
from analogep.learning.rule import Phase
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.elements import Summer, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.sequential import KEYS, VALUES, empty_stores, lane_rails, of_token, settle_sequence
from analogep.simulate.settle import Settled, SettleOptions, settle_near

STORES = (KEYS, VALUES)
Backward = Callable[[PhaseRun, Voltages, Currents], tuple[dict[str, Array], Settled, Voltages]]
"""Lane at rest, its rails and what is pushed into it -> voltages, how they settled, what is asked of the stores."""


class Memory(NamedTuple):
    """All that a lane holds between the settlings of its way back.

    Attributes
    ----------
    states : z of every token [tokens, channels] (volts).
    charges : keys and values, `k` and `v` [tokens, channels] (volts).
    asked : multipliers that later tokens ask of them, `k` and `v` [tokens, channels] (volts).
    """

    states: Array
    charges: Mapping[str, Array]
    asked: Mapping[str, Array]


class LanePhases(CircuitPhases):
    """Free phase, twin and reversed phase of one lane, for all tokens of a window.

    They show the voltages of every token, row after row, [tokens, ...] where the parallel circuit has that token's
    lane; so rules, readouts and comparisons are those of the parallel circuit.

    Parameters
    ----------
    compiled : of `compile_lane`; wires folded at level `device`.
    options, nudge_bits : as for `CircuitPhases`.

    Raises
    ------
    NetlistError
        If the circuit is no lane, or more than z must be held for it to stand where it stood.
    """

    def __init__(
        self, compiled: Compiled, options: SettleOptions | None = None, *, nudge_bits: int | None = None
    ) -> None:
        super().__init__(compiled, options, nudge_bits=nudge_bits)
        if SELECT not in compiled.netlist.buses:
            raise NetlistError(f"{compiled.netlist.title!r} is no lane with stores; compile it with compile_lane")
        if self.circuit.core != (STATE,):
            raise NetlistError(f"a lane that feeds back through {', '.join(self.circuit.core)}: z alone is held")

    @cached_property
    def twin_circuit(self) -> Circuit:
        """The lane's adjoint network, as far as currents at logits, keys and values move it."""
        return self._build(self._collecting(adjoint(self.compiled.netlist, outputs=(LOGITS, *STORES))))

    @cached_property
    def reversed_circuit(self) -> Circuit:
        """The lane with every one-way coupling turned round."""
        return self._build(self._collecting(reversed_network(self.compiled.netlist)))

    def _collecting(self, netlist: Netlist) -> Netlist:
        """Rails of the stores become amplifiers that show the current which is drawn there, at one volt per g0."""
        rails = {held(bus) for bus in STORES}
        sources = [e for e in netlist if isinstance(e, VSource) and e.a in rails]
        return netlist.replace_elements(*(Summer(e.name, e.a, self.scale.siemens) for e in sources))

    @cached_property
    def netlist(self) -> Netlist:
        """The lane's weights between the rows of all tokens, as the phases show them."""
        lane, tokens = self.compiled.netlist, self.compiled.model.tokens
        rows = {name: Bus((tokens, *bus.shape[1:])) for name, bus in lane.buses.items() if bus.shape[:1] == (1,)}
        return replace(lane, buses={**lane.buses, **rows}, title=f"{lane.title}, all tokens")

    @property
    def supported(self) -> frozenset[Phase]:
        """Phases that a lane can run; a nudge of the lane itself cannot reach earlier tokens."""
        return frozenset({Phase.FREE, Phase.TWIN, Phase.REVERSED_PLUS, Phase.REVERSED_MINUS})

    @partial(jax.jit, static_argnames=("self",))
    def free(self, x: Voltages, theta: Parameters, v0: Voltages | None = None) -> PhaseRun:
        """Settle the tokens one after another, each from 0 V.

        Parameters
        ----------
        x : rails of all tokens: `token` [tokens, inputs], and what the nudge will need.

        Raises
        ------
        NetlistError
            For `v0`, of which a lane makes no use.
        """
        if v0 is not None:
            raise NetlistError("a lane settles each token from 0 V; leave out v0")
        done = settle_sequence(self.circuit, x[INPUT], theta, options=self.options)
        states = {bus: done.v[bus] for bus in self.circuit.states if bus in done.v}
        return PhaseRun(done.v, Settled(states, done.residual, done.converged, done.steps, done.time))

    @partial(jax.jit, static_argnames=("self",))
    def twin(self, free: PhaseRun, x: Voltages, theta: Parameters) -> PhaseRun:
        """Settle the adjoint lane for each token, from the last one to the first, with -dL/dv injected."""

        def settled(here: PhaseRun, _: Voltages, pushed: Currents) -> tuple[dict[str, Array], Settled, Voltages]:
            inputs = self.held(here)
            done = settle_near(self.twin_circuit, inputs, theta, sources=pushed, options=self.options)
            v = self.twin_circuit.voltages(done.v, inputs, theta, 0.0, pushed)
            return v, done, {bus: v[held(bus)] for bus in STORES}

        return self._way_back(settled, free, x, theta, 1.0)

    @partial(jax.jit, static_argnames=("self", "options"))
    def turned(self, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array, options: SettleOptions) -> PhaseRun:
        """Settle the reversed lane for each token, from the last one to the first; it is linear about v*.

        What is asked of keys and values is the displacement of the collecting amplifiers, which beta scales as well.
        """

        def settled(here: PhaseRun, rails: Voltages, pushed: Currents) -> tuple[dict[str, Array], Settled, Voltages]:
            inputs = {**rails, **self.held(here)}
            rest = hold(self.reversed_circuit, here.voltages, inputs, theta)
            sources = {**rest, **{bus: rest[bus] + current for bus, current in pushed.items()}}
            done = settle_near(
                self.reversed_circuit, inputs, theta, v0=here.settled.v, sources=sources, options=options
            )
            v = self.reversed_circuit.voltages(done.v, inputs, theta, 0.0, sources)
            return v, done, {bus: v[held(bus)] - rails[held(bus)] for bus in STORES}

        return self._way_back(settled, free, x, theta, beta)

    def memory(self, free: PhaseRun) -> Memory:
        """What the lane holds when it turns round."""
        charges = {bus: free.voltages[bus] for bus in STORES}
        return Memory(free.voltages[STATE], charges, empty_stores(self.circuit))

    def _way_back(
        self, settled: Backward, free: PhaseRun, x: Voltages, theta: Parameters, beta: Array | float
    ) -> PhaseRun:
        """One settling of `settled` a token, last to first, each under its own nudge and what was asked of it."""

        def one(memory: Memory, item: tuple[Array, Voltages]) -> tuple[Memory, tuple[dict[str, Array], Settled]]:
            place, rows = item
            rails = lane_rails(self.circuit, place, rows[INPUT], memory.charges)
            here = self._again(memory.states[place], rails, theta)
            nudge = {TARGET: rows[TARGET][None], WEIGHT: rows[WEIGHT][None]}
            pushed = {bus: beta * i for bus, i in self.output_push(here, {**rails, **nudge}, theta).items()}
            pushed |= {bus: self.scale.siemens * memory.asked[bus][place][None] for bus in STORES}
            v, done, asks = settled(here, rails, pushed)
            asked = {bus: memory.asked[bus] + asks[bus] for bus in STORES}
            done = done._replace(v=of_token(self.circuit, done.v))
            return memory._replace(asked=asked), (of_token(self.circuit, v), done)

        places = jnp.arange(len(free.voltages[STATE]))
        items = (places, {rail: jnp.asarray(x[rail]) for rail in (INPUT, TARGET, WEIGHT)})
        _, (v, done) = jax.lax.scan(one, self.memory(free), items, reverse=True)
        return PhaseRun(v, done)

    def _again(self, state: Array, rails: Voltages, theta: Parameters) -> PhaseRun:
        """The lane at rest where it stood, from z of its token: all the rest follows."""
        v = self.circuit.settled({STATE: state[None]}, rails, theta)[0]
        states = {bus: v[bus] for bus in self.circuit.states}
        still = Settled(states, *map(jnp.asarray, (0.0, np.True_, 0, 0.0)))
        return PhaseRun(v, still)
