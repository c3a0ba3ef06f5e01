"""What each cell of this folder should do: its test bench, what is read there, and the ideal function.

Needs numpy only. `d` maps the vectors of a bench's run to arrays: node voltages `v(x)`, currents `i(vy)` of voltage
sources, and `sweep`, the first sweep variable (volts, amperes, seconds or hertz).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Data = Mapping[str, np.ndarray]
Read = Callable[[Data], np.ndarray]
UT = 1.380649e-23 * 300.15 / 1.602176634e-19
"""Thermal voltage at 27 C, volts."""
N = 1.3
"""Slope factor of the transistors of ekv.lib."""


@dataclass(frozen=True)
class Curve:
    """One output of a cell.

    Parameters
    ----------
    label : what it is, in words; empty where a cell has one output.
    measured, ideal : functions of the run's vectors.
    scale : what deviations are divided by; 0 stands for the value of the ideal at each point (a relative deviation).
    """

    label: str
    measured: Read
    ideal: Read
    scale: float

    def deviation(self, d: Data) -> np.ndarray:
        """(measured - ideal) / scale."""
        ideal = self.ideal(d)
        return (self.measured(d) - ideal) / (self.scale or np.abs(ideal))


@dataclass(frozen=True)
class Cell:
    """A cell at work in a bench.

    Parameters
    ----------
    name : the subcircuit, with what it does here after a comma.
    unit : of the outputs.
    axis : name and unit of the abscissa.
    x : the abscissa.
    within : the points that belong to the stated range; all of them by default.
    log : axes with logarithmic scales, of "x" and "y".
    family : a second variable, whose values give one line each; its name and unit.
    """

    name: str
    unit: str
    axis: str
    x: Read
    curves: tuple[Curve, ...]
    within: Read | None = None
    log: str = ""
    family: tuple[Read, str] | None = None

    def kept(self, d: Data) -> np.ndarray:
        """Which points belong to the stated range."""
        return np.ones(self.x(d).shape, bool) if self.within is None else self.within(d)


@dataclass(frozen=True)
class Bench:
    """A deck of this folder, one of its analyses ("dc", "ac" or "tran"), and the cells in it."""

    deck: str
    analysis: str
    cells: tuple[Cell, ...]


def _read(name: str) -> Read:
    return lambda d: d[name]


def _difference(plus: str, minus: str) -> Read:
    return lambda d: d[plus] - d[minus]


def _output(scale: float, k: int, function: Callable[..., np.ndarray], *options: float) -> Read:
    """`scale` times row k (from 1) of a function of the vectors."""
    return lambda d: scale * function(d, *options)[k - 1]


def _outputs(source: str, scale: float, full: float, function: Callable[..., np.ndarray], *options: float):
    """Curves of the four currents i(<source>1) ... i(<source>4)."""
    return tuple(
        Curve(f"output {k}", _read(f"i({source}{k})"), _output(scale, k, function, *options), full) for k in range(1, 5)
    )


def _pair(d: Data) -> np.ndarray:
    return d["v(p)"] - d["v(c)"]


def _softmax(d: Data, temperature: float) -> np.ndarray:
    s = np.stack([d[f"v(a{k})"] for k in range(1, 5)]) / temperature
    p = np.exp(s - s.max(axis=0))
    return p / p.sum(axis=0)


def _layer_norm(d: Data, epsilon: float) -> np.ndarray:
    a = np.stack([d[f"v(a{k})"] for k in range(1, 5)])
    centered = a - a.mean(axis=0)
    return centered / np.sqrt((centered**2).mean(axis=0) + epsilon)


def _winner(d: Data) -> np.ndarray:
    currents = np.stack([d["sweep"], *(np.full_like(d["sweep"], i) for i in (20e-6, 15e-6, 5e-6))])
    return 1.0 * (np.arange(4)[:, None] == currents.argmax(axis=0))


def _no_tie(d: Data) -> np.ndarray:
    return np.abs(d["sweep"] / 20e-6 - 1) > 0.0199


def _ota(v: np.ndarray, it: float = 20e-6, beta: float = 200e-6 * 2) -> np.ndarray:
    """Square law; saturates at +-it beyond |v| = sqrt(2 it / beta)."""
    inside = np.clip(v, -np.sqrt(2 * it / beta), np.sqrt(2 * it / beta))
    return inside * np.sqrt(beta * it) * np.sqrt(1 - beta * inside**2 / (4 * it))


def _ramp_response(t: np.ndarray, rise: float, tau: float) -> np.ndarray:
    """Unit step with a linear rise from t = 0, through one pole."""

    def ramp(s: np.ndarray) -> np.ndarray:
        s = np.maximum(s, 0)
        return s + tau * np.expm1(-s / tau)

    return (ramp(t) - ramp(t - rise)) / rise


def _slewing(t: np.ndarray, gbw: float = 1e6, slew: float = 1e6) -> np.ndarray:
    """Follower whose input jumps from -1 V to 1 V at 1 us and back at 6 us (and 1.5 ns): de/dt = -slew tanh(k e)."""
    k = 2 * np.pi * gbw / slew

    def jump(since: np.ndarray) -> np.ndarray:
        """Output above its start after a jump of 2 V: sinh(k e) decays exponentially."""
        error = np.arcsinh(np.sinh(2 * k) * np.exp(-2 * np.pi * gbw * np.maximum(since, 0))) / k
        return np.where(since > 0, 2 - error, 0.0)

    return -1 + jump(t - 1.0005e-6) - jump(t - 6.0015e-6)


def _ekv(kp: float, channel: float) -> Read:
    """Drain current at v_d = 1.2 V and v_s = 0.1 V over the gate voltage: equation of ekv.lib; `channel` is lambda."""
    ut, beta = 25.865e-3, 10 * kp

    def current(d: Data) -> np.ndarray:
        pinch = (d["v(g)"] - 0.5) / N
        forward, reverse = (np.logaddexp(0, (pinch - v) / (2 * ut)) ** 2 for v in (0.1, 1.2))
        return 2 * N * beta * ut**2 * (forward - reverse) * (1 + channel * 1.1)

    return current


def _gelu(x: np.ndarray) -> np.ndarray:
    """In its tanh form (Hendrycks and Gimpel 2016)."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _memristor(label: str, source: str, g: float) -> Curve:
    return Curve(label, _read(f"i({source})"), lambda d: g * d["v(te)"], 0.2 * g)


