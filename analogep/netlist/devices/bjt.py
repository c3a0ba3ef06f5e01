"""The bipolar transistor: Gummel and Poon's integral charge-control model as SPICE 3 has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.devices.bjt_model import BJTModel as BJTModel
from analogep.netlist.devices.bjt_model import from_card as from_card
from analogep.netlist.devices.device import GMIN, KELVIN, Device, accumulate, between, write_card
from analogep.netlist.devices.junction import (
    BOLTZMANN,
    CHARGE,
    capacitance_factor,
    depletion_charge,
    junction_current,
    limited_exp,
    potential_at,
    reciprocal,
    thermal_voltage,
)
from analogep.netlist.element import GROUND, ROOM, NoiseSource

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck

_EARLY = 0.05
"""Below this 1 - v_bc / VAF - v_be / VAR is continued by a hyperbola, so that the base charge never turns negative."""


class _Bias(NamedTuple):
    """What the laws share at one bias, for a transistor of type npn (volts, amperes)."""

    vbe: Array
    vbc: Array
    forward: Array
    reverse: Array
    charge: Array
    collector: Array
    base: Array


@dataclass(frozen=True, eq=False)
class BJT(Device):
    """Bipolar transistor; SPICE letter Q. Base, collector and emitter resistances stand before inner nodes
    `<name>#base`, `#collector` and `#emitter`.

    Parameters
    ----------
    model : the model card. substrate : node of the substrate. area : emitter area, relative.
    kelvin : temperature. m : number of such transistors in parallel. gmin : conductance across each junction (siemens).

    References
    ----------
    Gummel and Poon, An integral charge control model of bipolar transistors, Bell System Technical Journal 49 (1970);
    Antognetti and Massobrio, Semiconductor Device Modeling with SPICE (1988), chapter 2.
    """

    collector: str
    base: str
    emitter: str
    model: BJTModel
    substrate: str = GROUND
    area: float = 1.0
    kelvin: float = ROOM
    m: float = 1.0
    gmin: float = GMIN
    collector_inner: str | None = None
    base_inner: str | None = None
    emitter_inner: str | None = None

    terminal_fields: ClassVar[tuple[str, ...]] = ("collector", "base", "emitter", "substrate")
    inner_fields: ClassVar[Mapping[str, str]] = {
        "collector_inner": "collector",
        "base_inner": "base",
        "emitter_inner": "emitter",
    }

    def __post_init__(self) -> None:
        self._name_inner("collector_inner", self.model.rc > 0)
        self._name_inner("base_inner", self.model.rb > 0)
        self._name_inner("emitter_inner", self.model.re > 0)

    @property
    def _nodes(self) -> tuple[str, str, str]:
        """Collector, base and emitter of the intrinsic transistor."""
        return self.collector_inner or self.collector, self.base_inner or self.base, self.emitter_inner or self.emitter

    @property
    def junctions(self) -> tuple[tuple[str, str], ...]:
        collector, base, emitter = self._nodes
        pairs = ((base, emitter), (base, collector))
        return pairs if self.model.kind == "npn" else tuple((b, a) for a, b in pairs)

    @property
    def _sign(self) -> float:
        return 1.0 if self.model.kind == "npn" else -1.0

    @property
    def _bulk(self) -> str:
        """Where the substrate junction is: at the collector of an npn (vertical), at the base of a pnp (lateral)."""
        collector, base, _ = self._nodes
        return collector if self.model.kind == "npn" else base

    def _bias(self, v: Voltages) -> _Bias:
        collector, base, emitter = self._nodes
        vbe, vbc = self._sign * between(v, base, emitter), self._sign * between(v, base, collector)
        return bias(vbe, vbc, self.model, self.kelvin, self.area, self.gmin)

    def _base_siemens(self, at: _Bias) -> Array:
        """Conductance between base and inner base: less resistance at high current (siemens)."""
        model, ohms = self.model, self.model.rb
        if model.rbm is not None or not _is_zero(model.irb):
            least = ohms if model.rbm is None else model.rbm
            ohms = base_resistance(ohms, least, model.irb * self.area, at)
        return self.area * self.m / ohms

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        at, scale = self._bias(v), self._sign * self.m
        collector, base, emitter = self._nodes
        leak = self.m * self.gmin * between(v, self.substrate, self._bulk)
        parts: list[tuple[str | None, Array]] = [
            (collector, scale * at.collector),
            (base, scale * at.base),
            (emitter, -scale * (at.collector + at.base)),
            (self.substrate, leak),
            (self._bulk, -leak),
        ]
        for outer, inner, siemens in self._resistors(at):
            current = siemens * between(v, outer, inner)
            parts += [(outer, current), (inner, -current)]
        return accumulate(*parts)

    def _resistors(self, at: _Bias) -> Iterator[tuple[str, str, Array]]:
        """Outer node, inner node and conductance of each series resistance there is."""
        if self.collector_inner is not None:
            yield self.collector, self.collector_inner, self.area * self.m / self.model.rc
        if self.base_inner is not None:
            yield self.base, self.base_inner, self._base_siemens(at)
        if self.emitter_inner is not None:
            yield self.emitter, self.emitter_inner, self.area * self.m / self.model.re

    def charges(self, v: Voltages) -> Currents:
        model, sign = self.model, self._sign
        collector, base, emitter = self._nodes
        at, scale = self._bias(v), sign * self.m * self.area

        def depletion(across: Array, farads: Array, potential: Array, grading: Array, fc: Array | float) -> Array:
            factor = capacitance_factor(potential, grading, model.tnom, self.kelvin)
            now = potential_at(potential, model.tnom, self.kelvin)[0]
            return scale * depletion_charge(across, farads * factor, now, grading, fc)

        be = depletion(at.vbe, model.cje, model.vje, model.mje, model.fc)
        be = be + sign * self.m * forward_charge(at, model, self.area)
        bc = depletion(at.vbc, model.cjc * model.xcjc, model.vjc, model.mjc, model.fc)
        bc = bc + sign * self.m * model.tr * at.reverse
        outer = sign * between(v, self.base, collector)
        bx = depletion(outer, model.cjc * (1 - model.xcjc), model.vjc, model.mjc, model.fc)
        # A p substrate under an n collector or an n base: one polarity for both kinds of transistor.
        sub = sign * depletion(between(v, self.substrate, self._bulk), model.cjs, model.vjs, model.mjs, 0.0)
        return accumulate(
            (base, be + bc), (emitter, -be), (collector, -bc), (self.base, bx), (collector, -bx),
            (self.substrate, sub), (self._bulk, -sub),
        )  # fmt: skip

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Thermal noise of the resistances, shot noise of collector and base current, flicker of the base current."""
        at = self._bias(v)
        collector, base, emitter = self._nodes
        current = jnp.maximum(jnp.abs(at.base), 1e-38)
        thermal = 4 * BOLTZMANN * self.kelvin
        return (
            *(NoiseSource("thermal", a, b, thermal * siemens) for a, b, siemens in self._resistors(at)),
            NoiseSource("shot", collector, emitter, 2 * CHARGE * self.m * jnp.abs(at.collector)),
            NoiseSource("shot", base, emitter, 2 * CHARGE * self.m * jnp.abs(at.base)),
            NoiseSource("flicker", base, emitter, self.m * self.model.kf * current**self.model.af / frequency),
        )

    def spice(self, deck: Deck) -> Iterator[str]:
        names = tuple(self.terminals.values())
        for index, nodes in deck.nodes(*names):
            area, m, kelvin = (deck.at(x, index, deck.shape(*names)) for x in (self.area, self.m, self.kelvin))
            card = write_card(deck, "q", self.model.kind, self.model.card(area))
            words = [f"m={deck.number(m)}", f"temp={deck.number(kelvin - KELVIN)}"]
            yield " ".join([deck.instance("Q", self.name, index), *nodes, card, *words])


