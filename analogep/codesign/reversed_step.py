"""The phases of a learning step on the reversed circuit: the free one, and those nudged about it.

The adjoint path is the circuit itself with its couplings reversed: arrays are read from their other side, cells have
small-signal copies. The currents that hold it at rest are those of the free phase, whatever changes afterward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.codesign.hardware import Hardware
from analogep.compile.transformer import LOGITS, PREDICTION, STATE
from analogep.ep.estimators import REVERSED
from analogep.learning.phases import CircuitPhases
from analogep.learning.readout import cut_off
from analogep.learning.reversal import Copied, hold, reversed_network
from analogep.learning.rule import Phase, local_gradient
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.element import HELD
from analogep.netlist.transposed import Transposed
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import settle_near
from analogep.technology import Converter

CUT, DAC = "finite settling", "nudge DAC"
"""Imperfections of the phases themselves; `on` says which are there."""


class StepSignals(NamedTuple):
    """All phases of a step.

    Attributes
    ----------
    signals : voltages of all buses in each phase of the rule.
    quiet : the state at rest without read noise.
    exact : implicit gradient of the circuit, at level `device` (1/siemens).
    residual : largest of the free phases at rest.
    """

    signals: dict[Phase, dict[str, Array]]
    quiet: Array
    exact: dict[str, Array]
    residual: Array


class ReversedStep:
    """The circuits of a step, which is one sample's.

    Parameters
    ----------
    hardware : its nudge.
    horizon : time that each phase is given (units of tau); None lets phases settle.
    exact : whether the circuit's implicit gradient is wanted.
    """

    def __init__(self, phases: CircuitPhases, hardware: Hardware, horizon: float | None, *, exact: bool) -> None:
        self.phases, self.hardware, self.horizon, self.exact = phases, hardware, horizon, exact
        self.scale = phases.compiled.scale
        turned = reversed_network(phases.compiled.netlist)
        copied = [Copied(e.name, e.of, e.ignored) for e in turned if isinstance(e, Transposed)]
        self.turned = Circuit(turned.replace_elements(*copied), self.scale, forward_only=True)
        self.copies = {e.name: turned.shape(e.of.drives[0]) for e in copied}

    def _settled(
        self, rest: Voltages, x: Voltages, theta: Parameters, truth: Parameters, factors: Parameters,
        later: Parameters | None, on: Mapping[str, Array],
    ) -> StepSignals:  # fmt: skip
        """All phases of one sample.

        Parameters
        ----------
        theta, truth : conductances as they are read, and as they are.
        factors : of the copies.
        later : conductances in the two nudged phases [2, ...], if they have changed.
        """
        free, quiet, residual = self._free(rest, x, theta, truth, on)
        if later is None:
            plus = self._nudged(free, x, theta, {**truth, **factors, **theta}, 1.0, on)
            minus = _mirrored(free, plus)
        else:
            turn = jax.vmap(lambda g, sign: self._nudged(free, x, theta, {**truth, **factors, **g}, sign, on))
            both = turn(later, jnp.array([1.0, -1.0]))
            plus, minus = ({bus: v[k] for bus, v in both.items()} for k in (0, 1))
        signals = {Phase.FREE: free, Phase.REVERSED_PLUS: plus, Phase.REVERSED_MINUS: minus}
        exact = self._exact(quiet, x, truth) if self.exact else {}
        return StepSignals(signals, quiet[STATE], exact, residual)

    def _free(
        self, rest: Voltages, x: Voltages, theta: Parameters, truth: Parameters, on: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], Array]:
        """Voltages of all buses as they are read, states at rest without read noise, and the larger residual."""
        circuit, options = self.phases.circuit, self.phases.options
        both = {name: jnp.stack([g, truth[name]]) for name, g in theta.items()}
        settled = jax.vmap(lambda g: settle_near(circuit, x, g, v0=rest, options=options))(both)
        free, quiet = ({bus: v[k] for bus, v in settled.v.items()} for k in (0, 1))
        if self.horizon is not None:
            early = settle_near(circuit, x, theta, options=cut_off(self.horizon, options))
            free = select(on[CUT], early.v, free)
        residual = jnp.max(jnp.where(settled.converged, settled.residual, jnp.inf))
        return circuit.voltages(free, x, theta), quiet, residual

    def _nudged(
        self, v: Voltages, x: Voltages, theta: Parameters, now: Parameters, sign: Array | float,
        on: Mapping[str, Array],
    ) -> dict[str, Array]:  # fmt: skip
        """The reversed circuit about `v`, held there by the currents of `theta`, with its conductances of `now`."""
        turned, options = self.turned, self.phases.options
        inputs = {**x, **{HELD + bus: value for bus, value in v.items()}}
        sources = dict(hold(turned, v, inputs, {**now, **theta}))
        sources[LOGITS] = sources[LOGITS] + sign * self._push(on, v, x)
        start = {bus: v[bus] for bus in turned.states}
        away = turned.current(start, inputs, now, 0.0, sources)
        moved = linear_response(turned, start, inputs, now)({bus: -i for bus, i in away.items()})
        nudged = {bus: start[bus] + moved[bus] for bus in start}
        if self.horizon is not None:
            # linear, and as far as its small displacement wants it: a relative tolerance as tight as the nudge
            near = replace(cut_off(self.horizon, options), rtol=min(options.rtol, 1e-4 * self.hardware.beta))
            early = settle_near(turned, inputs, now, v0=start, sources=sources, options=near)
            nudged = select(on[CUT], early.v, nudged)
        voltages = turned.voltages(nudged, inputs, now, 0.0, sources)
        return {bus: value for bus, value in voltages.items() if not bus.startswith(HELD)}

    def _exact(self, quiet: Voltages, x: Voltages, truth: Parameters) -> dict[str, Array]:
        """Implicit gradient of one sample's loss by the circuit's effective arrays (1/siemens)."""
        circuit, turned = self.phases.circuit, self.turned
        v = circuit.voltages(quiet, x, truth)
        inputs = {**x, **{HELD + bus: value for bus, value in v.items()}}
        share = jax.nn.softmax(v[LOGITS] / self.scale.volts, axis=-1)
        error = (x["weight"] / self.scale.volts)[..., None] * (x["target"] - self.scale.volts * share)
        start = {bus: v[bus] for bus in turned.states}
        moved = linear_response(turned, start, inputs, truth)({LOGITS: self.scale.siemens * error})
        lam = {bus: jnp.zeros_like(v[bus]) for bus in v if not bus.startswith(HELD)} | moved
        signals = {Phase.FREE: v, Phase.REVERSED_PLUS: lam, Phase.REVERSED_MINUS: {b: -m for b, m in lam.items()}}
        return local_gradient(REVERSED, self.phases.netlist, signals, 1.0, self.phases.unit)

    def _push(self, on: Mapping[str, Array], v: Voltages, x: Voltages) -> Array:
        """Current of the nudge beta w (y - p) into the logits."""
        error = x["target"] - v[PREDICTION]
        made = Converter(self.hardware.dac_bits, self.scale.volts)(error, jax.random.key(0))
        return (
            (self.hardware.beta * self.scale.siemens)
            * (x["weight"] / self.scale.volts)[..., None]
            * jnp.where(on[DAC], made, error)
        )


def select(switch: Array, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Array]:
    """One set of arrays or the other."""
    return {name: jnp.where(switch, one[name], other[name]) for name in other}


def _mirrored(free: Voltages, plus: Voltages) -> dict[str, Array]:
    """The phase with the opposite nudge: about the held state the reversed circuit is linear."""
    return {bus: 2 * free[bus] - plus[bus] for bus in plus if bus in free}
