"""Equilibrium transformer -> netlist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analogep.cells import Activation, LayerNorm, LayerNormTranspose, Multiplier, Softmax, causal_mask
from analogep.compile.device import DeviceOptions, realize
from analogep.compile.stages import Level, Stages, to_conductances
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist.arrays import Crossbar
from analogep.netlist.checks import check
from analogep.netlist.element import Element
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.units import Scale

STATE, INPUT, LOGITS, PREDICTION, FINAL = "z", "token", "logits", "prediction", "final"
"""Buses by which the rest of the package knows a compiled transformer."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A netlist with the model it realizes and the scaling between them."""

    netlist: Netlist
    model: EquilibriumTransformer
    scale: Scale
    stages: Stages

    @property
    def level(self) -> Level:
        """Level at which it was compiled."""
        return self.stages.level


def compile_transformer(
    model: EquilibriumTransformer,
    weights: Mapping[str, np.ndarray],
    *,
    level: Level = "parasitic",
    scale: Scale | None = None,
    epsilon: float = 0.1,
    devices: DeviceOptions | None = None,
) -> Compiled:
    """Compile a model and its weights into a circuit.

    Weights become signed conductances `scale.siemens * w`, states the voltages `scale.volts * z` on damping
    capacitors `scale.farads`, every token with its own copy of each array. Layer norm, attention, FFN, the final
    layer norm, readout and softmax are all compiled; token and position drive one input array.

    Parameters
    ----------
    weights : as `EquilibriumTransformer.init` returns them, dimensionless.
    level : `ideal`, `parasitic` or `device`.
    scale : physical units; 0.1 V, 10 uS and 10 fF (tau = 1 ns) when None, and at `device` the siemens with which the
        largest weight fits.
    epsilon : cell time constant over the state's, at `parasitic` and `device`.
    devices : what `device` is made of; ReRAM, 1 ohm wires and transistor cells when None.
    """
    devices = devices or DeviceOptions()
    scale = scale or default_scale(weights, level, devices)
    build = Builder(model, Stages(level, scale, epsilon))
    title = f"equilibrium transformer T={model.tokens} d={model.channels} H={model.heads} f={model.ffn} ({level})"
    return build.compiled(weights, devices, title)


def default_scale(weights: Mapping[str, np.ndarray], level: Level, devices: DeviceOptions) -> Scale:
    """0.1 V, 10 fF, and 10 uS or, at `device`, the conductance with which the largest weight fits."""
    return Scale(0.1, devices.siemens(weights) if level == "device" else 1e-5, 1e-14)


