"""What each cell of this folder should do: its test bench, what is read there, and the ideal function.

Needs numpy only. `d` maps the vectors of a bench's run to arrays: node voltages `v(x)`, currents `i(vy)` of voltage
sources, and `sweep`, the first sweep variable (volts, amperes, seconds or hertz).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Data = Mapping[str, np.ndarray]
UT = 1.380649e-23 * 300.15 / 1.602176634e-19
"""Thermal voltage at 27 C, volts."""


@dataclass(frozen=True)
class Curve:
    """One output of a bench.

    Parameters
    ----------
    label : what it is, in words.
    unit : of the values.
    measured, ideal : functions of the run's vectors.
    scale : what deviations are divided by; 0 stands for the value of the ideal at each point (a relative deviation).
    within : the points that belong to the stated range; all of them by default.
    """

    label: str
    unit: str
    measured: Callable[[Data], np.ndarray]
    ideal: Callable[[Data], np.ndarray]
    scale: float
    within: Callable[[Data], np.ndarray] | None = None

    def deviation(self, d: Data) -> np.ndarray:
        """(measured - ideal) / scale at the points within the range."""
        measured, ideal = self.measured(d), self.ideal(d)
        keep = np.ones(measured.shape, bool) if self.within is None else self.within(d)
        return ((measured - ideal) / (self.scale or np.abs(ideal)))[keep]


@dataclass(frozen=True)
class Bench:
    """A deck of this folder and one of its analyses; `x` is the curves' abscissa, `axis` its name and unit."""

    deck: str
    analysis: str
    x: Callable[[Data], np.ndarray]
    axis: str
    curves: tuple[Curve, ...]
    log: bool = False


def _read(name: str) -> Callable[[Data], np.ndarray]:
    return lambda d: d[name]


def _difference(plus: str, minus: str) -> Callable[[Data], np.ndarray]:
    return lambda d: d[plus] - d[minus]


def _output(scale: float, k: int, function: Callable[..., np.ndarray], *options: float) -> Callable[[Data], np.ndarray]:
    """`scale` times row k (from 1) of a function of the vectors."""
    return lambda d: scale * function(d, *options)[k - 1]


def _ohm(d: Data) -> np.ndarray:
    return d["v(te)"][None]


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


def _follower(d: Data) -> np.ndarray:
    return np.abs(d["v(in)"]) <= 2.3