def bias(
    vbe: Array, vbc: Array, model: BJTModel, kelvin: Array | float, area: Array | float, gmin: Array | float
) -> _Bias:
    """Currents of the intrinsic transistor at its junction voltages, gmin included."""
    vt, ratio = thermal_voltage(kelvin), kelvin / model.tnom
    rise = (ratio - 1) * model.eg / vt + model.xti * jnp.log(ratio)
    gain = ratio**model.xtb
    saturation = area * model.is_ * jnp.exp(rise)
    forward = junction_current(vbe, saturation, model.nf * vt)
    reverse = junction_current(vbc, saturation, model.nr * vt)
    leaks = [
        area * current * jnp.exp(rise / emission) / gain * junction_current(across, 1.0, emission * vt) + gmin * across
        for current, emission, across in ((model.ise, model.ne, vbe), (model.isc, model.nc, vbc))
    ]
    charge = base_charge(vbe, vbc, forward / area, reverse / area, model)
    base_reverse = reverse / (model.br * gain) + leaks[1]
    collector = (forward - reverse) / charge - base_reverse
    base = forward / (model.bf * gain) + leaks[0] + base_reverse
    return _Bias(vbe, vbc, forward, reverse, charge, collector, base)


def base_charge(vbe: Array, vbc: Array, forward: Array, reverse: Array, model: BJTModel) -> Array:
    """Majority charge of the base over its value at rest: Early effect and high injection."""
    early = 1 - vbc * reciprocal(model.vaf) - vbe * reciprocal(model.var)
    low = early < _EARLY
    early = jnp.where(low, _EARLY**2 / (2 * _EARLY - jnp.where(low, early, 0.0)), early)
    injection = 1 + 4 * (forward * reciprocal(model.ikf) + reverse * reciprocal(model.ikr))
    return (1 + jnp.sqrt(jnp.maximum(injection, 1e-12))) / (2 * early)


def base_resistance(ohms: Array | float, least: Array | float, half: Array | float, at: _Bias) -> Array:
    """Base resistance of one unit of area: over the base charge, or by Hauser's current crowding if `half` > 0."""
    crowding = jnp.asarray(half) > 0
    x = jnp.maximum(at.base * reciprocal(half), 1e-9)
    z = (jnp.sqrt(1 + 14.59025 * x) - 1) / (2.4317 * jnp.sqrt(x))
    tangent = jnp.tan(z)
    crowded = 3 * (tangent - z) / (z * tangent * tangent)
    return least + (ohms - least) * jnp.where(crowding, crowded, 1 / at.charge)


def forward_charge(at: _Bias, model: BJTModel, area: Array | float) -> Array:
    """Diffusion charge of the forward transistor (coulombs); below zero bias SPICE leaves out base charge and XTF."""
    kneed = jnp.asarray(model.itf) > 0
    forward = jnp.maximum(at.forward, 0.0)
    share = forward / jnp.where(kneed, forward + model.itf * area, 1.0)
    rise = model.xtf * limited_exp(at.vbc * reciprocal(model.vtf) / 1.44) * jnp.where(kneed, share**2, 1.0)
    return model.tf * jnp.where(at.vbe > 0, forward * (1 + rise) / at.charge, at.forward)


def _is_zero(value: Array | float) -> bool:
    return isinstance(value, int | float) and value == 0
