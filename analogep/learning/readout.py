"""How the signals of phases are measured before a rule multiplies them: noise, offsets, converters, repeats.

A rule that compares two phases wants a difference that is beta times smaller than what it is a difference of. There are
two ways to it:

- `separate`: both phases are converted, and the codes subtracted. The converter's range must hold the whole voltages,
  so its step is that of a signal 1 / beta times too large.
- `correlated`: both phases are sampled and held, subtracted as voltages, and the difference is converted once, in a
  range of its own (correlated double sampling). Offsets before the subtraction cancel.

Noise of sampling is the same in both: each phase is sampled once. What is slower than the time between two phases, a
difference takes out as it does an offset; of 1/f noise that is less than one might hope, and `slow` is what stays.

Reference
---------
Enz and Temes 1996, "Circuit techniques for reducing the effects of op-amp imperfections: autozeroing, correlated double
sampling, and chopper stabilization".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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
from analogep.technology.between import Between
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
    slow : what nodes' readings wander by between phases (`technology.VoltageWander`): the same within a phase, for all
        its readings and turns, and another one for each sample. The free phase comes first, then the one that adds,
        then the one that subtracts, `gap` seconds apart (`place`).
    gap : seconds from phase to phase.
    amplifier : effect on volts that is fixed when the chip is made (`technology.Amplifier`): each node has one, the
        same for all samples, phases and readings. It needs the key `chip`.
    bits : of the converter; None converts exactly.
    full_scale : volts of its largest code. None has a peak detector for each bus and conversion: the largest voltage
        of any node, sample and reading, as an automatic range has after a while.
    difference_scale : alike for a converted difference (`correlated`).
    repeats : readings that are averaged, each sampled and converted anew; phases are not settled again.
    difference : `correlated` or `separate`, see above.
    known : buses whose voltages are known without a reading, such as rails; they are taken as they are.
    turns : leading axes of the buses (tokens: 1) whose nodes take turns at one amplifier.

    Raises
    ------
    SpecError
        For another difference, or numbers that make no sense.
    """

    noise: Effect | None = None
    nodes: Mapping[str, Effect] | tuple[tuple[str, Effect], ...] = ()
    slow: Between | None = None
    gap: float = 0.0
    amplifier: Effect | None = None
    bits: Array | int | None = BITS
    full_scale: float | None = None
    difference_scale: float | None = None
    repeats: Array | int = 1
    difference: Difference = "correlated"
    known: tuple[str, ...] = ()
    turns: int = 0

    def __post_init__(self) -> None:
        if self.difference not in ("correlated", "separate"):
            raise SpecError(f"Readout: difference = {self.difference!r}; choose 'correlated' or 'separate'")
        require(self, 2, 32, bits=self.bits)
        require(self, 1, repeats=self.repeats)
        require(self, gap=self.gap)
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
        volts = {phase: runs[phase].voltages for phase in rule.phases}
        seen = self.signals(rule, Lines.of(netlist, known=self.known, turns=self.turns), volts, key=key, chip=chip)
        return {Phase.FREE: runs[Phase.FREE], **{p: runs[p]._replace(voltages=v) for p, v in seen.items()}}

    def signals(
        self,
        rule: Rule,
        lines: Lines,
        volts: Mapping[Phase, Mapping[str, Array]],
        *,
        key: Array,
        chip: Array | None = None,
    ) -> dict[Phase, dict[str, Array]]:
        """The same for voltages of the rule's phases [samples, ...], without how they settled."""
        if self.amplifier is not None and chip is None:
            raise SpecError("Readout: amplifiers are fixed when the chip is made; give its key as `chip`")
        held = {phase: self._amplified(lines.join(volts[phase]), chip) for phase in sorted(rule.phases)}
        if self.slow is not None:
            held = self._wandered(self.slow, held, named_key(key, "slow"))
        pair = contrasted(rule) if self.difference == "correlated" else None

        def reading(k: Array | int) -> Signals:
            return self._sampled(lines, held, pair, jax.random.fold_in(key, k))

        scales = self._scales(lines, reading)
        total = self._over_readings(lambda k: self._converted(reading(k), scales), jnp.add)
        mean = {name: v / self.repeats for name, v in total.items()}
        if pair is not None:
            plus, minus = pair
            mean[plus] = mean[minus] + mean["difference"]
        return {phase: lines.split(mean[phase], volts[phase]) for phase in rule.phases}

    def _amplified(self, volts: jax.Array, chip: Array | None) -> jax.Array:
        """Volts [samples, *turns, lines] behind the amplifiers."""
        effect = self.amplifier
        if effect is None or chip is None:
            return volts
        at_once = volts.reshape(-1, volts.shape[-1])
        return jax.vmap(lambda v: effect(v, chip))(at_once).reshape(volts.shape)

    def _wandered(self, slow: Between, held: Mapping[Phase, jax.Array], key: Array) -> dict[Phase, jax.Array]:
        """Volts with what has changed at each amplifier since the first phase."""
        turns = tuple(range(1, next(iter(held.values())).ndim - 1))
        still = jnp.zeros_like(next(iter(held.values())).max(turns, keepdims=True))
        moved = slow(still, key, tuple(place(phase) * self.gap for phase in held))
        return {phase: volts + moved[k] for k, (phase, volts) in enumerate(held.items())}

    def _sampled(self, lines: Lines, held: Mapping[Phase, jax.Array], pair: tuple | None, key: Array) -> Signals:
        """One reading of everything that is to be converted."""
        out: Signals = {}
        for phase, volts in held.items():
            of_phase = named_key(key, phase)
            out[phase] = volts if self.noise is None else self.noise(volts, of_phase)
            for bus, effect in dict(self.nodes).items():
                if bus in lines.shapes:
                    where, shape = lines.places[bus], lines.shapes[bus]
                    here = out[phase][..., where]
                    noisy = effect(here.reshape(-1, *shape), named_key(of_phase, bus))
                    out[phase] = out[phase].at[..., where].set(noisy.reshape(here.shape))
        if pair is not None:
            plus, minus = pair
            out["difference"] = out.pop(plus) - out[minus]
        return out

    def _scales(self, lines: Lines, reading: Callable[[Array | int], Signals]) -> Signals | None:
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


