"""Signed weights on pairs of devices, and the levels that a device can be set to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import SpecError
from analogep.netlist._types import Array
from analogep.technology.effect import Devices, require

if TYPE_CHECKING:
    from analogep.technology.preset import Preset


def to_pairs(conductances: Mapping[str, Array], preset: Preset, *, clip: bool = False) -> Devices:
    """Signed conductances on pairs: the device of the sign carries gmin + |g|, the other one gmin.

    Parameters
    ----------
    conductances : array name -> [columns, rows] (siemens), signed; scale weights before.
    preset : whose range gmin ... gmax the devices have.
    clip : keep what does not fit at the end of the range instead of raising. Traced arrays cannot be looked at: they
        are clipped if asked for, and otherwise not checked.

    Returns
    -------
    Array name -> [2, columns, rows].

    Raises
    ------
    SpecError
        If an entry is not finite or, without `clip`, its magnitude is above gmax - gmin: naming the array, the index
        and the factor that would make the array fit.
    """
    pairs = {}
    for name, signed in conductances.items():
        if not isinstance(signed, jax.core.Tracer):
            _check(name, np.asarray(signed, float), preset, clip=clip)
        g = jnp.asarray(signed, float)
        if clip:
            g = jnp.clip(g, -preset.span, preset.span)
        pairs[name] = preset.gmin + jnp.stack([jnp.maximum(g, 0.0), jnp.maximum(-g, 0.0)])
    return pairs


def _check(name: str, g: np.ndarray, preset: Preset, *, clip: bool) -> None:
    if not np.all(np.isfinite(g)):
        at = np.argwhere(~np.isfinite(g))[0].tolist()
        raise SpecError(f"array {name!r}: entry {at} is {g[tuple(at)]}; conductances must be finite")
    # one part in 1e12 is rounding: weights scaled by `largest_scale` fit
    if g.size and not clip and np.abs(g).max() > preset.span * (1 + 1e-12):
        at = np.unravel_index(np.abs(g).argmax(), g.shape)
        raise SpecError(
            f"array {name!r}: {g[at]:.3g} S at {[int(k) for k in at]} does not fit a pair of {preset.name!r} devices "
            f"of {preset.gmin:g} ... {preset.gmax:g} S, which hold up to {preset.span:.3g} S either way; scale the "
            f"weights by {0.9995 * preset.span / abs(g[at]):.4g} or less (technology.siemens), or ask for clip=True"
        )


def from_pairs(devices: Mapping[str, Array]) -> Devices:
    """Signed conductances [columns, rows] of pairs: plus less minus."""
    return {name: jnp.asarray(pair)[0] - jnp.asarray(pair)[1] for name, pair in devices.items()}


def largest_scale(conductances: Mapping[str, Array], preset: Preset) -> float:
    """Factor by which all arrays can be multiplied so that the largest entry of all is at the end of the range."""
    largest = max((np.abs(np.asarray(g, float)).max(initial=0.0) for g in conductances.values()), default=0.0)
    return float("inf") if largest == 0 else float(preset.span / largest)


@dataclass(frozen=True)
class Levels:
    """Effect: the nearest of `count` conductances, evenly spaced over gmin ... gmax (siemens), ends included."""

    count: int
    gmin: float
    gmax: float

    def __post_init__(self) -> None:
        require(self, 2, count=self.count)
        require(self, gmin=self.gmin)
        require(self, 0.0, 1e3, above=True, range=self.gmax - self.gmin)

    @property
    def step(self) -> float:
        """Distance of two levels (siemens)."""
        return (self.gmax - self.gmin) / (self.count - 1)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        level = jnp.round((jnp.asarray(devices, float) - self.gmin) / self.step)
        return self.gmin + self.step * jnp.clip(level, 0, self.count - 1)
