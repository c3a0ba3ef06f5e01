"""The field-effect transistor: SPICE level 1 (Shichman and Hodges) with bulk junctions and Meyer's capacitances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.devices.device import GMIN, KELVIN, Device, accumulate, between, write_card
from analogep.netlist.devices.junction import (
    BOLTZMANN,
    band_gap,
    capacitance_factor,
    depletion_charge,
    limited_exp,
    potential_at,
    thermal_voltage,
)
from analogep.netlist.devices.meyer import meyer
from analogep.netlist.devices.mosfet_model import SILICA, MOSFETModel
from analogep.netlist.devices.mosfet_model import from_card as from_card
from analogep.netlist.element import ROOM, NoiseSource

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck

RATE_SECONDS = 1e-12
"""A rate node stands at this time times the rate of change of the voltage that it follows.

Short against any step, so that an adaptive solver's error at the rate node stays below that of the voltage itself.
"""
RATE_SIEMENS = 1e-6
"""Conductance from a rate node to ground, which makes its equation a balance of currents like any other."""


class _Channel(NamedTuple):
    """The channel seen from the end that acts as source, for a transistor of type nmos (volts, siemens, farads)."""

    forward: Array
    vds: Array
    drive: Array
    current: Array
    gm: Array
    phi: Array


@dataclass(frozen=True, eq=False)
class MOSFET(Device):
    """Insulated-gate field-effect transistor, level 1; SPICE letter M.

    Drain and source resistances stand before the inner nodes `<name>#drain` and `<name>#source`. Meyer's capacitances
    between gate and the other three nodes are no derivatives of any charge (the model does not conserve charge), so no
    charge at the drain can reproduce them. Each is therefore multiplied by a rate of change that is an unknown of its
    own: `<name>#dvgs` stands at `RATE_SECONDS` dv_gs/dt, and likewise `#dvgd` and `#dvgb`. They are there when the
    model gives an oxide thickness; overlap capacitances are plain charges.

    Parameters
    ----------
    model : the model card. width, length : of the drawn channel (m).
    ad, as_, pd, ps : areas (m^2) and perimeters (m) of drain and source. nrd, nrs : their squares of sheet resistance.
    kelvin : temperature. m : number of such transistors in parallel. gmin : conductance across each bulk junction (S).

    References
    ----------
    Shichman and Hodges, IEEE J. Solid-State Circuits 3 (1968); Meyer, MOS models and circuit simulation, RCA Review 32
    (1971); Antognetti and Massobrio, Semiconductor Device Modeling with SPICE (1988), chapter 4.
    """

    drain: str
    gate: str
    source: str
    bulk: str
    model: MOSFETModel
    width: float = 1e-4
    length: float = 1e-4
    ad: float = 0.0
    as_: float = 0.0
    pd: float = 0.0
    ps: float = 0.0
    nrd: float = 1.0
    nrs: float = 1.0
    kelvin: float = ROOM
    m: float = 1.0
    gmin: float = GMIN
    drain_inner: str | None = None
    source_inner: str | None = None
    rate_gs: str | None = None
    rate_gd: str | None = None
    rate_gb: str | None = None

    terminal_fields: ClassVar[tuple[str, ...]] = ("drain", "gate", "source", "bulk")
    inner_fields: ClassVar[Mapping[str, str]] = {
        "drain_inner": "drain",
        "source_inner": "source",
        "rate_gs": "dvgs",
        "rate_gd": "dvgd",
        "rate_gb": "dvgb",
    }

    def __post_init__(self) -> None:
        model = self.model
        self._name_inner("drain_inner", model.rd > 0 or (model.rd_of_squares and model.rsh * self.nrd > 0))
        self._name_inner("source_inner", model.rs > 0 or (model.rs_of_squares and model.rsh * self.nrs > 0))
        for field in ("rate_gs", "rate_gd", "rate_gb"):
            self._name_inner(field, model.tox > 0)
        if not self.length - 2 * model.ld > 0:
            raise self._wrong(f"length {self.length:g} m leaves no channel after 2 ld = {2 * model.ld:g} m")

    @property
    def _nodes(self) -> tuple[str, str]:
        """Drain and source of the intrinsic transistor."""
        return self.drain_inner or self.drain, self.source_inner or self.source

    @property
    def junctions(self) -> tuple[tuple[str, str], ...]:
        pairs = tuple((self.bulk, end) for end in self._nodes)
        return pairs if self.model.kind == "nmos" else tuple((b, a) for a, b in pairs)

    @property
    def _sign(self) -> float:
        return 1.0 if self.model.kind == "nmos" else -1.0

    @property
    def _effective(self) -> Array | float:
        return self.length - 2 * self.model.ld

    def _channel(self, v: Voltages) -> _Channel:
        drain, source = self._nodes
        vgs, vbs, vds = (self._sign * between(v, node, source) for node in (self.gate, self.bulk, drain))
        ratio = self.m * self.width / self._effective
        return channel(vgs, vds, vbs, self.model, self.kelvin, ratio)

    def _resistors(self) -> Iterator[tuple[str, str, Array]]:
        """Outer node, inner node and conductance of each series resistance there is."""
        model = self.model
        if self.drain_inner is not None:
            yield self.drain, self.drain_inner, self.m / (model.rsh * self.nrd if model.rd_of_squares else model.rd)
        if self.source_inner is not None:
            yield self.source, self.source_inner, self.m / (model.rsh * self.nrs if model.rs_of_squares else model.rs)

    def _bulk_current(self, across: Array, area: Array | float) -> Array:
        """Current of one bulk junction, from the bulk (amperes).

        ngspice drops the exponential below -3 V_T, a jump of 5 % of the saturation current; here it is kept.
        """
        model, vt = self.model, thermal_voltage(self.kelvin)
        rise = band_gap(model.tnom) / thermal_voltage(model.tnom) - band_gap(self.kelvin) / vt
        by_area = (model.js * self.ad * self.as_) > 0
        saturation = self.m * jnp.exp(rise) * jnp.where(by_area, model.js * area, model.is_)
        return saturation * (limited_exp(across / vt) - 1) + self.gmin * across

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        sign, (drain, source) = self._sign, self._nodes
        at = self._channel(v)
        current = sign * jnp.where(at.forward, at.current, -at.current)
        parts: list[tuple[str | None, Array]] = [(drain, current), (source, -current)]
        for node, area in ((drain, self.ad), (source, self.as_)):
            leak = sign * self._bulk_current(sign * between(v, self.bulk, node), area)
            parts += [(self.bulk, leak), (node, -leak)]
        for outer, inner, siemens in self._resistors():
            through = siemens * between(v, outer, inner)
            parts += [(outer, through), (inner, -through)]
        for farads, rate, node in self._gate_capacitances(at):
            through = farads / RATE_SECONDS * v[rate]
            parts += [(self.gate, through), (node, -through), (rate, RATE_SIEMENS * v[rate])]
        return accumulate(*parts)

    def _gate_capacitances(self, at: _Channel) -> Iterator[tuple[Array, str, str]]:
        """Meyer's capacitance, its rate node, and the node across from the gate."""
        if self.rate_gs is None or self.rate_gd is None or self.rate_gb is None:
            return
        oxide = SILICA / self.model.tox * self.width * self._effective * self.m
        near, far, body = meyer(at.drive, at.vds, at.phi, oxide)
        drain, source = self._nodes
        yield jnp.where(at.forward, near, far), self.rate_gs, source
        yield jnp.where(at.forward, far, near), self.rate_gd, drain
        yield body, self.rate_gb, self.bulk

    def charges(self, v: Voltages) -> Currents:
        model, (drain, source) = self.model, self._nodes
        overlaps = (
            (model.cgso * self.width, source),
            (model.cgdo * self.width, drain),
            (model.cgbo * self._effective, self.bulk),
        )
        parts: list[tuple[str | None, Array]] = []
        for farads, node in overlaps:
            charge = farads * self.m * between(v, self.gate, node)
            parts += [(self.gate, charge), (node, -charge)]
        for node, total, area, perimeter in (
            (drain, model.cbd, self.ad, self.pd),
            (source, model.cbs, self.as_, self.ps),
        ):
            charge = self._bulk_charge(self._sign * between(v, self.bulk, node), total, area, perimeter)
            parts += [(self.bulk, self._sign * charge), (node, -self._sign * charge)]
        for rate, node in ((self.rate_gs, source), (self.rate_gd, drain), (self.rate_gb, self.bulk)):
            parts.append((rate, -RATE_SIEMENS * RATE_SECONDS * between(v, self.gate, node)))
        return accumulate(*parts)

    def _bulk_charge(self, across: Array, total: float | None, area: Array | float, perimeter: Array | float) -> Array:
        """Charge of one bulk junction (coulombs)."""
        model = self.model
        potential = potential_at(model.pb, model.tnom, self.kelvin)[0]
        charge = jnp.zeros(())
        bottom = model.cj * area if total is None else total
        for farads, grading in ((bottom, model.mj), (model.cjsw * perimeter, model.mjsw)):
            factor = capacitance_factor(model.pb, grading, model.tnom, self.kelvin)
            charge = charge + depletion_charge(across, self.m * farads * factor, potential, grading, model.fc)
        return charge

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Thermal noise of the resistances and of the channel (8/3 k T gm), flicker noise of the drain current."""
        at, model, (drain, source) = self._channel(v), self.model, self._nodes
        thermal = 4 * BOLTZMANN * self.kelvin
        gate = SILICA / jnp.where(jnp.asarray(model.tox) > 0, model.tox, 1e-7)
        current = jnp.where(at.forward, at.current, -at.current)
        leak = self._bulk_current(self._sign * between(v, self.bulk, drain), self.ad)
        drawn = jnp.maximum(jnp.abs(current - leak), 1e-38)
        area = self.width * self.m * self._effective
        flicker = model.kf * drawn**model.af / (frequency * area * gate**2)
        return (
            *(NoiseSource("thermal", a, b, thermal * siemens) for a, b, siemens in self._resistors()),
            NoiseSource("thermal", drain, source, thermal * 2 / 3 * at.gm),
            NoiseSource("flicker", drain, source, flicker),
        )

    def spice(self, deck: Deck) -> Iterator[str]:
        card = write_card(deck, "m", self.model.kind, self.model.card())
        values = {"w": self.width, "l": self.length, "ad": self.ad, "as": self.as_, "pd": self.pd, "ps": self.ps}
        values |= {"nrd": self.nrd, "nrs": self.nrs, "m": self.m, "temp": self.kelvin - KELVIN}
        yield from self._instances(deck, "M", card, values)


def channel(
    vgs: Array, vds: Array, vbs: Array, model: MOSFETModel, kelvin: Array | float, ratio: Array | float
) -> _Channel:
    """Current and transconductance of the channel; drain and source change places below v_ds = 0.

    `ratio` is effective width over length. The current and its first derivative are continuous everywhere.
    """
    sign = 1.0 if model.kind == "nmos" else -1.0
    forward = vds >= 0
    vg, vb = jnp.where(forward, vgs, vgs - vds), jnp.where(forward, vbs, vbs - vds)
    vds = jnp.where(forward, vds, -vds)
    phi = potential_at(model.phi, model.tnom, kelvin)[0]
    nominal = jnp.sqrt(model.phi)
    flat = sign * (model.vto + (band_gap(model.tnom) - band_gap(kelvin)) / 2) - model.gamma * nominal
    flat = flat + (phi - model.phi) / 2
    reverse = vb <= 0
    root = jnp.sqrt(phi)
    body = jnp.where(reverse, jnp.sqrt(jnp.where(reverse, phi - vb, phi)), jnp.maximum(root - vb / (2 * root), 0.0))
    drive = vg - flat - model.gamma * body
    beta = model.kp * (kelvin / model.tnom) ** -1.5 * ratio * (1 + model.lambda_ * vds)
    on, across = jnp.maximum(drive, 0.0), jnp.minimum(vds, jnp.maximum(drive, 0.0))
    return _Channel(forward, vds, drive, beta * across * (on - across / 2), beta * across, phi)
