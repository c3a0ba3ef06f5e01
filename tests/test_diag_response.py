"""Settling time and overshoot, and diagnostics along a trajectory."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import brentq

from analogep import diagnostics as dx
from analogep.diagnostics.along import QUANTITIES
from analogep.errors import DataError
from analogep.netlist.elements import VCCS, Capacitor, Inductor, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System
from analogep.units import Scale


def second_order(zeta, omega=2.0):
    """v'' + 2 zeta omega v' + omega^2 v = omega^2, as two states: J, b and the output."""
    return np.array([[0.0, 1.0], [-(omega**2), -2 * zeta * omega]]), np.array([0.0, omega**2]), np.array([1.0, 0.0])


@pytest.mark.parametrize("zeta", [0.1, 0.4, 0.7])
def test_a_second_order_step_has_textbook_overshoot_and_settling(zeta):
    omega = 2.0
    J, b, c = second_order(zeta, omega)
    found = dx.step_response(J, b, c)
    damped = omega * np.sqrt(1 - zeta**2)
    assert found.final == pytest.approx(1.0)
    assert found.overshoot == pytest.approx(np.exp(-np.pi * zeta / np.sqrt(1 - zeta**2)), rel=1e-6)
    assert found.peak_time == pytest.approx(np.pi / damped, rel=1e-6)

    def left(t):
        return np.exp(-zeta * omega * t) * (np.cos(damped * t) + zeta * omega / damped * np.sin(damped * t))

    extremes = np.pi / damped * np.arange(200)  # |left| falls monotonously from one to the next
    last = int(np.flatnonzero(np.abs(left(extremes)) > 0.02)[-1])
    exact = brentq(lambda t: abs(left(t)) - 0.02, extremes[last], extremes[last + 1], xtol=1e-13)
    assert found.settling_time == pytest.approx(exact, rel=1e-6)
    t = np.linspace(0, 40 / (zeta * omega), 40001)
    sampled = dx.step_metrics(t, 3.0 - 5 * (1 - left(t)))  # from 3 down to -2
    assert sampled.settled
    assert (sampled.initial, sampled.final) == (3.0, pytest.approx(-2.0))
    assert sampled.overshoot == pytest.approx(found.overshoot, rel=1e-4)
    assert sampled.settling_time == pytest.approx(found.settling_time, rel=1e-4)
    assert sampled.peak_time == pytest.approx(found.peak_time, rel=1e-2)


@pytest.mark.parametrize("band", [0.02, 0.3])
def test_a_first_order_step_and_a_stiff_one(band):
    J = np.diag([-1.0, -1000.0])
    for output, rate in ((np.array([1.0, 0.0]), 1.0), (np.array([0.0, 1.0]), 1000.0)):
        found = dx.step_response(J, np.array([2.0, 7.0]), output, band=band)
        assert found.settling_time == pytest.approx(np.log(1 / band) / rate, rel=1e-6)
        assert found.overshoot == 0.0
        assert np.isnan(found.peak_time)
    assert found.final == pytest.approx(0.007)


def test_a_step_that_first_goes_the_wrong_way():
    """A state whose slow part has the other sign: it overshoots once and creeps back."""
    J, b, c = np.diag([-1.0, -10.0]), np.array([-1.0, 20.0]), np.array([1.0, 1.0])
    found = dx.step_response(J, b, c)
    # y = 1 + exp(-t) - 2 exp(-10 t), with its top at exp(-9 t) = 1 / 20
    top = np.log(20) / 9
    assert found.final == pytest.approx(1.0)
    assert found.overshoot == pytest.approx(np.exp(-top) - 2 * np.exp(-10 * top), rel=1e-9)
    assert found.peak_time == pytest.approx(top, rel=1e-6)
    assert found.settling_time == pytest.approx(np.log(50), rel=1e-6)


def test_nothing_settles_where_it_cannot():
    unstable = dx.step_response(np.diag([0.1, -1.0]), np.ones(2), np.ones(2))
    assert not unstable.settled
    assert np.isnan(unstable.settling_time)
    with pytest.raises(DataError, match="ends where it began"):
        dx.step_response(-np.eye(2), np.ones(2), np.array([1.0, -1.0]))
    t = np.linspace(0, 10, 501)
    ringing = dx.step_metrics(t, 1 - np.exp(-0.01 * t) * np.cos(t), final=1.0)
    assert not ringing.settled
    assert np.isnan(ringing.settling_time)
    assert ringing.overshoot == pytest.approx(np.exp(-0.01 * np.pi), rel=1e-3)
    still = dx.step_metrics(t, np.full(501, 2.0))
    assert (still.settled, still.settling_time, still.overshoot) == (True, 0.0, 0.0)


@pytest.mark.parametrize(
    ("times", "values", "options", "match"),
    [
        ([0, 1], [0, 1, 2], {}, "as many values"),
        ([0, 1, 1], [0, 1, 2], {}, "rising"),
        ([0, 1, 2], [0, np.nan, 2], {}, "finite"),
        ([0, 1, 2], [0, 1, 2], {"band": 0.0}, "band"),
    ],
)
def test_waveforms_that_make_no_sense_are_refused(times, values, options, match):
    with pytest.raises(DataError, match=match):
        dx.step_metrics(times, values, **options)


# ---- along a trajectory ----------------------------------------------------------------------------------------------

SCALE = Scale(0.1, 1e-5, 1e-14)