COMMON: tuple[Read, str] = (_read("v(c)"), "common mode (V)")
BENCHES: dict[str, Bench] = {
    "softmax": Bench("softmax.cir", "dc", (
        Cell("softmax_bjt_4", "A", "v_a1 (V)", _read("v(a1)"), _outputs("vy", 10e-6, 10e-6, _softmax, UT)),
        Cell("softmax_mos_4", "A", "v_a1 (V)", _read("v(b1)"), _outputs("vw", 10e-9, 10e-9, _softmax, UT)),
        Cell("normalizer_bjt_4", "A", "i_a1 (A)", lambda d: 10**-5.5 * 10 ** (d["v(a1)"] / 0.1),
             _outputs("vz", 10e-6, 10e-6, _softmax, 0.1 / np.log(10)), log="x"),
    )),
    "layer_norm": Bench("layer_norm.cir", "dc", (
        Cell("layer_norm_bjt_4", "A", "v_a1 (V)", _read("v(a1)"), (
            *_outputs("vy", 5e-6, 10e-6, _layer_norm, 0.05**2),
            Curve("output 1, ie = 0.2 µA", _read("i(vs1)"), _output(5e-6, 1, _layer_norm, 0.01**2), 10e-6),
            Curve("output 1, ie = 2 µA", _read("i(vl1)"), _output(5e-6, 1, _layer_norm, 0.1**2), 10e-6),
        )),
    )),
    "tanh": Bench("tanh.cir", "dc", (
        Cell("tanh_bjt", "A", "v_p − v_n (V)", _pair,
             (Curve("", _read("i(vy)"), lambda d: 10e-6 * np.tanh(_pair(d) / (2 * UT)), 10e-6),), family=COMMON),
        Cell("tanh_mos", "A", "v_p − v_n (V)", _difference("v(q)", "v(c)"),
             (Curve("", _read("i(vym)"), lambda d: 10e-9 * np.tanh((d["v(q)"] - d["v(c)"]) / (2 * N * UT)), 10e-9),),
             family=COMMON),
    )),
    "activation": Bench("activation.cir", "dc", (
        Cell("relu_mos", "A", "v_in (V)", _read("v(p)"),
             (Curve("", _read("i(vy)"), lambda d: 10e-9 * np.maximum(d["v(p)"] / (2 * N * UT), 0), 40e-9),)),
        Cell("gelu_mos", "A", "v_in (V)", _read("v(q)"), (Curve(
            "", _difference("i(vop)", "i(von)"), lambda d: 10e-9 * _gelu(d["v(q)"] / (1.702 * N * UT)), 40e-9),)),
    )),
    "rectifier": Bench("rectifier.cir", "dc", tuple(
        Cell(name, "V", "v_in (V)", _read("v(in)"),
             (Curve("", _read(f"v({node})"), lambda d: np.maximum(d["v(in)"], 0), 1.0),))
        for name, node in (("rectifier_diode", "yd"), ("rectifier_super", "ys"))
    )),
    "gilbert": Bench("gilbert.cir", "dc", (
        Cell("gilbert_bjt", "A", "v_x (V)", _read("v(x)"), (Curve(
            "", _difference("i(vbp)", "i(vbn)"),
            lambda d: 10e-6 * np.tanh(d["v(x)"] / (2 * UT)) * np.tanh(d["v(y)"] / (2 * UT)), 10e-6),),
             family=(_read("v(y)"), "v_y (V)")),
        Cell("gilbert_mos", "A", "v_x (V)", _read("v(x)"), (Curve(
            "", _difference("i(vmp)", "i(vmn)"), lambda d: 200e-6 / np.sqrt(2) * d["v(x)"] * d["v(y)"],
            200e-6 / np.sqrt(2) * 0.01),),
             family=(_read("v(y)"), "v_y (V)")),
    )),
    "transconductor": Bench("transconductor.cir", "dc", (
        Cell("transconductor_bjt", "A", "v_p − v_n (V)", _pair,
             (Curve("", _read("i(vyb)"), lambda d: 10e-6 * _pair(d), 10e-6),), family=COMMON),
        Cell("ota_mos", "A", "v_p − v_n (V)", _difference("v(q)", "v(c)"),
             (Curve("", _read("i(vym)"), lambda d: _ota(d["v(q)"] - d["v(c)"]), 20e-6),), family=COMMON),
    )),
    "opamp": Bench("opamp.cir", "dc", (
        Cell("opamp, follower", "V", "v_in (V)", _read("v(in)"), (Curve("", _read("v(out)"), _read("v(in)"), 2.3),),
             lambda d: np.abs(d["v(in)"]) <= 2.3001),
    )),
    "opamp_ac": Bench("opamp.cir", "ac", (
        Cell("opamp, open-loop gain", "", "frequency (Hz)", lambda d: d["sweep"].real, (Curve(
            "", lambda d: np.abs(d["v(open)"]), lambda d: 1e5 / np.hypot(1, d["sweep"].real * 1e5 / 1e6), 0.0),),
             log="xy"),
    )),
    "opamp_tran": Bench("opamp.cir", "tran", (
        Cell("opamp, step of the follower", "V", "time (s)", _read("sweep"),
             (Curve("", _read("v(out)"), lambda d: _slewing(d["sweep"]), 2.0),)),
    )),
    "mirror": Bench("mirror.cir", "dc", (
        Cell("mirror_bjt", "A", "i_in (A)", _read("i(vib)"), (Curve("", _read("i(vb)"), _read("i(vib)"), 0.0),),
             log="xy", family=(_read("v(o)"), "v_out (V)")),
        Cell("mirror_mos_cascode", "A", "i_in (A)", _read("i(vim)"),
             (Curve("", _read("i(vm)"), _read("i(vim)"), 0.0),), log="xy", family=(_read("v(om)"), "v_out (V)")),
    )),
    "damping": Bench("damping.cir", "tran", (
        Cell("damping, step", "V", "time (s)", _read("sweep"), (Curve(
            "", _read("v(z)"), lambda d: 0.05 * _ramp_response(d["sweep"] - 0.1e-9, 1e-12, 0.5e-9), 0.05),)),
    )),
    "damping_ac": Bench("damping.cir", "ac", (
        Cell("damping, impedance", "Ω", "frequency (Hz)", lambda d: d["sweep"].real, (Curve(
            "", lambda d: np.abs(d["v(z)"]),
            lambda d: 1 / np.hypot(20e-6, 2 * np.pi * d["sweep"].real * 10e-15), 0.0),), log="xy"),
    )),
    "memristor": Bench("memristor.cir", "dc", (
        Cell("memristor_sinh", "A", "v (V)", _read("v(te)"), (_memristor("", "vs", 10e-6),)),
        Cell("memristor_cubic", "A", "v (V)", _read("v(te)"), (_memristor("", "vc", 10e-6),)),
        Cell("cell_1t1r", "A", "v (V)", _read("v(te)"), (
            _memristor("1 µS", "v1", 1e-6), _memristor("10 µS", "v2", 10e-6), _memristor("100 µS", "v3", 100e-6))),
    )),
    "wta": Bench("wta.cir", "dc", (
        Cell("wta_mos_4", "A", "i_a1 (A)", _read("sweep"), _outputs("vy", 10e-6, 10e-6, _winner), _no_tie),
        Cell("wta_ekv_4", "A", "i_a1 (A)", lambda d: 1e-3 * d["sweep"], _outputs("vz", 10e-9, 10e-9, _winner),
             _no_tie),
    )),
    "ekv": Bench("ekv.cir", "dc", (
        Cell("ekv_n", "A", "v_g (V)", _read("v(g)"),
             (Curve("", lambda d: -d["i(vd)"], _ekv(200e-6, 0.0), 0.0),), log="y"),
        Cell("ekv_p", "A", "−v_g (V)", _read("v(g)"), (Curve("", _read("i(edp)"), _ekv(80e-6, 0.05), 0.0),), log="y"),
    )),
}  # fmt: skip
"""Name -> bench, in the order of the documentation."""
