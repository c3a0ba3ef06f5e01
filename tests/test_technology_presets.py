"""Presets against the published laws (written out here in the sources' units), their ranges, and pairs."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.errors import SpecError
from analogep.technology import (
    PRESETS,
    Preset,
    apply,
    compose,
    constant,
    from_pairs,
    largest_scale,
    preset,
    to_pairs,
)
from analogep.technology.laws import ProgrammingError
from analogep.technology.noise import ReadNoise
from analogep.technology.sonos import SHIFTS, SPREADS

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(5)
DRAWS = 20_000
DAY = 86_400.0


def wan(seconds):
    """Spread of Wan 2022 in uS as fitted in aihwkit, highest power first."""
    return {
        1.0: [-16.815, 45.393, -43.853, 16.030, 0.348],
        DAY: [-16.458, 47.095, -50.773, 22.086, 0.701],
        2 * DAY: [-11.934, 37.062, -43.507, 20.274, 0.782],
    }[seconds]


def sonos(day):
    """Mean and spread of Agrawal 2022 in uS as fitted in CrossSim, for conductances in uS (nA at 0.1 V)."""

    def mean(g):
        return g + np.polyval(SHIFTS[day][::-1], g * 100) / 100

    def spread(g):
        a, b = SPREADS[day]
        return a * (1 - np.exp(-mean(g) * 100 / b)) / 100

    return mean, spread


def same(g):
    return g


PUBLISHED = {  # device, states in uS that noise does not push below 0, mean and spread in uS
    "reram 1 s": (preset("reram"), (12.0, 20.0, 36.0), same, lambda g: np.polyval(wan(1.0), g / 40)),
    "reram 1 d": (preset("reram").at(seconds=DAY), (16.0, 30.0), same, lambda g: np.polyval(wan(DAY), g / 40)),
    "reram 2 d": (preset("reram").at(seconds=2 * DAY), (20.0, 40.0), same, lambda g: np.polyval(wan(2 * DAY), g / 40)),
    "hfo2": (preset("hfo2"), (50.0, 140.0, 225.0), same, lambda g: -0.009107 * g + 4.782321),
    "pcm": (preset("pcm"), (4.0, 12.0, 25.0), same, lambda g: 0.26348 + 1.9650 * g / 25 - 1.1731 * (g / 25) ** 2),
    "sonos 0 d": (preset("sonos"), (3.0, 16.0), *sonos(0)),
    "sonos 3 d": (preset("sonos").at(seconds=3 * DAY), (3.0, 8.0, 14.0), *sonos(3)),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_programming_errors_are_the_published_ones(case):
    device, states, mean, spread = PUBLISHED[case]
    for state in states:
        written = device.written().effects[0](np.full(DRAWS, state * 1e-6), KEY) * 1e6
        sigma = spread(state)
        assert abs(written.mean() - mean(state)) < 5 * sigma / np.sqrt(DRAWS)
        assert abs(written.std() / sigma - 1) < 5 / np.sqrt(2 * DRAWS)


def test_errors_between_measured_times_lie_between_them():
    spreads = [preset("reram").at(seconds=t).written().effects[0].spread(20e-6) for t in (1.0, 3600.0, DAY)]
    assert spreads[0] < spreads[1] < spreads[2]
    exact = np.interp(np.log1p(3600.0), np.log1p([1.0, DAY]), [spreads[0], spreads[2]])
    assert spreads[1] == pytest.approx(exact, rel=1e-12)


def test_sonos_means_keep_the_order_of_the_days_up_to_the_end_of_the_range():
    """Later is lower in the upper half; the fits' own break above 14 uS (test of the choice made in sonos.py)."""
    shifts = np.array([preset("sonos").at(seconds=d * DAY).programming.at(d * DAY).shift(16e-6) for d in range(1, 6)])
    assert np.all(np.diff(shifts) < 0)
    broken = [np.polyval(SHIFTS[d][::-1], 1600.0) for d in range(1, 6)]
    assert not np.all(np.diff(broken) < 0)


BEYOND = [
    ("reram", {"gmax": 41e-6}, "4.1e-05 S"),
    ("reram", {"seconds": 3 * DAY}, "172800 s"),
    ("reram", {"seconds": 0.5}, "1 ... 172800"),
    ("hfo2", {"gmin": 10e-6}, "5e-05 ... 0.000225 S"),
    ("hfo2", {"seconds": 60.0}, "nothing later"),
    ("pcm", {"gmax": 30e-6}, "pcm.py"),
    ("pcm", {"kelvin": 350.0}, "290 ... 310 K"),
    ("sonos", {"read_volts": 0.2}, "one voltage"),
    ("sonos", {"seconds": 6 * DAY}, "5 days"),
    ("capacitor", {"read_volts": 0.9}, "0.01 ... 0.5 V"),
]


@pytest.mark.parametrize(("name", "settings", "says"), BEYOND, ids=lambda x: str(x) if isinstance(x, str) else "")
def test_outside_the_measured_range_it_raises(name, settings, says):
    with pytest.raises(SpecError) as raised:
        preset(name).at(**settings)
    ((key, value),) = settings.items()
    for part in (name, f"{key} = {value:g}", says, "Preset"):
        assert part in str(raised.value)


