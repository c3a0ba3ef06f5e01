"""Analyses as data: what a deck's `.op`, `.dc`, `.ac`, `.tran` and `.noise` ask for."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from analogep.errors import NetlistError

Spacing = Literal["dec", "oct", "lin"]
MAX_POINTS = 10_000_000
"""Points that one sweep may ask for."""


def _text(value: float) -> str:
    return f"{value:.17g}"


def _wrong(what: str, message: str) -> NetlistError:
    return NetlistError(f".{what}: {message}")


def _finite(what: str, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise _wrong(what, f"{name} must be a finite number, not {value!r}")


def _check_frequencies(what: str, spacing: str, points: int, start: float, stop: float) -> None:
    _finite(what, start=start, stop=stop)
    if spacing not in get_args(Spacing):
        raise _wrong(what, f"spacing {spacing!r}; give dec, oct or lin")
    if not 1 <= points <= MAX_POINTS:
        raise _wrong(what, f"{points} points; give 1 ... {MAX_POINTS}")
    if start < 0 or (start == 0 and spacing != "lin"):
        raise _wrong(what, f"start frequency {start:g} Hz; it must be positive for dec and oct")
    if stop < start:
        raise _wrong(what, f"the stop frequency {stop:g} Hz lies below the start {start:g} Hz")


@dataclass(frozen=True)
class OperatingPoint:
    """Where the circuit rests; `.op`."""

    def spice(self) -> str:
        """The command."""
        return ".op"


@dataclass(frozen=True)
class DCSweep:
    """Operating points while one or two sources vary; `.dc`. The first source is the inner loop.

    Parameters
    ----------
    source, start, stop, step : name of a V or I element, and its values (volts or amperes).
    source2, start2, stop2, step2 : the outer loop, or None.
    """

    source: str
    start: float
    stop: float
    step: float
    source2: str | None = None
    start2: float | None = None
    stop2: float | None = None
    step2: float | None = None

    def __post_init__(self) -> None:
        outer = (self.source2, self.start2, self.stop2, self.step2)
        if any(part is None for part in outer) and any(part is not None for part in outer):
            raise _wrong("dc", "the second source needs a name, start, stop and step")
        if self.source == self.source2:
            raise _wrong("dc", f"{self.source!r} is swept twice")
        for start, stop, step in self._ranges:
            _finite("dc", start=start, stop=stop, step=step)
            if start != stop and (step == 0 or (stop - start) / step < 0):
                raise _wrong("dc", f"a step of {step:g} does not lead from {start:g} to {stop:g}")
            if start != stop and (stop - start) / step > MAX_POINTS:
                raise _wrong("dc", f"more than {MAX_POINTS} points from {start:g} to {stop:g} in steps of {step:g}")

    @property
    def _ranges(self) -> tuple[tuple[float, float, float], ...]:
        first = (self.start, self.stop, self.step)
        if self.start2 is None or self.stop2 is None or self.step2 is None:
            return (first,)
        return first, (self.start2, self.stop2, self.step2)

    def spice(self) -> str:
        """The command."""
        names = [name for name in (self.source, self.source2) if name is not None]
        sweeps = zip(names, self._ranges, strict=True)
        return ".dc " + " ".join(f"{name} {' '.join(map(_text, values))}" for name, values in sweeps)


@dataclass(frozen=True)
class AC:
    """Small-signal response over frequency; `.ac`.

    Parameters
    ----------
    spacing : "dec", "oct" (points in each decade or octave) or "lin" (points in all).
    start, stop : frequencies in hertz.
    """

    spacing: Spacing
    points: int
    start: float
    stop: float

    def __post_init__(self) -> None:
        _check_frequencies("ac", self.spacing, self.points, self.start, self.stop)

    def spice(self) -> str:
        """The command."""
        return f".ac {self.spacing} {self.points} {_text(self.start)} {_text(self.stop)}"


@dataclass(frozen=True)
class Transient:
    """Waveforms over time; `.tran`.

    Parameters
    ----------
    step, stop, start : suggested spacing of the results, their end and their beginning (seconds).
    max_step : longest time step, or None.
    uic : start from the initial conditions, without an operating point.
    """

    step: float
    stop: float
    start: float = 0.0
    max_step: float | None = None
    uic: bool = False

    def __post_init__(self) -> None:
        _finite("tran", step=self.step, stop=self.stop, start=self.start, max_step=self.max_step)
        if not (self.step > 0 and self.stop > 0):
            raise _wrong("tran", "step and stop time must be positive")
        if not 0 <= self.start < self.stop:
            raise _wrong("tran", f"the start {self.start:g} s must lie between 0 and the stop time {self.stop:g} s")
        if self.max_step is not None and self.max_step <= 0:
            raise _wrong("tran", "the longest step must be positive")

    def spice(self) -> str:
        """The command."""
        parts = [self.step, self.stop]
        if self.start or self.max_step is not None:
            parts.append(self.start)
        if self.max_step is not None:
            parts.append(self.max_step)
        return ".tran " + " ".join(map(_text, parts)) + (" uic" if self.uic else "")


@dataclass(frozen=True)
class Noise:
    """Noise density at an output over frequency, also referred to an input; `.noise`.

    Parameters
    ----------
    output, reference : nodes between which the noise is taken. source : name of the input source.
    spacing, points, start, stop : the frequencies (hertz), as for `AC`.
    per_summary : print contributions at every so many points, or None.
    """

    output: str
    reference: str
    source: str
    spacing: Spacing
    points: int
    start: float
    stop: float
    per_summary: int | None = None

    def __post_init__(self) -> None:
        _check_frequencies("noise", self.spacing, self.points, self.start, self.stop)
        if self.per_summary is not None and self.per_summary < 0:
            raise _wrong("noise", "points per summary must not be negative")

    def spice(self) -> str:
        """The command."""
        output = self.output if self.reference == "0" else f"{self.output},{self.reference}"
        summary = "" if self.per_summary is None else f" {self.per_summary}"
        frequencies = f"{self.spacing} {self.points} {_text(self.start)} {_text(self.stop)}"
        return f".noise v({output}) {self.source} {frequencies}{summary}"


Analysis = OperatingPoint | DCSweep | AC | Transient | Noise
