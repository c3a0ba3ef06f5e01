"""Waveforms of independent sources, as SPICE defines them: DC, PULSE, SIN, EXP and PWL.

Each is evaluated at a (possibly traced) time, names the times at which its slope jumps, and writes its own SPICE text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from analogep.errors import NetlistError

MAX_BREAKPOINTS = 100_000


def _number(value: float) -> str:
    """17 significant digits: enough for ngspice to read back the same float64 but for its last bit."""
    return f"{value:.17g}"


def _finite(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise NetlistError(f"{name} must be a finite number, not {value!r}")
    return number


def _time(t: ArrayLike) -> jax.Array:
    return jnp.asarray(t, dtype=float)


@dataclass(frozen=True)
class DC:
    """A constant `value` (volts or amperes)."""

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _finite("DC value", self.value))

    def at(self, t: ArrayLike) -> jax.Array:
        """The value, with the shape of `t` (seconds)."""
        return jnp.full_like(_time(t), self.value)

    def breakpoints(self, t_end: float) -> tuple[float, ...]:
        """None: a constant has no corners."""
        return ()

    def spice(self) -> str:
        """`DC value`."""
        return f"DC {_number(self.value)}"


@dataclass(frozen=True)
class Pulse:
    """The periodic trapezoid of SPICE: `initial`, up to `pulsed` at `delay`, back after `width`, again every `period`.

    Times are in seconds; `width` is the flat top, without the two edges. `rise`, `fall`, `width` and `period` must be
    positive because SPICE reads a zero edge as the print step, and a zero width or period as the stop time.
    """

    initial: float
    pulsed: float
    delay: float
    rise: float
    fall: float
    width: float
    period: float

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _finite(f"PULSE {field.name}", getattr(self, field.name)))
        for name in ("rise", "fall", "width", "period"):
            if getattr(self, name) <= 0:
                raise NetlistError(f"PULSE {name} must be above 0 s: SPICE replaces a zero by a time of its own choice")
        if self.delay < 0:
            raise NetlistError(f"PULSE delay must not be negative, not {self.delay!r}")
        if self.period < (self.rise + self.width + self.fall) * (1 - 1e-12):
            raise NetlistError("PULSE period must not be shorter than rise + width + fall")

    def at(self, t: ArrayLike) -> jax.Array:
        """Value at time `t` (seconds, any shape)."""
        since = _time(t) - self.delay
        phase = since - self.period * jnp.floor(since / self.period)
        end = self.rise + self.width + self.fall
        height = jnp.clip(jnp.minimum(phase / self.rise, (end - phase) / self.fall), 0.0, 1.0)
        height = jnp.where(since > 0, height, 0.0)
        return self.initial * (1 - height) + self.pulsed * height

    def breakpoints(self, t_end: float) -> tuple[float, ...]:
        """The corners strictly between 0 and `t_end`, in order."""
        cycles = max(0, math.ceil((t_end - self.delay) / self.period))
        if 4 * cycles > MAX_BREAKPOINTS:
            raise NetlistError(f"PULSE of period {self.period!r} s has over {MAX_BREAKPOINTS} corners in {t_end!r} s")
        edges = (0.0, self.rise, self.rise + self.width, self.rise + self.width + self.fall)
        corners = {self.delay + cycle * self.period + edge for cycle in range(cycles) for edge in edges}
        return tuple(sorted(corner for corner in corners if 0 < corner < t_end))

    def spice(self) -> str:
        """`PULSE(initial pulsed delay rise fall width period)`."""
        return f"PULSE({' '.join(_number(getattr(self, field.name)) for field in fields(self))})"


@dataclass(frozen=True)
class Sin:
    """A sine that begins at `delay` and decays: offset + amplitude sin(2 pi f s + phase) e^(-damping s), s = t - delay.

    Parameters
    ----------
    offset, amplitude : in volts or amperes. frequency : in hertz. delay : in seconds; before it the value stands at
        offset + amplitude sin(phase). damping : in 1/second. degrees : the phase.
    """

    offset: float
    amplitude: float
    frequency: float
    delay: float = 0.0
    damping: float = 0.0
    degrees: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _finite(f"SIN {field.name}", getattr(self, field.name)))
        if self.frequency <= 0:
            raise NetlistError("SIN frequency must be above 0 Hz: SPICE replaces a zero by 1 / stop time")
        if self.delay < 0:
            raise NetlistError(f"SIN delay must not be negative, not {self.delay!r}")

    def at(self, t: ArrayLike) -> jax.Array:
        """Value at time `t` (seconds, any shape)."""
        since = jnp.maximum(_time(t) - self.delay, 0.0)
        angle = 2 * math.pi * self.frequency * since + math.radians(self.degrees)
        return self.offset + self.amplitude * jnp.sin(angle) * jnp.exp(-self.damping * since)

    def breakpoints(self, t_end: float) -> tuple[float, ...]:
        """Where the sine begins."""
        return (self.delay,) if 0 < self.delay < t_end else ()

    def spice(self) -> str:
        """`SIN(offset amplitude frequency delay damping phase)`."""
        return f"SIN({' '.join(_number(getattr(self, field.name)) for field in fields(self))})"


@dataclass(frozen=True)
class Exp:
    """From `initial` towards `pulsed` after `rise_delay`, and back again after `fall_delay`, with two time constants.

    Times are in seconds; time constants must be positive because SPICE replaces a zero by the print step.
    """

    initial: float
    pulsed: float
    rise_delay: float
    rise_constant: float
    fall_delay: float
    fall_constant: float

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _finite(f"EXP {field.name}", getattr(self, field.name)))
        for name in ("rise_constant", "fall_constant"):
            if getattr(self, name) <= 0:
                raise NetlistError(f"EXP {name} must be above 0 s: SPICE replaces a zero by the print step")
        if not 0 <= self.rise_delay <= self.fall_delay:
            raise NetlistError("EXP needs 0 <= rise delay <= fall delay")

    def at(self, t: ArrayLike) -> jax.Array:
        """Value at time `t` (seconds, any shape)."""
        time, step = _time(t), self.pulsed - self.initial
        rise = -jnp.expm1(-jnp.maximum(time - self.rise_delay, 0.0) / self.rise_constant)
        fall = -jnp.expm1(-jnp.maximum(time - self.fall_delay, 0.0) / self.fall_constant)
        return self.initial + step * (rise - fall)

    def breakpoints(self, t_end: float) -> tuple[float, ...]:
        """The two times at which an exponential begins."""
        return tuple(sorted({time for time in (self.rise_delay, self.fall_delay) if 0 < time < t_end}))

    def spice(self) -> str:
        """`EXP(initial pulsed rise_delay rise_constant fall_delay fall_constant)`."""
        return f"EXP({' '.join(_number(getattr(self, field.name)) for field in fields(self))})"


@dataclass(frozen=True)
class PWL:
    """Straight lines through points (`times` in seconds, `values`); constant before the first and after the last."""

    times: Sequence[float]
    values: Sequence[float]

    def __post_init__(self) -> None:
        times = tuple(_finite("PWL time", time) for time in self.times)
        values = tuple(_finite("PWL value", value) for value in self.values)
        if len(times) != len(values) or len(times) < 2:
            raise NetlistError(f"PWL needs at least two points; got {len(times)} times and {len(values)} values")
        if times[0] < 0 or any(later <= earlier for earlier, later in pairwise(times)):
            raise NetlistError("PWL times must not be negative and must increase strictly")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)

    def at(self, t: ArrayLike) -> jax.Array:
        """Value at time `t` (seconds, any shape)."""
        return jnp.interp(_time(t), jnp.asarray(self.times, dtype=float), jnp.asarray(self.values, dtype=float))

    def breakpoints(self, t_end: float) -> tuple[float, ...]:
        """The points strictly between 0 and `t_end`."""
        return tuple(time for time in self.times if 0 < time < t_end)

    def spice(self) -> str:
        """`PWL(t1 v1 t2 v2 ...)`."""
        pairs = zip(self.times, self.values, strict=True)
        return f"PWL({' '.join(f'{_number(time)} {_number(value)}' for time, value in pairs)})"


Waveform = DC | Pulse | Sin | Exp | PWL
