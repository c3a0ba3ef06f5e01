"""Waveforms: SPICE semantics at and between corners, breakpoints, text, and agreement with ngspice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.errors import NetlistError
from analogep.netlist.waveforms import DC, PWL, Pulse
from analogep.simulate.ngspice import run_deck

PULSE = Pulse(initial=-0.2, pulsed=0.7, delay=1e-9, rise=1e-9, fall=2e-9, width=3e-9, period=8e-9)
POINTS = PWL((1e-9, 2e-9, 2.5e-9, 7e-9), (0.1, 0.5, -0.3, 0.2))


def test_pulse_at_its_corners_and_halfway():
    times = jnp.array([0.0, 1e-9, 1.5e-9, 2e-9, 5e-9, 6e-9, 7e-9, 9e-9, 9.5e-9, 10e-9, 90.5e-9])
    expected = [-0.2, -0.2, 0.25, 0.7, 0.7, 0.25, -0.2, -0.2, 0.25, 0.7, 0.7]
    np.testing.assert_allclose(PULSE.at(times), expected, atol=1e-6)


def test_pulse_top_and_bottom_are_exact():
    assert float(PULSE.at(3e-9)) == 0.7
    assert float(PULSE.at(0.0)) == -0.2


@pytest.mark.parametrize("wave", [DC(0.3), PULSE, POINTS])
def test_traced_time_gives_float64_and_the_shape_of_t(wave):
    times = jnp.linspace(0.0, 20e-9, 7)
    traced = jax.jit(jax.vmap(wave.at))(times)
    assert traced.dtype == jnp.float64
    np.testing.assert_allclose(traced, wave.at(times), rtol=1e-14)
    assert wave.at(1e-9).shape == ()
    assert np.isfinite(jax.vmap(jax.grad(wave.at))(times)).all()


def test_breakpoints_are_the_corners_inside():
    assert DC(1.0).breakpoints(1.0) == ()
    np.testing.assert_allclose(PULSE.breakpoints(11e-9), np.array([1, 2, 5, 7, 9, 10]) * 1e-9, rtol=1e-12)
    assert POINTS.breakpoints(2.5e-9) == (1e-9, 2e-9)
    assert PULSE.breakpoints(0.5e-9) == ()


def test_breakpoints_of_a_very_fast_pulse_are_refused():
    with pytest.raises(NetlistError, match="corners"):
        Pulse(0, 1, 0, 1e-12, 1e-12, 1e-12, 4e-12).breakpoints(1.0)


def test_text_has_seventeen_digits():
    assert DC(0.1).spice() == "DC 0.10000000000000001"
    assert Pulse(0, 1, 0, 0.25, 0.25, 0.5, 1).spice() == "PULSE(0 1 0 0.25 0.25 0.5 1)"
    assert PWL((0, 0.5), (1, 2)).spice() == "PWL(0 1 0.5 2)"


@pytest.mark.parametrize("name", ["rise", "fall", "width", "period"])
def test_zero_durations_are_refused(name):
    values = {"initial": 0, "pulsed": 1, "delay": 0, "rise": 1, "fall": 1, "width": 1, "period": 9} | {name: 0}
    with pytest.raises(NetlistError, match=name):
        Pulse(**values)


@pytest.mark.parametrize(
    "build",
    [
        lambda: DC(float("nan")),
        lambda: DC("a"),
        lambda: Pulse(0, 1, -1, 1, 1, 1, 9),
        lambda: Pulse(0, 1, 0, 1, 1, 1, 2),
        lambda: PWL((0,), (1,)),
        lambda: PWL((0, 1), (1,)),
        lambda: PWL((0, 0), (1, 2)),
        lambda: PWL((-1, 0), (1, 2)),
    ],
)
def test_what_spice_could_not_mean_is_refused(build):
    with pytest.raises(NetlistError):
        build()


@pytest.mark.spice
@pytest.mark.parametrize("wave", [DC(0.3), PULSE, POINTS, Pulse(0.0, 0.1, 0.0, 1e-10, 1e-10, 2e-9, 5e-9)])
def test_values_agree_with_ngspice(wave):
    deck = f"* waveform\nV1 a 0 {wave.spice()}\nR1 a 0 1k\n.tran 5e-11 3e-8 0 5e-11\n.end\n"
    (plot,) = run_deck(deck)
    assert plot.points > 600
    # Slopes reach 1 V / 0.1 ns: 1e-11 V is a rounding error of 1e-21 s in time.
    np.testing.assert_allclose(wave.at(plot.data["time"]), plot.data["v(a)"], rtol=0, atol=1e-11)
