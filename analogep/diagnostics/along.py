"""Chosen diagnostics at one state, or at samples of a trajectory, as a labelled dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.dynamics import dynamics
from analogep.diagnostics.growth import Peak, growth_peak, numerical_abscissa
from analogep.diagnostics.kreiss import kreiss_constant
from analogep.diagnostics.lognorm import optimal_metric
from analogep.diagnostics.normality import henrici_departure
from analogep.diagnostics.pseudospectra import stability_radius
from analogep.diagnostics.spectrum import eigenvalues, hopf_frequency, spectral_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio, in_metric, rho_sinv_a
from analogep.errors import DataError
from analogep.netlist._types import Parameters, Voltages
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System


class _Linearized:
    """G, and J in the metric of the stored energy, in units of the system's scale; shared work is done once.

    `signed` is the matrix whose symmetry is reciprocity: G itself, or Sigma G where the state holds currents.
    """

    def __init__(self, signed: np.ndarray, Jc: np.ndarray) -> None:
        self.signed, self.Jc = signed, Jc

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        return eigenvalues(self.Jc)

    @cached_property
    def alpha(self) -> float:
        return spectral_abscissa(self.eigenvalues)

    @cached_property
    def peak(self) -> Peak:
        unstable = self.alpha > 1e-9 * np.max(np.abs(self.eigenvalues))
        return Peak(np.inf, np.inf) if unstable else growth_peak(self.Jc)


QUANTITIES: Mapping[str, tuple[str, str, Callable[[_Linearized], float]]] = {
    "spectral_abscissa": ("1/tau", "largest real part of the eigenvalues", lambda at: at.alpha),
    "hopf_frequency": ("1/tau", "cycles of the rightmost eigenvalue", lambda at: hopf_frequency(at.eigenvalues)),
    "numerical_abscissa": ("1/tau", "initial growth rate, C metric", lambda at: numerical_abscissa(at.Jc)),
    "contraction_margin": ("1/tau", "minus the numerical abscissa", lambda at: -numerical_abscissa(at.Jc)),
    "rho_sinv_a": ("1", "spectral radius of S^-1 A of G", lambda at: rho_sinv_a(at.signed)),
    "asymmetry_ratio": ("1", "norm of A over norm of S, of G", lambda at: asymmetry_ratio(at.signed)),
    "henrici_departure": ("1/tau", "departure from normality, C metric", lambda at: henrici_departure(at.Jc)),
    "kreiss_constant": ("1", "Kreiss constant, C metric", lambda at: kreiss_constant(at.Jc).constant),
    "stability_radius": ("1/tau", "distance to instability, C metric", lambda at: stability_radius(at.Jc)),
    "optimal_log_norm": ("1/tau", "log-norm in its best metric (condition 1e6)", lambda at: optimal_metric(at.Jc).mu),
    "peak_growth": ("1", "largest norm of exp(t J), C metric", lambda at: at.peak.norm),
    "peak_time": ("tau", "time of the largest norm of exp(t J)", lambda at: at.peak.time),
}
"""Name -> unit, meaning, and how it is computed. Rates are in units of 1/tau, tau the system's time unit."""

DEFAULT = ("spectral_abscissa", "numerical_abscissa", "rho_sinv_a", "henrici_departure", "peak_growth")


def along(
    system: System,
    v: Voltages,
    x: Voltages,
    theta: Parameters,
    *,
    times: ArrayLike | None = None,
    quantities: Sequence[str] = DEFAULT,
) -> xr.Dataset:
    """Diagnostics of the linearized system at one state, or at each sample of a trajectory.

    Parameters
    ----------
    system : any System. Of a Circuit the states on feedback loops are analyzed, as in `panel`; of a Nodal all that
        store energy.
    v : state voltages by bus; with `times`, samples along a leading axis, as in `Waveforms.v`. The matrices are those
        of the momentary state: away from rest they tell how neighboring trajectories part, not whether it is stable.
    x : input voltages.
    times : sample times (seconds), or None for one state.
    quantities : names out of `QUANTITIES`.

    Returns
    -------
    One variable a quantity, with `units` and `long_name`, over `time` where times are given; `attrs["tau_seconds"]`.

    Raises
    ------
    DataError
        If a quantity is unknown, or the samples do not fit the times.
    """
    unknown = [name for name in quantities if name not in QUANTITIES]
    if unknown or not quantities:
        raise DataError(f"no diagnostic {', '.join(unknown) or '(none given)'}; there are {', '.join(QUANTITIES)}")
    linearize = _linearizer(system, x, theta)
    dims: tuple[str, ...] = ()
    coords: dict[str, tuple] = {}
    if times is not None:
        stamps = np.ravel(np.asarray(times, float))
        lengths = {name: len(np.atleast_1d(v[name])) for name in system.states}
        if any(length != stamps.size for length in lengths.values()):
            raise DataError(f"{stamps.size} times do not fit the samples of the states: {lengths}")
        dims, coords = ("time",), {"time": ("time", stamps, {"units": "s"})}
        samples = [linearize({name: v[name][k] for name in system.states}) for k in range(stamps.size)]
    else:
        samples = [linearize(v)]
    variables = {}
    for name in quantities:
        unit, meaning, compute = QUANTITIES[name]
        row = np.array([compute(at) for at in samples])
        variables[name] = (dims, row if dims else row[0], {"units": unit, "long_name": meaning})
    return xr.Dataset(variables, coords, {"tau_seconds": system.scale.seconds})


def _linearizer(system: System, x: Voltages, theta: Parameters) -> Callable[[Voltages], _Linearized]:
    """State -> its matrices."""
    scale = system.scale
    if isinstance(system, Nodal):

        def of_nodal(v: Voltages) -> _Linearized:
            found = dynamics(system, v, x, theta)
            # volts and amperes mix: the metric of the energy gives them one unit
            return _Linearized(-found.sigma[:, None] * found.Jc * scale.seconds, found.Jc * scale.seconds)

        return of_nodal
    part = Analyzed(system)
    farads = part.capacitance / scale.farads

    def of_states(v: Voltages) -> _Linearized:
        G = part.conductance(v, x, theta) / scale.siemens
        return _Linearized(G, in_metric(G, farads))

    return of_states
