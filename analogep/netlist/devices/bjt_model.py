"""The model card of the bipolar transistor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from analogep.errors import NetlistError
from analogep.netlist.devices.device import KELVIN, check_range, differing, read_card
from analogep.netlist.element import ROOM

_REFUSED = """
subs ptf nkf nk iss ns ibe ibc rco vo gamma qco tlev tlevc tre1 tre2 trc1 trc2 trb1 trb2 trm1 trm2 tbf1 tbf2 tbr1 tbr2
cn d vg cvo nepi cbcp cbep ccsp quasimod tnf1 tnf2 tis1 tis2 ctc cte cts tvje tvjc tvjs
"""
_WHY = "lateral substrates, excess phase, quasi-saturation and further temperature coefficients are left out"
_BY_AREA = ("is_", "ise", "isc", "ikf", "ikr", "irb", "itf", "cje", "cjc", "cjs")
_BY_RESISTANCE = ("rb", "rbm", "rc", "re")
_SPICE = {"is_": "is"}


@dataclass(frozen=True)
class BJTModel:
    """Parameters of a `.model NPN` or `PNP` card, in SPICE's units, temperatures in kelvin; 0 means infinite for
    knee currents and Early voltages.

    Parameters
    ----------
    kind : "npn" or "pnp".
    is_, bf, nf, br, nr : transport saturation current (A), ideal current gains and emission coefficients.
    ise, ne, isc, nc : leakage currents (A) and their emission coefficients.
    vaf, var, ikf, ikr : Early voltages (V) and knee currents (A).
    rb, irb, rbm, re, rc : base resistance (ohm), current at which it is halved (A), its least value (None: rb),
        emitter and collector resistance (ohm).
    cje, vje, mje, cjc, vjc, mjc, xcjc, cjs, vjs, mjs, fc : junction capacitances (F), potentials (V), gradings, share
        of cjc at the inner base, forward coefficient.
    tf, xtf, vtf, itf, tr : transit times (s) and how the forward one depends on bias.
    eg, xtb, xti, tnom : band gap (eV), exponents of gain and saturation current, temperature of the parameters (K).
    kf, af : flicker noise coefficient and exponent.
    """

    kind: str = "npn"
    is_: float = 1e-16
    bf: float = 100.0
    nf: float = 1.0
    vaf: float = 0.0
    ikf: float = 0.0
    ise: float = 0.0
    ne: float = 1.5
    br: float = 1.0
    nr: float = 1.0
    var: float = 0.0
    ikr: float = 0.0
    isc: float = 0.0
    nc: float = 2.0
    rb: float = 0.0
    irb: float = 0.0
    rbm: float | None = None
    re: float = 0.0
    rc: float = 0.0
    cje: float = 0.0
    vje: float = 0.75
    mje: float = 0.33
    tf: float = 0.0
    xtf: float = 0.0
    vtf: float = 0.0
    itf: float = 0.0
    cjc: float = 0.0
    vjc: float = 0.75
    mjc: float = 0.33
    xcjc: float = 1.0
    tr: float = 0.0
    cjs: float = 0.0
    vjs: float = 0.75
    mjs: float = 0.0
    fc: float = 0.5
    eg: float = 1.11
    xtb: float = 0.0
    xti: float = 3.0
    tnom: float = ROOM
    kf: float = 0.0
    af: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("npn", "pnp"):
            raise NetlistError(f"BJTModel: kind {self.kind!r}; it is npn or pnp")

    def card(self, area: float = 1.0) -> dict[str, float]:
        """SPICE's parameters of a transistor of that area.

        The area is folded into the card because ngspice 39 scales the reverse saturation current by its square, so
        that a transistor of area 2 without any voltage from collector to emitter carries current.
        """
        values = {name: getattr(self, name) * area for name in _BY_AREA}
        values |= {name: getattr(self, name) / area for name in _BY_RESISTANCE if getattr(self, name) is not None}
        found = differing(replace(self, **values) if area != 1 else self, ("kind",))
        return {**{_SPICE.get(name, name): value for name, value in found.items()}, "tnom": self.tnom - KELVIN}


def from_card(kind: str, parameters: Mapping[str, float]) -> BJTModel:
    """Model of a `.model` card of type NPN or PNP; parameters as SPICE names them, `tnom` in degrees Celsius.

    Raises
    ------
    NetlistError
        For a parameter that is unknown or not supported, and a level other than 1.
    """
    kind = kind.lower()
    if kind not in ("npn", "pnp"):
        raise NetlistError(f".model {kind}: not a bipolar transistor; its type is NPN or PNP")
    given = {key.lower(): value for key, value in parameters.items()}
    if given.pop("level", 1) != 1:
        raise NetlistError(f".model {kind}: only level 1 (Gummel-Poon) is supported")
    for name, neutral in (("subs", 1.0 if kind == "npn" else -1.0), ("ptf", 0.0), ("nkf", 0.5), ("nk", 0.5)):
        if given.get(name) == neutral:
            del given[name]
    aliases = {"is": "is_", "va": "vaf", "vb": "var", "ik": "ikf", "c2": "ise", "pe": "vje", "me": "mje", "pc": "vjc"}
    aliases |= {"mc": "mjc", "ps": "vjs", "ms": "mjs", "ccs": "cjs", "csub": "cjs", "pt": "xti"}
    found = read_card(BJTModel, kind, given, aliases, dict.fromkeys(_REFUSED.split(), _WHY))
    check_range(
        kind,
        found,
        positive=("is_", "bf", "br", "nf", "nr", "ne", "nc", "vje", "vjc", "vjs", "tnom"),
        grading=("mje", "mjc", "mjs", "fc"),
    )
    return BJTModel(kind=kind, **found)
