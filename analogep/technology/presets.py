"""Kinds of devices with the sources of their numbers.

Numbers were read from the files and papers named beside them. What those do not say is either left out, and then the
effect is absent, or it is our choice, and then it says so and why.
"""

from __future__ import annotations

import difflib
import math
from types import MappingProxyType

from analogep.errors import SpecError
from analogep.technology.laws import (
    ClippedLog,
    Polynomial,
    PowerLaw,
    ProgrammingError,
    Relaxation,
    Saturating,
    constant,
)
from analogep.technology.preset import Preset
from analogep.technology.pulses import PulseResponse
from analogep.technology.sonos import RELAXATION as SONOS_RELAXATION
from analogep.technology.sonos import UNIT as SONOS_UNIT

DAY = 86_400.0
"""Seconds."""
ROOM_ONLY = "our choice: measured at room temperature, without a law for others"
READ = "our choice: common for resistive memories; the source gives no law of the voltage"
NONE_STUCK = "our choice: none unless asked for"
READ_RANGE = (0.01, 0.5)
"""Volts; our choice for all devices: below 10 mV offsets rule, above 0.5 V reading may disturb."""
KELVIN_RANGE = (290.0, 310.0)

IDEAL = Preset(
    name="ideal",
    summary="any conductance, exactly and for ever",
    gmin=0.0,
    gmax=math.inf,
    pulses=PulseResponse(step_up=0.0, step_down=0.0),
    sources=dict.fromkeys(
        ("gmin", "gmax", "levels", "read_volts", "seconds", "kelvin", "stuck", "pulses"), "our choice: no limit"
    ),
)


def _micro(coefficients: tuple[float, ...], reference: float) -> Polynomial:
    """A spread in microsiemens over g / reference (siemens), lowest power first."""
    return Polynomial(tuple(c * 1e-6 for c in coefficients), reference)


_WAN = "aihwkit inference/noise/reram.py, ReRamWan2022NoiseModel, a fit of Wan et al. 2022"
_GONG18 = (
    "aihwkit simulator/presets/devices.py, ReRamSBPresetDevice, a loose fit of Gong et al. 2018: another ReRAM, of "
    "which pulses were measured"
)
RERAM = Preset(
    name="reram",
    summary="resistive memory of the NeuRRAM chip, written and verified (Wan et al. 2022)",
    gmin=1e-6,
    gmax=40e-6,
    seconds=1.0,
    programming=Relaxation(
        seconds=(1.0, DAY, 2 * DAY),
        spreads=(
            _micro((0.348, 16.030, -43.853, 45.393, -16.815), 40e-6),
            _micro((0.701, 22.086, -50.773, 47.095, -16.458), 40e-6),
            _micro((0.782, 20.274, -43.507, 37.062, -11.934), 40e-6),
        ),
    ),
    read_spread=constant(0.01 * 40e-6),
    # dw_min 0.002 on -0.75 ... 1.25: soft bounds put 0.002 / 1.25 (1 - y) and 0.002 / 0.75 y
    pulses=PulseResponse(
        step_up=0.002 / 2.5,
        step_down=0.002 / 1.5,
        step_spread=0.3,
        imbalance=0.01,
        bound_spread=(0.15, 0.15),
        cycle_spread=3.75,
        write_noise=56 * 0.002 / 2,
    ),
    valid={
        "gmin": (0.0, 40e-6),
        "gmax": (0.0, 40e-6),
        "read_volts": READ_RANGE,
        "seconds": (1.0, 2 * DAY),
        "kelvin": KELVIN_RANGE,
    },
    sources={
        "gmin": "our choice: a ratio of 40; the fit covers 0 ... 40 uS",
        "gmax": f"{_WAN}: 40 uS (CrossSim RRAM_Wan.py ends at 39.26 uS)",
        "levels": "our choice: any, as the chip writes and verifies",
        "read_volts": READ,
        "seconds": f"{_WAN}: 1 second, 1 day and 2 days; in between interpolated (our choice)",
        "kelvin": ROOM_ONLY,
        "stuck": f"{NONE_STUCK}; 13.48 % in the optimized array of Gong, Rasch et al. 2022",
        "programming": _WAN,
        "read_spread": "same file: about 1 % of gmax; no law of the bandwidth",
        "pulses": _GONG18,
    },
)

