"""The junction diode: SPICE level 1, with breakdown, series resistance and charge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.devices.device import GMIN, KELVIN, Device, accumulate, between, write_card
from analogep.netlist.devices.diode_model import DiodeModel as DiodeModel
from analogep.netlist.devices.diode_model import from_card as from_card
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
from analogep.netlist.element import ROOM, NoiseSource

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck

_MATCHING = 25
"""Iterations in which ngspice matches reverse current and breakdown."""


@dataclass(frozen=True, eq=False)
class Diode(Device):
    """Junction diode from anode `a` to cathode `b`; SPICE letter D.

    i = I_S (exp(v / n V_T) - 1) + gmin v forward; reverse and breakdown as SPICE 3 has them; the series resistance
    stands between `a` and the node `<name>#internal`.

    Parameters
    ----------
    model : the model card. area : multiplies the saturation current and capacitance, divides the resistance.
    kelvin : temperature. m : number of such diodes in parallel. gmin : conductance across the junction (siemens).

    References
    ----------
    Antognetti and Massobrio, Semiconductor Device Modeling with SPICE (1988), chapter 1; ngspice 39 manual, section 7.
    """

    a: str
    b: str
    model: DiodeModel
    area: float = 1.0
    kelvin: float = ROOM
    m: float = 1.0
    gmin: float = GMIN
    inner: str | None = None

    terminal_fields: ClassVar[tuple[str, ...]] = ("a", "b")
    inner_fields: ClassVar[Mapping[str, str]] = {"inner": "internal"}

    def __post_init__(self) -> None:
        self._name_inner("inner", self.model.rs > 0)

    @property
    def _anode(self) -> str:
        return self.a if self.inner is None else self.inner

    @property
    def junctions(self) -> tuple[tuple[str, str], ...]:
        return ((self._anode, self.b),)

    def _junction(self, v: Voltages) -> Array:
        """Current of the junction at the device's temperature (amperes)."""
        return diode_current(
            between(v, self._anode, self.b), self.model, self.kelvin, self.area * self.m, self.m, self.gmin
        )

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        current = self._junction(v)
        if self.inner is None:
            return accumulate((self.a, current), (self.b, -current))
        series = self.area * self.m / self.model.rs * between(v, self.a, self.inner)
        return accumulate((self.a, series), (self.inner, current - series), (self.b, -current))

    def charges(self, v: Voltages) -> Currents:
        model, across = self.model, between(v, self._anode, self.b)
        potential = potential_at(model.vj, model.tnom, self.kelvin)[0]
        farads = model.cjo * self.area * self.m * capacitance_factor(model.vj, model.m, model.tnom, self.kelvin)
        charge = model.tt * self._junction(v) + depletion_charge(across, farads, potential, model.m, model.fc)
        return accumulate((self._anode, charge), (self.b, -charge))

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Thermal noise of the series resistance, shot and flicker noise of the junction."""
        current, model = jnp.abs(self._junction(v)), self.model
        flicker = self.m * model.kf * jnp.maximum(current / self.m, 1e-38) ** model.af / frequency
        found = [
            NoiseSource("shot", self._anode, self.b, 2 * CHARGE * current),
            NoiseSource("flicker", self._anode, self.b, flicker),
        ]
        if self.inner is not None:
            siemens = self.area * self.m / model.rs
            found.append(NoiseSource("thermal", self.a, self.inner, 4 * BOLTZMANN * self.kelvin * siemens))
        return tuple(found)

    def spice(self, deck: Deck) -> Iterator[str]:
        card = write_card(deck, "d", "d", self.model.card())
        yield from self._instances(deck, "D", card, {"area": self.area, "m": self.m, "temp": self.kelvin - KELVIN})


def diode_current(
    v: Array, model: DiodeModel, kelvin: Array | float, area: Array | float, m: Array | float, gmin: Array | float
) -> Array:
    """Current at a junction voltage (amperes), gmin included; `area` counts all `m` devices."""
    vt, saturation = thermal_voltage(kelvin), saturation_at(model, model.is_, model.n, kelvin) * area
    recombination = _recombination(v, model, kelvin) * area
    current = junction_current(v, saturation, model.n * vt) + recombination
    kneed = (v >= -3 * model.n * vt) & (current > 1e-18) & (jnp.asarray(model.ikf) > 0)
    knee = jnp.sqrt(jnp.where(kneed, current * reciprocal(model.ikf), 1.0))
    current = jnp.where(kneed, current / (1 + knee), current)
    if model.bv is not None:
        breaking = (model.n if model.nbv is None else model.nbv) * vt
        edge = -breakdown_voltage(model, kelvin, saturation, m)
        below = v < edge
        steep = limited_exp((edge - jnp.where(below, v, edge)) / breaking)
        current = jnp.where(below, recombination - saturation * steep, current)
    return current + gmin * v


def saturation_at(model: DiodeModel, nominal: Array | float, emission: Array | float, kelvin: Array | float) -> Array:
    """Saturation current of one unit of area at a temperature (amperes)."""
    ratio = kelvin / model.tnom
    exponent = (ratio - 1) * model.eg / (emission * thermal_voltage(kelvin)) + model.xti / emission * jnp.log(ratio)
    return nominal * jnp.exp(exponent)


def _recombination(v: Array, model: DiodeModel, kelvin: Array | float) -> Array:
    """Recombination in the depletion layer, held at its value at -3 n V_T below that voltage (amperes)."""
    vt = thermal_voltage(kelvin)
    v = jnp.maximum(v, -3 * model.n * vt)
    potential = potential_at(model.vj, model.tnom, kelvin)[0]
    width = ((1 - v / potential) ** 2 + 0.005) ** (model.m / 2)
    return saturation_at(model, model.isr, model.nr, kelvin) * (limited_exp(v / (model.nr * vt)) - 1) * width


def breakdown_voltage(model: DiodeModel, kelvin: Array | float, saturation: Array, m: Array | float) -> Array:
    """Voltage at which the breakdown exponential starts, so that the current at `bv` is `ibv` a device (volts)."""
    vt, target, bv = thermal_voltage(kelvin), m * model.ibv, jnp.asarray(model.bv)
    breaking = (model.n if model.nbv is None else model.nbv) * vt
    matched = target >= saturation * bv / vt
    ratio = jnp.where(matched, target / saturation, bv / vt)

    def step(_: int, edge: Array) -> Array:
        return bv - breaking * jnp.log(ratio + 1 - edge / vt)

    edge = jax.lax.fori_loop(0, _MATCHING, step, bv - breaking * jnp.log(1 + ratio))
    return jnp.where(matched, edge, bv)
