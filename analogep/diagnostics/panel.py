"""The stability panel: several numbers, because no single one decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from analogep.diagnostics import iterative, iterative_growth, pencil
from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.growth import Growth, Peak, growth_curve, growth_peak, numerical_abscissa
from analogep.diagnostics.iterative import Estimate
from analogep.diagnostics.lyapunov import finite_time_lyapunov
from analogep.diagnostics.operators import Operators
from analogep.diagnostics.spectrum import eigenvalues, hopf_frequency, spectral_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio, in_metric, rho_sinv_a
from analogep.errors import SpecError
from analogep.netlist._types import Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System

MATRIX_FREE = 3000
"""Circuits with more states are looked at through products with vectors, unless the caller says otherwise."""

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
    eigenvalues : of J, complex [states], rightmost first; matrix-free only the rightmost few.
    growth : ||exp(t J)|| over time (units of tau); matrix-free its norms are lower bounds, good to a few percent.
    peak_time : when ||exp(t J)|| is largest (units of tau), 0 where nothing grows.
    accuracy : how each number was iterated, its residual and whether it converged; empty for a dense panel.
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
    peak_time: float = float("nan")
    accuracy: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def unconverged(self) -> tuple[str, ...]:
        """Names of the numbers whose iteration did not converge; none of a dense panel."""
        return tuple(name for name, estimate in self.accuracy.items() if not estimate.converged)

    def to_dict(self) -> dict[str, float]:
        """The keys that `analogep diagnose --json` promises, as plain floats; nan for what did not converge."""
        missing = {*self.unconverged, *(("contraction_margin",) if "numerical_abscissa" in self.unconverged else ())}
        return {key: float("nan") if key in missing else float(getattr(self, key)) for key in _KEYS}


def panel(
    system: System,
    v: Voltages,
    x: Voltages,
    theta: Parameters,
    *,
    lyapunov_from: Voltages | None = None,
    horizon: float | None = 40.0,
    matrix_free: bool | Literal["auto"] = "auto",
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
    matrix_free : work on products with G and with its adjoint network instead of on matrices; "auto" does so for
        circuits of more than `MATRIX_FREE` states whose capacitors all go to ground. Time and memory are then linear
        in n, and `Panel.accuracy` says how well each number is known.

    Raises
    ------
    ConvergenceError
        If that trajectory cannot be followed.
    SpecError
        For a matrix-free panel of fewer than 16 states.
    NetlistError
        For a matrix-free panel of a system that has no transposed products.

    Reference
    ---------
    Trefethen & Embree 2005, "Spectra and Pseudospectra", section 14 (alpha, omega and the growth between them).
    """
    if matrix_free == "auto":
        states = Analyzed(system).states
        matrix_free = isinstance(system, Circuit) and not system.floating and states > MATRIX_FREE
    lyapunov = float("nan")
    if horizon is not None:
        start = system.zeros() if lyapunov_from is None else lyapunov_from
        lyapunov = finite_time_lyapunov(system, start, x, theta, horizon)
    return (_iterated if matrix_free else _dense)(system, v, x, theta, lyapunov)


def _dense(system: System, v: Voltages, x: Voltages, theta: Parameters, lyapunov: float) -> Panel:
    """The panel by factorizations."""
    part, scale = Analyzed(system), system.scale
    G = part.conductance(v, x, theta) / scale.siemens
    Jc = in_metric(G, part.capacitance / scale.farads)
    values, omega = eigenvalues(Jc), numerical_abscissa(Jc)
    alpha = spectral_abscissa(values)
    curve = growth_curve(Jc)
    unbounded = alpha > 1e-9 * np.max(np.abs(values))
    peak = Peak(float("inf"), float("inf")) if unbounded else growth_peak(Jc, curve)
    return Panel(
        spectral_abscissa=alpha,
        numerical_abscissa=omega,
        rho_sinv_a=rho_sinv_a(G),
        peak_growth=peak.norm,
        hopf_frequency=hopf_frequency(values),
        asymmetry_ratio=asymmetry_ratio(G),
        lyapunov_finite_time=lyapunov,
        contraction_margin=-omega,
        states=part.states,
        states_total=len(system.labels),
        time_unit=scale.seconds,
        eigenvalues=values,
        growth=curve,
        peak_time=peak.time,
    )


def _iterated(system: System, v: Voltages, x: Voltages, theta: Parameters, lyapunov: float) -> Panel:
    """The panel by Arnoldi and Lanczos iterations."""
    operators = Operators(system, v, x, theta)
    if operators.n < iterative.FEWEST:
        raise SpecError(
            f"a matrix-free panel needs {iterative.FEWEST} states or more, and this system has {operators.n}; use "
            "matrix_free=False"
        )
    values, alpha = iterative.rightmost(operators)
    omega, steepest = iterative.numerical_abscissa(operators)
    ends = iterative.symmetric_range(operators)
    ratio, rho = iterative.asymmetry_ratio(operators, ends), pencil.rho_sinv_a(operators, ends)
    peak, when, curve = iterative_growth.peak_growth(operators, alpha, omega, steepest)
    frequency = hopf_frequency(values) if len(values) else float("nan")
    return Panel(
        spectral_abscissa=alpha.value,
        numerical_abscissa=omega.value,
        rho_sinv_a=rho.value,
        peak_growth=peak.value,
        hopf_frequency=frequency,
        asymmetry_ratio=ratio.value,
        lyapunov_finite_time=lyapunov,
        contraction_margin=-omega.value,
        states=operators.n,
        states_total=len(system.labels),
        time_unit=system.scale.seconds,
        eigenvalues=values,
        growth=curve,
        peak_time=when,
        accuracy={
            "spectral_abscissa": alpha,
            "hopf_frequency": alpha._replace(value=frequency),
            "numerical_abscissa": omega,
            "asymmetry_ratio": ratio,
            "rho_sinv_a": rho,
            "peak_growth": peak,
        },
    )