_MILO = "CrossSim simulator/devices/custom/RRAM_Milo.py, a fit of Fig. 4 (IGVVA-100) of Milo et al. 2021"
_GONG22 = "aihwkit simulator/presets/devices.py, ReRamArrayHfO2PresetDevice, an array of Gong, Rasch et al. 2022"
HFO2 = Preset(
    name="hfo2",
    summary="HfO2 resistive memory with a transistor each, written and verified (Milo et al. 2021)",
    gmin=50e-6,
    gmax=225e-6,
    programming=ProgrammingError(_micro((4.782321, -0.009107), 1e-6)),
    # dw_min 0.4622 on -1 ... 1 is 0.2311 of the range at its middle
    pulses=PulseResponse(
        step_up=0.4622 / 2,
        step_down=0.4622 / 2,
        step_spread=0.7125,
        log_normal=True,
        imbalance=0.01,
        bound_spread=(0.5990 / 2, 0.4295 / 2),
        cycle_spread=0.2174,
        write_noise=0.5841 * 0.4622 / 2,
    ),
    valid={
        "gmin": (50e-6, 225e-6),
        "gmax": (50e-6, 225e-6),
        "read_volts": READ_RANGE,
        "seconds": (0.0, 0.0),
        "kelvin": KELVIN_RANGE,
    },
    sources={
        "gmin": f"{_MILO}: 50 uS",
        "gmax": f"{_MILO}: 225 uS",
        "levels": "our choice: any, as devices are written and verified",
        "read_volts": READ,
        "seconds": "after programming; the source has nothing later",
        "kelvin": ROOM_ONLY,
        "stuck": f"{NONE_STUCK}; 9.77 % in the array of Gong, Rasch et al. 2022",
        "programming": _MILO,
        "pulses": f"{_GONG22}: another HfO2 memory, in parts of its range",
    },
)

_PCM = "aihwkit inference/noise/pcm.py, PCMLikeNoiseModel, after Nandakumar et al. 2019"
PCM = Preset(
    name="pcm",
    summary="phase-change memory with drift and 1/f noise (Nandakumar et al. 2019, Joshi et al. 2020)",
    gmin=0.25e-6,
    gmax=25e-6,
    programming=ProgrammingError(_micro((0.26348, 1.9650, -1.1731), 25e-6)),
    flicker=(PowerLaw(0.0088, 0.65, high=0.2, reference=25e-6), 250e-9),
    drift_mean=ClippedLog(-0.0155, 0.0244, 0.049, 0.1, reference=25e-6),
    drift_spread=ClippedLog(-0.0125, -0.0059, 0.008, 0.045, reference=25e-6),
    drift_start=20.0,
    valid={
        "gmin": (0.0, 25e-6),
        "gmax": (0.0, 25e-6),
        "read_volts": READ_RANGE,
        "seconds": (0.0, 366 * DAY),
        "kelvin": KELVIN_RANGE,
    },
    sources={
        "gmin": "CrossSim simulator/devices/custom/PCM_Joshi.py: ratio of 100",
        "gmax": f"{_PCM}: 25 uS",
        "levels": "our choice: any, as devices are written and verified",
        "read_volts": READ,
        "seconds": f"{_PCM}: counted from the first reading, 20 s after programming",
        "valid.seconds": "our choice: one year, the longest that this law is commonly used for",
        "kelvin": ROOM_ONLY,
        "stuck": NONE_STUCK,
        "programming": _PCM,
        "flicker": _PCM,
        "drift_mean": _PCM,
        "drift_spread": _PCM,
        "drift_start": _PCM,
        "pulses": "pulses only increase it, and a reset takes it back: not of this form",
    },
)

