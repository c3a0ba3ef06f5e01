"""What a compiled circuit costs: power, energy, latency, area, peaks and margins, each number with its source.

The laws of power and energy take JAX arrays and can be differentiated; `Costs` holds plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from analogep.cells import Activation, Cell, Multiplier, Softmax, TransistorCell
from analogep.cells.transistor import VDD, VSS
from analogep.codesign.hardware import (
    ADC_AREA,
    ADC_DELAY,
    ADC_ENERGY,
    ARITHMETIC,
    CAPACITANCE,
    CELL_AREA,
    CHARGING,
    CLASS_A,
    DAC_ENERGY,
    FEATURE,
    KULL,
    SOFTMAX,
    WRITE,
    WRITE_ENERGY,
    Hardware,
    Sourced,
)
from analogep.codesign.operating import OperatingPoint, full_scale, node_farads, settling_seconds
from analogep.compile.device import silicon
from analogep.compile.transformer import LOGITS, STATE
from analogep.netlist._types import Array
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import BOLTZMANN
from analogep.netlist.elements import VSource
from analogep.netlist.spice.write import Deck
from analogep.netlist.wired import WiredCrossbar

PHASES = 3
"""Settles of a learning step: free, nudged one way and the other."""
PULSES = 1.0
"""Update pulses that a device gets in a step, on average (our choice: small updates are short trains)."""

Bar = Crossbar | WiredCrossbar


@dataclass(frozen=True)
class Costs:
    """Costs by name, and what could not be counted.

    Attributes
    ----------
    entries : name -> value, unit and source.
    left_out : what is not in these numbers, and why.
    """

    entries: Mapping[str, Sourced]
    left_out: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> float:
        return self.entries[name].value

    def to_dict(self) -> dict[str, object]:
        """Plain data: name -> value, unit, source; and `left_out`."""
        return {**{name: entry.to_dict() for name, entry in self.entries.items()}, "left_out": list(self.left_out)}


class Powers(NamedTuple):
    """Static power of all copies (watts), by what takes it."""

    arrays: Array | float
    loads: Array | float
    cells: Array | float
    stages: Array | float

    @property
    def total(self) -> Array | float:
        """Sum of all."""
        return sum(self)


def bars(point: OperatingPoint) -> Iterator[tuple[Bar, Array, Array]]:
    """Crossbars with their signed conductances [out, in] (siemens) and their drive [copies, in] (volts)."""
    for element in point.compiled.netlist:
        if isinstance(element, Crossbar | WiredCrossbar):
            g = jnp.asarray(point.theta[element.weights], float)
            v = jnp.asarray(point.voltages[element.reads[0]])
            yield element, (g.T if element.transpose else g), v.reshape(-1, v.shape[-1])


def array_power(g: Array, volts: Array, gmin: float) -> Array:
    """Power of an array of pairs [out, in] between drivers at `volts` [copies, in] and virtual ground (watts).

    The device of the sign carries gmin + |g|, the other one gmin.
    """
    return jnp.sum((jnp.abs(g) + 2 * gmin).sum(0) * jnp.square(volts))


def charging_energy(farads: Array | float, volts: Array) -> Array:
    """Energy that charging capacitors from 0 V takes from the supply, sum C v^2 (joules)."""
    return jnp.sum(farads * jnp.square(volts))


def bias_current(cell: Cell, point: OperatingPoint) -> Array | float:
    """Bias of all instances of a cell (amperes): its supply current where it is made of transistors, class A otherwise.

    A transistor cell says what it takes: tails, references, bias chains. A behavioral one gets the largest
    current that any of its output stages delivers; a multiplier that of the product of its largest inputs for every
    product, a softmax its whole current once for each row.
    """
    netlist = point.compiled.netlist
    sizes = [size for _, size, _ in cell.instances(Deck(netlist.buses, netlist.arrays))]
    if isinstance(cell, TransistorCell):
        return sum(cell.supply(size) for size in sizes)
    instances = len(sizes)
    unit = cell.siemens * cell.volts * abs(cell.gain)
    if isinstance(cell, Softmax):
        return unit * instances
    if isinstance(cell, Multiplier):
        first, second = (jnp.max(jnp.abs(point.voltages[bus])) / cell.volts for bus in cell.inputs)
        return unit * first * second * instances
    # a pole's resistor carries what the stage delivers at rest
    stage = cell.siemens * jnp.max(jnp.abs(point.voltages[cell.output]))
    return stage * (instances if isinstance(cell, Activation) else netlist.buses[cell.output].nodes)


def static_power(point: OperatingPoint, hardware: Hardware) -> Powers:
    """Power at the operating point, all copies counted."""
    arrays = stages = loads = cells = jnp.zeros(())
    gmin = hardware.device.gmin
    for _, g, v in bars(point):
        arrays += array_power(g, v, gmin)
        column = jnp.max(jnp.abs(v @ g.T))
        row = jnp.max((jnp.abs(g) + 2 * gmin).sum(0) * jnp.abs(v))
        stages += len(v) * (g.shape[0] * column + g.shape[1] * row) * hardware.supply
    for part in point.compiled.netlist:
        element = part.given(point.theta)
        if isinstance(element, Cell):
            supply = VDD - VSS if isinstance(element, TransistorCell) else hardware.supply
            cells += supply * bias_current(element, point)
        elif element.shunts is not None and not isinstance(element, VSource) and element.shunts in point.circuit.states:
            bus = point.compiled.netlist.buses[element.shunts]
            power = jnp.broadcast_to(element.conductance(point.theta) * point.voltages[element.shunts] ** 2, bus.shape)
            loads += jnp.sum(power.ravel()[bus.indices])
    return Powers(arrays, loads, cells, stages)


def wire_energy(point: OperatingPoint, farads: float) -> Array | float:
    """Charging of the driven lines: `farads` at each crossing of both tiles of each copy (bit lines stay at ground)."""
    return sum(charging_energy(2 * farads * g.shape[0], v) for _, g, v in bars(point))


def stored_energy(point: OperatingPoint) -> Array | float:
    """Charging of all capacitors at nodes (joules)."""
    return sum(charging_energy(c, point.voltages[bus]) for bus, c in node_farads(point).items())


def token_energy(point: OperatingPoint, hardware: Hardware, per_settle: Array | float) -> Array | float:
    """Energy of one settle (joules) and of a reading of the logits, over the tokens."""
    return (per_settle + point.compiled.netlist.buses[LOGITS].nodes * hardware.adc_joules) / point.compiled.model.tokens


def conversions(point: OperatingPoint) -> tuple[int, int]:
    """Nodes that a learning step reads in the free phase (row drives), and in each nudged one (array outputs)."""
    rails = {e.a for e in point.compiled.netlist if isinstance(e, VSource)}
    used = [element for element, _, _ in bars(point)]
    buses = point.compiled.netlist.buses
    drives = {bus for e in used for bus in e.reads} - rails
    targets = {bus for e in used for bus in e.drives}
    return sum(buses[bus].nodes for bus in drives), sum(buses[bus].nodes for bus in targets)


def costs(
    point: OperatingPoint, hardware: Hardware, *, alpha: float | None = None, settling: float | None = None
) -> Costs:  # fmt: skip
    """Everything at once.

    Parameters
    ----------
    point : the circuit at rest, and what its nudge moves.
    alpha : spectral abscissa (1/tau), for the settling time that it leads to expect.
    settling : time to half an LSB (seconds); simulated when None.

    Returns
    -------
    Entries in SI units. Energies are those of all tokens divided by their number.

    Raises
    ------
    ConvergenceError
        If the transient does not settle.
    """
    scale, tokens = point.compiled.scale, point.compiled.model.tokens
    range_volts = float(full_scale(point))
    half_lsb = range_volts / 2**hardware.adc_bits  # a range of both signs
    settle = settling
    if settle is None:
        settle = settling_seconds(point.circuit, point.x, point.theta, point.voltages, half_lsb)
    powers = Powers(*map(float, static_power(point, hardware)))
    farads = {bus: np.asarray(c) for bus, c in node_farads(point).items()}
    charge, wires = float(stored_energy(point)), float(wire_energy(point, hardware.wires.word_farads))
    per_settle = powers.total * settle + charge + wires
    rows = max(g.shape[1] for _, g, _ in bars(point))
    delay, logits = hardware.adc_seconds(rows), point.compiled.netlist.buses[LOGITS].nodes
    free, nudged = conversions(point)
    readings = hardware.repeats * (free + 2 * nudged)
    turns = tokens if hardware.schedule == "parallel" else 1
    given = settle if hardware.settle_seconds is None else hardware.settle_seconds
    # parallel: all tokens settle at once and take turns at the converters; sequential: one after another
    window = settle + tokens * delay if hardware.schedule == "parallel" else tokens * (settle + delay)
    once = given + hardware.repeats * turns * delay
    step = PHASES * once * (1 if hardware.schedule == "parallel" else tokens)
    devices = sum(2 * g.size * len(v) for _, g, v in bars(point))
    conductance = sum(float(np.sum(np.abs(g) + 2 * hardware.device.gmin)) * len(v) for _, g, v in bars(point))
    pulse = hardware.pulse_joules(conductance / devices)
    on = powers.total / (1 if hardware.schedule == "parallel" else tokens)
    learning = on * step + PHASES * (charge + wires) + readings * hardware.adc_joules + logits * hardware.dac_joules
    left_out = []
    if pulse is None:
        left_out.append(f"energy of update pulses: no source for {hardware.device.name!r}")
    else:
        learning += PULSES * devices * pulse
        step += WRITE[1]
    entries = {
        "settling_time": Sourced(settle, "s", "simulated: transient from 0 V to within half an LSB, every node"),
        "power_arrays": Sourced(powers.arrays, "W", f"{ARITHMETIC}: (|g| + 2 gmin) v^2 of every pair and copy"),
        "power_loads": Sourced(powers.loads, "W", f"{ARITHMETIC}: g v^2 of leaks and loads"),
        "power_cells": Sourced(powers.cells, "W", _cell_source(point)),
        "power_stages": Sourced(powers.stages, "W", f"{CLASS_A}: array drivers and output stages"),
        "power": Sourced(powers.total, "W", "sum of these"),
        "energy_charging": Sourced(charge, "J", f"{CHARGING}; damping and parasitic capacitors"),
        "energy_wires": Sourced(wires, "J", f"{CHARGING}; {hardware.wires.word_farads:g} F a crossing (technology)"),
        "energy_per_settle": Sourced(per_settle, "J", "power times settling time, and charging"),
        "energy_adc": Sourced(hardware.adc_joules, "J", f"{ADC_ENERGY}; compare {KULL}: 2.6 pJ"),
        "energy_dac": Sourced(hardware.dac_joules, "J", DAC_ENERGY),
        "energy_per_token": Sourced(
            float(token_energy(point, hardware, per_settle)), "J", "one settle and a reading of the logits"
        ),
        "energy_per_step": Sourced(learning, "J", f"{PHASES} phases, {readings} readings, nudge; {WRITE_ENERGY}"),
        "energy_per_learned_token": Sourced(learning / tokens, "J", "energy of a learning step over its tokens"),
        "latency_per_token": Sourced(window / tokens, "s", f"settling and {ADC_DELAY}; schedule {hardware.schedule}"),
        "latency_per_step": Sourced(step, "s", "phases, readings that take turns at the converters, and a pulse"),
        **_areas(point, hardware, left_out),
        **_extremes(point, hardware, farads),
        "softmax_anchor": Sourced(3e-6, "W", SOFTMAX),
    }
    if alpha is not None and alpha < 0:
        start = float(np.linalg.norm(np.ravel(point.voltages[STATE])))
        expected = float(np.log(max(start / half_lsb, 1.0)) / -alpha) * scale.seconds
        entries["settling_from_alpha"] = Sourced(expected, "s", "ln(|z| / half LSB) / |alpha|: the slowest mode alone")
    return Costs(entries, tuple(left_out))


def _cell_source(point: OperatingPoint) -> str:
    cells = [e for e in point.compiled.netlist if isinstance(e, Cell)]
    exact = sum(isinstance(e, TransistorCell) for e in cells)
    both = f"{exact} of {len(cells)} kinds of cells by tails and references of their transistors, at 5 V; the others: "
    return (both if exact else "") + CLASS_A


def _areas(point: OperatingPoint, hardware: Hardware, left_out: list[str]) -> dict[str, Sourced]:
    """Areas (m^2) of one chip with its schedule."""
    model = point.compiled.model
    share = 1 if hardware.schedule == "parallel" else model.tokens
    cell = CELL_AREA.value * FEATURE.value**2
    netlist = point.compiled.netlist
    devices = sum(2 * g.size * len(v) for _, g, v in bars(point)) // share * cell
    damping = sum(float(np.sum(c)) for bus, c in node_farads(point).items() if bus == STATE)
    held = 0.0 if share == 1 else 2 * model.tokens * model.channels * cell
    converters = sum(netlist.buses[bus].nodes for bus in {b for e, _, _ in bars(point) for b in e.drives})
    adcs = converters // model.tokens * hardware.adc_area
    gates = silicon(netlist).gate_square_meters / share
    for element in netlist:
        if isinstance(element, Cell) and not isinstance(element, TransistorCell):
            left_out.append(f"area of the cells {element.name!r}: behavioral, no layout")
    capacitors = damping / share / CAPACITANCE.value
    total = devices + capacitors + adcs + gates + held
    return {
        "area_devices": Sourced(
            devices, "m^2", f"{CELL_AREA.source}; F = {FEATURE.value * 1e9:g} nm, {FEATURE.source}"
        ),
        "area_capacitors": Sourced(capacitors, "m^2", f"{CAPACITANCE.source}; damping capacitors"),
        "area_adcs": Sourced(adcs, "m^2", f"{ADC_AREA}; one for each array output of a token, tokens take turns"),
        "area_gates": Sourced(gates, "m^2", "width times length of the transistors of transistor cells"),
        "area_held": Sourced(held, "m^2", "our choice: a gain cell takes a device's area; K and V of all tokens"),
        "area": Sourced(total, "m^2", "sum of these; without amplifiers, wiring and what `left_out` names"),
    }


def _extremes(point: OperatingPoint, hardware: Hardware, farads: Mapping[str, np.ndarray]) -> dict[str, Sourced]:
    """Peaks, dynamic range, and how the nudge stands against thermal noise."""
    drive = max(float(np.max(np.abs(v))) for _, _, v in bars(point))
    current = max(float(np.max(np.abs(v @ g.T))) for _, g, v in bars(point))
    targets = sorted({bus for e, _, _ in bars(point) for bus in e.drives})
    moved = np.concatenate([np.ravel(point.displacement[bus]) for bus in targets])
    noise = np.concatenate([np.ravel(node_noise(farads[bus], hardware.device.kelvin)) for bus in targets])
    smallest = float(np.sqrt(np.mean(moved**2)))
    margin = smallest / float(np.sqrt(np.mean(2 * noise**2))) * np.sqrt(hardware.repeats)
    return {
        "peak_volts": Sourced(float(full_scale(point)), "V", ARITHMETIC),
        "peak_read_volts": Sourced(drive, "V", f"{ARITHMETIC}: largest row drive"),
        "peak_amperes": Sourced(current, "A", f"{ARITHMETIC}: largest array output"),
        "dynamic_range": Sourced(float(full_scale(point)) / smallest, "1", "largest voltage over the rms of v+ - v-"),
        "nudge_to_noise": Sourced(
            float(margin), "1", f"rms of v+ - v- over that of kT/C noise in both, {hardware.repeats} repeats"
        ),
    }


def node_noise(farads: np.ndarray, kelvin: float) -> np.ndarray:
    """sqrt(kT/C) of nodes (volts)."""
    return np.sqrt(BOLTZMANN * kelvin / farads)
