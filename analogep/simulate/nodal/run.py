"""The analyses of a SPICE file on its nodal system, each answered by a labelled dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from analogep.errors import NetlistError
from analogep.netlist.analyses import AC, Analysis, DCSweep, Noise, OperatingPoint, Transient
from analogep.netlist.elements import Resistor
from analogep.netlist.elements.sources import Source
from analogep.netlist.spice.deck import SpiceFile
from analogep.simulate.nodal.operating_point import OperatingPoint as Rest
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.nodal.small_signal import NoiseSpectrum, ac, noise
from analogep.simulate.nodal.sweep import dc_sweep
from analogep.simulate.nodal.system import Nodal
from analogep.simulate.nodal.transient import TransientOptions, initial_state, transient

DEFAULT = TransientOptions()


class FileRun:
    """A SPICE file ready to be analyzed.

    Attributes
    ----------
    nodal : its circuit, hierarchy flattened, with the waveforms of its sources.
    at_rest : the same with sources at their DC values.
    """

    def __init__(self, file: SpiceFile, options: TransientOptions = DEFAULT, progress: bool = False) -> None:
        self.file, self.options, self.progress = file, options, progress
        self.nodal = Nodal(file.netlist)
        waves = any(e.at_rest() is not e for e in self.nodal.netlist if isinstance(e, Source))
        self.at_rest = self.nodal.at_rest if waves else self.nodal

    def run(self, analysis: Analysis, times: np.ndarray | None = None) -> xr.Dataset:
        """One analysis; a transient at its own steps, or at `times` (seconds) where they are given.

        Returns
        -------
        `v(<node>)` in volts and `i(<element>)` in amperes over `time` (s), `frequency` (Hz; complex amplitudes) or the
        swept sources, the outer one first. Noise: `onoise_spectrum` (V/sqrt(Hz)) and `inoise_spectrum` (over the unit
        of the source), `onoise_<element>` and `onoise_<element>_<kind>` for the share of each element, and rms totals
        over the band. `attrs` tell the analysis and what the solver took.

        Raises
        ------
        ConvergenceError, NetlistError
            If there is no solution, or the analysis names what the circuit does not have.
        """
        match analysis:
            case OperatingPoint():
                found = self._operating_point()
            case DCSweep():
                found = self._dc(analysis)
            case AC():
                found = self._ac(analysis)
            case Transient():
                found = self._transient(analysis, times)
            case Noise():
                found = self._noise(analysis)
        return found.assign_attrs(title=self.file.netlist.title, simulator="analogep")

    @cached_property
    def rest(self) -> Rest:
        """The operating point about which small signals are taken."""
        return operating_point(self.at_rest, nodesets=self.file.nodesets)

    def _operating_point(self) -> xr.Dataset:
        return self._dataset("op", np.asarray(self.rest.x), {}).assign_attrs(
            method=self.rest.method, iterations=self.rest.iterations, residual=self.rest.residual
        )

    def _dc(self, analysis: DCSweep) -> xr.Dataset:
        axes = [(analysis.source, _steps(analysis.start, analysis.stop, analysis.step))]
        if analysis.source2 is not None:
            values = (analysis.start2, analysis.stop2, analysis.step2)
            axes.insert(0, (analysis.source2, _steps(*(float(v) for v in values if v is not None))))
        numbers = [self._swept(name) for name, _ in axes]
        grid = np.stack([g.ravel() for g in np.meshgrid(*(v for _, v in axes), indexing="ij")], axis=1)
        inverted = [number.endswith(".siemens") for number in numbers]
        points = np.where(inverted, 1 / np.where(inverted, grid, 1.0), grid)
        xs = dc_sweep(self.at_rest, tuple(numbers), points).reshape(*(len(v) for _, v in axes), -1)
        coords = {name: (name, values, {"units": self._unit(name)}) for name, values in axes}
        return self._dataset("dc", xs, coords)

    def _swept(self, name: str) -> str:
        element = self.at_rest.netlist.elements.get(name)
        return f"{name}.siemens" if isinstance(element, Resistor) else self.at_rest.source_value(name)

    def _unit(self, name: str) -> str:
        return {"v": "V", "i": "A", "r": "Ohm"}.get(name.rpartition(".")[2][:1], "")

    def _ac(self, analysis: AC) -> xr.Dataset:
        frequencies = grid(analysis)
        if not any(isinstance(e, Source) and e.ac for e in self.nodal.netlist):
            raise NetlistError(
                "an AC analysis needs a source with an AC value; add `AC 1` to one, or choose one by --stimulus"
            )
        values = np.asarray(ac(self.at_rest, self.rest.x, self.at_rest.theta, frequencies))
        return self._dataset("ac", values, {"frequency": ("frequency", frequencies, {"units": "Hz"})})

    def waves(self, analysis: Transient, stops: Sequence[float] = ()) -> xr.Dataset:
        """A transient at the integrator's own steps from t = 0 on, some of which end at `stops` (seconds)."""
        given = self.options
        options = TransientOptions(given.rtol, given.volts, given.amperes, analysis.max_step, given.max_steps)
        nodal, shortest = self.nodal, min(analysis.step, analysis.stop / 50)
        if analysis.uic:
            x0 = initial_state(nodal, nodal.theta, self.file.initial, 1e-6 * shortest)
        else:
            x0 = operating_point(nodal, held=self.file.initial, nodesets=self.file.nodesets).x
        found = transient(
            nodal,
            analysis.stop,
            x0=x0,
            first_step=shortest / 100,
            options=options,
            stops=stops,
            progress=self.progress,
        )
        coords = {"time": ("time", found.times, {"units": "s"})}
        return self._dataset("tran", found.x, coords).assign_attrs(steps=found.steps, rejected=found.rejected)

    def _transient(self, analysis: Transient, times: np.ndarray | None) -> xr.Dataset:
        if times is None:
            waves = self.waves(analysis)
            return waves.isel(time=waves["time"].values >= analysis.start)
        waves = self.waves(analysis, tuple(map(float, times)))
        return waves.sel(time=times, method="nearest").assign_coords(time=("time", times, {"units": "s"}))

    def _noise(self, analysis: Noise) -> xr.Dataset:
        frequencies = grid(analysis)
        spectrum = noise(
            self.at_rest,
            self.rest.x,
            self.at_rest.theta,
            frequencies,
            output=analysis.output,
            reference=analysis.reference,
            source=analysis.source,
        )
        unit = self._unit(analysis.source)
        variables = _noise_variables(spectrum, frequencies, unit)
        coords = {"frequency": ("frequency", frequencies, {"units": "Hz"})}
        return xr.Dataset(variables, coords, {"analysis": "noise"})

    def _dataset(self, kind: str, xs: np.ndarray, coords: Mapping[str, Any]) -> xr.Dataset:
        return labelled(self.nodal, xs, coords, analysis=kind)


