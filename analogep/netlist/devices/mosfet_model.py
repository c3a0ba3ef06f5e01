"""The model card of the level 1 MOSFET, and what SPICE derives from oxide thickness and doping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analogep.errors import NetlistError
from analogep.netlist.devices.device import KELVIN, check_range, differing, read_card
from analogep.netlist.devices.junction import CHARGE, band_gap, thermal_voltage
from analogep.netlist.element import ROOM

_VACUUM = 8.854214871e-12  # as SPICE has it (farads per meter)
SILICA = 3.9 * _VACUUM
"""Permittivity of silicon dioxide (farads per meter)."""
_SILICON = 11.7 * _VACUUM
_INTRINSIC = 1.45e16  # carriers per cubic meter


@dataclass(frozen=True)
class MOSFETModel:
    """Parameters of a `.model NMOS` or `PMOS` card of level 1, in SPICE's units, temperatures in kelvin.

    Parameters
    ----------
    kind : "nmos" or "pmos".
    vto, kp, gamma, phi, lambda_ : threshold at no body bias (V), transconductance (A/V^2), body effect (V^0.5), surface
        potential (V), channel-length modulation (1/V).
    rd, rs, rsh : drain and source resistance (ohm), or sheet resistance where rd_of_squares, rs_of_squares say so.
    cbd, cbs : capacitance of the bulk junctions (F), or None: cj (F/m^2) times area.
    is_, js : saturation current of a bulk junction (A), and its density (A/m^2) where both areas are given.
    pb, mj, cjsw, mjsw, fc : junction potential (V), gradings, sidewall capacitance (F/m), forward coefficient.
    cgso, cgdo, cgbo : overlap capacitances (F/m). tox, ld : oxide thickness, lateral diffusion (m; 0: none).
    tnom : temperature of the parameters (K). kf, af : flicker noise coefficient and exponent.
    """

    kind: str = "nmos"
    vto: float = 0.0
    kp: float = 2e-5
    gamma: float = 0.0
    phi: float = 0.6
    lambda_: float = 0.0
    rd: float = 0.0
    rs: float = 0.0
    rsh: float = 0.0
    cbd: float | None = None
    cbs: float | None = None
    is_: float = 1e-14
    js: float = 0.0
    pb: float = 0.8
    cj: float = 0.0
    mj: float = 0.5
    cjsw: float = 0.0
    mjsw: float = 0.5
    fc: float = 0.5
    cgso: float = 0.0
    cgdo: float = 0.0
    cgbo: float = 0.0
    tox: float = 0.0
    ld: float = 0.0
    tnom: float = ROOM
    kf: float = 0.0
    af: float = 1.0
    rd_of_squares: bool = False
    rs_of_squares: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("nmos", "pmos"):
            raise NetlistError(f"MOSFETModel: kind {self.kind!r}; it is nmos or pmos")

    def card(self) -> dict[str, float]:
        """SPICE's parameters; those that SPICE would derive from the oxide thickness are always there."""
        names = {"is_": "is", "lambda_": "lambda"}
        found = {names.get(k, k): x for k, x in differing(self, ("kind", "rd_of_squares", "rs_of_squares")).items()}
        if self.rsh and not self.rd_of_squares:
            found["rd"] = self.rd
        if self.rsh and not self.rs_of_squares:
            found["rs"] = self.rs
        return {
            **found,
            "vto": self.vto,
            "kp": self.kp,
            "gamma": self.gamma,
            "phi": self.phi,
            "tnom": self.tnom - KELVIN,
        }


def from_card(kind: str, parameters: Mapping[str, float]) -> MOSFETModel:
    """Model of a `.model` card of type NMOS or PMOS; parameters as SPICE names them, `tnom` in degrees Celsius.

    Raises
    ------
    NetlistError
        For a parameter that is unknown or not supported, and a level other than 1.
    """
    kind = kind.lower()
    if kind not in ("nmos", "pmos"):
        raise NetlistError(f".model {kind}: not a MOSFET; its type is NMOS or PMOS")
    given = {key.lower(): value for key, value in parameters.items()}
    level = given.pop("level", 1)
    if level != 1:
        raise NetlistError(f".model {kind}: level {level:g} is not supported; level 1 is")
    physics: dict[str, float] = {name: given.pop(name) for name in ("nsub", "uo", "u0", "tpg", "nss") if name in given}
    aliases = {"is": "is_", "lambda": "lambda_", "vt0": "vto"}
    refused = {"nlev": "flicker noise has SPICE's first form", "gdsnoi": "channel noise has SPICE's first form"}
    found = read_card(MOSFETModel, kind, given, aliases, refused)
    found = {**_derived(kind, found, physics), **found}
    found["rd_of_squares"] = "rd" not in found and found.get("rsh", 0.0) > 0
    found["rs_of_squares"] = "rs" not in found and found.get("rsh", 0.0) > 0
    check_range(kind, found, positive=("phi", "pb", "tnom", "kp"), grading=("mj", "mjsw", "fc"))
    return MOSFETModel(kind=kind, **found)


def _derived(kind: str, found: Mapping[str, Any], physics: Mapping[str, float]) -> dict[str, float]:
    """What follows from oxide thickness, mobility (cm^2/Vs) and doping (1/cm^3) unless given; SPICE's formulas."""
    oxide = SILICA / found["tox"] if found.get("tox", 0.0) > 0 else 0.0
    if oxide == 0:
        return {}
    mobility = physics.get("uo", physics.get("u0", 600.0))
    derived = {"kp": mobility * oxide * 1e-4}
    doping = physics.get("nsub", 0.0) * 1e6
    if "nsub" not in physics:
        return derived
    if not doping > _INTRINSIC:
        raise NetlistError(f".model {kind}: nsub = {physics['nsub']:g} is below the intrinsic density 1.45e10 per cm^3")
    tnom, sign = found.get("tnom", ROOM), 1 if kind == "nmos" else -1
    phi = found.get("phi", max(0.1, 2 * thermal_voltage(tnom) * math.log(doping / _INTRINSIC)))
    gamma = found.get("gamma", math.sqrt(2 * _SILICON * CHARGE * doping) / oxide)
    gate, gap = physics.get("tpg", 1.0), band_gap(tnom)
    work = 3.2 if gate == 0 else 3.25 + gap / 2 - sign * gate * gap / 2
    flat = work - (3.25 + gap / 2 + sign * phi / 2) - physics.get("nss", 0.0) * 1e4 * CHARGE / oxide
    return {**derived, "phi": phi, "gamma": gamma, "vto": flat + sign * (gamma * math.sqrt(phi) + phi)}
