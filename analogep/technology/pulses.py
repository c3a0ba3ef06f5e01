"""Updates by pulses: how a conductance answers, unevenly from device to device and from pulse to pulse.

With y = (g - low) / (high - low) in a device's own bounds, one pulse up and one down move it by

    dy = +s_up   u (1 + b (1 - 2 y)),        dy = -s_down d (1 - b (1 - 2 y)),

s the step at the middle of the range, b the *bend* (0: equal steps up to hard bounds; 1: soft bounds, steps that vanish
at the bound), u and d the device's own factors. n pulses in a row are a geometric sum: with r = 1 - 2 b s u and the
first step a,

    y_n = y_0 + a (1 - r^n) / (1 - r).

So any number of pulses costs one evaluation. This is aihwkit's `LinearStepDevice` (`SoftBoundsDevice` for b = 1) for
weights of -1 ... 1 and additive noise, but that a device with other bounds keeps the shape of its curve within them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array
from analogep.technology.effect import normal, require


@dataclass(frozen=True)
class PulseResponse:
    """How devices answer to pulses, in parts of their range.

    Parameters
    ----------
    step_up, step_down : change by one pulse at the middle of the range; 0 and 0 stands for a device that takes any
        change as it is (no pulses are counted).
    bend_up, bend_down : 0 equal steps ... 1 soft bounds.
    step_spread : relative standard deviation of the step from device to device.
    log_normal : whether it is that of the step's logarithm instead.
    imbalance : standard deviation from device to device of up against down: factors f + imbalance n and
        f - imbalance n.
    bound_spread : standard deviations of the lower and the upper bound from device to device.
    cycle_spread : standard deviation of one pulse, in steps.
    write_noise : standard deviation of what is seen of the state after a write, drawn anew at each write.

    Reference
    ---------
    Gokmen and Vlasov 2016; Rasch et al. 2021 (aihwkit, `PulsedDevice`, `LinearStepDevice`).
    """

    step_up: float
    step_down: float
    bend_up: float = 1.0
    bend_down: float = 1.0
    step_spread: float = 0.0
    log_normal: bool = False
    imbalance: float = 0.0
    bound_spread: tuple[float, float] = (0.0, 0.0)
    cycle_spread: float = 0.0
    write_noise: float = 0.0

    def __post_init__(self) -> None:
        require(self, 0.0, 1.0, step_up=self.step_up, step_down=self.step_down)
        require(self, 0.0, 1.0, bend_up=self.bend_up, bend_down=self.bend_down)
        for name in ("step_spread", "imbalance", "bound_spread", "cycle_spread", "write_noise"):
            require(self, **{name: getattr(self, name)})

    @property
    def continuous(self) -> bool:
        """Whether changes need no pulses."""
        return self.step_up == 0 and self.step_down == 0


class Updated(NamedTuple):
    """Devices after an update (siemens), and the pulses that each one got, negative ones down."""

    devices: jax.Array
    pulses: jax.Array


class Population(NamedTuple):
    """Devices as they were made: factors on steps up and down, and bounds (siemens)."""

    up: Array
    down: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class PulsedUpdate:
    """Changes wanted, made by whole pulses: open loop, without looking at the devices.

    Parameters
    ----------
    response : of the devices.
    gmin, gmax : nominal range (siemens).
    chip : key of the devices of one array of one chip; None has no difference from device to device.
    most : pulses that one update may give to one device.
    """

    response: PulseResponse
    gmin: float
    gmax: float
    chip: Array | None = None
    most: int = 10_000

    def __post_init__(self) -> None:
        require(self, gmin=self.gmin)
        require(self, self.gmin, above=True, gmax=self.gmax)

    def seen(self, devices: Array, key: Array) -> jax.Array:
        """What is seen of devices (siemens) until the next write: their state and the write noise, 0 at least. The
        state itself goes on from what it was."""
        g = jnp.asarray(devices, float)
        if self.response.write_noise == 0:
            return g
        return jnp.maximum(g + self.response.write_noise * (self.gmax - self.gmin) * normal(key, g), 0.0)

    def population(self, shape: tuple[int, ...]) -> Population:
        """The chip's devices of one array."""
        span, response = self.gmax - self.gmin, self.response
        draws = jnp.zeros((4, *shape)) if self.chip is None else jax.random.normal(self.chip, (4, *shape), float)
        step, imbalance, low, high = draws
        factor = jnp.exp(response.step_spread * step) if response.log_normal else 1.0 + response.step_spread * step
        bounds = (
            self.gmin + span * response.bound_spread[0] * low,
            self.gmax + span * response.bound_spread[1] * high,
        )
        return Population(  # a device that would answer backwards, or has its bounds exchanged, is turned around
            jnp.abs(factor + response.imbalance * imbalance),
            jnp.abs(factor - response.imbalance * imbalance),
            jnp.maximum(jnp.minimum(*bounds), 0.0),
            jnp.maximum(*bounds),
        )

    def pulses(self, change: Array, key: Array) -> jax.Array:
        """Whole numbers of pulses for changes (siemens): nominal step at the middle, rounded up or down by chance, so
        that the mean is right."""
        span = self.gmax - self.gmin
        wanted = jnp.asarray(change, float) / (
            jnp.where(jnp.asarray(change) > 0, self.response.step_up, self.response.step_down) * span
        )
        count = jnp.floor(jnp.abs(wanted) + jax.random.uniform(key, wanted.shape, wanted.dtype))
        return jnp.sign(wanted) * jnp.minimum(count, self.most)

    def __call__(self, devices: Array, change: Array, key: Array) -> Updated:
        """Give the pulses for wanted changes (siemens, same shape as the devices)."""
        g = jnp.asarray(devices, float)
        if self.response.continuous:
            return Updated(jnp.clip(g + change, self.gmin, self.gmax), jnp.zeros_like(g))
        rounding, cycles = jax.random.split(key)
        return self.give(g, self.pulses(change, rounding), cycles)

    def give(self, devices: Array, pulses: Array, key: Array) -> Updated:
        """Give numbers of pulses (negative: down). Bounds cut the sum of a train, not each of its pulses."""
        g, pulses = jnp.asarray(devices, float), jnp.asarray(pulses, float)
        response, chip = self.response, self.population(g.shape)
        is_up, width = pulses > 0, jnp.maximum(chip.high - chip.low, 1e-3 * (self.gmax - self.gmin))
        step = jnp.where(is_up, response.step_up * chip.up, response.step_down * chip.down)
        bend = jnp.where(is_up, response.bend_up, response.bend_down)
        y = (g - chip.low) / width
        y = jnp.where(is_up, y, 1.0 - y)  # pulses down are pulses up seen from the other bound
        ratio = jnp.clip(1.0 - 2.0 * bend * step, 1e-12, 1.0)  # a step beyond the bound ends at the bound
        count = jnp.abs(pulses)
        moved = step * (1.0 + bend * (1.0 - 2.0 * y)) * _geometric_sum(ratio, count)
        # noise of earlier pulses is forgotten as the state is: a sum of independent terms, each r^2 of the next
        nominal = jnp.where(is_up, response.step_up, response.step_down) * (self.gmax - self.gmin) / width
        noise = response.cycle_spread * nominal * jnp.sqrt(_geometric_sum(ratio**2, count)) * normal(key, g)
        y = jnp.clip(y + moved + jnp.where(count > 0, noise, 0.0), 0.0, 1.0)
        after = chip.low + width * jnp.where(is_up, y, 1.0 - y)
        return Updated(jnp.where(count > 0, after, g), pulses)


def _geometric_sum(ratio: Array, count: Array) -> jax.Array:
    """1 + r + ... + r^(n-1) for 0 < r <= 1, and n at r = 1."""
    flat = ratio > 1.0 - 1e-9
    safe = jnp.where(flat, 0.5, ratio)
    return jnp.where(flat, count, (1.0 - safe**count) / (1.0 - safe))


def change_pairs(update: PulsedUpdate, pair: Array, change: Array, key: Array) -> Updated:
    """Change a signed weight [columns, rows] (siemens) on its pair [2, columns, rows]: half of it on the plus device,
    and minus half on the minus device."""
    half = jnp.asarray(change, float) / 2
    return update(pair, jnp.stack([half, -half]), key)
