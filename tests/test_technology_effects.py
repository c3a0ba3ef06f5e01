"""Each effect on devices and signals against its own law.

Statistics have fixed keys, and bounds of five standard errors.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_tiles import DenseTile

from analogep.errors import SpecError
from analogep.netlist.wires import Wires
from analogep.technology import (
    Amplifier,
    ClippedLog,
    Converter,
    FlickerNoise,
    JohnsonNoise,
    Levels,
    Mismatch,
    PowerLaw,
    ProgrammingError,
    ReadNoise,
    Saturating,
    Stuck,
    Temperature,
    ThermalNoise,
    VoltageNoise,
    WireResistance,
    arrhenius,
    constant,
    current_spread,
    flicker_series,
    nudge_dac,
    preset,
    threshold_spread,
)
from analogep.technology.storage import Drift, Leak

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(11)
MANY = 40_000
K_T = 1.380649e-23 * 300.0


def is_spread(sample, sigma):
    """Whether the sample standard deviation is sigma within five standard errors (of a normal sample)."""
    return abs(np.std(sample) / sigma - 1) < 5 / np.sqrt(2 * np.size(sample))


def uniform(low, high, count=MANY):
    return np.random.default_rng(3).uniform(low, high, count)


# --- levels ---


def test_levels_are_evenly_spaced_and_the_error_is_uniform():
    levels = Levels(16, 5e-6, 35e-6)
    g = uniform(5e-6, 35e-6)
    q = np.asarray(levels(g, KEY))
    np.testing.assert_allclose(np.unique(np.round(q * 1e9)), np.linspace(5000, 35000, 16))
    error = (q - g) / levels.step
    assert np.abs(error).max() <= 0.5 + 1e-9
    assert abs(error.var() * 12 - 1) < 5 * np.sqrt(0.8 / MANY)  # kurtosis of a uniform variable is 1.8
    np.testing.assert_array_equal(levels(q, KEY), q)
    assert np.all(np.asarray(levels(np.array([0.0, 1.0]), KEY)) == np.array([5e-6, 35e-6]))


# --- drift, leak, stuck cells, temperature ---


def test_drift_is_a_power_law_with_one_exponent_for_each_device():
    g = uniform(1e-6, 25e-6, 400)
    mean = ClippedLog(-0.0155, 0.0244, 0.049, 0.1, reference=25e-6)
    spread = ClippedLog(-0.0125, -0.0059, 0.008, 0.045, reference=25e-6)
    times = np.array([0.0, 1e2, 1e4, 1e6])
    states = np.array([Drift(mean, spread, t)(g, KEY) for t in times])
    slopes = np.polyfit(np.log((times + 20) / 20), np.log(states / g), 1)
    np.testing.assert_allclose(states, g * np.exp(slopes[0] * np.log((times + 20) / 20)[:, None]), rtol=1e-10)
    expected = np.clip(-0.0155 * np.log(g / 25e-6) + 0.0244, 0.049, 0.1)
    widths = np.clip(-0.0125 * np.log(g / 25e-6) - 0.0059, 0.008, 0.045)
    scores = (-slopes[0] - expected) / widths
    assert abs(scores.mean()) < 5 / np.sqrt(len(g))
    assert is_spread(scores, 1.0)


def test_drift_needs_no_spread_and_has_a_slope_in_time():
    drift = lambda t: Drift(constant(0.05), seconds=t)(np.array([1e-5]), KEY)[0]  # noqa: E731
    assert float(drift(180.0)) == pytest.approx(1e-5 * 10**-0.05)
    assert float(jax.grad(drift)(180.0)) == pytest.approx(-0.05 * float(drift(180.0)) / 200, rel=1e-9)


def test_a_capacitor_leaks_exponentially():
    """The reference is dq/dt = -q / tau, integrated in a thousand exact midpoint steps."""
    charge, tau = 3e-6, 4e-4
    for _ in range(1000):
        charge *= (1 - 0.5e-6 / (2 * tau)) / (1 + 0.5e-6 / (2 * tau))
    leaked = Leak(1000 * 0.5e-6, tau, rest=2e-6)(np.array([5e-6]), KEY)
    assert float(leaked[0]) == pytest.approx(2e-6 + charge, rel=1e-6)
    rates = -1e-4 / np.log(np.asarray(Leak(1e-4, tau, spread=0.1)(np.ones(MANY), KEY)))
    assert is_spread(rates / tau, 0.1)


def test_stuck_cells_by_count():
    stuck = Stuck(1e-6, 40e-6, low=0.05, high=0.02, anywhere=0.1)
    g = np.asarray(stuck(np.full((200, 200), 17e-6), KEY))
    moved = g[(g != 17e-6) & (g > 1e-6) & (g < 40e-6)]
    for count, p in ((np.sum(g == 1e-6), 0.05), (np.sum(g == 40e-6), 0.02), (moved.size, 0.1)):
        assert abs(count - p * g.size) < 5 * np.sqrt(g.size * p * (1 - p))
    assert abs(moved.mean() - 20.5e-6) < 5 * 39e-6 / np.sqrt(12 * moved.size)
    np.testing.assert_array_equal(stuck(np.full((200, 200), 30e-6), KEY)[g != 17e-6], g[g != 17e-6])  # the same cells
    with pytest.raises(SpecError, match="sum_of_fractions"):
        Stuck(0.0, 1e-5, low=0.6, high=0.6)


def test_temperature():
    g = np.array([1e-5, 2e-5])
    np.testing.assert_allclose(Temperature(300.15, 1e-3, 0.3)(g, KEY), g)
    np.testing.assert_allclose(Temperature(310.15, 1e-3)(g, KEY), g * 1.01)
    # 0.3 eV from 300.15 K to 310.15 K: k T is 25.865 and 26.727 meV
    assert float(arrhenius(310.15, 0.3)) == pytest.approx(np.exp(300 / 25.8650 - 300 / 26.7268), rel=2e-4)
    np.testing.assert_allclose(Temperature(310.15, activation=0.3)(g, KEY), g * arrhenius(310.15, 0.3))


# --- noise ---


def test_white_read_noise_and_its_bandwidth():
    g = np.full(MANY, 10e-6)
    assert is_spread(ReadNoise(constant(4e-7))(g, KEY), 4e-7)
    assert is_spread(ReadNoise(constant(4e-7), widening=9.0)(g, KEY), 1.2e-6)
    assert is_spread(ReadNoise(Saturating(1e-6, 5e-6))(g, KEY), 1e-6 * (1 - np.exp(-2)))


def test_thermal_noise_of_a_node():
    """0.64 mV at 10 fF and 300 K."""
    assert is_spread(ThermalNoise(10e-15, 300.0)(np.zeros(MANY), KEY), 0.6436e-3)
    each = ThermalNoise(np.array([1e-15, 100e-15]), 300.0)(np.zeros((MANY, 2)), KEY)
    assert is_spread(each[:, 0], 2.0352e-3)
    assert is_spread(each[:, 1], 0.20352e-3)


def test_noise_of_a_conductance_in_the_bandwidth_of_its_capacitor_is_kT_over_C():
    """One pole g / (2 pi C) has the noise bandwidth g / (4 C); the current noise over g is then the node's voltage."""
    g, farads = 20e-6, 5e-15
    read = JohnsonNoise(volts=1.0, hertz=g / (4 * farads), kelvin=300.0)(np.full(MANY, g), KEY)
    assert is_spread((read - g) / g, np.sqrt(K_T / farads))
    assert np.all(JohnsonNoise(0.2, 1e9)(np.zeros(3), KEY) == 0.0)
    slope = jax.jacfwd(lambda g: JohnsonNoise(0.2, 1e9)(g, KEY))(jnp.zeros(2))
    assert np.all(np.isfinite(slope))


