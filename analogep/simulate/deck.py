"""A SPICE deck in any backend, and both side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from analogep.errors import ConvergenceError
from analogep.netlist.analyses import Analysis, Transient
from analogep.netlist.spice.deck import SpiceFile
from analogep.simulate.nodal.run import FileRun
from analogep.simulate.nodal.transient import TransientOptions
from analogep.simulate.spice import run_file

Backend = Literal["jax", "ngspice", "pyspice", "both"]
LIMITS = {"op": 1e-6, "dc": 1e-6, "ac": 1e-6, "noise": 1e-2, "tran": 1e-4}
"""Differences, of full scale (noise: of the density), up to which two simulators count as agreeing."""
DEFAULT = TransientOptions()
FINER = 25
"""How many times shorter than the deck's own the steps of a reference transient are at most."""
FLOOR = {"v(": 1e-6, "i(": 1e-9}
"""Least full scale (volts, amperes): below it both simulators show their own leakage."""
TIGHT: tuple[dict[str, float | str], ...] = tuple(
    {"method": "trap", "reltol": reltol, "abstol": abstol, "vntol": vntol, "chgtol": chgtol, "trtol": 1.0}
    for reltol, abstol, vntol, chgtol in (
        (1e-7, 1e-15, 1e-10, 1e-20),
        (1e-6, 1e-13, 1e-9, 1e-16),
        (1e-5, 1e-12, 1e-8, 1e-15),
    )
)
"""Tolerances that ngspice is asked for as a reference. At the first ones it gives some circuits up ("timestep too
small"); then the next are taken, and the result says which."""


@dataclass(frozen=True)
class Agreement:
    """One analysis in two simulators.

    Attributes
    ----------
    analysis : the command.
    kind : op, dc, ac, tran or noise.
    error : largest difference of a node voltage over full scale; of a noise density, relative.
    variable : where it is.
    current_error : the same for branch currents.
    seconds, reference_seconds : what each took; ours without compilation.
    reltol : the relative tolerance that the reference ran with.
    """

    analysis: str
    kind: str
    error: float
    variable: str
    current_error: float
    seconds: float
    reference_seconds: float
    reltol: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the limit of its kind."""
        return bool(self.error <= LIMITS[self.kind])


@dataclass(frozen=True, eq=False)
class Simulated:
    """Answers to a deck's analyses, and how two simulators agree where both ran."""

    datasets: list[xr.Dataset]
    references: list[xr.Dataset]
    agreements: list[Agreement]


def simulate_deck(
    file: SpiceFile,
    backend: Backend = "jax",
    *,
    options: TransientOptions = DEFAULT,
    progress: bool = False,
) -> Simulated:
    """Run every analysis of a deck.

    Parameters
    ----------
    backend : `jax`, our own; `ngspice`; `pyspice`; or `both`: ours against ngspice at tight tolerances.

    Raises
    ------
    ConvergenceError, NetlistError, MissingToolError
        If an analysis has no answer.
    """
    if backend in ("ngspice", "pyspice"):
        return Simulated(run_file(file, backend), [], [])
    run = FileRun(file, options, progress)
    if backend == "jax":
        return Simulated([run.run(analysis) for analysis in file.analyses], [], [])
    datasets, references, agreements = [], [], []
    for analysis in file.analyses:
        reference, seconds, reltol = _reference(file, analysis)
        ours = run.run(analysis)
        begin = time.perf_counter()
        run.run(analysis)  # compiled now
        mine = time.perf_counter() - begin
        compared, shared = reference, ours
        if isinstance(analysis, Transient):
            # from initial conditions ngspice's first point is its first step
            shared = ours.sel(time=slice(float(reference["time"][0]), None))
            compared = at_times(reference, shared["time"].values)
        datasets.append(ours)
        references.append(reference)
        agreements.append(_agreement(analysis, shared, compared, mine, seconds, reltol))
    return Simulated(datasets, references, agreements)


