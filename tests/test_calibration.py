"""Local calibration of mismatched adjoint paths, against dense numpy, finite differences and the circuit's phases."""

from functools import cache

import numpy as np
import pytest
from dense_circuits import SCALE

from analogep.compile.recurrent import HIDDEN, STATE, compile_recurrent, weights_at
from analogep.errors import NetlistError, SpecError
from analogep.learning.calibration import Instrument, calibrate
from analogep.learning.mismatch import (
    Stamps,
    abscissa,
    injection_path,
    reversed_path,
    settles,
    stamps,
    twin_path,
    unequal,
    with_factors,
)
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import HELD
from analogep.netlist.elements import Resistor
from analogep.simulate.circuit import Circuit

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, EPSILON = 5, 0.01
CAPACITANCE = np.repeat([1.0, EPSILON], N)
EXACT = Instrument(noise=0.0, bits=None, residue=0.0)


def drawn(seed):
    """G of the states and a state, with S > 0 and an antisymmetric part as large."""
    rng = np.random.default_rng(seed)
    root, skew = rng.normal(size=(2, N, N)) / np.sqrt(N)
    return 0.5 * np.eye(N) + root @ root.T / 2 + skew - skew.T, rng.uniform(-0.5, 0.5, N)


def full_matrix(g, z):
    """The parasitic circuit by hand: states with leaks and weights, tanh nodes with loads and gains."""
    slope = 1 - np.tanh(z) ** 2
    return np.block([[np.eye(N), -weights_at(g, z)[0]], [-np.diag(slope), np.eye(N)]])


@cache
def circuit(seed=0):
    """Netlist and its voltages at rest."""
    g, z = drawn(seed)
    netlist = compile_recurrent(*weights_at(g, z), level="parasitic", scale=SCALE, epsilon=EPSILON)
    return netlist, {STATE: z * SCALE.volts, HIDDEN: np.tanh(z) * SCALE.volts}


@cache
def population(count=24):
    """Stamps of several circuits at once, dimensionless."""
    each = [stamps(net, at, net.arrays).scaled(1 / SCALE.siemens) for net, at in map(circuit, range(count))]
    return Stamps(each[0].drives, each[0].reads, np.stack([one.siemens for one in each]), each[0].nodes)


def multipliers(matrix, count=20):
    """Responses at the states to random nudges there, for matrices that should be G^T."""
    nudges = np.random.default_rng(9).normal(size=(2 * N, count))
    nudges[N:] = 0
    return np.linalg.solve(matrix, nudges)[..., :N, :]


def cosines(matrix, g):
    found, true = multipliers(matrix), multipliers(g.swapaxes(-1, -2))
    products = (found * true).sum(-2) / np.linalg.norm(found, axis=-2) / np.linalg.norm(true, axis=-2)
    return np.where(settles(matrix, CAPACITANCE), products.mean(-1), 0.0)


def calibrated(path, keep, seed=2, **options):
    g = population().matrix()
    rng = np.random.default_rng(seed)
    return calibrate(g, path, CAPACITANCE, drivers=np.arange(N), rng=rng, keep=keep, **options)


# Paths


def test_stamps_are_the_conductance_matrix_written_by_hand():
    for seed in (0, 1):
        np.testing.assert_allclose(population().matrix()[seed], full_matrix(*drawn(seed)), atol=1e-12)


def test_stamps_need_currents_at_every_bus():
    netlist = compile_recurrent(np.eye(N), np.zeros(N), level="ideal", scale=SCALE)
    with pytest.raises(NetlistError, match="parasitic"):
        stamps(netlist, {STATE: np.zeros(N), HIDDEN: np.zeros(N)}, netlist.arrays)
    netlist = circuit()[0].add(Resistor("bridge", STATE, HIDDEN, 1e-6))
    with pytest.raises(NetlistError, match="bridge"):
        stamps(netlist, circuit()[1], netlist.arrays)


def test_paths_without_mismatch_are_the_transpose():
    few, rng = population(), np.random.default_rng(0)
    g = few.matrix()
    for path in (twin_path, injection_path):
        np.testing.assert_allclose(path(few, 0.0, rng).matrix(), g.swapaxes(1, 2), atol=1e-12)
        assert abs(path(few, 0.2, rng).matrix() - g.swapaxes(1, 2)).max() > 0.05
    kept = np.ones(len(few.drives), bool)
    np.testing.assert_array_equal(reversed_path(few, 0.2, rng, arrays=kept).matrix(), g.swapaxes(1, 2))


def test_factors_have_the_spread_and_keep_their_sign():
    factors = unequal((100_000,), 0.2, np.random.default_rng(0))
    assert factors.mean() == pytest.approx(1.0, abs=2e-3)
    assert factors.std() == pytest.approx(0.2, rel=0.01)
    assert unequal((1000,), 1.0, np.random.default_rng(0)).min() > 0


def test_abscissa_in_closed_form():
    """Two nodes with gyration a: -g +- i a over the capacitance."""
    matrix = np.array([[0.3, 2.0], [-2.0, 0.3]])
    assert abscissa(matrix, np.array([0.5, 0.5])) == pytest.approx(-0.6)
    assert settles(np.stack([matrix, -matrix]), np.ones(2)).tolist() == [True, False]


