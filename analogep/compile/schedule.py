"""Schedules: a copy of every array for each token, or one copy through which the tokens settle one after another.

Where the model is causal, a token's state depends on earlier tokens through their keys and values alone. So one lane of
the block is enough: it settles for token t with the keys and values of tokens before t held in gain cells, writes its
own, and goes on to t + 1. The fixed point is that of the parallel circuit; area, latency and the way back differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analogep.cells import GainCells
from analogep.compile.device import DeviceOptions
from analogep.compile.stages import Level, Stages
from analogep.compile.transformer import Builder, Compiled, default_scale
from analogep.errors import SpecError
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, VSource
from analogep.netlist.graph import Bus
from analogep.units import Scale

Schedule = Literal["parallel", "sequential"]

SELECT, UNWRITTEN = "select", "unwritten"
"""Rails of a lane: the row of the stores that a token writes [tokens]; scores that are off [heads, 1, tokens]."""

OFF = 30.0
"""Units by which the score of a row that is not written yet is pulled down: its softmax is e^-30 of the others'."""


def held(bus: str) -> str:
    """The rail of a store's charges [tokens, channels]."""
    return f"{bus}.held"


def compile_lane(
    model: EquilibriumTransformer,
    weights: Mapping[str, np.ndarray],
    *,
    level: Level = "parasitic",
    scale: Scale | None = None,
    epsilon: float = 0.1,
    devices: DeviceOptions | None = None,
) -> Compiled:
    """One lane of a causal block with stores for keys and values: the circuit of the sequential schedule.

    Its buses are those of `compile_transformer` with one token; its rails are `token`, `k.held`, `v.held`, `select` and
    `unwritten`. `simulate.sequential` runs it over the tokens.

    Parameters
    ----------
    model, weights, level, scale, epsilon, devices : as for `compile_transformer`.

    Raises
    ------
    SpecError
        If the model is not causal.
    """
    check_causal(model)
    devices = devices or DeviceOptions()
    scale = scale or default_scale(weights, level, devices)
    title = f"lane of an equilibrium transformer T={model.tokens} d={model.channels} H={model.heads} ({level})"
    return _Lane(model, Stages(level, scale, epsilon)).compiled(weights, devices, title)


def check_causal(model: EquilibriumTransformer) -> None:
    """Raise SpecError for a model whose tokens feel later ones."""
    if not model.causal:
        raise SpecError(
            f"schedule = 'sequential' with model.asymmetry = {model.free_share:g}: the energy part lets every token "
            "feel later ones, so they settle together only; use schedule = 'parallel', or model.attention = 'free'"
        )


class _Lane(Builder):
    """A block of one token that reads the keys and values of all from stores."""

    def __init__(self, model: EquilibriumTransformer, stages: Stages) -> None:
        super().__init__(model, stages)
        self.lanes, self.hidden = (1, model.channels), (1, model.ffn)
        self.scores = Bus((model.heads, 1, model.tokens))
        self.causal = False  # what is not written yet is switched off by its rail

    def free_attention(self) -> None:
        tokens, scores = self.model.tokens, self.scores
        self.buses |= {SELECT: Bus((tokens,)), UNWRITTEN: scores}
        self.elements += [
            VSource(SELECT, SELECT, np.zeros(tokens)),
            VSource(UNWRITTEN, UNWRITTEN, np.zeros(scores.shape)),
            VCCS("off", "s", GROUND, UNWRITTEN, GROUND, OFF * self.stages.scale.siemens),
        ]
        super().free_attention()

    def remembered(self, bus: str) -> str:
        rows, read = (self.model.tokens, self.model.channels), f"{bus}.read"
        self.buses[held(bus)] = Bus(rows)
        store = GainCells(f"{bus}.store", (held(bus), bus, SELECT), read, **self.unit)
        self.output(read, rows, VSource(held(bus), held(bus), np.zeros(rows)), store)
        return read


@dataclass(frozen=True)
class ScheduleCounts:
    """What a schedule takes, as plain counts.

    Attributes
    ----------
    lanes : copies of every array.
    devices : programmable devices, two for each weight and copy.
    multipliers, activations, softmax_inputs, gain_cells : instances of cells; channels of layer norms are `norms`.
    settlings : settled states of the block, one after another, for the answer of all tokens.
    settlings_with_adjoint : the same with the way back. Sequentially lambda runs from the last token to the first,
        because a key's multiplier collects what every later token asks of it.
    stored : voltages held between settlings, for the answer; `stored_with_adjoint` with those of the way back: the
        states about which each lane is linearized, and the multipliers of keys and values.
    """

    lanes: int
    devices: int
    multipliers: int
    activations: int
    softmax_inputs: int
    norms: int
    gain_cells: int
    settlings: int
    settlings_with_adjoint: int
    stored: int
    stored_with_adjoint: int

    def seconds(self, settling: float) -> float:
        """Latency of an answer, for a settling time of one state (seconds)."""
        return self.settlings * settling


def count(model: EquilibriumTransformer, schedule: Schedule = "parallel") -> ScheduleCounts:
    """Counts of a causal block under a schedule.

    Raises
    ------
    SpecError
        For a model that is not causal, or an unknown schedule.
    """
    if schedule not in ("parallel", "sequential"):
        raise SpecError(f"schedule {schedule!r}; choose 'parallel' or 'sequential'")
    check_causal(model)
    parallel, tokens, channels = schedule == "parallel", model.tokens, model.channels
    lanes = tokens if parallel else 1
    seen = tokens * (tokens + 1) // 2 if parallel else tokens  # keys that all queries of the circuit attend to
    weights = sum(rows * columns for rows, columns in model.weight_shapes.values())
    store = 0 if parallel else 2 * tokens * channels
    return ScheduleCounts(
        lanes=lanes,
        devices=2 * weights * lanes,
        multipliers=2 * seen * channels,
        activations=lanes * model.ffn,
        softmax_inputs=seen * model.heads + lanes * model.vocabulary,
        norms=2 * lanes * channels,
        gain_cells=store,
        settlings=1 if parallel else tokens,
        settlings_with_adjoint=2 if parallel else 2 * tokens,
        stored=store,
        stored_with_adjoint=0 if parallel else 2 * store + tokens * channels,
    )