class Builder:
    """Collects buses and elements; one method for each part of the block."""

    def __init__(self, model: EquilibriumTransformer, stages: Stages) -> None:
        self.model, self.stages = model, stages
        self.buses: dict[str, Bus] = {}
        self.elements: list[Element] = []
        self.unit: dict[str, Any] = {"siemens": stages.scale.siemens, "volts": stages.scale.volts}
        self.epsilon = model.layer_norm_epsilon
        self.lanes = (model.tokens, model.channels)
        self.hidden = (model.tokens, model.ffn)
        mask = np.broadcast_to(causal_mask(model.tokens), (model.heads, model.tokens, model.tokens))
        self.scores = Bus(mask.shape, np.ascontiguousarray(mask))
        self.causal = True
        self.score_gain = float(1 / np.sqrt(model.channels // model.heads))

    def compiled(self, weights: Mapping[str, np.ndarray], devices: DeviceOptions, title: str) -> Compiled:
        """The whole block."""
        self.core()
        if self.model.free_share:
            self.free_attention()
            self.free_ffn()
        if self.model.energy_share:
            self.energy()
        self.readout()
        arrays = to_conductances({k: np.asarray(w) for k, w in weights.items()}, self.stages.scale)
        netlist = Netlist(self.buses, {}, arrays, title).add(*self.elements)
        if self.stages.level == "device":
            netlist = realize(netlist, devices)
        check(netlist)
        return Compiled(netlist, self.model, self.stages.scale, self.stages)

    def output(self, bus: str, shape: tuple[int, ...] | Bus, *drivers: Element) -> None:
        """A bus with its output stage, and the elements that drive it."""
        self.buses[bus] = shape if isinstance(shape, Bus) else Bus(shape)
        self.elements += [*drivers, *self.stages.output(bus)]

    def core(self) -> None:
        """States with damping, the input array, and the layer norm that everything reads."""
        model = self.model
        rows = (self.lanes[0], model.inputs)
        self.buses[INPUT] = Bus(rows)
        self.buses[STATE] = Bus(self.lanes)
        leak = np.broadcast_to(np.asarray(model.leak, float), self.lanes)
        self.elements += [
            VSource(INPUT, INPUT, np.zeros(rows)),
            *self.stages.state(STATE, leak),
            Crossbar("embed", INPUT, STATE, "embed"),
        ]
        self.output("u", self.lanes, LayerNorm("norm", (STATE,), "u", **self.unit, epsilon=self.epsilon))

    def attend(self, prefix: str, queries: str, keys: str) -> str:
        """Scores and softmax between two buses; returns the bus of attention weights."""
        scores, weights = f"{prefix}s", f"{prefix}p"
        args = {**self.unit, "heads": self.model.heads, "gain": self.score_gain, "causal": self.causal}
        self.output(scores, self.scores, Multiplier(f"{prefix}score", (queries, keys), scores, **args))
        softmax = Softmax(f"{prefix}softmax", (scores,), weights, **self.unit, causal=self.causal)
        self.output(weights, self.scores, softmax)
        return weights

    def remembered(self, bus: str) -> str:
        """The bus on which keys or values of all tokens are read."""
        return bus

    def free_attention(self) -> None:
        """Independent Q, K, V, O with causal softmax."""
        for bus, array in (("q", "query"), ("k", "key"), ("v", "value")):
            self.output(bus, self.lanes, Crossbar(array, "u", bus, array))
        weights = self.attend("", "q", self.remembered("k"))
        mix = Multiplier(
            "mix", (weights, self.remembered("v")), "o", **self.unit, gain=self.model.free_share,
            subscripts="hts,shc->thc", heads=self.model.heads, causal=self.causal,
        )  # fmt: skip
        self.output("o", self.lanes, mix)
        self.elements.append(Crossbar("output", "o", STATE, "output"))

    def free_ffn(self) -> None:
        """Two arrays with the activation between them."""
        self.output("h", self.hidden, Crossbar("ffn_in", "u", "h", "ffn_in"))
        act = Activation("act", ("h",), "a", **self.unit, gain=self.model.free_share, kind=self.model.activation)
        self.output("a", self.hidden, act)
        self.elements.append(Crossbar("ffn_out", "a", STATE, "ffn_out"))

    def energy(self) -> None:
        """Log-sum-exp attention and Hopfield FFN: each array is used in both directions, then the norm's Jacobian."""
        heads = {**self.unit, "heads": self.model.heads}
        for bus, array in (("eq", "energy_query"), ("ek", "energy_key")):
            self.output(bus, self.lanes, Crossbar(array, "u", bus, array))
        weights = self.attend("e", "eq", "ek")
        self.output("eqr", self.lanes, Multiplier("eread", (weights, "ek"), "eqr", subscripts="hts,shc->thc", **heads))
        self.output("ekr", self.lanes, Multiplier("ewrite", (weights, "eq"), "ekr", subscripts="hts,thc->shc", **heads))
        self.output("m", self.hidden, Crossbar("memory", "u", "m", "memory"))
        self.output("r", self.hidden, Activation("recall", ("m",), "r", **self.unit, kind=self.model.activation))
        back = [
            Crossbar(f"{array}.back", "field", bus, array, transpose=True)
            for array, bus in (("energy_query", "eqr"), ("energy_key", "ekr"), ("memory", "r"))
        ]
        self.output("field", self.lanes, *back)
        self.elements.append(
            LayerNormTranspose(
                "chain", (STATE, "field"), STATE, **self.unit, gain=self.model.energy_share, epsilon=self.epsilon
            )
        )

    def readout(self) -> None:
        """Final layer norm, readout array and softmax over the vocabulary."""
        symbols = (self.lanes[0], self.model.vocabulary)
        self.output(FINAL, self.lanes, LayerNorm("final_norm", (STATE,), FINAL, **self.unit, epsilon=self.epsilon))
        self.output(LOGITS, symbols, Crossbar("readout", FINAL, LOGITS, "readout"))
        self.output(PREDICTION, symbols, Softmax("predict", (LOGITS,), PREDICTION, **self.unit))
