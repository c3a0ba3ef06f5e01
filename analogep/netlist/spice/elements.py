"""One reader for every element letter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analogep.errors import NetlistError
from analogep.netlist.devices import BJT, MOSFET, Diode, Switch
from analogep.netlist.elements import Capacitor, Coupling, Inductor, Resistor
from analogep.netlist.spice import models
from analogep.netlist.spice.controlled import behavioral, current_controlled, refuse_multiple, voltage_controlled
from analogep.netlist.spice.hierarchy import Circuit
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.sources import source as independent
from analogep.netlist.spice.words import Words

KELVIN = 273.15
SHORT_OHMS = 1e-3
"""What SPICE takes for a resistor of 0 ohm."""
Reader = Callable[[Circuit, Words, str], None]


def read_element(circuit: Circuit, line: Line) -> None:
    """Read one element line into the circuit."""
    words = Words(line)
    circuit.library.budget.spend(len(words.all), line)
    name = words.name("an element")
    reader = READERS.get(name[0])
    if reader is None:
        known = " ".join(letter.upper() for letter in READERS)
        raise line.error(f"element letter {name[0].upper()!r} is not supported; known are {known}")
    if name == "shell":
        raise line.error("commands for a shell are not run; remove it")
    if len(name) < 2:
        raise line.error("an element needs a name after its letter")
    try:
        reader(circuit, words, name)
    except NetlistError as error:
        if str(error).startswith(f"{line.file}:"):
            raise
        raise line.error(str(error)) from None


def _kelvin(circuit: Circuit, settings: Mapping[str, float], line: Line) -> float:
    celsius = settings.get("temp", circuit.library.celsius + settings.get("dtemp", 0.0))
    if celsius <= -KELVIN:
        raise line.error(f"a temperature of {celsius:g} degrees Celsius")
    return celsius + KELVIN


def _passive(
    circuit: Circuit, words: Words, kind: str, keys: tuple[str, ...], extra: tuple[str, ...]
) -> tuple[float, float, dict[str, float]]:
    """Value at temperature, temperature, and the settings of an R, C or L line after its nodes."""
    line = words.line
    value: float | None = None
    model: dict[str, float] = {}
    kinds = {"r": ("r", "res"), "c": ("c", "cap"), "l": ("l", "ind")}[kind]
    for _ in range(2):
        word = words.peek()
        if word is None or words.is_mark("=", 1):
            break
        if word.kind == "word" and not words.begins_value() and models.is_model(circuit, word.text):
            words.at += 1
            model = models.passive(circuit, word.text, kinds, line)
        elif value is None:
            value = words.value(circuit.scope)
    known = (*keys, "tc1", "tc2", "temp", "dtemp", "m", "scale", *extra)
    settings = _coefficients(words, circuit, known)
    for key in keys:
        if key in settings:
            if value is not None:
                raise line.error("two values")
            value = settings[key]
    if value is None:
        value = next((model[key] for key in ("r", "res", "cap", "ind") if key in model), None)
    if value is None:
        raise line.error("a value is missing")
    kelvin = _kelvin(circuit, settings, line)
    nominal = model.get("tnom", _nominal(circuit)) + KELVIN
    rise = kelvin - nominal
    first, second = (settings.get(key, model.get(key, 0.0)) for key in ("tc1", "tc2"))
    factor = 1 + rise * first + rise * rise * second
    return value * factor * settings.get("scale", 1.0), kelvin, settings


def _coefficients(words: Words, circuit: Circuit, known: tuple[str, ...]) -> dict[str, float]:
    """Settings of a passive element; `tc=a b` stands for tc1 and tc2."""
    found: dict[str, float] = {}
    while words.peek() is not None:
        words.skip(",")
        if words.peek() is None:
            break
        name = words.name("a setting")
        if not words.is_mark("="):
            raise words.error(f"{name[:40]!r} is not understood here; settings are {', '.join(known)}, tc")
        words.at += 1
        if name in found:
            raise words.error(f"{name!r} is given twice")
        if name == "tc":
            found["tc1"] = words.value(circuit.scope, "tc1")
            if words.begins_value():
                found["tc2"] = words.value(circuit.scope, "tc2")
        elif name in known:
            found[name] = words.value(circuit.scope, name)
        else:
            raise words.error(f"{name[:40]!r} is not understood here; settings are {', '.join(known)}, tc")
    return found


def _nominal(circuit: Circuit) -> float:
    tnom = circuit.library.options.get("tnom")
    return tnom if isinstance(tnom, float) else 27.0


def _times(circuit: Circuit, settings: Mapping[str, float], line: Line) -> float:
    return circuit.multiplied(settings.get("m", 1.0), line)


def _resistor(circuit: Circuit, words: Words, name: str) -> None:
    line = words.line
    a, b = circuit.node(words), circuit.node(words)
    words.skip(")")
    ohms, kelvin, settings = _passive(circuit, words, "r", ("r", "resistance"), ())
    if ohms == 0:
        circuit.library.notes.append(f"{line.file}:{line.number}: {name} of 0 ohm is taken for 1 milliohm, as in SPICE")
        ohms = SHORT_OHMS
    siemens = _times(circuit, settings, line) / ohms
    if siemens in (0.0, float("inf"), float("-inf")):
        raise line.error(f"a resistance of {ohms:g} ohm")
    circuit.add(Resistor(name, a, b, siemens, kelvin), line)


def _capacitor(circuit: Circuit, words: Words, name: str) -> None:
    a, b = circuit.node(words), circuit.node(words)
    words.skip(")")
    farads, _, settings = _passive(circuit, words, "c", ("c", "capacitance"), ("ic",))
    times = _times(circuit, settings, words.line)
    circuit.add(Capacitor(name, a, b, farads * times, settings.get("ic")), words.line)


def _inductor(circuit: Circuit, words: Words, name: str) -> None:
    a, b = circuit.node(words), circuit.node(words)
    words.skip(")")
    henries, _, settings = _passive(circuit, words, "l", ("l", "inductance"), ("ic",))
    times = _times(circuit, settings, words.line)
    initial = settings.get("ic")
    circuit.add(Inductor(name, a, b, henries / times, None if initial is None else initial * times), words.line)


def _coupling(circuit: Circuit, words: Words, name: str) -> None:
    line = words.line
    first, second = words.name("an inductor"), words.name("an inductor")
    k = words.value(circuit.scope, "the coefficient")
    words.end()
    circuit.add(Coupling(name, first, second, k), line)

    def check() -> None:
        for inductor in (first, second):
            if not isinstance(circuit.elements.get(inductor), Inductor):
                raise line.error(f"{inductor[:40]!r} is not an inductor of the same circuit")

    circuit.pending.append(check)


def _gmin(circuit: Circuit) -> dict[str, Any]:
    gmin = circuit.library.options.get("gmin")
    return {"gmin": gmin} if isinstance(gmin, float) else {}


def _model_name(words: Words) -> str:
    words.skip(")")
    return words.name("a model")


def _diode(circuit: Circuit, words: Words, name: str) -> None:
    a, b = circuit.node(words), circuit.node(words)
    model = models.device(circuit, _model_name(words), ("d",), words.line)
    area, settings = _area(circuit, words, "D")
    kelvin, times = _kelvin(circuit, settings, words.line), _times(circuit, settings, words.line)
    circuit.add(Diode(name, a, b, model, area, kelvin, times, **_gmin(circuit)), words.line)


def _area(circuit: Circuit, words: Words, what: str) -> tuple[float, dict[str, float]]:
    """Area, as a bare value or a setting, and the other settings."""
    area = words.value(circuit.scope, "the area") if words.begins_value() else None
    settings = words.settings(circuit.scope, ("area", "m", "temp", "dtemp"), what, flags=("off",))
    if area is not None and "area" in settings:
        raise words.error("two areas")
    area = settings.get("area", 1.0) if area is None else area
    if area <= 0:
        raise words.error("the area must be positive")
    _note_off(circuit, settings, words.line)
    return area, settings


def _note_off(circuit: Circuit, settings: Mapping[str, float], line: Line) -> None:
    if "off" in settings:
        circuit.library.notes.append(f"{line.file}:{line.number}: OFF only helps SPICE to converge, and is not used")


def _bipolar(circuit: Circuit, words: Words, name: str) -> None:
    collector, base, emitter = circuit.node(words), circuit.node(words), circuit.node(words)
    words.skip(")")
    word = words.peek()
    substrate = "0"
    if word is not None and not models.is_model(circuit, word.text):
        if words.peek(1) is None or words.is_mark("=", 1):
            raise words.error(f"unknown model {word.text[:40]!r}; {circuit.block.visible('models')}")
        substrate = circuit.node(words)
    model = models.device(circuit, _model_name(words), ("npn", "pnp"), words.line)
    area, settings = _area(circuit, words, "Q")
    kelvin, times = _kelvin(circuit, settings, words.line), _times(circuit, settings, words.line)
    circuit.add(
        BJT(name, collector, base, emitter, model, substrate, area, kelvin, times, **_gmin(circuit)), words.line
    )


def _mosfet(circuit: Circuit, words: Words, name: str) -> None:
    line = words.line
    drain, gate, source, bulk = (circuit.node(words) for _ in range(4))
    model = models.device(circuit, _model_name(words), ("nmos", "pmos"), line)
    known = ("w", "l", "ad", "as", "pd", "ps", "nrd", "nrs", "m", "temp", "dtemp")
    settings = words.settings(circuit.scope, known, "M", flags=("off",))
    _note_off(circuit, settings, line)
    defaults = {key: circuit.library.options.get(f"def{key}") for key in ("w", "l", "ad", "as")}
    settings = {**{key: value for key, value in defaults.items() if isinstance(value, float)}, **settings}
    fields = {"w": "width", "l": "length", "as": "as_"}
    given: dict[str, Any] = {fields.get(key, key): settings[key] for key in known[:8] if key in settings}
    for key in ("width", "length"):
        if given.get(key, 1.0) <= 0:
            raise line.error(f"the {key} must be positive")
    kelvin, times = _kelvin(circuit, settings, line), _times(circuit, settings, line)
    given |= {"kelvin": kelvin, "m": times, **_gmin(circuit)}
    circuit.add(MOSFET(name, drain, gate, source, bulk, model, **given), line)


def _switch(circuit: Circuit, words: Words, name: str) -> None:
    refuse_multiple(circuit, words.line)
    a, b, c, d = (circuit.node(words) for _ in range(4))
    model = models.device(circuit, _model_name(words), ("sw",), words.line)
    word = words.peek()
    if word is not None and word.text in ("on", "off"):
        words.at += 1  # the state without hysteresis is a function of the voltages
    words.end()
    circuit.add(Switch(name, a, b, c, d, model, _kelvin(circuit, {}, words.line)), words.line)


def _instance(circuit: Circuit, words: Words, name: str) -> None:
    circuit.library.instance(circuit, words, name)


READERS: Mapping[str, Reader] = {
    "r": _resistor,
    "c": _capacitor,
    "l": _inductor,
    "k": _coupling,
    "v": independent,
    "i": independent,
    "e": voltage_controlled,
    "f": current_controlled,
    "g": voltage_controlled,
    "h": current_controlled,
    "b": behavioral,
    "d": _diode,
    "q": _bipolar,
    "m": _mosfet,
    "s": _switch,
    "x": _instance,
}