def test_flicker_noise_grows_with_the_logarithm_of_time():
    law = PowerLaw(0.0088, 0.65, high=0.2, reference=25e-6)
    for seconds in (1.0, 1e6):
        for g in (25e-6, 2.5e-6):
            read = FlickerNoise(law, seconds)(np.full(MANY, g), KEY)
            q = 0.0088 / (g / 25e-6) ** 0.65
            assert is_spread(read / g, q * np.sqrt(np.log((seconds + 250e-9) / 500e-9)))
    assert float(law(1e-9)) == 0.2
    np.testing.assert_array_equal(FlickerNoise(law, 0.0)(np.array([1e-5]), KEY), 1e-5)  # no time, no noise


@pytest.mark.parametrize("exponent", [1.0, 0.8])
def test_spectrum_of_flicker_noise(exponent):
    """Averaged periodograms: slope by regression, and the level at 1 Hz."""
    count, interval, runs = 1024, 1e-3, 200
    x = np.asarray(flicker_series(KEY, count, interval, shape=(runs,), exponent=exponent))
    density = (2 * interval / count * np.abs(np.fft.rfft(x)) ** 2).mean(0)[1:-1]
    f = np.fft.rfftfreq(count, interval)[1:-1]
    slope, level = np.polyfit(np.log(f), np.log(density), 1)
    error = np.sqrt(1 / runs / np.sum((np.log(f) - np.log(f).mean()) ** 2))  # log of a mean of `runs` exponentials
    assert abs(slope + exponent) < 5 * error
    center = np.exp(np.log(f).mean())
    assert abs(np.log(center) * slope + level + exponent * np.log(center)) < 0.01
    np.testing.assert_allclose(x.mean(-1), 0.0, atol=1e-12)