@dataclass(frozen=True)
class Lines:
    """Nodes that are read, side by side: voltages [samples, *turns, lines] and those of buses; `Lines.of` makes it.

    Attributes
    ----------
    shapes : bus -> its shape. known : buses that are not read. turns : axes that stay apart.
    """

    shapes: dict[str, tuple[int, ...]]
    known: tuple[str, ...] = ()
    turns: int = 0

    @classmethod
    def of(cls, netlist: Netlist, *, known: tuple[str, ...] = (), turns: int = 0) -> Lines:
        """The terminals of the programmable elements of a netlist."""
        weights = [e for e in netlist if e.array is not None]
        buses = sorted({bus for e in weights for bus in (*e.reads, *e.drives)} - {GROUND, *known})
        return cls({bus: netlist.buses[bus].shape for bus in buses}, known, turns)

    @cached_property
    def sizes(self) -> list[int]:
        """Lines of each bus."""
        return [int(np.prod(shape[self.turns :], dtype=int)) for shape in self.shapes.values()]

    @cached_property
    def places(self) -> dict[str, slice]:
        """Bus -> its lines."""
        ends = np.cumsum(self.sizes)
        return {bus: slice(end - n, end) for bus, end, n in zip(self.shapes, ends, self.sizes, strict=True)}

    @cached_property
    def bus_of(self) -> np.ndarray:
        """Number of the bus of each line."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def each(self, of_bus: Mapping[str, float]) -> np.ndarray:
        """A number of each bus, for each of its lines."""
        return np.array([of_bus[bus] for bus in self.shapes])[self.bus_of]

    def join(self, voltages: Mapping[str, Array]) -> jax.Array:
        """Buses that a phase does not have are at 0 V."""
        samples = len(next(iter(voltages.values())))
        silent = {bus: jnp.zeros((samples, *shape)) for bus, shape in self.shapes.items() if bus not in voltages}
        there = {**voltages, **silent}
        apart = [jnp.reshape(there[bus], (samples, *shape[: self.turns], -1)) for bus, shape in self.shapes.items()]
        return jnp.concatenate(apart, axis=-1)

    def split(self, volts: jax.Array, like: Mapping[str, Array]) -> dict[str, jax.Array]:
        """Voltages of the buses that `like` has; known ones as they are there."""
        read = {bus: volts[..., self.places[bus]].reshape(-1, *s) for bus, s in self.shapes.items() if bus in like}
        return {**{bus: like[bus] for bus in self.known if bus in like}, **read}

    def peaks(self, volts: jax.Array) -> jax.Array:
        """Largest magnitude on each line's bus [lines]."""
        of_line = jnp.abs(volts).max(tuple(range(volts.ndim - 1)))
        largest = jnp.zeros(len(self.shapes)).at[self.bus_of].max(of_line)
        return largest[self.bus_of]


EXACT = Readout(bits=None)
"""Signals as they are."""


def contrasted(rule: Rule) -> tuple[Phase, Phase] | None:
    """The two phases whose difference a rule reads, the one that adds first; None if it reads no difference."""
    plus, minus = ({term.post for term in rule.terms if term.sign * sign > 0} for sign in (1, -1))
    return (plus.pop(), minus.pop()) if len(plus) == len(minus) == 1 else None


def place(phase: Phase) -> int:
    """When a phase comes in a learning step, counted in phases: free ones first, a nudge, then the opposite one."""
    return 0 if phase is Phase.FREE else 2 if phase.value.endswith("-") else 1


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
    if not isinstance(horizon, jax.core.Tracer) and not horizon > 0:
        raise SpecError(f"phases cut off after {horizon:g} tau; give a time above 0")
    options = options or SettleOptions()
    return replace(options, horizon=horizon, approach=options.tolerance, polish=0)