@pytest.mark.parametrize("name", PRESETS)
def test_the_ends_of_the_range_are_inside(name):
    device = preset(name)
    for key, (low, high) in device.valid.items():
        for end in {"gmin": (low,), "gmax": (high,)}.get(key, (low, high)):  # the other ends leave no range
            assert getattr(device.at(**{key: end}), key) == end


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gmin": 5e-5, "gmax": 4e-5}, "below gmax"),
        ({"levels": 1}, "levels = 1"),
        ({"stuck": 1.5}, "stuck = 1.5"),
        ({"kelvin": -3.0}, "kelvin"),
        ({"retention": 1.0}, "it has gmin, gmax"),
        ({"levels": 16, "gmax": np.inf}, "finite gmax"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises(SpecError, match=says):
        preset("ideal").at(**settings)


def test_unknown_names():
    with pytest.raises(SpecError, match="did you mean 'reram'"):
        preset("rram")
    for name in ("pcm", "sonos"):
        with pytest.raises(SpecError, match="no pulse response"):
            preset(name).update()


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_has_a_source(name):
    device, bare = PRESETS[name], Preset("bare", "", 0.0, 1.0)
    own = [f.name for f in dataclasses.fields(Preset) if f.name not in ("name", "summary", "valid", "sources")]
    set_here = {x for x in own if getattr(device, x) != getattr(bare, x) and getattr(device, x) is not None}
    assert set_here | {"read_volts", "kelvin", "stuck"} <= set(device.sources)
    assert all(device.sources.values())
    assert set(device.table()) >= set(device.valid)


def test_pcm_drifts_reads_and_writes_in_that_order():
    device = preset("pcm").at(seconds=1e6)
    assert [type(e).__name__ for e in device.written()] == ["ProgrammingError", "Drift"]
    assert [type(e).__name__ for e in device.reading(1e9)] == ["FlickerNoise", "JohnsonNoise"]
    assert device.reading().effects[0].seconds == 1e6 + 20.0  # counted from programming, not from the first reading
    names = [type(e).__name__ for e in preset("capacitor").at(stuck=0.1, seconds=1e-4).written()]
    assert names == ["Levels", "Stuck", "Leak"]


# --- pairs ---


def weights():
    return {"a": np.array([[3e-6, -39e-6], [0.0, 1e-9]]), "b": -np.array([[20e-6]])}


def test_pairs_carry_signed_conductances_and_stay_in_range():
    device = preset("reram")
    pairs = to_pairs(weights(), device)
    for name, signed in weights().items():
        plus, minus = np.asarray(pairs[name])
        assert np.all(np.minimum(plus, minus) == device.gmin)
        assert plus.max() <= device.gmax * (1 + 1e-15)
        np.testing.assert_allclose(from_pairs(pairs)[name], signed, atol=1e-20)


def test_weights_outside_the_range_name_array_and_index():
    g = weights()
    g["a"][1, 0] = -80e-6
    with pytest.raises(SpecError, match=r"array 'a': -8e-05 S at \[1, 0\].*or less.*clip=True") as raised:
        to_pairs(g, preset("reram"))
    advised = float(re.search(r"weights by ([\d.]+)", str(raised.value))[1])
    assert advised == pytest.approx(39 / 80, rel=2e-3)
    to_pairs({name: advised * x for name, x in g.items()}, preset("reram"))
    clipped = from_pairs(to_pairs(g, preset("reram"), clip=True))["a"]
    np.testing.assert_allclose(clipped, np.clip(g["a"], -39e-6, 39e-6), atol=1e-20)
    scale = largest_scale(g, preset("reram"))
    assert scale == pytest.approx(39 / 80)
    to_pairs({name: scale * x for name, x in g.items()}, preset("reram"))
    with pytest.raises(SpecError, match="'c'"):  # the idle device of a pair holds gmin, which is lost
        to_pairs({"c": np.array([[39.5e-6]])}, preset("reram"))
    g["b"][0, 0] = np.nan
    with pytest.raises(SpecError, match=r"array 'b': entry \[0, 0\] is nan"):
        to_pairs(g, preset("reram"), clip=True)


def test_pairs_are_differentiable_under_jit():
    def total(g):
        return jnp.sum(from_pairs(to_pairs({"a": g}, preset("reram"), clip=True))["a"] ** 2)

    g = weights()["a"].clip(-30e-6, 30e-6)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(total))(g), 2 * g, rtol=1e-12)


# --- composition ---


def test_an_effect_left_out_does_not_change_the_draws_of_the_others():
    noise, error = ReadNoise(constant(1e-6)), ProgrammingError(constant(2e-6))
    g = np.full((3, 4), 50e-6)
    both, alone = compose(error, noise)(g, KEY), compose(noise)(g, KEY)
    np.testing.assert_allclose(both - compose(error)(g, KEY), alone - g, rtol=1e-9)
    twice = compose(noise, noise)(g, KEY) - g
    assert np.abs(twice - 2 * (alone - g)).min() > 1e-9  # two of a kind draw differently
    np.testing.assert_array_equal(compose(compose(error), noise)(g, KEY), both)
    np.testing.assert_array_equal(compose()(g, KEY), g)


def test_arrays_draw_on_their_own():
    noise, g = ReadNoise(constant(1e-6)), np.full((2, 3, 3), 1e-5)
    both = apply(noise, {"a": g, "b": g}, KEY)
    assert np.all(both["a"] != both["b"])
    np.testing.assert_array_equal(apply(noise, {"b": g}, KEY)["b"], both["b"])


def test_ideal_devices_have_no_effects():
    assert preset("ideal").reading().effects == preset("ideal").written().effects == ()
    np.testing.assert_array_equal(
        apply(preset("ideal").written(), to_pairs(weights(), preset("ideal")), KEY)["b"], [[[0.0]], [[20e-6]]]
    )
