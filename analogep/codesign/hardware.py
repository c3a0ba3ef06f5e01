"""What a circuit is built of beyond its netlist, and every number that a cost is counted with, with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from analogep.errors import SpecError
from analogep.netlist.wires import Wires
from analogep.technology import WIRES, Preset, preset


class Sourced(NamedTuple):
    """A number, its unit, and where it comes from; "our choice" where it is ours, with the reason."""

    value: float
    unit: str
    source: str

    def to_dict(self) -> dict[str, float | str]:
        """Plain data."""
        return self._asdict()


_ZIGZAG = "ZigZag-IMC cost model, fitted to 28 nm analog in-memory chips"
ADC_ENERGY = f"{_ZIGZAG}, after Murmann 2021: (100 fF b + 0.001 fF 4^b) Vdd^2 a conversion"
ADC_AREA = f"{_ZIGZAG}: 10^(-0.0369 b + 1.206) 2^b um^2"
ADC_DELAY = f"{_ZIGZAG}: b (0.00653 ns n + 0.640 ns), n rows on a column"
DAC_ENERGY = f"{_ZIGZAG}: 50 fF b Vdd^2 a conversion"
KULL = "Kull et al. 2013 (ISSCC): 8 bit, 1.2 GS/s, 3.1 mW, 0.0015 mm^2 in 32 nm"
SOFTMAX = "Vatalaro et al. 2021: 3 uW for 10 inputs at 0.5 V, 0.18 um"
FEATURE = Sourced(130e-9, "m", "our choice: 130 nm, the process of the NeuRRAM chip and of the mismatch figures")
CELL_AREA = Sourced(48.0, "F^2", "DNN+NeuroSim Param.cpp: a cell with its transistor is 4 F x 12 F")
CAPACITANCE = Sourced(1.5e-3, "F/m^2", "IHP Open PDK, 130 nm SG13G2: cmim_caspec = 1.5 fF/um^2")
WRITE = (2.0, 80e-9)
WRITE_ENERGY = "NeuroSim (MLP) Cell.cpp, RealDevice: V^2 g t with 2 V and 80 ns, g the mean conductance"
CHARGING = "arithmetic: C v^2, half stored and half lost in what charges it"
CLASS_A = (
    "our choice: class A, a stage's bias is the largest current that it delivers at the operating point; "
    "smaller with class AB"
)
ARITHMETIC = "arithmetic, from the netlist at its operating point"


@dataclass(frozen=True)
class Hardware:
    """Devices, converters and schedule around a compiled circuit.

    Parameters
    ----------
    device : kind of device of the arrays.
    supply : volts of amplifiers and converters. 1 V, twice the largest read voltage of the presets, when left out.
    adc_bits, dac_bits : of readings and of the nudge; 8, as technology's converters.
    beta : nudging strength. 1 in hardware, far more than in exact arithmetic: it has to stand above noise, and the
        reversed circuit is linear, so that its size costs nothing while cells stay in their linear range.
    repeats : readings of each phase that are averaged.
    schedule : `parallel`, a copy of each array for every token, or `sequential`, one copy and token after token.
    wires : of the tiles.
    mismatch : relative spread of the adjoint path's cells.
    offset, gain_error : of the amplifiers that read nodes: standard deviations (volts, and relative).
    flicker : 1/f noise of those amplifiers, root of the density at 1 Hz (V/sqrt(Hz)). None by default: with
        K = 1e-25 V^2 F (Razavi 2001, sec. 7.2) a pair of 30 um^2 has 0.7 uV, of which a difference keeps 3 uV.
    warming, tempco : kelvin per second by which devices warm up in a step, and the temperature coefficient of their
        conductance (1/K). No preset has one.
    settle_seconds : time that each phase is given; None, as long as the first reading needs (half an LSB).

    Raises
    ------
    SpecError
        For numbers that make no sense.
    """

    device: Preset = field(default_factory=lambda: preset("reram"))
    supply: float = 1.0
    adc_bits: int = 8
    dac_bits: int = 8
    beta: float = 1.0
    repeats: int = 16
    schedule: Literal["parallel", "sequential"] = "parallel"
    wires: Wires = WIRES
    mismatch: float = 0.05
    offset: float = 1e-3
    gain_error: float = 0.01
    flicker: float = 0.0
    warming: float = 0.0
    tempco: float = 0.0
    settle_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("supply", "beta"):
            if not getattr(self, name) > 0:
                raise SpecError(f"Hardware: {name} = {getattr(self, name):g}; give a number above 0")
        for name in ("adc_bits", "dac_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise SpecError(f"Hardware: {name} = {getattr(self, name)}; give 2 to 16 bits")
        if not self.flicker >= 0:
            raise SpecError(f"Hardware: flicker = {self.flicker:g}; give 0 or more")
        if self.repeats < 1:
            raise SpecError(f"Hardware: repeats = {self.repeats}; give 1 or more readings")
        if self.schedule not in ("parallel", "sequential"):
            raise SpecError(f"Hardware: schedule {self.schedule!r}; choose 'parallel' or 'sequential'")

    @property
    def adc_joules(self) -> float:
        """Energy of a conversion."""
        return (100e-15 * self.adc_bits + 1e-18 * 4.0**self.adc_bits) * self.supply**2

    @property
    def dac_joules(self) -> float:
        """Energy of a conversion."""
        return 50e-15 * self.dac_bits * self.supply**2

    @property
    def adc_area(self) -> float:
        """Area of a converter (m^2)."""
        return 10 ** (-0.0369 * self.adc_bits + 1.206) * 2.0**self.adc_bits * 1e-12

    def adc_seconds(self, rows: int) -> float:
        """Delay of a conversion, with so many rows on the column that is read."""
        return self.adc_bits * (0.00653e-9 * rows + 0.640e-9)

    def phase_seconds(self, given: float, *, rows: int, tokens: int) -> float:
        """Time of a phase and its readings, by which the next one comes later.

        Parameters
        ----------
        given : seconds to settle. rows : on the column that is read. tokens : that take turns at the converters.
        """
        turns = tokens if self.schedule == "parallel" else 1
        return given + self.repeats * turns * self.adc_seconds(rows)

    def pulse_joules(self, siemens: float) -> float | None:
        """Energy of one update pulse at a mean conductance; None for devices that no source has a pulse for."""
        if self.device.pulses is None or self.device.name not in ("reram", "hfo2"):
            return None
        volts, seconds = WRITE
        return volts**2 * siemens * seconds