def test_readings_that_remember_have_the_variance_of_single_ones():
    """Both are the integral of Q^2 / f over the frequencies that matter."""
    noise = FlickerNoise(constant(0.01), 0.0)
    series = np.asarray(noise.series(np.full(400, 1e-5), KEY, count=4096, interval=1e-3))
    assert series.shape == (4096, 400)
    f = np.fft.rfftfreq(4096, 1e-3)[1:]
    exact = 0.01**2 * (np.sum(1 / f) * (f[1] - f[0]))
    assert np.mean((series / 1e-5 - 1) ** 2) == pytest.approx(exact, rel=0.05)
    assert exact == pytest.approx(0.01**2 * np.log(f[-1] / f[0]), rel=0.08)


def test_voltage_noise():
    assert is_spread(VoltageNoise(10e-9, 1e8)(np.zeros(MANY), KEY), 1e-4)


# --- wires ---


@pytest.mark.parametrize("wires", [Wires(2.5, 1.3), Wires(1.0, 1.0, driver_ohms=50.0, drivers="both")])
def test_wires_are_the_dense_nodal_solution(wires):
    pair = uniform(1e-5, 1e-3, 2 * 5 * 7).reshape(2, 5, 7)
    found = WireResistance(wires)(pair, KEY)
    for tile, g in zip(found, pair, strict=True):
        dense = DenseTile(g, wires).effective()
        np.testing.assert_allclose(tile, dense, rtol=1e-9, atol=1e-9 * dense.max())
    assert np.all(np.asarray(found).sum(-1) < pair.sum(-1))  # with all drivers at 1 V the wires only lose
    np.testing.assert_allclose(WireResistance(Wires(0.0, 0.0))(pair, KEY), pair, rtol=1e-12)


# --- converters ---


def test_converter_error_is_uniform_and_clipping_is_hard():
    adc = Converter(6, 0.5)
    v = uniform(-0.5, 0.5)
    error = (np.asarray(adc(v, KEY)) - v) / adc.step
    assert np.abs(error).max() <= 0.5 + 1e-9
    assert abs(error.var() * 12 - 1) < 5 * np.sqrt(0.8 / MANY)
    assert abs(error.mean()) < 5 / np.sqrt(12 * MANY)
    np.testing.assert_allclose(adc(np.array([-9.0, 9.0]), KEY), [-0.5, 0.5])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_converter_is_monotone_odd_and_has_its_codes(bits):
    dac = Converter(bits, 0.9)
    v = np.linspace(-1.0, 1.0, 4001)
    out = np.asarray(dac(v, KEY))
    assert np.all(np.diff(out) >= 0)
    assert len(np.unique(out)) == 2**bits - 1
    np.testing.assert_allclose(out, -out[::-1], atol=1e-15)
    assert np.all(out[np.abs(v) < dac.step / 2 * 0.999] == 0.0)


def test_a_nudge_is_cut_as_finely_at_any_strength():
    error = np.array([0.31, -0.9, 0.59])
    for beta in (1e-3, -0.2):
        np.testing.assert_allclose(nudge_dac(6, beta)(beta * error, KEY) / beta, np.round(error * 31) / 31, rtol=1e-9)
    with pytest.raises(SpecError, match="bits = 1"):
        Converter(1, 1.0)


# --- amplifiers and transistors ---


def test_amplifier_settles_and_has_finite_gain():
    v = np.array([0.2, -0.1])
    np.testing.assert_allclose(Amplifier()(v, KEY), v)
    np.testing.assert_allclose(Amplifier(loop_gain=99.0)(v, KEY), 0.99 * v)
    settled = Amplifier(hertz=1e8, seconds=2e-9)(v, KEY)
    np.testing.assert_allclose(settled, v * (1 - np.exp(-2 * np.pi * 0.2)), rtol=1e-12)