def test_the_mismatched_twin_is_the_adjoint_network_of_a_mismatched_copy():
    netlist, at = circuit()
    few = stamps(netlist, at, netlist.arrays)
    factors = unequal(few.siemens.shape, 0.2, np.random.default_rng(3))
    twin = Circuit(adjoint(with_factors(netlist, factors)), SCALE)
    held = {HELD + bus: value for bus, value in at.items()}
    rest = {bus: np.zeros(N) for bus in twin.states}
    expected = few.scaled(factors).transposed.matrix()
    np.testing.assert_allclose(twin.conductance(rest, held, twin.theta), expected, atol=1e-12 * SCALE.siemens)
    with pytest.raises(NetlistError, match="factors"):
        with_factors(netlist, factors[1:])
    with pytest.raises(NetlistError, match="factors"):
        with_factors(netlist, np.append(factors, 1.0))


# Calibration


def test_a_probe_projects_on_the_trims_that_explain_it():
    """One probe of an exact instrument, with responses and products by plain solves."""
    path, gain = twin_path(population(), 0.2, np.random.default_rng(1)), 0.7
    moved = calibrated(path, [0, 1], instrument=EXACT, gain=gain).trims - 1
    g, gt, rng = population().matrix(), path.matrix(), np.random.default_rng(2)
    p, q = (np.pad(rng.choice([-1.0, 1.0], size=(24, N)), ((0, 0), (0, N))) for _ in range(2))
    stable = settles(gt, CAPACITANCE)
    assert stable.sum() > 20
    drives, reads = population().reads, population().drives  # of the twin: ports exchanged
    for k in np.flatnonzero(stable):
        u, r = np.linalg.solve(g[k], p[k]), np.linalg.solve(gt[k], q[k])
        missing = q[k] @ u - p[k] @ r
        assert missing == pytest.approx(u @ (gt[k] - g[k].T) @ r, rel=1e-9)  # Tellegen
        products = path.copies.siemens[k] * u[drives] * r[reads]
        np.testing.assert_allclose(moved[k], -gain * missing * products / (products @ products), rtol=1e-8, atol=1e-12)


def test_no_probe_takes_trims_farther_from_the_right_ones():
    few = population()
    path = twin_path(few, 0.2, np.random.default_rng(1))
    right = few.siemens / path.copies.siemens
    for gain in (0.3, 1.0, 1.7):
        outs = [calibrated(path, [count], instrument=EXACT, gain=gain) for count in range(0, 12, 2)]
        away = np.stack([np.linalg.norm(out.trims - right, axis=1) for out in outs])
        steady = outs[-1].railed == 0
        assert (np.diff(away[:, steady], axis=0) <= 1e-12).all()
        assert (away[-1, steady] < away[0, steady]).all()


def test_nothing_moves_without_mismatch():
    for make in (twin_path, injection_path):
        out = calibrated(make(population(), 0.0, np.random.default_rng(1)), [5], instrument=EXACT)
        np.testing.assert_allclose(out.trims, 1.0, atol=1e-9)


def test_without_an_instrument_s_errors_calibration_does_not_stop():
    g = population().matrix()
    path = twin_path(population(), 0.2, np.random.default_rng(1))
    exact, real = (
        [1 - cosines(m, g).mean() for m in calibrated(path, [300, 3000], gain=1.0, slower=1e9, instrument=one).matrices]
        for one in (EXACT, None)
    )
    assert exact[1] < 0.1 * exact[0]
    assert real[1] > 5 * exact[1]


def test_mean_cosine_after_300_probes_at_20_percent_spread():
    """24 circuits; read noise 1 % of full scale, 8 bits, 1 % that cannot be trimmed."""
    g = population().matrix()
    path = twin_path(population(), 0.2, np.random.default_rng(1))
    out = calibrated(path, [0, 300])
    built, trimmed = (cosines(matrix, g) for matrix in out.matrices)
    assert built.mean() < 0.97
    assert trimmed.mean() >= 0.99
    assert trimmed.min() >= 0.98


def test_a_path_that_does_not_settle_is_turned_down_until_it_does():
    path = twin_path(population(), 0.6, np.random.default_rng(1))
    out = calibrated(path, [0, 300])
    runaway = ~settles(out.matrices[0], CAPACITANCE)
    assert runaway.any()
    np.testing.assert_array_equal(out.railed[runaway] > 0, True)
    assert settles(out.matrices[1], CAPACITANCE).all()
    built, trimmed = (cosines(matrix, population().matrix()).mean() for matrix in out.matrices)
    assert trimmed > built + 0.3


def test_readings_have_their_noise_and_steps():
    rng, volts = np.random.default_rng(0), np.full(100_000, 0.3)
    noisy = Instrument(noise=0.01, bits=None).read(volts, np.array(2.0), rng)
    assert noisy.std() == pytest.approx(0.02, rel=0.02)
    steps = Instrument(noise=0.0, bits=8).read(np.linspace(-3, 3, 1001), np.array(2.0), rng)
    assert np.unique(np.round(np.diff(np.unique(steps)), 12)).tolist() == [2 * 2.0 / 256]
    assert (steps.min(), steps.max()) == (-2.0, 2.0)
    assert Instrument(residue=0.01).written(volts, rng).std() == pytest.approx(0.003, rel=0.02)


def test_wrong_options_are_refused():
    path = twin_path(population(), 0.2, np.random.default_rng(1))
    with pytest.raises(SpecError, match="gain"):
        calibrated(path, [1], gain=2.5)
    with pytest.raises(SpecError, match="ascend"):
        calibrated(path, [5, 1])
    with pytest.raises(SpecError, match="instrument"):
        Instrument(noise=-1.0)