def ladder():
    """Two states with a one-way coupling and unequal capacitors."""
    nodes = {"a": Bus(), "b": Bus()}
    g = SCALE.siemens
    return Circuit(
        Netlist(nodes).add(
            Resistor("ra", "a", "0", g),
            Resistor("rb", "b", "0", 2 * g),
            Capacitor("ca", "a", "0", SCALE.farads),
            Capacitor("cb", "b", "0", 4 * SCALE.farads),
            VCCS("ab", "b", "0", "a", "0", -3 * g),
            VCCS("ba", "a", "0", "b", "0", 0.5 * g),
        ),
        SCALE,
    )


def test_one_state_gives_the_numbers_of_the_matrix():
    circuit = ladder()
    found = dx.along(circuit, circuit.zeros(), {}, circuit.theta, quantities=tuple(QUANTITIES))
    G = np.array([[1.0, 0.5], [-3.0, 2.0]])
    root = np.sqrt([1.0, 4.0])
    Jc = -G / np.outer(root, root)
    values = np.linalg.eigvals(Jc)
    S, A = (G + G.T) / 2, (G - G.T) / 2
    assert float(found.spectral_abscissa) == pytest.approx(values.real.max(), rel=1e-9)
    assert float(found.hopf_frequency) == pytest.approx(np.abs(values.imag).max() / (2 * np.pi), rel=1e-9)
    assert float(found.numerical_abscissa) == pytest.approx(np.linalg.eigvalsh((Jc + Jc.T) / 2)[-1], rel=1e-9)
    assert float(found.rho_sinv_a) == pytest.approx(np.abs(np.linalg.eigvals(np.linalg.solve(S, A))).max(), rel=1e-9)
    assert float(found.asymmetry_ratio) == pytest.approx(np.linalg.norm(A, 2) / np.linalg.norm(S, 2), rel=1e-9)
    departure = np.sqrt(np.sum(Jc**2) - np.sum(np.abs(values) ** 2))
    assert float(found.henrici_departure) == pytest.approx(departure, rel=1e-9)
    t = np.linspace(0, 6, 6001)
    norms = [np.linalg.norm(scipy.linalg.expm(s * Jc), 2) for s in t[::10]]
    assert float(found.peak_growth) == pytest.approx(max(norms), rel=1e-4)
    y = np.linspace(-3, 3, 6001)
    smallest = min(np.linalg.svd(Jc - 1j * h * np.eye(2), compute_uv=False)[-1] for h in y)
    assert float(found.stability_radius) == pytest.approx(smallest, rel=1e-5)
    assert float(found.contraction_margin) == -float(found.numerical_abscissa)
    assert found.attrs["tau_seconds"] == pytest.approx(1e-9)
    assert {name: found[name].attrs["units"] for name in ("peak_time", "rho_sinv_a", "spectral_abscissa")} == {
        "peak_time": "tau", "rho_sinv_a": "1", "spectral_abscissa": "1/tau",
    }  # fmt: skip


def test_samples_of_a_nonlinear_trajectory():
    """dv/dt = -v^3 - v with two uncoupled states: J = -(1 + 3 v^2), different at every sample."""

    class Cubic(System):
        states, capacitance = {"v": Bus((2,))}, {"v": np.ones(())}
        theta, scale = {}, Scale()

        def current(self, v, x, theta, t=0.0, sources=None):
            return {"v": v["v"] ** 3 + v["v"]}

        def voltages(self, v, x, theta, t=0.0, sources=None):
            return dict(v)

    samples = np.array([[2.0, 1.0], [0.5, 0.4], [0.1, 0.0]])
    found = dx.along(Cubic(), {"v": jnp.asarray(samples)}, {}, {}, times=[0.0, 1e-9, 5e-9])
    np.testing.assert_allclose(found.spectral_abscissa, -(1 + 3 * samples.min(axis=1) ** 2), rtol=1e-12)
    np.testing.assert_allclose(found.peak_growth, 1.0)
    assert found.spectral_abscissa.dims == ("time",)
    assert found.time.attrs["units"] == "s"
    with pytest.raises(DataError, match="do not fit"):
        dx.along(Cubic(), {"v": samples}, {}, {}, times=[0.0, 1.0])
    with pytest.raises(DataError, match="no diagnostic warmth"):
        dx.along(Cubic(), {"v": samples[0]}, {}, {}, quantities=["warmth"])


def test_a_resonator_of_a_nodal_circuit():
    """A damped LC tank is reciprocal (Sigma G symmetric) although its J is not symmetric."""
    r, ell, c = 30.0, 1e-6, 1e-9
    nodal = Nodal(
        Netlist({"a": Bus()}).add(
            Capacitor("c", "a", "0", c), Inductor("l", "a", "0", ell), Resistor("r", "a", "0", 1 / r)
        )
    )
    found = dx.along(nodal, nodal.zeros(), {}, nodal.theta, quantities=tuple(QUANTITIES))
    decay = 1 / (2 * r * c)
    assert float(found.spectral_abscissa) == pytest.approx(-decay, rel=1e-9)
    frequency = np.sqrt(1 / (ell * c) - decay**2) / (2 * np.pi)
    assert float(found.hopf_frequency) == pytest.approx(frequency, rel=1e-9)
    assert float(found.asymmetry_ratio) == 0.0
    assert float(found.rho_sinv_a) == 0.0
    assert float(found.numerical_abscissa) == pytest.approx(0.0, abs=1e-3)
    assert float(found.peak_growth) == pytest.approx(1.0, abs=1e-9)
