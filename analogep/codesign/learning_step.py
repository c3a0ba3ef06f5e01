"""One learning step on imperfect hardware: every named imperfection can be switched on and off without compiling anew.

The adjoint path is the circuit itself with its couplings reversed: arrays are read from their other side, cells have
small-signal copies. The reference is the implicit gradient at the conductances as they are, without noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.codesign.hardware import Hardware
from analogep.compile.stages import to_conductances
from analogep.compile.transformer import LOGITS, PREDICTION, STATE
from analogep.ep import oracle
from analogep.ep.estimators import REVERSED
from analogep.errors import SpecError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun, over_samples
from analogep.learning.readout import cut_off, node_noise
from analogep.learning.reversal import hold, reversed_network
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import Batch, cross_entropy
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import BOLTZMANN, HELD
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.transposed import Transposed
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import settle_near
from analogep.technology import (
    Amplifier,
    Converter,
    Devices,
    Drift,
    Effect,
    Leak,
    Levels,
    Mismatch,
    ProgrammingError,
    Stuck,
    ThermalNoise,
    apply,
    from_pairs,
    named_key,
    to_pairs,
)

ON_DEVICES = {
    Levels: "quantization", ProgrammingError: "programming", Stuck: "stuck cells", Drift: "drift", Leak: "retention"
}  # fmt: skip
"""Names of the effects on written devices."""
READ_NOISE, WIRES, COPIES, AMPLIFIERS = "read noise", "wires", "adjoint mismatch", "amplifiers"
ADC, DAC, THERMAL, CUT = "ADC", "nudge DAC", "thermal noise", "finite settling"
RESIDUAL = 1e-6
"""Relative residual above which a state at rest does not count as found."""


class Outcome(NamedTuple):
    """What came of a step.

    Attributes
    ----------
    angle : 1 - cosine of the measured gradient against the reference.
    loss : of the free phase as it was (nats).
    residual : largest relative residual of the free phases at rest, infinite where one did not settle.
    """

    angle: Array
    loss: Array
    residual: Array


@dataclass(frozen=True, eq=False)
class Copied(Transposed):
    """A reversed cell whose small-signal conductances are copies, each output's off by its factor in theta."""

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        factors = theta.get(f"{self.name}.copies", 1.0)
        return super().currents({**v, **{bus: v[bus] * factors for bus in self._outputs}}, theta, t)


