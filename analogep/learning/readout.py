"""How the signals of phases are measured before a rule multiplies them: noise, offsets, converters, repeats.

A rule that compares two phases wants a difference that is beta times smaller than what it is a difference of. There are
two ways to it:

- `separate`: both phases are converted, and the codes subtracted. The converter's range must hold the whole voltages,
  so its step is that of a signal 1 / beta times too large.
- `correlated`: both phases are sampled and held, subtracted as voltages, and the difference is converted once, in a
  range of its own (correlated double sampling). Offsets before the subtraction cancel.

Noise of sampling is the same in both: each phase is sampled once. White noise is all there is here; what is slower than
the time between two phases, such as 1/f noise, a difference takes out as it does an offset.

Reference
---------
Enz and Temes 1996, "Circuit techniques for reducing the effects of op-amp imperfections: autozeroing, correlated double
sampling, and chopper stabilization".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError, SpecError
from analogep.learning.phases import PhaseRun
from analogep.learning.rule import Phase, Rule
from analogep.netlist._types import Array
from analogep.netlist.element import GROUND, ROOM
from analogep.netlist.graph import Netlist
from analogep.simulate.settle import SettleOptions
from analogep.simulate.system import System
from analogep.technology.converters import BITS, Converter
from analogep.technology.effect import Effect, named_key, require
from analogep.technology.noise import ThermalNoise

Difference = Literal["correlated", "separate"]
Signals = dict[str, jax.Array]
"""Conversion -> volts [samples, lines]; conversions are phases, and `difference`."""


@dataclass(frozen=True)
class Readout:
    """What a rule gets to see of the phases; exact, if everything is left out and `bits` is None.

    Parameters
    ----------
    noise : effect on volts, drawn anew for each node, phase and reading: sample and hold, amplifier noise.
    nodes : bus -> another such effect for it alone (`node_noise` makes those of the nodes' own capacitors); buses at
        which no weight sits are not read.
    amplifier : effect on volts that is fixed when the chip is made (`technology.Amplifier`): each node has one, the
        same for all samples, phases and readings. It needs the key `chip`.
    bits : of the converter; None converts exactly.
    full_scale : volts of its largest code. None has a peak detector for each bus and conversion: the largest voltage
        of any node, sample and reading, as an automatic range has after a while.
    difference_scale : alike for a converted difference (`correlated`).
    repeats : readings that are averaged, each sampled and converted anew; phases are not settled again.
    difference : `correlated` or `separate`, see above.

    Raises
    ------
    SpecError
        For another difference, or numbers that make no sense.
    """

    noise: Effect | None = None
    nodes: Mapping[str, Effect] | tuple[tuple[str, Effect], ...] = ()
    amplifier: Effect | None = None
    bits: int | None = BITS
    full_scale: float | None = None
    difference_scale: float | None = None
    repeats: Array | int = 1
    difference: Difference = "correlated"

    def __post_init__(self) -> None:
        if self.difference not in ("correlated", "separate"):
            raise SpecError(f"Readout: difference = {self.difference!r}; choose 'correlated' or 'separate'")
        require(self, 2, 32, bits=self.bits)
        require(self, 1, repeats=self.repeats)
        require(self, 0.0, above=True, full_scale=self.full_scale, difference_scale=self.difference_scale)
        # pairs can be hashed, and so a program is compiled once for a readout
        pairs = self.nodes.items() if isinstance(self.nodes, Mapping) else self.nodes
        object.__setattr__(self, "nodes", tuple(pairs))

    def __call__(
        self,
        rule: Rule,
        netlist: Netlist,
        runs: Mapping[Phase, PhaseRun],
        *,
        key: Array,
        chip: Array | None = None,
    ) -> dict[Phase, PhaseRun]:
        """The phases of a rule as measured, in the place of `runs` for `Estimators.gradient`.

        Voltages are those at the weights' own terminals, as the rule reads them; there are no others. The converted
        difference is added to the phase that is subtracted, so that the rule finds it where it looks.

        Parameters
        ----------
        netlist : the circuit in which the weights sit.
        runs : as `Estimators.run` returns them, voltages [samples, ...].
        key : of this measurement.
        chip : key of the amplifiers.

        Raises
        ------
        SpecError
            If an amplifier has no key of its chip.
        """
        if self.amplifier is not None and chip is None:
            raise SpecError("Readout: amplifiers are fixed when the chip is made; give its key as `chip`")
        lines = _Lines(netlist)
        held = {phase: self._amplified(lines.join(runs[phase].voltages), chip) for phase in sorted(rule.phases)}
        pair = contrasted(rule) if self.difference == "correlated" else None

        def reading(k: Array | int) -> Signals:
            return self._sampled(lines, held, pair, jax.random.fold_in(key, k))

        scales = self._scales(lines, reading)
        total = self._over_readings(lambda k: self._converted(reading(k), scales), jnp.add)
        mean = {name: volts / self.repeats for name, volts in total.items()}
        if pair is not None:
            plus, minus = pair
            mean[plus] = mean[minus] + mean["difference"]
        measured = {p: runs[p]._replace(voltages=lines.split(mean[p], runs[p].voltages)) for p in rule.phases}
        return {Phase.FREE: runs[Phase.FREE], **measured}

    def _amplified(self, volts: jax.Array, chip: Array | None) -> jax.Array:
        """Volts [samples, lines] behind the amplifiers."""
        effect = self.amplifier
        if effect is None or chip is None:
            return volts
        return jax.vmap(lambda sample: effect(sample, chip))(volts)

    def _sampled(self, lines: _Lines, held: Mapping[Phase, jax.Array], pair: tuple | None, key: Array) -> Signals:
        """One reading of everything that is to be converted."""
        out: Signals = {}
        for phase, volts in held.items():
            of_phase = named_key(key, phase)
            out[phase] = volts if self.noise is None else self.noise(volts, of_phase)
            for bus, effect in dict(self.nodes).items():
                if bus in lines.shapes:
                    where, shape = lines.places[bus], lines.shapes[bus]
                    noisy = effect(out[phase][:, where].reshape(-1, *shape), named_key(of_phase, bus))
                    out[phase] = out[phase].at[:, where].set(noisy.reshape(len(volts), -1))
        if pair is not None:
            plus, minus = pair
            out["difference"] = out.pop(plus) - out[minus]
        return out

    def _scales(self, lines: _Lines, reading: Callable[[Array | int], Signals]) -> Signals | None:
        """Full scale [lines] of each conversion."""
        if self.bits is None:
            return None

        def peaks(k: Array | int) -> Signals:
            return {name: lines.peaks(volts) for name, volts in reading(k).items()}

        scales = {}
        for name, peak in self._over_readings(peaks, jnp.maximum).items():
            fixed = self.difference_scale if name == "difference" else self.full_scale
            # a bus that shows nothing has no range; any one converts its 0 V exactly
            scales[name] = jnp.where(peak > 0, peak, 1.0) if fixed is None else jnp.full(peak.shape, fixed)
        return scales

    def _converted(self, signals: Signals, scales: Signals | None) -> Signals:
        if self.bits is None or scales is None:
            return signals
        out = {}
        for name, volts in signals.items():
            converter = Converter(self.bits, scales[name])
            out[name] = converter.codes(volts) * converter.step
        return out

    def _over_readings(self, reading: Callable[[Array | int], Signals], join: Callable[..., Array]) -> Signals:
        """Readings 0, 1, ... joined one after another, so that memory does not grow with them."""

        def another(k: Array, so_far: Signals) -> Signals:
            return jax.tree.map(join, so_far, reading(k))

        # what is joined starts from 0: sums, and maxima of magnitudes
        nothing = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(reading, 0))
        return jax.lax.fori_loop(0, self.repeats, another, nothing)


class _Lines:
    """The terminals of programmable elements side by side: voltages [samples, lines] and those of buses."""

    def __init__(self, netlist: Netlist) -> None:
        weights = [e for e in netlist if e.array is not None]
        buses = sorted({bus for e in weights for bus in (*e.reads, *e.drives)} - {GROUND})
        self.shapes = {bus: netlist.buses[bus].shape for bus in buses}
        sizes = [int(np.prod(shape, dtype=int)) for shape in self.shapes.values()]
        ends = np.cumsum(sizes)
        self.places = {bus: slice(end - n, end) for bus, end, n in zip(buses, ends, sizes, strict=True)}
        self.bus_of = np.repeat(np.arange(len(buses)), sizes)

    def join(self, voltages: Mapping[str, Array]) -> jax.Array:
        """Buses that a phase does not have are at 0 V."""
        samples = len(next(iter(voltages.values())))
        silent = {bus: jnp.zeros((samples, *shape)) for bus, shape in self.shapes.items() if bus not in voltages}
        there = {**voltages, **silent}
        return jnp.concatenate([jnp.reshape(there[bus], (samples, -1)) for bus in self.shapes], axis=1)

    def split(self, volts: jax.Array, like: Mapping[str, Array]) -> dict[str, jax.Array]:
        """Voltages of the buses that `like` has."""
        return {bus: volts[:, self.places[bus]].reshape(-1, *s) for bus, s in self.shapes.items() if bus in like}

    def peaks(self, volts: jax.Array) -> jax.Array:
        """Largest magnitude on each line's bus [lines]."""
        largest = jnp.zeros(len(self.shapes)).at[self.bus_of].max(jnp.abs(volts).max(0))
        return largest[self.bus_of]


EXACT = Readout(bits=None)
"""Signals as they are."""


def contrasted(rule: Rule) -> tuple[Phase, Phase] | None:
    """The two phases whose difference a rule reads, the one that adds first; None if it reads no difference."""
    plus, minus = ({term.post for term in rule.terms if term.sign * sign > 0} for sign in (1, -1))
    return (plus.pop(), minus.pop()) if len(plus) == len(minus) == 1 else None


def node_noise(system: System, kelvin: float = ROOM, *, buses: Iterable[str] | None = None) -> dict[str, ThermalNoise]:
    """sqrt(k T / C) of the nodes' own capacitors, for `Readout.nodes`.

    It holds for a node whose conductances are all passive; what active neighbors add or take away needs the whole
    circuit (`analogep.simulate.nodal.thermal`).

    Parameters
    ----------
    system : whose states have capacitors.
    kelvin : temperature.
    buses : which ones; all states when None.

    Raises
    ------
    NetlistError
        If the nodes of a bus have different capacitors.
    """
    effects = {}
    for bus in system.states if buses is None else buses:
        farads = np.ravel(np.asarray(system.capacitance[bus], float))
        if np.ptp(farads) > 1e-12 * farads[0]:
            raise NetlistError(
                f"nodes of {bus!r} have different capacitors; give Readout(nodes=...) its effect by hand"
            )
        effects[bus] = ThermalNoise(float(farads[0]), kelvin)
    return effects


def cut_off(horizon: float, options: SettleOptions | None = None) -> SettleOptions:
    """Options for phases that are read when a time is over, settled or not; their results say so in `converged`.

    Free and nudged phases get the same time each, a nudged one from where the free one was read. Buses that only follow
    the others without feeding back are read at rest in the free phase.

    Parameters
    ----------
    horizon : units of the system's tau.
    options : what else to settle with.
    """
    if not horizon > 0:
        raise SpecError(f"phases cut off after {horizon:g} tau; give a time above 0")
    options = options or SettleOptions()
    return replace(options, horizon=horizon, approach=options.tolerance, polish=0)
