"""Training on devices: local gradients become pulses on pairs that are bounded, uneven, and saturate.

A signed weight is a pair of conductances. `both` moves its two devices in opposite directions, for devices that pulses
take up and down. `one_way` only ever increases them, the plus device for an increase and the minus device for a
decrease, for devices whose pulses have one direction (phase-change memory: a reset takes all back at once).

A pair whose devices are both nearly full (or, if pulses go both ways, both nearly empty) has little room to move. It
is *refreshed*: read, reset, and written anew with the same difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from analogep.errors import SpecError
from analogep.netlist._types import Array
from analogep.technology import Devices, Effect, Preset, apply, change_pairs, from_pairs, named_key, to_pairs
from analogep.technology.effect import require
from analogep.training.local import GradientOf

Split = Literal["both", "one_way"]


class Moved(NamedTuple):
    """Devices after an update.

    Attributes
    ----------
    devices : pairs [2, columns, rows] of each array (siemens).
    pulses : array name -> pulses that all its devices got together; 0 for devices that take any change as it is.
    refreshed : array name -> pairs that were reset and written anew.
    """

    devices: Devices
    pulses: dict[str, Array]
    refreshed: dict[str, Array]


@dataclass(frozen=True)
class PulsedPairs:
    """How wanted changes of weights become pulses on pairs of devices, and what keeps pairs in their range.

    Parameters
    ----------
    preset : of the devices; it needs a pulse response and a finite range.
    split : `both` or `one_way`, see above.
    upper, lower : a pair is refreshed when its one device is above the part `upper` of the range, and the other one
        above `lower` (`one_way`) or above `upper` as well, or both below 1 - `upper` (`both`). aihwkit's
        `OneSidedUnitCell` has 0.75 and 0.25.
    rewrite : effect on refreshed devices, such as a programming error; None writes exactly.
    most : pulses that one update may give to one device, which also bounds what an unsettled phase can do (aihwkit's
        pulse trains have 31).

    Raises
    ------
    SpecError
        If the preset has no pulses or no largest conductance, or the thresholds make no sense.
    """

    preset: Preset
    split: Split = "both"
    upper: float = 0.75
    lower: float = 0.25
    rewrite: Effect | None = None
    most: int = 31

    def __post_init__(self) -> None:
        if self.split not in ("both", "one_way"):
            raise SpecError(f"PulsedPairs: split = {self.split!r}; choose 'both' or 'one_way'")
        require(self, 0.5, 1.0, upper=self.upper)
        require(self, 0.0, self.upper, lower=self.lower)
        require(self, 1, most=self.most)
        self.preset.update()  # refuses devices without pulses
        if not self.preset.span < jnp.inf:
            raise SpecError(
                f"technology {self.preset.name!r} has no largest conductance, so a pair has no middle to move from; "
                "give it one: preset.at(gmax=...)"
            )

    def start(self, conductances: Mapping[str, Array]) -> Devices:
        """Pairs that hold signed conductances (siemens), where this split can move them.

        Raises
        ------
        SpecError
            If an entry does not fit the range.
        """
        to_pairs(conductances, self.preset)  # refuses what does not fit
        return {name: self._placed(jnp.asarray(g, float)) for name, g in conductances.items()}

    def _placed(self, signed: Array) -> Array:
        """A pair for a signed conductance: about the middle of the range, or from its lower end."""
        device = self.preset
        if self.split == "one_way":
            return device.gmin + jnp.stack([jnp.maximum(signed, 0.0), jnp.maximum(-signed, 0.0)])
        return (device.gmin + device.gmax) / 2 + jnp.stack([signed, -signed]) / 2

    def __call__(self, devices: Devices, changes: Mapping[str, Array], *, key: Array, chip: Array | None) -> Moved:
        """Give the pulses for wanted changes, then refresh the pairs that need it.

        Parameters
        ----------
        changes : array name -> change of the signed weight [columns, rows] (siemens).
        key : of this update: rounding to whole pulses, and the noise of each of them.
        chip : key of the differences between devices; None has none.
        """
        moved, pulses, refreshed = {}, {}, {}
        for name, pair in devices.items():
            of_array, update = named_key(key, name), replace(self.preset.update(chip, name), most=self.most)
            if self.split == "both":
                done = change_pairs(update, pair, changes[name], of_array)
            else:
                change = jnp.asarray(changes[name], float)
                done = update(pair, jnp.stack([jnp.maximum(change, 0.0), jnp.maximum(-change, 0.0)]), of_array)
            full = self.saturated(done.devices)
            moved[name] = jnp.where(full, self._rewritten(done.devices, named_key(of_array, "rewrite")), done.devices)
            pulses[name], refreshed[name] = jnp.abs(done.pulses).sum(), full.sum()
        return Moved(moved, pulses, refreshed)

    def saturated(self, pair: Array) -> Array:
        """Which pairs [columns, rows] are to be refreshed."""
        filled = (pair - self.preset.gmin) / self.preset.span
        most, least = filled.max(0), filled.min(0)
        if self.split == "one_way":
            return (most > self.upper) & (least > self.lower)
        return (least > self.upper) | (most < 1.0 - self.upper)

    def _rewritten(self, pair: Array, key: Array) -> Array:
        signed = jnp.clip(pair[0] - pair[1], -self.preset.span, self.preset.span)
        fresh = self._placed(signed)
        return fresh if self.rewrite is None else self.rewrite(fresh, key)


class DeviceStep(NamedTuple):
    """One update on devices: the loss before it, whether the phases settled, pulses in all, and refreshed pairs."""

    loss: float
    converged: bool
    pulses: int
    refreshed: dict[str, int]


def descend_on_devices(
    gradient: GradientOf,
    devices: Devices,
    batches: Iterable[dict[str, Array]],
    *,
    pairs: PulsedPairs,
    rate: float,
    siemens: float,
    key: Array,
    chip: Array | None = None,
    reading: Effect | None = None,
) -> Iterator[tuple[DeviceStep, Devices]]:
    """Gradient descent by pulses on a stream of batches; yields each step and the devices after it.

    The gradient is that of the conductances as they are seen (write noise and `reading` included), so learning works
    around devices that are off. There is no momentum: nothing is remembered beside the devices themselves.

    Parameters
    ----------
    gradient : of dimensionless weights, such as `twin_gradient`.
    devices : from `pairs.start`, or any pairs.
    rate : change of a weight per unit of gradient.
    siemens : conductance of a unit weight.
    key : of the updates and readings.
    chip : key of the differences between devices; None has none.
    reading : effect on devices, drawn anew for each step.
    """
    for count, x in enumerate(batches):
        now = jax.random.fold_in(key, count)
        moved, loss, converged = _step(gradient, pairs, reading, devices, x, rate, siemens, now, chip)
        devices = moved.devices
        refreshed = {name: int(n) for name, n in moved.refreshed.items()}
        yield DeviceStep(float(loss), bool(converged), int(sum(moved.pulses.values())), refreshed), devices


@partial(jax.jit, static_argnames=("gradient", "pairs", "reading"))
def _step(
    gradient: GradientOf,
    pairs: PulsedPairs,
    reading: Effect | None,
    devices: Devices,
    x: dict[str, Array],
    rate: Array,
    siemens: Array,
    key: Array,
    chip: Array | None,
) -> tuple[Moved, Array, Array]:
    read = named_key(key, "read")
    seen = {name: pairs.preset.update().seen(pair, named_key(read, name)) for name, pair in devices.items()}
    if reading is not None:
        seen = apply(reading, seen, read)
    weights = {name: g / siemens for name, g in from_pairs(seen).items()}
    loss, slope, converged = gradient(weights, x)
    changes = {name: -rate * siemens * slope[name] for name in devices}
    return pairs(devices, changes, key=named_key(key, "update"), chip=chip), loss, converged
