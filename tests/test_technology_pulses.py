"""Pulsed updates against pulses given one after another in numpy, and against closed forms."""

import jax
import numpy as np
import pytest

from analogep.errors import SpecError
from analogep.technology import PulsedUpdate, PulseResponse, change_pairs, preset

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(2)
LOW, HIGH = 10e-6, 30e-6
MANY = 20_000


def one_by_one(y, pulses, response, draws=None):
    """aihwkit's LinearStepDevice for w in -1 ... 1 and y = (w + 1) / 2: w += dw (1 - gamma w), clipped each time."""
    for k in range(abs(pulses)):
        noise = 0.0 if draws is None else draws[k]
        if pulses > 0:
            y = y + response.step_up * (1 - response.bend_up * (2 * y - 1) + response.cycle_spread * noise)
        else:
            y = y - response.step_down * (1 + response.bend_down * (2 * y - 1) + response.cycle_spread * noise)
        y = np.clip(y, 0.0, 1.0)
    return y


@pytest.mark.parametrize("bend", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("pulses", [1, 7, 300, -1, -7, -300])
def test_a_train_of_pulses_is_its_pulses(bend, pulses):
    response = PulseResponse(0.01, 0.02, bend_up=bend, bend_down=bend)
    y = np.linspace(0.0, 1.0, 9)
    update = PulsedUpdate(response, LOW, HIGH)
    after = update.give(LOW + (HIGH - LOW) * y, np.full(9, pulses), KEY).devices
    np.testing.assert_allclose((after - LOW) / (HIGH - LOW), one_by_one(y, pulses, response), rtol=1e-10, atol=1e-12)


def test_soft_bounds_in_closed_form():
    """g(n) = gmax - (gmax - g0) (1 - 2 s)^n, from s(y) = 2 s (1 - y)."""
    update = PulsedUpdate(PulseResponse(0.01, 0.01), LOW, HIGH)
    n = np.arange(0, 200, 20)
    after = update.give(np.full(n.shape, 12e-6), n, KEY).devices
    np.testing.assert_allclose(after, HIGH - (HIGH - 12e-6) * 0.98**n, rtol=1e-12)


def test_alternating_pulses_end_at_the_symmetry_point():
    """Up and down cancel at y = s_up / (s_up + s_down), whatever the start: for Gong 2018's fit at 3/8 of the range,
    which is weight 0 of -0.75 ... 1.25."""
    update = preset("reram").update()
    update = PulsedUpdate(PulseResponse(update.response.step_up, update.response.step_down), LOW, HIGH)
    one = np.ones(3)
    both = jax.jit(lambda _, g: update.give(update.give(g, one, KEY).devices, -one, KEY).devices)
    g = jax.lax.fori_loop(0, 2000, both, np.array([LOW, 20e-6, HIGH]))
    np.testing.assert_allclose((g - LOW) / (HIGH - LOW), 3 / 8, atol=2e-3)
    assert update.response.step_up / (update.response.step_up + update.response.step_down) == pytest.approx(3 / 8)


@pytest.mark.parametrize("pulses", [12, -12])
def test_noise_of_a_train_has_the_spread_of_noisy_pulses(pulses):
    response = PulseResponse(0.02, 0.01, bend_up=1.0, bend_down=0.3, cycle_spread=0.4)
    draws = np.random.default_rng(1).normal(size=(abs(pulses), MANY))
    expected = one_by_one(np.full(MANY, 0.5), pulses, response, draws)
    after = PulsedUpdate(response, LOW, HIGH).give(np.full(MANY, 20e-6), np.full(MANY, pulses), KEY).devices
    y = (np.asarray(after) - LOW) / (HIGH - LOW)
    assert abs(y.mean() - expected.mean()) < 5 * y.std() * np.sqrt(2 / MANY)
    assert abs(y.std() / expected.std() - 1) < 5 * np.sqrt(2 / (2 * MANY))


@pytest.mark.parametrize("change", [3.3e-7, -3.3e-7, 1e-8])
def test_pulse_counts_are_right_in_the_mean(change):
    update = PulsedUpdate(PulseResponse(0.01, 0.005), LOW, HIGH)
    pulses = np.asarray(update.pulses(np.full(MANY, change), KEY))
    wanted = change / ((0.01 if change > 0 else 0.005) * 20e-6)
    assert abs(pulses.mean() - wanted) < 5 * 0.5 / np.sqrt(MANY)
    assert set(np.unique(pulses)) <= {np.floor(wanted), np.ceil(wanted)}


def test_an_update_counts_its_pulses_and_zero_change_does_nothing():
    update = preset("hfo2").update(jax.random.key(0), "w_q")
    g = np.linspace(60e-6, 200e-6, 8)
    still = update(g, np.zeros(8), KEY)
    np.testing.assert_array_equal(still.devices, g)
    assert np.all(np.asarray(still.pulses) == 0)
    moved = update(g, np.full(8, 80e-6), KEY)
    assert np.all(np.abs(np.asarray(moved.pulses) - 80e-6 / (0.2311 * 175e-6)) < 1)
    most = PulsedUpdate(PulseResponse(1e-4, 1e-4), LOW, HIGH, most=5)
    assert float(most.pulses(-1e-5, KEY)) == -5


def test_devices_of_a_chip_differ_as_said_and_stay_the_same():
    response = PulseResponse(0.01, 0.01, step_spread=0.3, imbalance=0.1, bound_spread=(0.02, 0.05))
    chip = PulsedUpdate(response, LOW, HIGH, jax.random.key(1)).population((MANY,))
    up, down, low, high = map(np.asarray, chip)
    bound = 5 / np.sqrt(2 * MANY)
    assert (up + down).std() / 2 == pytest.approx(0.3, rel=bound)
    assert (up - down).std() / 2 == pytest.approx(0.1, rel=bound)
    assert low.std() == pytest.approx(0.02 * 20e-6, rel=bound)
    assert high.std() == pytest.approx(0.05 * 20e-6, rel=bound)
    log_normal = PulseResponse(0.01, 0.01, step_spread=0.7, log_normal=True)
    steps = PulsedUpdate(log_normal, LOW, HIGH, jax.random.key(1)).population((MANY,)).up
    assert np.log(steps).std() == pytest.approx(0.7, rel=bound)
    again = PulsedUpdate(response, LOW, HIGH, jax.random.key(1)).population((MANY,)).up
    np.testing.assert_array_equal(again, up)
    arrays = [preset("reram").update(jax.random.key(1), name).population((4,)).up for name in ("w_q", "w_k")]
    assert np.all(arrays[0] != arrays[1])


def test_devices_end_at_their_own_bounds():
    response = PulseResponse(0.2, 0.2, step_spread=0.7, log_normal=True, bound_spread=(0.1, 0.1), cycle_spread=0.5)
    update = PulsedUpdate(response, LOW, HIGH, jax.random.key(4))
    chip = update.population((500,))
    top = update.give(np.full(500, 20e-6), np.full(500, 10_000), KEY).devices
    assert np.all(np.asarray(top) <= np.asarray(chip.high) * (1 + 1e-12))
    assert np.all(np.asarray(top) >= 0.99 * np.asarray(chip.low))
    quiet = PulsedUpdate(PulseResponse(0.2, 0.2, bound_spread=(0.1, 0.1)), LOW, HIGH, jax.random.key(4))
    np.testing.assert_allclose(
        quiet.give(np.full(500, 20e-6), np.full(500, -10_000), KEY).devices, quiet.population((500,)).low, rtol=1e-9
    )


def test_devices_without_limits_take_changes_as_they_are():
    update = preset("ideal").update()
    g, change = np.array([1e-6, 1e-6]), np.array([3e-9, -2e-6])
    np.testing.assert_allclose(update(g, change, KEY).devices, [1.003e-6, 0.0])
    np.testing.assert_array_equal(update.seen(g, KEY), g)


def test_write_noise_is_seen_and_does_not_stay():
    update = preset("reram").update()
    seen = np.asarray(update.seen(np.full(MANY, 20e-6), KEY))
    assert seen.std() == pytest.approx(0.056 * 39e-6, rel=5 / np.sqrt(2 * MANY))


def test_a_pair_changes_by_what_is_wanted():
    update = PulsedUpdate(PulseResponse(1e-4, 1e-4, bend_up=0.0, bend_down=0.0), LOW, HIGH)
    pair = np.full((2, 30, 40), 20e-6)
    change = np.random.default_rng(0).normal(size=(30, 40)) * 1e-7
    after = change_pairs(update, pair, change, KEY)
    done = np.asarray(after.devices[0] - after.devices[1])
    assert np.abs(done - change).max() <= 2 * 1e-4 * 20e-6 * (1 + 1e-9)
    assert np.all(np.asarray(after.pulses[0]) * np.asarray(after.pulses[1]) <= 0)
    assert abs((done - change).mean()) < 5 * 1e-4 * 20e-6 / np.sqrt(change.size)


def test_under_jit_and_vmap():
    update = preset("capacitor").update(jax.random.key(9))
    g, change = np.full((3, 4), 4e-6), np.linspace(-1e-6, 1e-6, 12).reshape(3, 4)
    keys = jax.random.split(KEY, 2)
    together = jax.jit(jax.vmap(lambda key: update(g, change, key)))(keys)
    for k, key in enumerate(keys):
        alone = update(g, change, key)
        np.testing.assert_allclose(together.devices[k], alone.devices, rtol=1e-12)
        np.testing.assert_array_equal(together.pulses[k], alone.pulses)
    slope = jax.jvp(lambda g: update(g, change, KEY).devices, (g,), (np.ones_like(g),))[1]
    assert np.all(np.isfinite(slope))


def test_bad_responses():
    with pytest.raises(SpecError, match=r"step_up = 1\.5"):
        PulseResponse(1.5, 0.1)
    with pytest.raises(SpecError, match="gmax"):
        PulsedUpdate(PulseResponse(0.1, 0.1), 2e-5, 1e-5)
