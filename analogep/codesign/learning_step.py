"""One learning step on imperfect hardware: every named imperfection can be switched on and off without compiling anew.

The adjoint path is the circuit itself with its couplings reversed: arrays are read from their other side, cells have
small-signal copies. The currents that hold it at rest are those of the free phase. The reference is the implicit
gradient at the conductances as they are, without noise: of F(z) at level `parasitic`, of the circuit at `device`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.codesign.hardware import Hardware
from analogep.codesign.reversed_step import CUT, DAC, ReversedStep, select
from analogep.compile.stages import to_conductances
from analogep.compile.transformer import LOGITS
from analogep.ep import oracle
from analogep.ep.estimators import REVERSED
from analogep.errors import SpecError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun, over_samples
from analogep.learning.readout import Lines, Readout, node_noise
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import Batch, cross_entropy
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.wired import WiredCrossbar
from analogep.technology import (
    Amplifier,
    Between,
    Devices,
    Drift,
    Effect,
    Leak,
    Levels,
    Mismatch,
    ProgrammingError,
    Stuck,
    ThermalNoise,
    VoltageWander,
    Wander,
    Warming,
    aging,
    apply,
    moments,
    named_key,
    to_pairs,
)

ON_DEVICES = {
    Levels: "quantization", ProgrammingError: "programming", Stuck: "stuck cells", Drift: "drift", Leak: "retention"
}  # fmt: skip
"""Names of the effects on written devices."""
READ_NOISE, WIRES, COPIES, AMPLIFIERS = "read noise", "wires", "adjoint mismatch", "amplifiers"
ADC, THERMAL = "ADC", "thermal noise"
SLOW, AGES, WARMS = "1/f between phases", "drift between phases", "warming"
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


class LearningStep(ReversedStep):
    """A step of the reversed estimator on one batch.

    Parameters
    ----------
    phases : of the compiled block at level `parasitic`, or at `device` with its wires folded.
    weights : dimensionless, as they are meant.
    hardware : what it is built of.
    horizon : time that each phase is given (units of tau); None lets phases settle.
    tiles : at level `device`, effective array -> its tile, as `fold_wires` gives them.

    Raises
    ------
    SpecError
        If the weights do not fit the devices, or for another level.
    """

    def __init__(
        self,
        phases: CircuitPhases,
        weights: Parameters,
        batch: Batch,
        *,
        hardware: Hardware,
        horizon: float | None,
        tiles: Mapping[str, WiredCrossbar] | None = None,
    ) -> None:
        if phases.compiled.level != "parasitic" and not tiles:
            raise SpecError(
                f"an error budget needs compile.level = 'parasitic', not {phases.compiled.level!r}, or 'device' with "
                "its wires folded (fold_wires) and their tiles"
            )
        super().__init__(phases, hardware, horizon, exact=bool(tiles))
        self.batch, self.tiles = batch, dict(tiles or {})
        meant = to_conductances({name: np.asarray(w) for name, w in weights.items()}, self.scale)
        self.pairs = to_pairs(meant, hardware.device)
        self.seen = tuple(self.tiles or self.pairs)
        self.written = {_name(effect): effect for effect in hardware.device.written()}
        self.reading = hardware.device.reading()
        inputs = phases.circuit.inputs()
        arrays = [e for e in phases.netlist if e.array is not None]
        self.rails = tuple(sorted({bus for e in arrays for bus in e.reads if bus in inputs}))
        self.lines = Lines.of(phases.netlist, known=self.rails, turns=1)
        self.farads = self.lines.each(
            {bus: float(e.farads) for bus, e in node_noise(phases.circuit, buses=self.lines.shapes).items()}
        )
        self.between, self.gap = self._slow_effects(), self._gap()

    def _gap(self) -> float:
        """Seconds from phase to phase; one that is not cut off may take as long as its options allow."""
        longest = self.phases.options.horizon if self.horizon is None else self.horizon
        given = self.hardware.settle_seconds or longest * self.scale.seconds
        rows = max(pair.shape[-1] for pair in self.pairs.values())
        return self.hardware.phase_seconds(given, rows=rows, tokens=self.phases.compiled.model.tokens)

    def _slow_effects(self) -> dict[str, tuple[Between, ...]]:
        """What devices go on doing from phase to phase; noise faster than a node follows averages out."""
        device, hardware = self.hardware.device, self.hardware
        noise = () if device.flicker is None else (Wander(device.flicker[0], self.bandwidth),)
        warming = (Warming(hardware.warming, hardware.tempco),) if hardware.warming * hardware.tempco else ()
        found: dict[str, tuple[Between, ...]] = {SLOW: noise, AGES: aging(device), WARMS: warming}
        return {name: effects for name, effects in found.items() if effects}

    @property
    def bandwidth(self) -> float:
        """Noise bandwidth of a state, 1 / (4 tau) (hertz)."""
        return 1 / (4 * self.scale.seconds)

    @property
    def names(self) -> tuple[str, ...]:
        """Imperfections of this hardware, in the order in which they act."""
        wires = self.hardware.wires
        there = {
            READ_NOISE: bool(tuple(self.reading)),
            WIRES: not self.tiles and wires.word_ohms + wires.bit_ohms > 0,
            COPIES: self.hardware.mismatch > 0,
            CUT: self.horizon is not None,
            SLOW: SLOW in self.between or self.hardware.flicker > 0,
            AGES: AGES in self.between,
            WARMS: WARMS in self.between,
            DAC: True,
            AMPLIFIERS: self.hardware.offset > 0 or self.hardware.gain_error > 0,
            THERMAL: True,
            ADC: True,
        }
        return (*self.written, *(name for name, present in there.items() if present))

    def nominal(self) -> tuple[PhaseRun, dict[str, np.ndarray]]:
        """The free phase without imperfections, and the rails of the batch (leading axes: samples)."""
        x = rails(self.batch, self.scale.volts)
        run = over_samples(self.phases.free, (x,), self._signed({}, self.pairs))
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
            read = select(on[READ_NOISE], apply(self.reading, devices, named_key(key, "reading")), devices)
        theta, truth = self._signed(on, read), self._signed(on, devices)
        later = self._later(on, read, named_key(key, "between"))
        factors = self._copies(on, named_key(key, "copies"))
        found = over_samples(self._settled, (rest, x), theta, truth, factors, later, on)
        gradient = self._measured(on, found.signals, key)
        data = (self.batch.inputs, self.batch.targets, self.batch.weights)
        if self.tiles:
            reference = {name: g.mean(0) for name, g in found.exact.items()}
        else:
            weights = {name: g / self.scale.siemens for name, g in truth.items()}
            z = found.quiet / self.scale.volts
            reference = oracle.implicit(self.phases.compiled.model, weights, z, *data).gradient
        logits = found.signals[Phase.FREE][LOGITS] / self.scale.volts
        loss = jnp.mean(jax.vmap(cross_entropy)(logits, *map(jnp.asarray, data[1:])))
        return Outcome(1 - self._cosine(on, devices, gradient, reference), loss, jnp.max(found.residual))

    def _devices(self, on: Mapping[str, Array], key: Array) -> Devices:
        """The pairs as they were written."""
        devices = self.pairs
        for name, effect in self.written.items():
            devices = select(on[name], apply(effect, devices, named_key(key, name)), devices)
        return devices

    def _later(self, on: Mapping[str, Array], devices: Devices, key: Array) -> dict[str, Array] | None:
        """What the circuit sees of the devices in the two nudged phases [2, ...]; None if they stay as they are."""
        if not self.between:
            return None
        moved = {name: jnp.stack([pair, pair]) for name, pair in devices.items()}
        for what, effects in self.between.items():
            then = moments(effects, devices, named_key(key, what), (self.gap, 2 * self.gap))
            moved = {name: both + on[what] * (then[name] - devices[name]) for name, both in moved.items()}
        each = [self._signed(on, {name: both[k] for name, both in moved.items()}) for k in (0, 1)]
        return {name: jnp.stack([signed[name] for signed in each]) for name in each[0]}

    def _signed(self, on: Mapping[str, Array], devices: Devices) -> dict[str, Array]:
        """What the circuit sees of pairs: their difference, through wires."""
        return {name: self._seen(on, name, devices[self._array(name)]) for name in self.seen}

    def _seen(self, on: Mapping[str, Array], name: str, pair: Array) -> Array:
        if self.tiles:
            return self.tiles[name].effective(pair)
        through = jnp.where(on[WIRES], effective_matrix(pair, self.hardware.wires), pair) if WIRES in on else pair
        return through[0] - through[1]

    def _array(self, name: str) -> str:
        """The weights behind an array of the circuit."""
        return self.tiles[name].weights if self.tiles else name

    def _copies(self, on: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """Factors of the cells' copies, for theta."""
        if COPIES not in on:
            return {}
        effect = Mismatch(self.hardware.mismatch * on[COPIES])
        return {f"{n}.copies": effect(jnp.ones(shape), named_key(key, n)) for n, shape in self.copies.items()}

    def _measured(self, on: Mapping[str, Array], runs: Mapping[Phase, Voltages], key: Array) -> dict[str, Array]:
        """The gradient of the rule from the phases as they are read (1/siemens).

        Switches are numbers of the readout: no temperature, no spread, 32 bits are as good as no noise, no error, none.
        """
        hardware = self.hardware
        slow = None
        if SLOW in on and hardware.flicker > 0:
            slow = VoltageWander(on[SLOW] * hardware.flicker, self.bandwidth)
        amplifier = None
        if AMPLIFIERS in on:
            spreads = (on[AMPLIFIERS] * hardware.offset, on[AMPLIFIERS] * hardware.gain_error)
            amplifier = Amplifier(offset=spreads[0], gain_error=spreads[1])
        readout = Readout(
            noise=ThermalNoise(self.farads, hardware.device.kelvin * on[THERMAL]),
            slow=slow,
            gap=self.gap,
            amplifier=amplifier,
            bits=jnp.where(on[ADC], float(hardware.adc_bits), 32.0),
            repeats=hardware.repeats,
        )
        seen = readout.signals(REVERSED, self.lines, runs, key=key, chip=named_key(key, "amplifiers"))
        return {name: g.mean(0) for name, g in jax.vmap(self._gradient)(seen).items()}

    def _gradient(self, signals: Mapping[Phase, Voltages]) -> dict[str, Array]:
        return local_gradient(REVERSED, self.phases.netlist, signals, self.hardware.beta, self.phases.unit)

    def _cosine(
        self, on: Mapping[str, Array], devices: Devices, estimate: Mapping[str, Array], reference: Mapping[str, Array]
    ) -> Array:
        """Cosine over all devices of all pairs."""
        products = first = second = jnp.zeros(())
        for name in estimate:
            pair = devices[self._array(name)]
            both = jnp.stack([jnp.ones(()), -jnp.ones(())])[:, None, None]
            true = both * reference[name]
            if self.tiles or WIRES in on:
                true = oracle.pullback(partial(self._seen, on, name), pair, reference[name])
            found = both * estimate[name]
            products, first, second = (
                products + jnp.vdot(found, true), first + jnp.vdot(found, found), second + jnp.vdot(true, true)
            )  # fmt: skip
        return products / jnp.sqrt(first * second)


def _name(effect: Effect) -> str:
    found = next((name for kind, name in ON_DEVICES.items() if isinstance(effect, kind)), None)
    return found or type(effect).__name__.lower()