class LearningStep:
    """A step of the reversed estimator on one batch.

    Parameters
    ----------
    phases : of the compiled block at level `parasitic`.
    weights : dimensionless, as they are meant.
    hardware : what it is built of.
    horizon : time that each phase is given (units of tau); None lets phases settle.

    Raises
    ------
    SpecError
        If the weights do not fit the devices, or for another level.
    """

    def __init__(
        self, phases: CircuitPhases, weights: Parameters, batch: Batch, *, hardware: Hardware, horizon: float | None
    ) -> None:
        if phases.compiled.level != "parasitic":
            raise SpecError(
                f"an error budget needs compile.level = 'parasitic', not {phases.compiled.level!r}: effects on "
                "devices, wires and cells are switched on one after another in a circuit without them"
            )
        self.phases, self.batch, self.hardware, self.horizon = phases, batch, hardware, horizon
        self.scale = phases.compiled.scale
        meant = to_conductances({name: np.asarray(w) for name, w in weights.items()}, self.scale)
        self.pairs = to_pairs(meant, hardware.device)
        self.written = {_name(effect): effect for effect in hardware.device.written()}
        self.reading = hardware.device.reading()
        turned = reversed_network(phases.compiled.netlist)
        copied = [Copied(e.name, e.of, e.ignored) for e in turned if isinstance(e, Transposed)]
        self.turned = Circuit(turned.replace_elements(*copied), self.scale, forward_only=True)
        self.copies = {e.name: turned.shape(e.of.drives[0]) for e in copied}
        arrays = [e for e in phases.netlist if e.array is not None]
        touched = tuple(dict.fromkeys(bus for e in arrays for bus in (*e.reads, *e.drives)))
        self.rails = tuple(bus for bus in touched if bus in phases.circuit.inputs())
        self.sizes = {bus: phases.netlist.shape(bus)[-1] for bus in touched if bus not in self.rails}
        self.noises = node_noise(phases.circuit, buses=self.sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Imperfections of this hardware, in the order in which they act."""
        there = {
            READ_NOISE: bool(tuple(self.reading)),
            WIRES: self.hardware.wires.word_ohms + self.hardware.wires.bit_ohms > 0,
            COPIES: self.hardware.mismatch > 0,
            CUT: self.horizon is not None,
            DAC: True,
            AMPLIFIERS: self.hardware.offset > 0 or self.hardware.gain_error > 0,
            THERMAL: True,
            ADC: True,
        }
        return (*self.written, *(name for name, present in there.items() if present))

    def nominal(self) -> tuple[PhaseRun, dict[str, np.ndarray]]:
        """The free phase without imperfections, and the rails of the batch (leading axes: samples)."""
        x = rails(self.batch, self.scale.volts)
        run = over_samples(self.phases.free, (x,), from_pairs(self.pairs))
        run.settled.require("the free phase")
        return run, x

    def evaluate(self, switches: np.ndarray, keys: Array) -> Outcome:
        """Many steps, one after another in one compiled program.

        Parameters
        ----------
        switches : bool [steps, names], which imperfections are there.
        keys : [steps]; a key fixes the chip and all noise, whatever is switched on.
        """
        run, x = self.nominal()
        return self._evaluate(jnp.asarray(switches), keys, run.settled.v, x)

    @partial(jax.jit, static_argnames="self")
    def _evaluate(self, switches: Array, keys: Array, rest: Voltages, x: Voltages) -> Outcome:
        def one(given: tuple[Array, Array]) -> Outcome:
            return self._step(dict(zip(self.names, given[0], strict=True)), given[1], rest, x)

        return jax.lax.map(one, (switches, keys))

    def _step(self, on: Mapping[str, Array], key: Array, rest: Voltages, x: Voltages) -> Outcome:
        devices = self._devices(on, named_key(key, "chip"))
        read = devices
        if READ_NOISE in on:
            read = _select(on[READ_NOISE], apply(self.reading, devices, named_key(key, "reading")), devices)
        theta, truth = self._signed(on, read), self._signed(on, devices)
        factors = self._copies(on, named_key(key, "copies"))
        free, plus, z, residual = over_samples(self._phases, (rest, x), theta, {**truth, **factors}, on)
        runs = {Phase.FREE: free, Phase.REVERSED_PLUS: plus, Phase.REVERSED_MINUS: _mirrored(free, plus)}
        gradient = self._measured(on, runs, key)
        weights = {name: g / self.scale.siemens for name, g in truth.items()}
        data = (self.batch.inputs, self.batch.targets, self.batch.weights)
        reference = oracle.implicit(self.phases.compiled.model, weights, z / self.scale.volts, *data)
        loss = jnp.mean(jax.vmap(cross_entropy)(free[LOGITS] / self.scale.volts, *map(jnp.asarray, data[1:])))
        return Outcome(1 - self._cosine(on, devices, gradient, reference.gradient), loss, jnp.max(residual))

    def _devices(self, on: Mapping[str, Array], key: Array) -> Devices:
        """The pairs as they were written."""
        devices = self.pairs
        for name, effect in self.written.items():
            devices = _select(on[name], apply(effect, devices, named_key(key, name)), devices)
        return devices

    def _signed(self, on: Mapping[str, Array], devices: Devices) -> dict[str, Array]:
        """What the circuit sees of pairs: their difference, through wires."""
        if WIRES not in on:
            return from_pairs(devices)
        return {name: self._through(on[WIRES], pair) for name, pair in devices.items()}

    def _through(self, wired: Array, pair: Array) -> Array:
        seen = jnp.where(wired, effective_matrix(pair, self.hardware.wires), pair)
        return seen[0] - seen[1]

    def _copies(self, on: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """Factors of the cells' copies, for theta."""
        if COPIES not in on:
            return {}
        effect = Mismatch(self.hardware.mismatch * on[COPIES])
        return {f"{n}.copies": effect(jnp.ones(shape), named_key(key, n)) for n, shape in self.copies.items()}

    def _phases(
        self, rest: Voltages, x: Voltages, theta: Parameters, fixed: Parameters, on: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], Array, Array]:
        """Voltages of the free phase and of the nudged reversed circuit of one sample; its state without read noise.

        Parameters
        ----------
        theta : conductances as they are read. fixed : as they are, and factors of the copies.
        """
        circuit, options = self.phases.circuit, self.phases.options
        both = {name: jnp.stack([g, fixed[name]]) for name, g in theta.items()}
        settled = jax.vmap(lambda g: settle_near(circuit, x, g, v0=rest, options=options))(both)
        free, quiet = ({bus: v[k] for bus, v in settled.v.items()} for k in (0, 1))
        if self.horizon is not None:
            early = settle_near(circuit, x, theta, options=cut_off(self.horizon, options))
            free = _select(on[CUT], early.v, free)
        v = circuit.voltages(free, x, theta)
        turned, theta = self.turned, {**fixed, **theta}
        inputs = {**x, **{HELD + bus: value for bus, value in v.items()}}
        sources = dict(hold(turned, v, inputs, theta))
        push = self._push(on, v, x)
        sources[LOGITS] = sources[LOGITS] + push
        start = {bus: v[bus] for bus in turned.states}
        moved = linear_response(turned, start, inputs, theta)({LOGITS: push})
        nudged = {bus: start[bus] + moved[bus] for bus in start}
        if self.horizon is not None:
            # linear, and as far as its small displacement wants it: a relative tolerance as tight as the nudge
            near = replace(cut_off(self.horizon, options), rtol=min(options.rtol, 1e-4 * self.hardware.beta))
            early = settle_near(turned, inputs, theta, v0=start, sources=sources, options=near)
            nudged = _select(on[CUT], early.v, nudged)
        voltages = turned.voltages(nudged, inputs, theta, 0.0, sources)
        plus = {bus: value for bus, value in voltages.items() if not bus.startswith(HELD)}
        return v, plus, quiet[STATE], jnp.max(jnp.where(settled.converged, settled.residual, jnp.inf))

    def _push(self, on: Mapping[str, Array], v: Voltages, x: Voltages) -> Array:
        """Current of the nudge beta w (y - p) into the logits."""
        error = x["target"] - v[PREDICTION]
        made = Converter(self.hardware.dac_bits, self.scale.volts)(error, jax.random.key(0))
        return (
            (self.hardware.beta * self.scale.siemens)
            * (x["weight"] / self.scale.volts)[..., None]
            * jnp.where(on[DAC], made, error)
        )

    def _measured(self, on: Mapping[str, Array], runs: Mapping[Phase, Voltages], key: Array) -> dict[str, Array]:
        """The gradient of the rule from the phases as they are read (1/siemens).

        All nodes of a token go side by side, which compiles ten times faster than bus by bus; each bus has a range of
        its own all the same.
        """
        hot = self.hardware.device.kelvin * on[THERMAL]
        farads = self._beside({bus: e.farads * jnp.ones(self.sizes[bus]) for bus, e in self.noises.items()})
        seen = {phase: self._amplified(on, self._beside(v), named_key(key, "amplifiers")) for phase, v in runs.items()}
        free, plus, minus = (seen[p] for p in (Phase.FREE, Phase.REVERSED_PLUS, Phase.REVERSED_MINUS))
        bits = jnp.where(on[ADC], float(self.hardware.adc_bits), 32.0)  # 32 bits are as good as none

        def read(volts: Array, capacitors: Array, key: Array) -> Array:
            """Mean of readings, each sampled and converted anew, in the range of each node's bus."""
            noise = ThermalNoise(capacitors, hot)
            converter = Converter(bits, self._ranges(volts, jnp.sqrt(BOLTZMANN * hot / capacitors)))  # type: ignore[arg-type]

            def add(k: Array, total: Array) -> Array:
                return total + converter(noise(volts, jax.random.fold_in(key, k)), key)

            return jax.lax.fori_loop(0, self.hardware.repeats, add, jnp.zeros_like(volts)) / self.hardware.repeats

        # both nudged phases are sampled, and their difference is converted once (correlated double sampling)
        half = read(plus - minus, farads / 2, named_key(key, "difference")) / 2
        measured = {
            Phase.FREE: self._apart(read(free, farads, named_key(key, "free"))),
            Phase.REVERSED_PLUS: self._apart(half),
            Phase.REVERSED_MINUS: self._apart(-half),
        }
        measured[Phase.FREE] |= {bus: runs[Phase.FREE][bus] for bus in self.rails}  # known as they are
        return {name: g.mean(0) for name, g in jax.vmap(self._gradient)(measured).items()}

    def _beside(self, voltages: Voltages) -> Array:
        """All buses that are read, side by side [..., nodes of a token]."""
        return jnp.concatenate([voltages[bus] for bus in self.sizes], axis=-1)

    def _apart(self, joined: Array) -> dict[str, Array]:
        ends = np.cumsum(list(self.sizes.values()))[:-1]
        return dict(zip(self.sizes, jnp.split(joined, ends, axis=-1), strict=True))

    def _amplified(self, on: Mapping[str, Array], volts: Array, key: Array) -> Array:
        """Signals behind the amplifiers of the chip, one for each node of a token."""
        if AMPLIFIERS not in on:
            return volts
        offset, gain = (on[AMPLIFIERS] * spread for spread in (self.hardware.offset, self.hardware.gain_error))
        return Amplifier(offset=offset, gain_error=gain, shared=2)(volts, key)

    def _ranges(self, signal: Array, noise: Array) -> Array:
        """Range of the bus of each node: its largest voltage, and room for noise."""
        parts, spreads = self._apart(signal), self._apart(noise)
        peaks = {bus: jnp.abs(v).max() + 4 * spreads[bus].max() for bus, v in parts.items()}
        return self._beside({bus: jnp.full(size, peaks[bus]) for bus, size in self.sizes.items()})

    def _gradient(self, signals: Mapping[Phase, Voltages]) -> dict[str, Array]:
        return local_gradient(REVERSED, self.phases.netlist, signals, self.hardware.beta, self.phases.unit)

    def _cosine(
        self, on: Mapping[str, Array], devices: Devices, estimate: Mapping[str, Array], reference: Mapping[str, Array]
    ) -> Array:
        """Cosine over all devices of all pairs."""
        products = first = second = jnp.zeros(())
        for name, pair in devices.items():
            both = jnp.stack([jnp.ones(()), -jnp.ones(())])[:, None, None]
            true = both * reference[name]
            if WIRES in on:
                true = oracle.pullback(lambda p: self._through(on[WIRES], p), pair, reference[name])
            found = both * estimate[name]
            products, first, second = (
                products + jnp.vdot(found, true), first + jnp.vdot(found, found), second + jnp.vdot(true, true)
            )  # fmt: skip
        return products / jnp.sqrt(first * second)


def _name(effect: Effect) -> str:
    found = next((name for kind, name in ON_DEVICES.items() if isinstance(effect, kind)), None)
    return found or type(effect).__name__.lower()


def _select(switch: Array, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Array]:
    return {name: jnp.where(switch, one[name], other[name]) for name in other}


def _mirrored(free: Voltages, plus: Voltages) -> dict[str, Array]:
    """The phase with the opposite nudge: about the held state the reversed circuit is linear."""
    return {bus: 2 * free[bus] - plus[bus] for bus in plus if bus in free}
