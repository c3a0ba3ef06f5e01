"""Monte Carlo: chips of one circuit, each with errors of its own in devices, cells and adjoint path.

A chip learns by the reversed estimator: a free phase, then its cells' copies connected the other way round about the
voltages that are held. Its gradient is compared with the exact one of the same chip, which the same network gives with
copies that are equal to the cells and the exact error at the logits. So a cosine says what the adjoint path spoils;
what the chip itself is worth as a network, its loss says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.transformer import LOGITS, PREDICTION
from analogep.ep.estimators import REVERSED
from analogep.errors import SpecError
from analogep.learning.phases import CircuitPhases, over_samples
from analogep.learning.reversal import copied_network, hold
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import cross_entropy
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import HELD
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import settle_near
from analogep.technology import Devices, Preset, apply, from_pairs, named_key

SIDE_BY_SIDE = 32
"""Chips that an accelerator takes at a time."""
WIDTH: int | None = None
"""Chips that run side by side under vmap; None for one on a CPU and `SIDE_BY_SIDE` elsewhere. On a CPU 8 side by side
took as long each as one by one (17 ms), and 40 twice as long, because all wait for the slowest and leave the cache."""
_LEAST = 0.05
"""Least factor of a gain, so that no cell changes its sign."""


class Errors(NamedTuple):
    """What is wrong with a chip.

    Attributes
    ----------
    arrays : conductances of its arrays (siemens).
    gains : cell -> factors of its outputs.
    copies : cell -> factors of the copies of its small-signal conductances, beside those of the cell itself.
    offsets : bus -> currents into the outputs of cells (amperes).
    """

    arrays: dict[str, Array]
    gains: dict[str, Array]
    copies: dict[str, Array]
    offsets: dict[str, Array]


class Found(NamedTuple):
    """What a chip does.

    Attributes
    ----------
    settled : whether the free and the nudged phase did.
    residual : the larger one of theirs, relative.
    times : settling times of both [2] (tau).
    loss : at rest (nats).
    measured, exact : gradients (1/siemens): of the reversed estimator with copies, and with equal ones.
    """

    settled: Array
    residual: Array
    times: Array
    loss: Array
    measured: dict[str, Array]
    exact: dict[str, Array]


class Chips:
    """The programs of all chips of one structure, compiled once.

    Parameters
    ----------
    phases : of a compiled block at level `parasitic`.

    Raises
    ------
    SpecError
        At another level.
    """

    def __init__(self, phases: CircuitPhases) -> None:
        level = phases.compiled.level
        if level != "parasitic":
            raise SpecError(f"chips with errors need compile.level = 'parasitic', not {level!r}")
        self.phases, self.circuit, self.scale = phases, phases.circuit, phases.compiled.scale
        turned, self.outputs = copied_network(phases.compiled.netlist)
        self.turned = Circuit(turned, self.scale, forward_only=True)

    def meant(self, arrays: dict[str, Array]) -> Errors:
        """None: the chip as it was meant, with these conductances (siemens)."""
        return self._drawn(arrays, jax.random.key(0), 0.0, 0.0)

    @partial(jax.jit, static_argnames=("self", "kind"))
    def draw(self, key: Array, devices: Devices, mismatch: Array, offset: Array, *, kind: Preset) -> Errors:
        """Errors of one chip.

        Parameters
        ----------
        devices : pairs as they were meant (siemens).
        mismatch : relative spread of gains, and of copies.
        offset : spread of cells' outputs (volts).
        kind : of the devices, whose errors of writing they get.
        """
        pairs = apply(kind.written(), devices, named_key(key, "written"))
        return self._drawn(from_pairs(pairs), key, mismatch, offset)

    def _drawn(self, arrays: dict[str, Array], key: Array, mismatch: Array | float, offset: Array | float) -> Errors:
        shapes = {cell: self.circuit.netlist.shape(bus) for cell, bus in self.outputs.items()}
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        # one draw for all cells, cut up: as many draws as cells would take a minute to compile
        normal = jax.random.normal(named_key(key, "cells"), (3, sum(sizes)))
        parts = dict(zip(shapes, jnp.split(normal, np.cumsum(sizes)[:-1], axis=1), strict=True))
        cells = {cell: part.reshape(3, *shapes[cell]) for cell, part in parts.items()}
        gains, copies = ({cell: jnp.maximum(1 + mismatch * n[k], _LEAST) for cell, n in cells.items()} for k in (0, 1))
        offsets: dict[str, Array] = {}
        for cell, bus in self.outputs.items():  # into loads of one unit of conductance
            offsets[bus] = offsets.get(bus, 0.0) + self.scale.siemens * offset * cells[cell][2]
        return Errors(arrays, gains, copies, offsets)

    def run(self, x: Sequence[Voltages], theta: Sequence[Parameters], errors: Sequence[Errors]) -> list[Found]:
        """All phases of chips.

        Parameters
        ----------
        x : rails of a batch for each chip (leading axis samples).
        theta : conductances and numbers of each chip's circuit as it was meant.
        errors : of each chip.
        """
        width, found = WIDTH or (1 if jax.default_backend() == "cpu" else SIDE_BY_SIDE), []
        for begin in range(0, len(errors), width):
            # the last group is filled up with copies of its last chip
            lanes = [min(begin + k, len(errors) - 1) for k in range(width)]
            stacked = [
                jax.tree.map(lambda *one: jnp.stack(one), *(each[k] for k in lanes)) for each in (x, theta, errors)
            ]
            done = jax.device_get(self._run(tuple(stacked)))
            found += [jax.tree.map(lambda leaf, k=k: leaf[k], done) for k in range(min(width, len(errors) - begin))]
        return found

    @partial(jax.jit, static_argnames="self")
    def _run(self, chips: tuple[Voltages, Parameters, Errors]) -> Found:
        return over_samples(self._one, chips)

    def _one(self, x: Voltages, theta: Parameters, errors: Errors) -> Found:
        settled, residual, times, losses, gradients = over_samples(
            self._sample, (x,), {**theta, **errors.arrays}, errors
        )
        measured, exact = ({name: g.mean(0) for name, g in each.items()} for each in gradients)
        return Found(jnp.all(settled), jnp.max(residual), times.max(0), jnp.mean(losses), measured, exact)

    def _sample(self, x: Voltages, theta: Parameters, errors: Errors) -> tuple:
        """One sample of one chip: whether it settled, residual, times, loss, and the two gradients."""
        circuit, options = self.circuit, self.phases.options
        own = {**theta, **{f"{cell}.siemens": theta[f"{cell}.siemens"] * g for cell, g in errors.gains.items()}}
        free = settle_near(circuit, x, own, sources=errors.offsets, options=options)
        v = circuit.voltages(free.v, x, own, 0.0, errors.offsets)
        held = {**x, **{HELD + bus: value for bus, value in v.items()}}
        equal = {**theta, **{f"{cell}.copies": g for cell, g in errors.gains.items()}}
        copied = {**theta, **{f"{cell}.copies": g * errors.copies[cell] for cell, g in errors.gains.items()}}
        volts = self.scale.volts
        found, best = self._push(x, v[PREDICTION]), self._push(x, jax.nn.softmax(v[LOGITS] / volts) * volts)
        rest = {bus: v[bus] for bus in self.turned.states}
        exact = self._gradient(v, linear_response(self.turned, rest, held, equal)(best))
        at_rest = hold(self.turned, v, held, copied)
        pushed = {**at_rest, LOGITS: at_rest[LOGITS] + found[LOGITS]}
        near = linear_response(self.turned, rest, held, copied)
        nudged = settle_near(self.turned, held, copied, v0=rest, sources=pushed, inverse=near, options=options)
        measured = self._gradient(v, {bus: nudged.v[bus] - rest[bus] for bus in rest})
        loss = cross_entropy(v[LOGITS] / volts, x["target"] / volts, x["weight"] / volts)
        settled = free.converged & nudged.converged
        residual, times = jnp.maximum(free.residual, nudged.residual), jnp.stack([free.time, nudged.time])
        return settled, residual, times, loss, (measured, exact)

    def _push(self, x: Voltages, prediction: Array) -> Currents:
        """The nudge w (y - p) into the logits, at beta = 1: the reversed circuit is linear."""
        weight = (x["weight"] / self.scale.volts)[..., None]
        return {LOGITS: self.scale.siemens * weight * (x["target"] - prediction)}

    def _gradient(self, v: Voltages, moved: Voltages) -> dict[str, Array]:
        """The rule's gradient (1/siemens) for a displacement of the nodes."""
        signals = {Phase.FREE: v}
        for phase, sign in ((Phase.REVERSED_PLUS, 1), (Phase.REVERSED_MINUS, -1)):
            signals[phase] = {bus: v[bus] + sign * moved[bus] for bus in moved}
        return local_gradient(REVERSED, self.phases.netlist, signals, 1.0, self.phases.unit)
