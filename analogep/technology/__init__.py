"""Devices and the rest of the hardware: presets with sources, pairs, and imperfections as effects.

    device = preset("reram").at(gmax=30e-6, seconds=86_400.0)
    pairs = to_pairs({"w_q": g}, device)                       # [2, columns, rows] in siemens
    chip = apply(device.written(), pairs, key)                 # once a chip
    seen = apply(device.reading(hertz=1e9), chip, other_key)   # once a reading

An effect is a pure function of values and a key (`effect.py`). `docs/technology.md` lists the presets, their sources
and each effect's equation.
"""

from analogep.technology.amplifiers import Amplifier as Amplifier
from analogep.technology.amplifiers import Mismatch as Mismatch
from analogep.technology.amplifiers import current_spread as current_spread
from analogep.technology.amplifiers import threshold_spread as threshold_spread
from analogep.technology.between import Aging as Aging
from analogep.technology.between import Between as Between
from analogep.technology.between import VoltageWander as VoltageWander
from analogep.technology.between import Wander as Wander
from analogep.technology.between import Warming as Warming
from analogep.technology.between import aging as aging
from analogep.technology.between import moments as moments
from analogep.technology.between import structure as structure
from analogep.technology.converters import Converter as Converter
from analogep.technology.converters import nudge_dac as nudge_dac
from analogep.technology.effect import Composed as Composed
from analogep.technology.effect import Devices as Devices
from analogep.technology.effect import Effect as Effect
from analogep.technology.effect import apply as apply
from analogep.technology.effect import compose as compose
from analogep.technology.effect import named_key as named_key
from analogep.technology.laws import ClippedLog as ClippedLog
from analogep.technology.laws import Polynomial as Polynomial
from analogep.technology.laws import PowerLaw as PowerLaw
from analogep.technology.laws import ProgrammingError as ProgrammingError
from analogep.technology.laws import Relaxation as Relaxation
from analogep.technology.laws import Saturating as Saturating
from analogep.technology.laws import constant as constant
from analogep.technology.noise import FlickerNoise as FlickerNoise
from analogep.technology.noise import JohnsonNoise as JohnsonNoise
from analogep.technology.noise import ReadNoise as ReadNoise
from analogep.technology.noise import ThermalNoise as ThermalNoise
from analogep.technology.noise import VoltageNoise as VoltageNoise
from analogep.technology.noise import flicker_series as flicker_series
from analogep.technology.pairs import Levels as Levels
from analogep.technology.pairs import from_pairs as from_pairs
from analogep.technology.pairs import largest_scale as largest_scale
from analogep.technology.pairs import to_pairs as to_pairs
from analogep.technology.preset import Preset as Preset
from analogep.technology.presets import PRESETS as PRESETS
from analogep.technology.presets import preset as preset
from analogep.technology.pulses import PulsedUpdate as PulsedUpdate
from analogep.technology.pulses import PulseResponse as PulseResponse
from analogep.technology.pulses import Updated as Updated
from analogep.technology.pulses import change_pairs as change_pairs
from analogep.technology.storage import Drift as Drift
from analogep.technology.storage import Leak as Leak
from analogep.technology.storage import Stuck as Stuck
from analogep.technology.storage import Temperature as Temperature
from analogep.technology.storage import arrhenius as arrhenius
from analogep.technology.wiring import WIRES as WIRES
from analogep.technology.wiring import WireResistance as WireResistance
