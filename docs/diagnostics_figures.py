"""The figures of the page on diagnostics; docs/figures.py draws them with the others."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from analogep import diagnostics as dx
from analogep.compile import compile_transformer
from analogep.learning.nudge import rails
from analogep.models.objective import make_batch
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Currents, Parameters, Voltages
from analogep.netlist.graph import Bus
from analogep.netlist.spice.read import read
from analogep.plot import exponents, pseudospectra, response
from analogep.plot.power import power_balance
from analogep.plot.style import new_figure
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.system import System
from analogep.simulate.transient import transient
from analogep.units import Scale

NETLISTS = Path(__file__).parents[1] / "netlists"


def grcar(n: int, shift: float) -> np.ndarray:
    """The matrix of Grcar 1989, moved to the left."""
    return -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4)) - shift * np.eye(n)


def diag_pseudospectra() -> Figure:
    """Pseudospectra of the Grcar matrix."""
    J = grcar(32, 2.6)
    found = dx.pseudospectrum(J, points=90)
    omega = dx.numerical_abscissa(J)
    ax = pseudospectra.pseudospectra(
        found.real, found.imag, found.smallest, found.eigenvalues, omega=omega, title="Grcar matrix, n = 32, less 2.6"
    )
    return ax.get_figure(root=True)


def diag_growth() -> Figure:
    """Growth of a chain of one-way stages between its bounds, and what a better metric costs."""
    J = -0.5 * np.eye(8) + np.eye(8, k=1)
    curve, alpha, omega = dx.growth_curve(J, points=8), -0.5, dx.numerical_abscissa(J)
    figure = new_figure((9.6, 6.4))
    upper, lower = figure.subplots(2, 1)
    pseudospectra.growth_bounds(
        curve.times, curve.norms, upper, kreiss=dx.kreiss_constant(J).constant, states=8, alpha=alpha, omega=omega,
        title="Eight one-way stages",
    )  # fmt: skip
    metrics = [dx.optimal_metric(J, condition=limit) for limit in np.geomspace(1, 1e10, 21)]
    pseudospectra.metric_price([m.condition for m in metrics], [m.mu for m in metrics], lower, alpha=alpha)
    return figure


class Lorenz(System):
    """The system of Lorenz 1963, dimensionless."""

    def __init__(self) -> None:
        self.states, self.capacitance, self.theta, self.scale = {"v": Bus((3,))}, {"v": np.ones(())}, {}, Scale()

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: object = 0.0, sources: Voltages | None = None
    ) -> Currents:
        a, b, c = v["v"]
        return {"v": -jnp.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c])}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: object = 0.0, sources: Voltages | None = None
    ) -> dict[str, object]:
        return dict(v)


def diag_lyapunov() -> Figure:
    """Lyapunov exponents of the Lorenz system as they settle."""
    found = dx.lyapunov_spectrum(Lorenz(), {"v": np.array([1.0, 1.0, 20.0])}, {}, {}, 1000.0)
    ax = exponents.lyapunov(
        found.times, found.running, error=found.error, expected=[0.9056, 0.0, -14.5723], unit="time unit",
        title="Lorenz system: running means, and published values dotted",
    )  # fmt: skip
    return ax.get_figure(root=True)


def diag_power() -> Figure:
    """Who delivers and who takes power in an amplifier."""
    nodal = Nodal(read(NETLISTS / "bjt_amplifier.cir").netlist)
    found = dx.power_balance(nodal, nodal.unpack(operating_point(nodal.at_rest).x), {}, nodal.theta)
    return power_balance(found.names, found.watts, title="A bipolar amplifier at rest").get_figure(root=True)


def diag_step() -> Figure:
    """A second-order system switched on."""
    zeta = 0.25
    J, b, c = np.array([[0.0, 1.0], [-1.0, -2 * zeta]]), np.array([0.0, 1.0]), np.array([1.0, 0.0])
    found = dx.step_response(J, b, c)
    t, wd = np.linspace(0, 24, 600), np.sqrt(1 - zeta**2)
    y = 1 - np.exp(-zeta * t) * (np.cos(wd * t) + zeta / wd * np.sin(wd * t))
    ax = response.step(
        t, y, final=found.final, settling_time=found.settling_time, overshoot=found.overshoot,
        peak_time=found.peak_time, units=("τ", "V"), title="Damping ratio 0.25",
    )  # fmt: skip
    return ax.get_figure(root=True)


def diag_along() -> Figure:
    """Abscissas of a compiled block while it settles."""
    model = EquilibriumTransformer(4, 8, 2, 12, 6, 1.0, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    compiled = compile_transformer(model, weights, level="ideal", scale=Scale(0.1, 1e-5, 1e-14))
    circuit = Circuit(compiled.netlist, compiled.scale)
    batch = make_batch(np.array([[0, 3, 1, 4, 2]]), "next_token", 6)
    x = {name: value[0] for name, value in rails(batch, compiled.scale.volts).items()}
    times = np.linspace(0.0, 6e-9, 25)
    waves = transient(circuit, times, x, circuit.theta)
    names = ("spectral_abscissa", "numerical_abscissa", "henrici_departure")
    found = dx.along(circuit, waves.v, x, circuit.theta, times=times, quantities=names)
    return exponents.along(found, title="A block of 4 tokens while it settles").get_figure(root=True)


FIGURES = {f.__name__: f for f in (diag_pseudospectra, diag_growth, diag_lyapunov, diag_power, diag_step, diag_along)}
