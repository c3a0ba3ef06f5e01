"""The voltage-controlled switch, with a transition that Newton's method can follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax.numpy as jnp

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.devices.device import Device, accumulate, between, check_range, read_card, write_card
from analogep.netlist.element import BOLTZMANN, ROOM, NoiseSource
from analogep.netlist.elements.terminals import live

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True)
class SwitchModel:
    """Parameters of a `.model SW` card.

    Parameters
    ----------
    threshold, hysteresis : control voltage (V) at which it closes, and half the width of its memory; SPICE's VT and VH.
        Only hysteresis 0 is built: a memory is no function of the voltages.
    on, off : resistances (ohm); SPICE's RON and ROFF.
    width : half the width of the transition (V). SPICE's switch has none: it jumps. Outside threshold +- width this
        switch is SPICE's to the last bit; inside, the logarithm of the conductance follows a cubic.
    """

    threshold: float = 0.0
    hysteresis: float = 0.0
    on: float = 1.0
    off: float = 1e12
    width: float = 0.01

    def __post_init__(self) -> None:
        if self.hysteresis != 0:
            raise NetlistError(
                f"switch model: hysteresis {self.hysteresis:g} V is not supported; use 0, "
                "or positive feedback around the control voltage"
            )


def from_card(kind: str, parameters: Mapping[str, float]) -> SwitchModel:
    """Model of a `.model` card of type SW: VT, VH, RON, ROFF.

    Raises
    ------
    NetlistError
        For a parameter that is unknown, and for VH other than 0.
    """
    if kind.lower() != "sw":
        raise NetlistError(f".model {kind}: not a voltage-controlled switch; its type is SW")
    aliases = {"vt": "threshold", "vh": "hysteresis", "ron": "on", "roff": "off"}
    for name in parameters:
        if name.lower() not in aliases:
            raise NetlistError(f".model {kind}: unknown parameter {name!r}; known are ron, roff, vh, vt")
    found = read_card(SwitchModel, kind, parameters, aliases, {})
    check_range(kind, found, positive=("on", "off"), grading=())
    return SwitchModel(**found)


@dataclass(frozen=True, eq=False)
class Switch(Device):
    """Resistance between `a` and `b` that the voltage from `c` to `d` switches; SPICE letter S."""

    a: str
    b: str
    c: str
    d: str
    model: SwitchModel
    kelvin: float = ROOM

    terminal_fields: ClassVar[tuple[str, ...]] = ("a", "b", "c", "d")

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.a, self.b)

    def siemens(self, v: Voltages) -> Array:
        """Conductance at the control voltage (siemens)."""
        model = self.model
        x = (between(v, self.c, self.d) - model.threshold) / model.width
        smooth = jnp.clip((x + 1) / 2, 0.0, 1.0)
        smooth = smooth * smooth * (3 - 2 * smooth)
        between_them = jnp.exp(-(1 - smooth) * jnp.log(model.off) - smooth * jnp.log(model.on))
        return jnp.where(x >= 1, 1 / model.on, jnp.where(x <= -1, 1 / model.off, between_them))

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        current = self.siemens(v) * between(v, self.a, self.b)
        return accumulate((self.a, current), (self.b, -current))

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Thermal noise of the conductance."""
        return (NoiseSource("thermal", self.a, self.b, 4 * BOLTZMANN * self.kelvin * self.siemens(v)),)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        super().check(buses, arrays)
        if not self.model.width > 0:
            raise self._wrong(f"transition width {self.model.width:g} V; it must be positive")

    def spice(self, deck: Deck) -> Iterator[str]:
        model = self.model
        values = {"vt": model.threshold, "vh": 0.0, "ron": model.on, "roff": model.off}
        card = write_card(deck, "s", "sw", values)
        yield from self._instances(deck, "S", card, {})