BENCHES: dict[str, Bench] = {
    "tanh": Bench(
        "tanh.cir", "dc", _read("v(p)"), "v_p − v_n (V)",
        (Curve("tanh_bjt", "A", _read("i(vy)"), lambda d: 10e-6 * np.tanh(d["v(p)"] / (2 * UT)), 10e-6),),
    ),
    "softmax": Bench(
        "softmax.cir", "dc", _read("v(a1)"), "v_a1 (V)",
        tuple(
            Curve(f"{cell}, output {k}", "A", _read(f"i(v{out}{k})"),
                  _output(10e-6, k, _softmax, temperature), 10e-6)
            for cell, out, temperature in (("softmax_bjt_4", "y", UT), ("normalizer_bjt_4", "z", 2 * UT))
            for k in range(1, 5)
        ),
    ),
    "layer_norm": Bench(
        "layer_norm.cir", "dc", _read("v(a1)"), "v_a1 (V)",
        tuple(
            Curve(f"layer_norm_bjt_4, output {k}", "A", _read(f"i(vy{k})"),
                  _output(5e-6, k, _layer_norm, 0.05**2), 10e-6)
            for k in range(1, 5)
        ),
    ),
    "gilbert": Bench(
        "gilbert.cir", "dc", _read("v(x)"), "v_x (V), for v_y = −0.1 ... 0.1 V",
        (
            Curve("gilbert_bjt", "A", _difference("i(vbp)", "i(vbn)"),
                  lambda d: 10e-6 * np.tanh(d["v(x)"] / (2 * UT)) * np.tanh(d["v(y)"] / (2 * UT)), 10e-6),
            Curve("gilbert_mos", "A", _difference("i(vmp)", "i(vmn)"),
                  lambda d: 200e-6 / np.sqrt(2) * d["v(x)"] * d["v(y)"], 200e-6 / np.sqrt(2) * 0.01),
        ),
    ),
    "transconductor": Bench(
        "transconductor.cir", "dc", _read("v(p)"), "v_p − v_n (V); ota_mos: a fifth of it",
        (
            Curve("transconductor_bjt", "A", _read("i(vyb)"), lambda d: 10e-6 * d["v(p)"], 10e-6),
            Curve("ota_mos", "A", _read("i(vym)"), lambda d: _ota(d["v(q)"]), 20e-6),
        ),
    ),
    "opamp": Bench(
        "opamp.cir", "dc", _read("v(in)"), "v_in (V)",
        (Curve("opamp as a follower", "V", _read("v(out)"), _read("v(in)"), 2.3, _follower),),
    ),
    "opamp_ac": Bench(
        "opamp.cir", "ac", lambda d: d["sweep"].real, "frequency (Hz)",
        (Curve("open-loop gain", "", lambda d: np.abs(d["v(open)"]),
               lambda d: 1e5 / np.hypot(1, d["sweep"].real * 1e5 / 1e6), 0.0),),
        log=True,
    ),
    "rectifier": Bench(
        "rectifier.cir", "dc", _read("v(in)"), "v_in (V)",
        (
            Curve("rectifier_diode", "V", _read("v(yd)"), lambda d: np.maximum(d["v(in)"], 0), 1.0),
            Curve("rectifier_super", "V", _read("v(ys)"), lambda d: np.maximum(d["v(in)"], 0), 1.0),
        ),
    ),
    "mirror": Bench(
        "mirror.cir", "dc", _read("sweep"), "i_in (A), for v_out = 1.5, 2, 2.5 V",
        (
            Curve("mirror_bjt", "A", _read("i(vb)"), _read("sweep"), 0.0),
            Curve("mirror_mos_cascode", "A", _read("i(vm)"), _read("sweep"), 0.0),
        ),
    ),
    "damping": Bench(
        "damping.cir", "tran", _read("sweep"), "time (s)",
        (Curve("step", "V", _read("v(z)"), lambda d: 0.05 * _ramp_response(d["sweep"] - 0.1e-9, 1e-12, 0.5e-9), 0.05),),
    ),
    "damping_ac": Bench(
        "damping.cir", "ac", lambda d: d["sweep"].real, "frequency (Hz)",
        (Curve("impedance", "Ω", lambda d: np.abs(d["v(z)"]),
               lambda d: 1 / np.hypot(20e-6, 2 * np.pi * d["sweep"].real * 10e-15), 0.0),),
        log=True,
    ),
    "memristor": Bench(
        "memristor.cir", "dc", _read("v(te)"), "v (V)",
        tuple(
            Curve(label, "A", _read(f"i({source})"), _output(g, 1, _ohm), 0.2 * g)
            for label, source, g in (
                ("memristor_sinh, 10 µS", "vs", 10e-6), ("memristor_cubic, 10 µS", "vc", 10e-6),
                ("cell_1t1r, 1 µS", "v1", 1e-6), ("cell_1t1r, 10 µS", "v2", 10e-6),
                ("cell_1t1r, 100 µS", "v3", 100e-6),
            )
        ),
    ),
    "wta": Bench(
        "wta.cir", "dc", _read("sweep"), "i_a1 (A)",
        tuple(
            Curve(f"wta_mos_4, output {k}", "A", _read(f"i(vy{k})"), _output(10e-6, k, _winner), 10e-6,
                  lambda d: np.abs(d["sweep"] / 20e-6 - 1) > 0.02)
            for k in range(1, 5)
        ),
    ),
}  # fmt: skip
"""Name -> bench, in the order of the documentation."""