_SONOS = "CrossSim simulator/devices/custom/SONOS.py, fits of Figs. 10 and 11 of Agrawal et al. 2022"
SONOS = Preset(
    name="sonos",
    summary="40 nm charge-trap transistor below threshold (Agrawal et al. 2022)",
    gmin=1.6e-12,
    gmax=16e-6,
    read_volts=0.1,
    programming=SONOS_RELAXATION,
    read_spread=Saturating(12.58037 * SONOS_UNIT, 215.36557 * SONOS_UNIT),
    valid={
        "gmin": (0.0, 16e-6),
        "gmax": (0.0, 16e-6),
        "read_volts": (0.1, 0.1),
        "seconds": (0.0, 5 * DAY),
        "kelvin": KELVIN_RANGE,
    },
    sources={
        "gmin": f"{_SONOS}: ratio of 1e7",
        "gmax": f"{_SONOS}: 16 uS",
        "levels": "our choice: any, as devices are written and verified",
        "read_volts": f"{_SONOS}: 1600 nA for 16 uS; a cell is read at one voltage only",
        "seconds": f"{_SONOS}: 0 ... 5 days; between days interpolated (our choice)",
        "kelvin": ROOM_ONLY,
        "stuck": NONE_STUCK,
        "programming": f"{_SONOS}; mean shifts above 14 uS are kept at those of 14 uS (our choice: sonos.py)",
        "read_spread": _SONOS,
        "pulses": "the source programs with high voltage from outside and gives no pulse law",
    },
)

_LI = "aihwkit simulator/presets/devices.py, CapacitorPresetDevice, a fit of Li et al. 2018"
_LEROUX = "Leroux et al. 2025, in the authors' code (GainCellAttention)"
CAPACITOR = Preset(
    name="capacitor",
    summary="charge on a capacitor that sets a transistor's current: volatile gain cell (Li et al. 2018, Leroux 2025)",
    gmin=0.0,
    gmax=10e-6,
    levels=8,
    retention=65e-9 / 1.6e-4,
    retention_spread=0.3,
    # dw_min 0.005 on -1 ... 1, slopes of 5 % at the bounds
    pulses=PulseResponse(
        step_up=0.0025,
        step_down=0.0025,
        bend_up=0.05,
        bend_down=0.05,
        step_spread=0.1,
        imbalance=0.06,
        bound_spread=(0.035, 0.035),
        cycle_spread=0.3,
    ),
    valid={
        "gmin": (0.0, 1e-3),
        "gmax": (0.0, 1e-3),
        "read_volts": READ_RANGE,
        "seconds": (0.0, 1.0),
        "kelvin": KELVIN_RANGE,
    },
    sources={
        "gmin": "our choice: a transistor that is off",
        "gmax": "our choice: one default unit g0; the designer sizes the transistor, and all laws are relative",
        "levels": f"{_LEROUX}: keys and values are written in 8 levels",
        "read_volts": "our choice: small enough for a linear transistor",
        "seconds": "our choice: as written",
        "valid.seconds": "our choice: thousands of time constants",
        "kelvin": "our choice: leakage depends on temperature, and the sources give no law of it",
        "stuck": NONE_STUCK,
        "retention": f"{_LEROUX}: a decay of 1.6e-4 a token (configs) at 65 ns a token (utils/plot_energy.py), 0.41 ms",
        "retention_spread": _LI,
        "pulses": _LI,
    },
)

PRESETS = MappingProxyType({each.name: each for each in (IDEAL, RERAM, HFO2, PCM, SONOS, CAPACITOR)})
"""Name -> preset."""


def preset(name: str) -> Preset:
    """A kind of device by name.

    Raises
    ------
    SpecError
        For another name; says which is near, and all that there are.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise SpecError(
            f"technology {name!r} is not known{f', did you mean {near[0]!r}?' if near else ';'} there are "
            f"{', '.join(PRESETS)}"
        )
    return PRESETS[name]
