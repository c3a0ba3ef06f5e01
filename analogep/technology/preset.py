"""What is known of a kind of device: its range, its errors, where each number comes from, and where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from analogep.errors import SpecError
from analogep.netlist._types import Array
from analogep.technology.effect import Composed, Effect, compose, named_key
from analogep.technology.laws import Law, ProgrammingError, Relaxation
from analogep.technology.noise import FlickerNoise, JohnsonNoise, ReadNoise
from analogep.technology.pairs import Levels
from analogep.technology.pulses import PulsedUpdate, PulseResponse
from analogep.technology.storage import Drift, Leak, Stuck

UNITS = {"gmin": "S", "gmax": "S", "read_volts": "V", "seconds": "s", "kelvin": "K"}
SETTINGS = ("gmin", "gmax", "levels", "read_volts", "seconds", "kelvin", "stuck")
"""Fields that a user turns with `Preset.at`; the others are what was measured."""


@dataclass(frozen=True)
class Preset:
    """A kind of device. `preset(name)` gives those with sources; a device of one's own is made here.

    Parameters
    ----------
    name, summary : one word and one line.
    gmin, gmax : range that is used (siemens); an infinite gmax has no end.
    levels : conductances that a device can be set to, evenly spaced; None for any.
    read_volts : voltage of a reading.
    seconds : time since programming.
    kelvin : temperature.
    stuck : fraction of cells that do not answer, stuck anywhere between gmin and gmax.
    programming : error of a written device, one law or a table over time after programming.
    read_spread : law of the white noise of a reading (siemens).
    flicker : law of the strength Q of 1/f noise, and duration of a reading (seconds).
    drift_mean, drift_spread, drift_start : laws of the drift exponent, and time of the first reading (seconds).
    retention, retention_spread : time constant of the leak (seconds) and its relative spread from device to device.
    pulses : answer to update pulses.
    valid : setting -> (lowest, highest) for which the numbers hold.
    sources : field -> where its value comes from; "our choice" where it is ours, with the reason.

    Raises
    ------
    SpecError
        If a setting is outside `valid`, or makes no sense.
    """

    name: str
    summary: str
    gmin: float
    gmax: float
    levels: int | None = None
    read_volts: float = 0.2
    seconds: float = 0.0
    kelvin: float = 300.0
    stuck: float = 0.0
    programming: ProgrammingError | Relaxation | None = None
    read_spread: Law | None = None
    flicker: tuple[Law, float] | None = None
    drift_mean: Law | None = None
    drift_spread: Law | None = None
    drift_start: float | None = None
    retention: float | None = None
    retention_spread: float = 0.0
    pulses: PulseResponse | None = None
    valid: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, (low, high) in {**_SENSIBLE, **self.valid}.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, jax.core.Tracer) and not low <= value <= high:
                raise SpecError(self._outside(name, value, low, high))
        if not isinstance(self.span, jax.core.Tracer) and not self.span > 0:
            raise SpecError(f"technology {self.name!r}: gmin = {self.gmin:g} S must be below gmax = {self.gmax:g} S")
        if self.levels is not None and (self.levels != int(self.levels) or not np.isfinite(self.gmax)):
            raise SpecError(f"technology {self.name!r}: {self.levels} levels need a whole number and a finite gmax")

    def _outside(self, name: str, value: float, low: float, high: float) -> str:
        unit = f" {UNITS[name]}" if name in UNITS else ""
        if name not in self.valid:
            return f"technology {self.name!r}: {name} = {value:g}{unit} must be {low:g} ... {high:g}{unit}"
        source = self.sources.get(f"valid.{name}", self.sources.get(name, "its source"))
        return (
            f"technology {self.name!r}: {name} = {value:g}{unit} is outside {low:g} ... {high:g}{unit}, for which its "
            f"numbers hold ({source}); stay inside, or describe a device of your own with "
            "analogep.technology.Preset"
        )

    def at(self, **settings: Any) -> Preset:
        """The same kind of device with other settings: gmin, gmax, levels, read_volts, seconds, kelvin, stuck.

        Raises
        ------
        SpecError
            For another name, or a value outside the range for which the numbers hold.
        """
        for name in settings:
            if name not in SETTINGS:
                raise SpecError(f"technology {self.name!r} has no setting {name!r}; it has {', '.join(SETTINGS)}")
        return dataclasses.replace(self, **settings)

    @property
    def span(self) -> float:
        """gmax - gmin: the largest signed conductance of a pair (siemens)."""
        return self.gmax - self.gmin

    def written(self) -> Composed:
        """Effect on programmed devices, `seconds` after programming: levels, programming error, stuck cells, drift,
        leak, as far as this kind of device has them. Fixed for a chip: one key for all times and readings."""
        effects: list[Effect] = []
        if self.levels is not None:
            effects.append(Levels(self.levels, self.gmin, self.gmax))
        if isinstance(self.programming, Relaxation):
            effects.append(self.programming.at(self.seconds))
        elif self.programming is not None:
            effects.append(self.programming)
        if self.stuck:
            effects.append(Stuck(self.gmin, self.gmax, anywhere=self.stuck))
        if self.drift_mean is not None and self.drift_start is not None:
            effects.append(Drift(self.drift_mean, self.drift_spread, self.seconds, self.drift_start))
        if self.retention is not None:
            effects.append(Leak(self.seconds, self.retention, self.retention_spread))
        return compose(*effects)

    def reading(self, hertz: float | None = None) -> Composed:
        """Effect on devices as they are read once: white and 1/f noise of the source; a new key for each reading.

        Parameters
        ----------
        hertz : noise bandwidth of the reading, which adds the device's thermal noise; the sources' own noise is taken
            as they give it, which is for their bandwidth.
        """
        effects: list[Effect] = []
        if self.read_spread is not None:
            effects.append(ReadNoise(self.read_spread))
        if self.flicker is not None:
            law, read = self.flicker
            effects.append(FlickerNoise(law, self.seconds + (self.drift_start or 0.0), read))
        if hertz is not None:
            effects.append(JohnsonNoise(self.read_volts, hertz, self.kelvin))
        return compose(*effects)

    def update(self, chip: Array | None = None, array: str = "") -> PulsedUpdate:
        """Updates by pulses.

        Parameters
        ----------
        chip : key of the chip, which fixes the differences between its devices; None has none.
        array : name of the array, whose devices are others than those of the next array.

        Raises
        ------
        SpecError
            If no pulse response of this kind of device is known.
        """
        if self.pulses is None:
            raise SpecError(
                f"technology {self.name!r} has no pulse response ({self.sources.get('pulses', 'none was given')}); "
                "program it from outside, or give Preset(pulses=PulseResponse(...))"
            )
        key = None if chip is None else named_key(chip, array)
        return PulsedUpdate(self.pulses, self.gmin, self.gmax, key)

    def table(self) -> dict[str, dict[str, Any]]:
        """Setting -> value, unit, range and source, for reports (plain numbers and strings)."""
        return {
            name: {
                "value": getattr(self, name),
                "unit": UNITS.get(name, ""),
                "valid": list(self.valid[name]) if name in self.valid else None,
                "source": self.sources.get(name, ""),
            }
            for name in SETTINGS
        }


_SENSIBLE = {
    "gmin": (0.0, np.inf),
    "gmax": (0.0, np.inf),
    "levels": (2, np.inf),
    "read_volts": (1e-6, np.inf),
    "seconds": (0.0, np.inf),
    "kelvin": (1.0, np.inf),
    "stuck": (0.0, 1.0),
}
"""Values that make sense for any device."""
