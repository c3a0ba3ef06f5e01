"""Tables of every spec key, made from the pydantic models of analogep.spec, so that they cannot go stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analogep.spec import Spec

MEANING: dict[str, tuple[str, str]] = {
    # key: (unit, meaning)
    "seed": ("", "everything random follows from it: weights, windows, masks"),
    "model.tokens": ("", "sequence length T"),
    "model.channels": ("", "state width d"),
    "model.heads": ("", "attention heads; must divide channels"),
    "model.ffn": ("", "hidden width of the feed-forward part, or number of memories of the energy part"),
    "model.damping": ("g₀", "c in the leak 1 + c: one number, or a list with one for each channel"),
    "model.attention": ("", "free, energy, or mixed by the dial"),
    "model.asymmetry": ("", "the dial a: F = (1 − a) F_energy + a F_free; given alone it selects mixed"),
    "model.activation": ("", "nonlinearity of the feed-forward part"),
    "model.gain": ("", "scale of the initial weights"),
    "model.layer_norm_epsilon": ("", "added to the variance in layer norm; far below 0.1 small states become stiff"),
    "model.checkpoint": ("path", "file of trained weights"),
    "data.text": ("path", "UTF-8 text; without it, the documentation that ships with Python"),
    "data.objective": ("", "the question; next_token needs a causal model"),
    "data.batch": ("windows", "windows averaged in one compared gradient"),
    "data.split": ("", "fraction of the text used for training"),
    "technology.volts": ("V", "voltage of one unit of state"),
    "technology.siemens": (
        "S",
        "conductance g₀ of one unit of weight; none: 10 µS; in `feasibility` what fits devices",
    ),
    "technology.farads": ("F", "damping capacitor of a state; with siemens it sets τ = farads / siemens"),
    "technology.device": ("", "kind of device of the arrays, a preset with sources"),
    "technology.gmin": ("S", "smallest conductance of a device; the preset's if left out, as the keys below"),
    "technology.gmax": ("S", "largest conductance of a device"),
    "technology.levels": ("", "conductances that a device can be set to"),
    "technology.read_volts": ("V", "voltage of a reading"),
    "technology.seconds": ("s", "time since programming"),
    "technology.kelvin": ("K", "temperature"),
    "technology.stuck": ("", "fraction of cells that do not answer"),
    "compile.level": ("", "ideal: driven nodes; parasitic: a pole at every cell; device: pairs, wires, transistors"),
    "compile.epsilon": ("τ", "cell time constant over τ, at level parasitic"),
    "phases.beta": ("", "nudging strength"),
    "phases.horizon": ("τ", "longest integration of a phase"),
    "phases.approach": ("", "relative residual at which integration stops and Newton steps begin"),
    "phases.rtol": ("", "relative tolerance of the integrator"),
    "phases.tolerance": ("", "relative residual above which a state does not count as settled"),
    "phases.solver": ("", "auto: cascade where cells have poles, else tsit5"),
    "oracle.steps": ("", "Euler steps of BPTT on F(z)"),
    "oracle.dt": ("τ", "length of such a step"),
    "oracle.circuit": ("", "also backpropagate through the settling solver of the circuit"),
    "oracle.horizon": ("τ", "simulated time of that"),
    "training.steps": ("", "updates"),
    "training.batch": ("windows", "windows in an update"),
    "training.rate": ("", "learning rate of Adam"),
    "training.level": ("", "level of the circuit that learns"),
    "chip.number": ("", "which chip the measure `chip` draws; with `seed` all its errors follow from it"),
    "chip.devices": ("", "whether its arrays have the errors of written devices"),
    "chip.mismatch": ("", "relative spread of cells' gains, and of their copies in the adjoint path"),
    "chip.offset": ("V", "spread of cells' outputs"),
    "sweep.axes": ("", "what a sweep varies: key → list of values, or {from, to, points, scale}"),
    "sweep.measures": ("", "what it measures: panel, fidelity, chip, or module:function"),
    "feasibility.adc_bits": ("", "bits of the converters that read nodes"),
    "feasibility.dac_bits": ("", "bits of the nudge"),
    "feasibility.supply": ("V", "of amplifiers and converters"),
    "feasibility.beta": ("", "nudging strength in hardware"),
    "feasibility.repeats": ("", "readings of each phase that are averaged"),
    "feasibility.schedule": ("", "parallel: a copy of each array for every token; sequential: token after token"),
    "feasibility.mismatch": ("", "relative spread of the cells of the adjoint path"),
    "feasibility.offset": ("V", "standard deviation of the offsets of reading amplifiers"),
    "feasibility.gain_error": ("", "relative standard deviation of their gains"),
    "feasibility.flicker": ("V/√Hz", "1/f noise of those amplifiers at 1 Hz"),
    "feasibility.warming": ("K/s", "rate at which devices warm up in a learning step"),
    "feasibility.tempco": ("1/K", "temperature coefficient of their conductance"),
    "feasibility.settle_seconds": ("s", "time that a phase is given; without it, until half an LSB is left"),
    "feasibility.chips": ("", "chips of the error budget"),
    "feasibility.min_cosine": ("", "least cosine of the measured gradient"),
    "feasibility.max_loss_change": ("nats", "largest change of the loss by imperfections"),
    "feasibility.max_energy_per_token": ("J", "of inference"),
    "feasibility.max_energy_per_learned_token": ("J", "of a learning step, by token"),
    "feasibility.max_latency_per_token": ("s", "of inference"),
    "feasibility.max_latency_per_step": ("s", "of a learning step"),
    "feasibility.max_settling_time": ("s", "from 0 V to half an LSB"),
    "feasibility.max_area": ("m²", "of arrays, capacitors and converters"),
    "feasibility.min_decay": ("1/τ", "least −α, the decay of the slowest mode"),
    "feasibility.max_growth": ("", "largest transient growth"),
    "feasibility.max_numerical_abscissa": ("1/τ", "largest initial growth ω"),
    "feasibility.min_nudge_to_noise": ("", "least rms of the nudged displacement over that of thermal noise"),
}


def _kind(schema: dict[str, Any]) -> str:
    """A JSON-schema type in words."""
    if "anyOf" in schema:
        kinds = [_kind(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}s"
    word = {"string": "text"}.get(schema["type"], schema["type"])
    limits = {"exclusiveMinimum": "> ", "minimum": "≥ ", "exclusiveMaximum": "< ", "maximum": "≤ "}
    bounds = [f"{sign}{schema[key]:g}" for key, sign in limits.items() if key in schema]
    return f"{word} {', '.join(bounds)}".strip()


def _default(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`"


def _row(key: str, schema: dict[str, Any]) -> str:
    unit, meaning = MEANING[key]
    kind = "path" if unit == "path" else _kind(schema)
    cells = (f"`{key}`", kind, _default(schema.get("default")), "" if unit == "path" else unit, meaning)
    return f"| {' | '.join(cells)} |"


def spec_tables() -> str:
    """Markdown: one table for each table of the spec.

    Raises
    ------
    KeyError
        If a key of the spec has no meaning in this file, or the other way round.
    """
    whole = Spec.model_json_schema()
    head = ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
    lines: list[str] = ["### Top level", "", *head, _row("seed", whole["properties"]["seed"]), ""]
    keys = ["seed"]
    for table, field in Spec.model_fields.items():
        properties = getattr(field.annotation, "model_fields", None)
        if properties is None:
            continue
        inner = field.annotation.model_json_schema()["properties"]
        keys += [f"{table}.{key}" for key in inner]
        if missing := [key for key in keys if key not in MEANING]:
            raise KeyError(f"docs/spec_tables.py: say what {missing[0]} means")
        lines += [f"### `[{table}]`", "", *head, *(_row(f"{table}.{key}", s) for key, s in inner.items()), ""]
    if surplus := sorted(set(MEANING) - set(keys)):
        raise KeyError(f"docs/spec_tables.py: the spec has no key {surplus[0]}")
    return "\n".join(lines)


def write(path: Path) -> None:
    """Write the tables unless they are there already as they should be."""
    text = spec_tables()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