def _reference(file: SpiceFile, analysis: Analysis) -> tuple[xr.Dataset, float, float]:
    """ngspice's answer to one analysis at the tightest tolerances that it takes, the seconds and the tolerance."""
    if isinstance(analysis, Transient):
        longest = min(analysis.max_step or np.inf, analysis.step, analysis.stop / 50) / FINER
        analysis = replace(analysis, max_step=longest)
    for tolerances in TIGHT:
        alone = replace(file, analyses=(analysis,), options={**file.options, **tolerances}, prints=(), measures=())
        begin = time.perf_counter()
        try:
            answer = run_file(alone, "ngspice")[0]
        except ConvergenceError:
            if tolerances is TIGHT[-1]:
                raise
            continue
        return answer, time.perf_counter() - begin, float(tolerances["reltol"])
    raise AssertionError("unreachable")


def at_times(waves: xr.Dataset, times: np.ndarray) -> xr.Dataset:
    """Waveforms at other times, on straight lines between the steps: both have a step at every corner."""
    known = {
        name: ("time", np.interp(times, waves["time"].values, v.values), v.attrs) for name, v in waves.data_vars.items()
    }
    return xr.Dataset(known, {"time": ("time", times, waves["time"].attrs)}, waves.attrs)


def _agreement(
    analysis: Analysis, ours: xr.Dataset, theirs: xr.Dataset, seconds: float, reference: float, reltol: float
) -> Agreement:
    kind = ours.attrs["analysis"]
    if kind == "noise":
        errors = {
            str(name): float(np.max(np.abs(ours[name].values / theirs[name].values - 1)))
            for name in ("onoise_spectrum", "inoise_spectrum")
        }
        worst = max(errors, key=errors.__getitem__)
        return Agreement(analysis.spice(), kind, errors[worst], worst, 0.0, seconds, reference, reltol)
    voltage, variable = _worst(ours, theirs, "v(")
    current, _ = _worst(ours, theirs, "i(")
    return Agreement(analysis.spice(), kind, voltage, variable, current, seconds, reference, reltol)


def _worst(ours: xr.Dataset, theirs: xr.Dataset, prefix: str) -> tuple[float, str]:
    """Largest difference of the variables that both have, over the largest value."""
    names = [str(name) for name in theirs.data_vars if str(name).startswith(prefix) and name in ours]
    if not names:
        return 0.0, ""
    scale = max(FLOOR[prefix], *(float(np.abs(theirs[name].values).max()) for name in names))
    errors = {name: float(np.abs(ours[name].values - theirs[name].values).max()) / scale for name in names}
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    return errors[worst], worst


def summary(result: Simulated) -> dict[str, Any]:
    """Agreement as the command line reports it: worst of all analyses, of those at rest, and each one."""
    if not result.agreements:
        return {}
    each = result.agreements
    settled = [a.error for a in each if a.kind in ("op", "dc")]
    waves = [a for a in each if a.kind == "tran"]
    timed = waves or each
    return {
        "max_error": max(a.error for a in each),
        "settled_error": max(settled) if settled else None,
        "speedup": sum(a.reference_seconds for a in timed) / sum(a.seconds for a in timed),
        "agrees": all(a.agrees for a in each),
        "analyses": [
            {
                "analysis": short(a.analysis),
                "max_error": a.error,
                "limit": LIMITS[a.kind],
                "variable": a.variable,
                "current_error": a.current_error,
                "agrees": a.agrees,
                "analogep_seconds": a.seconds,
                "ngspice_seconds": a.reference_seconds,
                "ngspice_reltol": a.reltol,
            }
            for a in each
        ],
    }


def short(line: str) -> str:
    """An analysis line with its numbers as people write them."""

    def word(text: str) -> str:
        try:
            return f"{float(text):g}"
        except ValueError:
            return text

    return " ".join(map(word, line.split()))
