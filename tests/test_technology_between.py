"""What changes between two looks: 1/f noise against its spectrum, aging and warming against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from analogep.errors import SpecError
from analogep.technology import (
    Drift,
    Leak,
    VoltageWander,
    Wander,
    Warming,
    aging,
    constant,
    preset,
    structure,
)

KEY = jax.random.key(3)
HIGH, LOW = 2.5e8, 1e3


def by_quadrature(t, high, low):
    """2 (R(0) - R(t)) = 2 int (1 - cos 2 pi f t) / f df, over ln f."""
    return quad(lambda u: 2 * (1 - np.cos(2 * np.pi * np.exp(u) * t)), np.log(low), np.log(high), limit=4000)[0]


@pytest.mark.parametrize("seconds", [1e-11, 1e-9, 3e-8, 7e-7])
def test_the_structure_function_is_the_spectrum_that_a_difference_lets_through(seconds):
    assert structure(seconds, HIGH, LOW) == pytest.approx(by_quadrature(seconds, HIGH, LOW), rel=1e-6)
    # without a lowest frequency the rest is what lies below LOW: (2 pi f t)^2 / 2 of it
    rest = (2 * np.pi * LOW * seconds) ** 2 / 2
    assert structure(seconds, HIGH) - structure(seconds, HIGH, LOW) == pytest.approx(rest, rel=1e-2, abs=1e-12)


def test_it_grows_with_the_logarithm_of_the_time():
    """Far above 1 / high a thousand times longer adds 2 ln 1000, whatever the time; and it is 0 at once."""
    late = structure(np.array([1e-6, 1e-3, 1.0]), HIGH)
    np.testing.assert_allclose(np.diff(late), 2 * np.log(1e3), rtol=2e-3)
    assert structure(0.0, HIGH) == 0.0


def test_it_joins_its_series_without_a_step():
    """At 2 pi f t = 0.1 the two forms meet."""
    edge = 0.1 / (2 * np.pi * HIGH)
    below, above = structure(edge * (1 - 1e-9), HIGH), structure(edge * (1 + 1e-9), HIGH)
    assert above == pytest.approx(below, rel=1e-8)


def test_draws_have_the_closed_form_of_a_synthesized_process():
    """4,000 numpy sums of 400 harmonics with the density 1/f between two frequencies, looked at as `Wander` is: mean
    squares of x(t) - x(0) and of x(2t) - x(t) of both, and the closed form."""
    rng, count, seconds = np.random.default_rng(0), 4000, 2e-6
    low, high = 1e5, 5e6
    edges = np.geomspace(low, high, 401)
    middle, power = np.sqrt(edges[1:] * edges[:-1]), np.log(edges[1:] / edges[:-1])
    phase = rng.uniform(0, 2 * np.pi, (count, 400))
    amplitude = np.sqrt(2 * power)
    x = np.stack([(amplitude * np.cos(2 * np.pi * middle * t + phase)).sum(1) for t in (0.0, seconds, 2 * seconds)])
    drawn = np.asarray(
        Wander(constant(0.01), high, low)(jnp.full(20_000, 1e-5), KEY, (0.0, seconds, 2 * seconds)) / 1e-7 - 100
    )
    np.testing.assert_allclose(drawn[0], 0.0, atol=1e-12)
    closed = float(structure(seconds, high, low))
    for a, b in ((0, 1), (1, 2)):
        synthesized, ours = np.mean((x[b] - x[a]) ** 2), np.mean((drawn[b] - drawn[a]) ** 2)
        assert synthesized == pytest.approx(closed, rel=0.1)
        assert ours == pytest.approx(closed, rel=0.05)
    assert np.mean(drawn[2] ** 2) == pytest.approx(float(structure(2 * seconds, high, low)), rel=0.05)


def test_voltages_wander_by_the_root_of_their_density():
    moved = np.asarray(VoltageWander(2e-6, HIGH)(jnp.full(20_000, 0.3), KEY, (1e-6,)))[0] - 0.3
    assert np.std(moved) == pytest.approx(2e-6 * np.sqrt(structure(1e-6, HIGH)), rel=0.03)
    assert abs(moved.mean()) < 5 * 2e-6 * np.sqrt(structure(1e-6, HIGH) / 20_000)


def test_devices_go_on_as_they_would_without_a_look():
    """A leak forgets when it was written: e^-(s + t) = e^-s e^-t; a drift continues at its age."""
    kind = preset("capacitor").at(seconds=1e-4)
    (leak,) = aging(kind)
    assert isinstance(leak.effect, Leak)
    g = jnp.array([2e-6, 9e-6])
    without = Leak(0.0, kind.retention)
    whole = Leak(1.1e-4, kind.retention)(g, KEY)
    steps = type(leak)(without)(Leak(1e-4, kind.retention)(g, KEY), KEY, (1e-5,))
    np.testing.assert_allclose(steps[0], whole, rtol=1e-12)
    pcm = preset("pcm").at(seconds=1000.0)
    (drift,) = aging(pcm)
    assert drift.effect.start == 1020.0
    nu = constant(0.06)
    later = type(drift)(Drift(nu, start=1020.0))(Drift(nu, None, 1000.0, 20.0)(g, KEY), KEY, (500.0, 3000.0))
    for k, seconds in enumerate((500.0, 3000.0)):
        np.testing.assert_allclose(later[k], g * ((1000 + seconds + 20) / 20) ** -0.06, rtol=1e-12)
    assert aging(preset("reram")) == ()


def test_a_device_drifts_by_one_exponent_at_all_times():
    (drift,) = aging(preset("pcm"))
    g = jnp.full(2000, 1e-5)
    nu = [-np.log(np.asarray(drift(g, KEY, (t,)))[0] / 1e-5) / np.log((t + 20) / 20) for t in (10.0, 1000.0)]
    np.testing.assert_allclose(nu[0], nu[1], rtol=1e-9)
    assert np.std(nu[0]) > 0.003


def test_warming_is_a_rate_times_a_coefficient():
    g = np.array([1e-6, 3e-5])
    found = Warming(2000.0, -1.5e-3)(g, KEY, (0.0, 1e-3))
    np.testing.assert_allclose(found, [g, g * (1 - 1.5e-3 * 2.0)], rtol=1e-12)


def test_impossible_noise_is_refused():
    with pytest.raises(SpecError, match="high"):
        Wander(constant(0.01), 0.0)
    with pytest.raises(SpecError, match="low"):
        VoltageWander(1e-6, 1e3, 1e4)
    with pytest.raises(SpecError, match="volts"):
        VoltageWander(-1e-6, 1e3)
