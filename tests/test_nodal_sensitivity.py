"""Derivatives of results by the numbers of elements against finite differences; Monte Carlo; batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.netlist.spice.read import read
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import find, operating_point
from analogep.simulate.nodal.sensitivity import gradient, monte_carlo, sensitivity
from analogep.simulate.nodal.small_signal import ac
from analogep.simulate.nodal.transient import TransientOptions, sampled

pytestmark = pytest.mark.usefixtures("quick_compilation")

DECK = """* amplifier of a diode, a controlled source and memory
V1 in 0 dc 1 ac 1 sin(1 0.5 1meg)
R1 in a 1k
D1 a 0 dd
.model dd D(IS=1e-12 N=1.5 CJO=20p)
C1 a b 100p
R2 b 0 2k
G1 c 0 b a 1m
R3 c 0 3k
C2 c 0 50p
L1 c d 10u
R4 d 0 1k
.op
.end
"""
NUMBERS = ("r1.siemens", "d1.model.is_", "c1.farads", "g1.siemens", "l1.henries", "v1.value")


@pytest.fixture(scope="module")
def nodal():
    return Nodal(read(DECK).netlist)


@pytest.fixture(scope="module")
def rest(nodal):
    return operating_point(nodal.at_rest).x


def differences(nodal, result, number, step=1e-4):
    """Central differences, relative steps."""
    value = float(nodal.value(number))
    up, down = (np.asarray(result(nodal.with_numbers(nodal.theta, {number: value * (1 + s)}))) for s in (step, -step))
    return (up - down) / (2 * step * value)


def check(nodal, result, tolerance):
    slopes = sensitivity(nodal, result, NUMBERS)
    compiled = jax.jit(result)
    for number, slope in slopes.items():
        expected = differences(nodal, compiled, number)
        scale = np.abs(expected).max()
        assert np.abs(np.asarray(slope) - expected).max() <= tolerance * scale + 1e-12, number
    return slopes


def test_operating_point_and_ac(nodal, rest):
    still = nodal.at_rest
    frequencies = np.array([1e4, 1e6, 1e7])

    def result(theta):
        x = find(still, theta, rest).x
        phasors = ac(still, x, theta, frequencies)[:, still.place["c"]]
        return jnp.concatenate([x, phasors.real, phasors.imag])

    slopes = check(still, result, 1e-5)
    assert all(np.abs(slope).max() > 0 for slope in slopes.values())


def test_transient(nodal):
    times = np.array([2e-7, 5e-7, 9e-7])
    x0 = operating_point(nodal).x
    options = TransientOptions(rtol=1e-8, volts=1e-10)
    number = "c1.farads"

    def result(theta):
        return sampled(nodal, times, theta, find(nodal, theta, x0).x, options=options)[0][:, nodal.place["c"]]

    slope = np.asarray(sensitivity(nodal, result, [number])[number])
    expected = differences(nodal, jax.jit(result), number, 1e-3)
    assert np.abs(slope - expected).max() < 1e-3 * np.abs(expected).max()


def test_reverse_mode_gives_all_numbers_at_once(nodal, rest):
    still = nodal.at_rest

    def result(theta):
        x = find(still, theta, rest).x
        return x[still.place["c"]] ** 2 + jnp.abs(ac(still, x, theta, np.array([1e6]))[0, still.place["d"]]) ** 2

    slopes = gradient(still, result)
    for number, slope in sensitivity(still, result, NUMBERS).items():
        assert float(slopes[number]) == pytest.approx(float(slope), rel=1e-8, abs=1e-15), number


def test_monte_carlo_has_the_spread_of_first_order(nodal, rest):
    still = nodal.at_rest
    spread = {"r1.siemens": 0.01, "r3.siemens": 0.02, "g1.siemens": 0.015}

    def result(theta):
        return find(still, theta, rest).x[still.place["c"]]

    found, drawn = monte_carlo(still, result, spread, count=2000, key=jax.random.key(0))
    slopes = sensitivity(still, result, list(spread))
    first = np.sqrt(sum((float(slopes[n]) * float(still.value(n)) * s) ** 2 for n, s in spread.items()))
    assert np.std(np.asarray(found)) == pytest.approx(first, rel=0.06)
    assert np.std(drawn["r3.siemens"]) == pytest.approx(0.02 * float(still.value("r3.siemens")), rel=0.06)


def test_batches(nodal, rest):
    """vmap over theta is the same as one after another."""
    still = nodal.at_rest
    volts = np.array([0.2, 1.0, 3.0])

    def solve(v):
        return find(still, still.with_numbers(still.theta, {"v1.value": v}), rest).x

    together = jax.vmap(solve)(volts)
    apart = np.stack([np.asarray(solve(v)) for v in volts])
    np.testing.assert_allclose(together, apart, atol=1e-12)
