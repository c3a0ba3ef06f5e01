"""Independent sources: DC, AC, and the waveforms PULSE, SIN, EXP and PWL with SPICE's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from analogep.errors import NetlistError
from analogep.netlist.elements import ISource, VSource
from analogep.netlist.spice.hierarchy import Circuit, Library
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.words import Words
from analogep.netlist.waveforms import DC, PWL, Exp, Pulse, Sin, Waveform

MAX_POINTS = 50_000
"""Points of one PWL."""
COUNTS = {"pulse": (2, 7), "sin": (2, 6), "exp": (2, 6), "pwl": (4, 2 * MAX_POINTS)}
REFUSED = ("sffm", "am", "trnoise", "trrandom", "external", "port", "portnum")


def source(circuit: Circuit, words: Words, name: str) -> None:
    """A V or I line after its name."""
    line, kind = words.line, name[0]
    a, b = circuit.node(words), circuit.node(words)
    words.skip(")")
    dc: float | None = None
    ac, degrees, times = 0.0, 0.0, 1.0
    waveform: Waveform | None = None
    seen: set[str] = set()
    while words.peek() is not None:
        words.skip(",")
        if words.peek() is None:
            break
        word = "dc" if words.begins_value() else words.name("a value")
        if word in seen:
            raise line.error(f"{word!r} is given twice")
        seen.add(word)
        words.skip("=")
        if word == "dc":
            dc = words.value(circuit.scope, "the DC value") if words.begins_value() or _is_name(words) else 0.0
        elif word == "ac":
            given = words.values(circuit.scope, 2, "ac")
            ac, degrees = (*given, *(1.0, 0.0)[len(given) :])
        elif word in COUNTS:
            if waveform is not None:
                raise line.error("a second waveform")
            given = words.values(circuit.scope, COUNTS[word][1], word)
            _refuse_repetition(words, word)
            waveform = _waveform(word, given, circuit.library, line)
        elif word == "m" and kind == "i":
            times = words.value(circuit.scope, "m")
        elif word in REFUSED:
            raise line.error(f"{word.upper()} is not supported; PULSE, SIN, EXP and PWL are")
        else:
            raise line.error(f"{word[:40]!r} is not understood here; known are dc, ac, pulse, sin, exp, pwl")
    if kind == "i":
        times = circuit.multiplied(times, line)
        waveform = waveform if waveform is None else _scaled(waveform, times)
        dc = None if dc is None else dc * times
        ac *= times
    value: float | Waveform = (0.0 if dc is None else dc) if waveform is None else waveform
    rest = dc if waveform is not None else None
    if kind == "v":
        circuit.add(VSource(name, a, value, b, ac, degrees, rest), line)
    else:
        circuit.add(ISource(name, a, b, value, ac, degrees, rest), line)


def _is_name(words: Words) -> bool:
    word = words.peek()
    return word is not None and word.kind == "word" and word.text not in ("ac", *COUNTS, *REFUSED)


def _refuse_repetition(words: Words, kind: str) -> None:
    word = words.peek()
    if kind == "pwl" and word is not None and word.text in ("r", "td"):
        raise words.error(f"{word.text}= of PWL is not supported; write the points out")


def _waveform(kind: str, given: Sequence[float], library: Library, line: Line) -> Waveform:
    least, most = COUNTS[kind]
    if not least <= len(given) <= most:
        raise line.error(f"{kind.upper()} takes {least} to {most} values, not {len(given)}")
    try:
        if kind == "pwl":
            return _pwl(given, line)
        step, stop = library.step, library.stop
        if step is None or stop is None:
            if len(given) < {"pulse": 7, "sin": 3, "exp": 6}[kind]:
                library.notes.append(
                    f"{line.file}:{line.number}: {kind.upper()} lacks values that depend on .tran, which the deck does "
                    "not hold; the source stays at its first value"
                )
                return DC(given[0])
            step = stop = 0.0
        return {"pulse": _pulse, "sin": _sin, "exp": _exp}[kind](given, step, stop)
    except NetlistError as error:
        raise line.error(str(error)) from None


def _pulse(given: Sequence[float], step: float, stop: float) -> Waveform:
    """SPICE takes the print step for missing or zero edges, and the stop time for width and period."""
    initial, pulsed, delay, rise, fall, width, period = (*given, *(0.0,) * 7)[:7]
    rise, fall, width = rise or step, fall or step, width or stop
    if not period:
        period = max(stop, rise + width + fall)  # no second pulse before the stop time
    return Pulse(initial, pulsed, delay, rise, fall, width, period)


def _sin(given: Sequence[float], step: float, stop: float) -> Waveform:
    offset, amplitude, frequency, delay, damping, degrees = (*given, *(0.0,) * 6)[:6]
    return Sin(offset, amplitude, frequency or (1 / stop if stop else 0.0), delay, damping, degrees)


def _exp(given: Sequence[float], step: float, stop: float) -> Waveform:
    initial, pulsed = given[:2]
    rise_delay = given[2] if len(given) > 2 else step
    rise = (given[3] if len(given) > 3 else 0.0) or step
    fall_delay = given[4] if len(given) > 4 else rise_delay + step
    fall = (given[5] if len(given) > 5 else 0.0) or step
    return Exp(initial, pulsed, rise_delay, rise, fall_delay, fall)


def _pwl(given: Sequence[float], line: Line) -> Waveform:
    if len(given) % 2:
        raise line.error("PWL needs pairs of time and value")
    times = given[::2]
    if any(b <= a for a, b in pairwise(times)):
        raise line.error("the times of PWL must increase strictly")
    return PWL(times, given[1::2])


def _scaled(waveform: Waveform, times: float) -> Waveform:
    """The waveform of that many sources in parallel."""
    if times == 1:
        return waveform
    if isinstance(waveform, PWL):
        return PWL(waveform.times, [value * times for value in waveform.values])
    if isinstance(waveform, DC):
        return DC(waveform.value * times)
    if isinstance(waveform, Sin):
        return Sin(
            waveform.offset * times,
            waveform.amplitude * times,
            waveform.frequency,
            waveform.delay,
            waveform.damping,
            waveform.degrees,
        )
    first, second = waveform.initial * times, waveform.pulsed * times
    if isinstance(waveform, Pulse):
        return Pulse(first, second, waveform.delay, waveform.rise, waveform.fall, waveform.width, waveform.period)
    return Exp(first, second, waveform.rise_delay, waveform.rise_constant, waveform.fall_delay, waveform.fall_constant)