def labelled(nodal: Nodal, xs: np.ndarray, coords: Mapping[str, Any], **attributes: str) -> xr.Dataset:
    """States [..., unknowns] as variables `v(<node>)` in volts and `i(<element>)` in amperes over `coords`.

    Nodes at which a device keeps the rate of a voltage are left out: they are no voltages of the circuit.
    """
    variables = {}
    for k, name in enumerate(nodal.unknowns):
        if not nodal.rates[k]:
            label, unit = (f"v({name})", "V") if nodal.is_node[k] else (name, "A")
            variables[label] = (tuple(coords), xs[..., k], {"units": unit})
    return xr.Dataset(variables, coords, attributes)


def grid(analysis: AC | Noise) -> np.ndarray:
    """Frequencies of an analysis (hertz), as SPICE spaces them."""
    if analysis.spacing == "lin":
        return np.linspace(analysis.start, analysis.stop, analysis.points)
    base = 10.0 if analysis.spacing == "dec" else 2.0
    intervals = analysis.points * np.log(analysis.stop / analysis.start) / np.log(base)
    return analysis.start * base ** (np.arange(int(intervals + 1e-9) + 1) / analysis.points)


def _steps(start: float, stop: float, step: float) -> np.ndarray:
    count = int((stop - start) / step + 1e-9) if step else 0
    if count < 0:
        raise NetlistError(f".dc from {start:g} to {stop:g} in steps of {step:g} has no points; turn the step's sign")
    return start + step * np.arange(count + 1)


def _noise_variables(spectrum: NoiseSpectrum, frequencies: np.ndarray, unit: str) -> dict[str, Any]:
    with np.errstate(divide="ignore"):  # where the source does not reach the output
        referred = spectrum.output / spectrum.gain**2
    variables: dict[str, Any] = {
        "onoise_spectrum": ("frequency", np.sqrt(spectrum.output), {"units": "V/sqrt(Hz)"}),
        "inoise_spectrum": ("frequency", np.sqrt(referred), {"units": f"{unit}/sqrt(Hz)"}),
    }
    each: dict[str, np.ndarray] = {}
    for (element, kind), share in spectrum.parts.items():
        variables[f"onoise_{element}_{kind}"] = ("frequency", np.sqrt(share), {"units": "V/sqrt(Hz)"})
        each[element] = each.get(element, 0.0) + share
    for element, share in each.items():
        variables[f"onoise_{element}"] = ("frequency", np.sqrt(share), {"units": "V/sqrt(Hz)"})
    if len(frequencies) > 1:
        for name, density, volts in (("onoise", spectrum.output, "V"), ("inoise", referred, unit)):
            variables[f"{name}_total"] = ((), np.sqrt(band_power(frequencies, density)), {"units": volts})
    return variables


def band_power(frequencies: np.ndarray, density: np.ndarray) -> float:
    """Integral of a density over frequency, a power law between neighbors: exact for white and 1/f noise."""
    f, s = np.asarray(frequencies), np.maximum(np.asarray(density), 1e-300)
    if not np.isfinite(s).all():
        return float(np.inf)
    if f[0] <= 0:
        return float(np.trapezoid(s, f))
    slope = np.diff(np.log(s)) / np.diff(np.log(f)) + 1.0
    ratio = np.log(f[1:] / f[:-1])
    # (e^(slope ratio) - 1) / slope, which is `ratio` where the density falls as 1/f
    near = np.abs(slope * ratio) < 1e-12
    grown = np.where(near, ratio, np.expm1(slope * ratio) / np.where(near, 1.0, slope))
    return float(np.sum(s[:-1] * f[:-1] * grown))


def run_file(file: SpiceFile, options: TransientOptions = DEFAULT, progress: bool = False) -> list[xr.Dataset]:
    """Every analysis of a SPICE file, in its order."""
    if not file.analyses:
        raise NetlistError("the SPICE file asks for no analysis; add a line such as .op")
    run = FileRun(file, options, progress)
    return [run.run(analysis) for analysis in file.analyses]
