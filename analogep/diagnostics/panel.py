"""The stability panel: several numbers, because no single one decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.growth import Growth, growth_curve, numerical_abscissa, peak_growth
from analogep.diagnostics.lyapunov import finite_time_lyapunov
from analogep.diagnostics.spectrum import eigenvalues, hopf_frequency, spectral_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio, in_metric, rho_sinv_a
from analogep.netlist._types import Parameters, Voltages
from analogep.simulate.system import System

_KEYS = (
    *("spectral_abscissa", "numerical_abscissa", "rho_sinv_a", "peak_growth", "hopf_frequency"),
    *("asymmetry_ratio", "lyapunov_finite_time", "contraction_margin"),
)


@dataclass(frozen=True, eq=False)
class Panel:
    """Stability at an operating point; rates and frequencies in units of 1/tau.

    Attributes
    ----------
    spectral_abscissa : alpha(J), max Re of the eigenvalues: decay; a complex pair that crosses 0 is a Hopf bifurcation.
    numerical_abscissa : omega(J) in the C metric: initial growth; where it is <= 0 nothing grows at any asymmetry.
    rho_sinv_a : spectral radius of S^-1 A of G: bias of plain EP, not stability.
    peak_growth : largest ||exp(t J)|| over t >= 0 in the C metric, at least 1; infinite where the state is unstable.
    hopf_frequency : |Im| / (2 pi) of the rightmost eigenvalue, 0 if it is real (cycles per tau).
    asymmetry_ratio : ||A||_2 / ||S||_2 of G.
    lyapunov_finite_time : leading finite-time Lyapunov exponent in the C metric; nan where it was left out.
    contraction_margin : -numerical_abscissa, minus the logarithmic norm in the C metric; positive: contracting at
        every instant.
    states, states_total : states analyzed, and states of the system.
    time_unit : tau (seconds).
    eigenvalues : of J, complex [states], rightmost first.
    growth : ||exp(t J)|| over time (units of tau).
    """

    spectral_abscissa: float
    numerical_abscissa: float
    rho_sinv_a: float
    peak_growth: float
    hopf_frequency: float
    asymmetry_ratio: float
    lyapunov_finite_time: float
    contraction_margin: float
    states: int
    states_total: int
    time_unit: float
    eigenvalues: np.ndarray
    growth: Growth

    def to_dict(self) -> dict[str, float]:
        """The keys that `analogep diagnose --json` promises, as plain floats."""
        values = asdict(self)
        return {key: float(values[key]) for key in _KEYS}


def panel(
    system: System,
    v: Voltages,
    x: Voltages,
    theta: Parameters,
    *,
    lyapunov_from: Voltages | None = None,
    horizon: float | None = 40.0,
) -> Panel:
    """The stability panel at an operating point.

    S and A are those of G for `rho_sinv_a` and `asymmetry_ratio`, and of J in the C metric for omega and growth. Of a
    Circuit only the states in `system.loops` are analyzed, those on a feedback loop: a pure readout cannot act back on
    them and would only add its own poles.

    Parameters
    ----------
    v : state voltages at rest.
    x : input voltages.
    lyapunov_from : start of the trajectory of the Lyapunov exponent; 0 V when None.
    horizon : its length in units of tau; None leaves it out (nan).

    Raises
    ------
    ConvergenceError
        If that trajectory cannot be followed.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", section 14 (alpha, omega and the growth between them).
    """
    part, scale = Analyzed(system), system.scale
    G = part.conductance(v, x, theta) / scale.siemens
    Jc = in_metric(G, part.capacitance / scale.farads)
    values, omega = eigenvalues(Jc), numerical_abscissa(Jc)
    alpha = spectral_abscissa(values)
    curve = growth_curve(Jc)
    lyapunov = float("nan")
    if horizon is not None:
        start = system.zeros() if lyapunov_from is None else lyapunov_from
        lyapunov = finite_time_lyapunov(system, start, x, theta, horizon)
    return Panel(
        spectral_abscissa=alpha,
        numerical_abscissa=omega,
        rho_sinv_a=rho_sinv_a(G),
        peak_growth=float("inf") if alpha > 1e-9 * np.max(np.abs(values)) else peak_growth(Jc, curve),
        hopf_frequency=hopf_frequency(values),
        asymmetry_ratio=asymmetry_ratio(G),
        lyapunov_finite_time=lyapunov,
        contraction_margin=-omega,
        states=part.states,
        states_total=len(system.labels),
        time_unit=scale.seconds,
        eigenvalues=values,
        growth=curve,
    )