def test_amplifier_offsets_belong_to_amplifiers():
    amplifier = Amplifier(offset=2e-3, gain_error=0.01, shared=1)
    zero = np.asarray(amplifier(np.zeros((3, MANY)), KEY))
    assert is_spread(zero[0], 2e-3 * np.hypot(1, 0.01))
    np.testing.assert_array_equal(zero[0], zero[1])
    gain = np.asarray(amplifier(np.ones((3, MANY)), KEY)) - zero
    assert is_spread(gain[2], 0.01)


def ekv(vgs, threshold, n=1.3, thermal=0.0258650):
    """Saturation current of a transistor in units of its specific current."""
    return np.log1p(np.exp((vgs - threshold) / (2 * n * thermal))) ** 2


@pytest.mark.parametrize(("overdrive", "exact"), [(None, 0.01), (0.6, 0.03)])
def test_current_mismatch_is_that_of_shifted_thresholds(overdrive, exact):
    """Thresholds and gain factors drawn one by one, currents from the transistor's law."""
    rng, size = np.random.default_rng(2), (2e-6, 8e-6)
    spread = float(threshold_spread(*size))
    assert spread == pytest.approx(3.9e-3 / 4)
    shifts, factors = spread * rng.normal(size=MANY), 1 + 0.005 / 4 * rng.normal(size=MANY)
    vgs = 0.2 if overdrive is None else 0.5 + overdrive
    currents = factors * ekv(vgs, 0.5 + shifts)
    predicted = float(current_spread(*size, overdrive=overdrive))
    assert np.std(np.log(currents)) == pytest.approx(predicted, rel=5 / np.sqrt(2 * MANY) + exact)
    assert float(current_spread(8e-6, 8e-6, overdrive=overdrive)) == pytest.approx(predicted / 2)


def test_mismatch_multiplies():
    factors = Mismatch(0.05)(np.full(MANY, 2e-5), KEY) / 2e-5
    assert is_spread(np.log(factors), 0.05)
    assert np.all(np.asarray(factors) > 0)


# --- what all of them share ---

EFFECTS = {
    "levels": Levels(16, 1e-6, 40e-6),
    "programming": ProgrammingError(constant(1e-6)),
    "relaxed": preset("reram").programming.at(1e4),
    "drift": Drift(constant(0.05), constant(0.01), 1e3),
    "leak": Leak(1e-4, 4e-4, 0.1),
    "stuck": Stuck(1e-6, 40e-6, 0.1, 0.1, 0.1),
    "temperature": Temperature(310.0, 1e-3, 0.1),
    "read": ReadNoise(constant(4e-7)),
    "johnson": JohnsonNoise(0.2, 1e9),
    "flicker": FlickerNoise(constant(0.01), 1.0),
    "thermal": ThermalNoise(1e-14),
    "voltage": VoltageNoise(1e-9, 1e9),
    "converter": Converter(8, 4e-5),
    "amplifier": Amplifier(100.0, 1e-6, 0.01, 1e8, 1e-8),
    "mismatch": Mismatch(0.1),
    "wires": WireResistance(Wires(1.0, 1.0)),
    "reram": preset("reram").at(levels=32, stuck=0.05).written(),
    "pcm": preset("pcm").at(seconds=1e4).written(),
}


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())
def test_effects_are_pure_and_work_under_jit_vmap_and_derivatives(effect):
    g = uniform(2e-6, 20e-6, 2 * 3 * 4).reshape(2, 3, 4)
    keys = jax.random.split(KEY, 3)
    alone = np.array([effect(g, key) for key in keys])
    assert alone.dtype == np.float64
    together = jax.jit(jax.vmap(effect, (None, 0)))(g, keys)
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-20)
    if not isinstance(effect, WireResistance):
        assert np.all(np.isfinite(jax.jvp(lambda g: effect(g, KEY), (jnp.asarray(g),), (jnp.ones_like(g),))[1]))
    assert np.all(np.isfinite(jax.grad(lambda g: effect(g, KEY).sum())(jnp.asarray(g))))


@pytest.mark.parametrize("name", ["read", "thermal", "drift", "leak"])
def test_effects_take_numbers_that_are_traced(name):
    """Gradient-based co-design differentiates by the numbers of effects; they are not looked at then."""
    effect = EFFECTS[name]
    field = {"read": "widening", "thermal": "farads", "drift": "seconds", "leak": "tau"}[name]
    value, g = float(getattr(effect, field)), jnp.full(4, 1e-5)

    def total(x):
        return dataclasses.replace(effect, **{field: x})(g, KEY).sum()

    step = 1e-4 * value
    found, expected = jax.grad(total)(value), (total(value + step) - total(value - step)) / (2 * step)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(SpecError, match=field):
        dataclasses.replace(effect, **{field: -1.0})
