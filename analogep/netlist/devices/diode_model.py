"""The model card of the junction diode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analogep.errors import NetlistError
from analogep.netlist.devices.device import KELVIN, check_range, differing, read_card
from analogep.netlist.element import ROOM

_REFUSED = """
jsw cjp php mjsw ns ikr trs trs1 trs2 ttt1 ttt2 tm1 tm2 tlev tlevc cta ctp tpb tphp tcv fcs jtun jtunsw ntun xtitun keg
rth0 cth0 lm lp wm wp xom xoi xm xp pj area
"""
_WHY = "sidewalls, tunneling, self-heating and further temperature coefficients are left out"
_RATINGS = ("fv_max", "bv_max", "id_max", "te_max", "pd_max")  # limits that ngspice warns of; no part of the law


@dataclass(frozen=True)
class DiodeModel:
    """Parameters of a `.model D` card, in SPICE's units, temperatures in kelvin.

    Parameters
    ----------
    is_ : saturation current (A). n : emission coefficient. rs : series resistance (ohm).
    tt : transit time (s). cjo, vj, m, fc : junction capacitance (F), potential (V), grading, forward coefficient.
    eg, xti : activation energy (eV) and exponent of the saturation current. tnom : temperature of the parameters (K).
    bv, ibv, nbv : breakdown voltage (V; None: never), current there (A), its emission coefficient (None: n).
    ikf : forward knee current (A; 0: none). isr, nr : recombination current (A; 0: none), its emission coefficient.
    kf, af : flicker noise coefficient and exponent.
    """

    is_: float = 1e-14
    n: float = 1.0
    rs: float = 0.0
    tt: float = 0.0
    cjo: float = 0.0
    vj: float = 1.0
    m: float = 0.5
    fc: float = 0.5
    eg: float = 1.11
    xti: float = 3.0
    tnom: float = ROOM
    bv: float | None = None
    ibv: float = 1e-3
    nbv: float | None = None
    ikf: float = 0.0
    isr: float = 0.0
    nr: float = 1.0
    kf: float = 0.0
    af: float = 1.0

    def card(self) -> dict[str, float]:
        """SPICE's parameters."""
        found = {"is" if name == "is_" else name: value for name, value in differing(self).items()}
        return {**found, "tnom": self.tnom - KELVIN}


def from_card(kind: str, parameters: Mapping[str, float]) -> DiodeModel:
    """Model of a `.model` card of type D; parameters as SPICE names them, `tnom` in degrees Celsius.

    Raises
    ------
    NetlistError
        For a parameter that is unknown or not supported, and a level other than 1.
    """
    if kind.lower() != "d":
        raise NetlistError(f".model {kind}: not a diode; its type is D")
    given = {key.lower(): value for key, value in parameters.items()}
    if given.pop("level", 1) != 1:
        raise NetlistError(f".model {kind}: only level 1 is supported")
    for rating in _RATINGS:
        given.pop(rating, None)
    aliases = {"is": "is_", "js": "is_", "cj0": "cjo", "cj": "cjo", "pb": "vj", "mj": "m"}
    found = read_card(DiodeModel, kind, given, aliases, dict.fromkeys(_REFUSED.split(), _WHY))
    if found.get("bv") == 0:
        del found["bv"]
    check_range(kind, found, positive=("n", "vj", "nbv", "nr", "tnom", "is_"), grading=("m", "fc"))
    return DiodeModel(**found)
