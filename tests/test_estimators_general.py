"""Every estimator on any system: exact ones against the implicit gradient at any asymmetry, others by their law."""

from functools import cache
from itertools import pairwise

import jax
import numpy as np
import pytest
from dense_circuits import SCALE, spice_op
from small_networks import SLOPE, N, implicit_gradient, multipliers, network, setting, split

from analogep.compile.recurrent import STATE
from analogep.ep.estimators import EXACT, RULES, Estimators
from analogep.ep.fidelity import fidelity
from analogep.errors import NetlistError, SpecError
from analogep.learning.cost import Quadratic
from analogep.learning.reversal import hold, reversed_network
from analogep.learning.rule import Phase, displacement
from analogep.learning.system_phases import SystemPhases
from analogep.netlist.element import GROUND
from analogep.netlist.elements import BSource, Capacitor, ISource, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions

pytestmark = pytest.mark.usefixtures("quick_compilation")

BETA = 1e-3
RHOS = (0.3, 1.0, 3.0, 10.0)
HERE = tuple(name for name in EXACT if name != "gyrator_flip")
"""Exact estimators that a network of one-way couplings has."""


@cache
def runs(rho, definite, beta):
    """All phases of one network, which all estimators share."""
    phases, (x, theta, v0) = network(), setting(sum(split(rho, definite)))
    return phases.run(x, theta, frozenset(p for name in HERE for p in RULES[name].phases) | NUDGED, beta, v0)


NUDGED = {Phase.NUDGED_PLUS, Phase.NUDGED_MINUS}


def error(name, rho, definite, beta):
    found = Estimators(network()).gradient(name, runs(rho, definite, beta), beta)
    assert bool(found.converged), f"{name}: residual {float(found.residual):.1e}"
    gradient = {array: g * SCALE.siemens for array, g in found.gradient.items()}
    return fidelity(gradient, implicit_gradient(sum(split(rho, definite))))[0].relative_error


@pytest.mark.parametrize("definite", [True, False], ids=["definite", "indefinite"])
@pytest.mark.parametrize("rho", RHOS)
def test_exact_estimators_at_any_asymmetry(rho, definite):
    """Settled, centred, against a dense implicit gradient; plain EP beside them."""
    for name in HERE:
        errors = [error(name, rho, definite, beta) for beta in (4 * BETA, 2 * BETA, BETA)]
        assert errors[-1] <= 1e-3, f"{name} at rho {rho}: {errors}"
        if name == "twin":
            assert max(errors) < 1e-12  # linear: beta does not enter
        else:
            ratios = [a / b for a, b in pairwise(errors)]
            np.testing.assert_allclose(ratios, 4.0, rtol=0.05, err_msg=f"{name} at rho {rho}: {errors}")
    assert error("vector_field_ep", rho, definite, BETA) > min(0.3 * rho, 0.5)


@pytest.mark.parametrize("definite", [True, False], ids=["definite", "indefinite"])
@pytest.mark.parametrize("rho", RHOS)
def test_dyadic_ep_is_better_than_a_millionth(rho, definite):
    phases, (x, theta, v0) = network(), setting(sum(split(rho, definite)))
    small = 1e-4
    found = phases.run(x, theta, RULES["dyadic_ep"].phases, small, v0)
    gradient = Estimators(phases).gradient("dyadic_ep", found, small).gradient
    exact = implicit_gradient(sum(split(rho, definite)))
    total, _ = fidelity({name: g * SCALE.siemens for name, g in gradient.items()}, exact)
    assert total.relative_error <= 1e-6


@pytest.mark.parametrize("definite", [True, False], ids=["definite", "indefinite"])
@pytest.mark.parametrize("rho", RHOS)
def test_bias_of_plain_ep(rho, definite):
    """Its displacement is the Cayley transform of lambda at any rho; below 1 the series adds up to the bias."""
    s, a = split(rho, definite)
    n, lam = np.linalg.solve(s, a), multipliers(s + a)
    signals = {phase: run.voltages for phase, run in runs(rho, definite, BETA).items()}
    found = displacement(RULES["vector_field_ep"], signals, BETA)[STATE][0] / SCALE.volts
    cayley = np.linalg.solve(np.eye(N) + n, (np.eye(N) - n) @ lam)
    np.testing.assert_allclose(found, cayley, rtol=0, atol=1e-3 * np.abs(cayley).max())
    power, series, terms = np.linalg.solve(s, -SLOPE), np.zeros(N), []
    for _ in range(60):
        power = n @ power
        series, power = series - 2 * power, n @ power
        terms.append(np.abs(power).max())
    if rho < 1:
        np.testing.assert_allclose(series, cayley - lam, rtol=0, atol=1e-8 * np.abs(lam).max())
    else:
        assert terms[-1] > 1e-3 * terms[0]  # the terms of the series do not die out


def test_multipliers_of_every_exact_estimator_are_those_of_the_dense_solve():
    found, lam = runs(3.0, True, BETA), multipliers(sum(split(3.0, True)))
    signals = {phase: run.voltages for phase, run in found.items()}
    for name in HERE:
        at_z = displacement(RULES[name], signals, BETA)[STATE][0] / SCALE.volts
        np.testing.assert_allclose(at_z, lam, rtol=0, atol=1e-4 * np.abs(lam).max(), err_msg=name)
    with pytest.raises(NetlistError, match="contrasts energies and reads no multiplier"):
        displacement(RULES["energy_ep"], signals, BETA)


def test_dyadic_ep_needs_no_free_phase():
    """From 0 V both copies find the saddle by themselves."""
    phases, (x, theta, _) = network(), setting(sum(split(3.0, True)))
    first = jax.tree.map(lambda leaf: leaf[0], runs(3.0, True, BETA))
    zero = jax.tree.map(lambda leaf: 0 * leaf, first[Phase.FREE].settled.v)
    away = first[Phase.FREE]._replace(settled=first[Phase.FREE].settled._replace(v=zero))
    x = {name: value[0] for name, value in x.items()}
    near = SettleOptions(rtol=1e-9, polish=40)
    up, down = phases.dyadic(away, x, theta, np.asarray(BETA), near)
    assert bool(up.settled.converged)
    for run, phase in ((up, Phase.DYADIC_PLUS), (down, Phase.DYADIC_MINUS)):
        np.testing.assert_allclose(run.voltages[STATE], first[phase].voltages[STATE], atol=1e-9 * SCALE.volts)


def test_the_parasitic_level_has_its_multipliers_at_all_nodes():
    """With cell poles G has twice the nodes and another rho; the gradient is the same."""
    phases, (x, theta, v0) = network("parasitic"), setting(sum(split(1.0, True)))
    estimators = Estimators(phases)
    exact = implicit_gradient(sum(split(1.0, True)))
    found = phases.run(x, theta, frozenset(p for name in HERE for p in RULES[name].phases), BETA, v0)
    for name in HERE:
        estimate = estimators.gradient(name, found, BETA)
        assert bool(estimate.converged), name
        gradient = {array: g * SCALE.siemens for array, g in estimate.gradient.items()}
        assert fidelity(gradient, exact)[0].relative_error <= 1e-5, name


def test_holomorphic_ep_errs_by_beta_to_the_number_of_points():
    """In a symmetric system; N = 2 is the centred difference."""
    g = split(0.3, True)[0]
    x, theta, v0 = setting(g)
    exact = implicit_gradient(g)
    for points in (2, 4, 6):
        errors = []
        for beta in (0.3, 0.15):
            phases = network(points=points)
            found = phases.run(x, theta, RULES["holomorphic_ep"].phases, beta, v0)
            estimate = Estimators(phases).gradient("holomorphic_ep", found, beta)
            assert bool(estimate.converged)
            gradient = {array: value * SCALE.siemens for array, value in estimate.gradient.items()}
            errors.append(fidelity(gradient, exact)[0].relative_error)
        assert errors[0] / errors[1] == pytest.approx(2.0**points, rel=0.2), f"N = {points}: {errors}"


def test_holomorphic_ep_is_plain_ep_where_asymmetric():
    s, a = split(1.0, True)
    x, theta, v0 = setting(s + a)
    found = network().run(x, theta, RULES["holomorphic_ep"].phases, 0.1, v0)
    lam = displacement(RULES["holomorphic_ep"], {p: r.voltages for p, r in found.items()}, 0.1)[STATE][0] / SCALE.volts
    np.testing.assert_allclose(lam, np.linalg.solve(s + a, -SLOPE), rtol=0, atol=1e-4)


def test_reversed_couplings_stay_on_their_nodes():
    """The same nodes, capacitors and resistors; the held current keeps the operating point."""
    phases = network()
    turned = reversed_network(phases.netlist)
    for element in phases.netlist:
        if isinstance(element, Capacitor | Resistor | ISource):
            assert turned.elements[element.name] is element
    found = runs(3.0, True, BETA)
    moved = found[Phase.REVERSED_PLUS].voltages[STATE] - found[Phase.FREE].voltages[STATE]
    assert 0 < np.abs(moved).max() < 0.01 * SCALE.volts


def test_a_law_that_is_not_analytic_is_flagged():
    element = {"current": f"{SCALE.siemens}*abs(v(a))"}
    netlist = Netlist({"a": Bus()}).add(
        Capacitor("c", "a", GROUND, SCALE.farads),
        Resistor("r", "a", GROUND, SCALE.siemens),
        ISource("i", GROUND, "a", SCALE.amperes),
        BSource("b", "a", GROUND, **element),
    )
    phases = SystemPhases(Circuit(netlist, SCALE), Quadratic("a", 0.0, 1.0, SCALE))
    found = phases.run({}, {}, frozenset({Phase.HOLOMORPHIC, Phase.NUDGED_PLUS}), 0.1)
    assert bool(found[Phase.NUDGED_PLUS].settled.converged.all())
    assert not bool(found[Phase.HOLOMORPHIC].settled.converged.any())


@pytest.mark.spice
def test_the_reversed_circuit_in_ngspice():
    """Its deck, with the held currents and the nudge as sources, settles where the phase does."""
    phases, (x, theta, _) = network(), setting(sum(split(3.0, True)))
    free = {bus: np.asarray(value[0]) for bus, value in runs(3.0, True, BETA)[Phase.FREE].voltages.items()}
    inputs = {name: value[0] for name, value in x.items()}
    full = phases.held(free) | inputs
    pushed = hold(phases.reversed_circuit, free, full, theta)
    settled = runs(3.0, True, BETA)[Phase.REVERSED_PLUS].voltages
    moved = {bus: np.asarray(settled[bus][0]) for bus in free if bus in settled}
    nudge = {bus: BETA * np.asarray(i) for bus, i in phases.force(moved, inputs, theta).items()}
    sources = [ISource(f"hold.{bus}", GROUND, bus, np.asarray(i) + nudge.get(bus, 0.0)) for bus, i in pushed.items()]
    turned = reversed_network(phases.netlist)
    deck = turned.add(*sources).with_arrays({name: theta[name] for name in turned.arrays})
    found = spice_op(deck, held=free)
    for bus in (STATE, "hidden"):
        away = moved[bus] - free[bus]
        np.testing.assert_allclose(found[bus] - free[bus], away, rtol=0, atol=1e-6 * np.abs(away).max(), err_msg=bus)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(SpecError, match=r"estimator 'gyrator_flip' does not exist for this circuit; available: .*twin"):
        Estimators(network()).run(("gyrator_flip",), {}, {}, BETA)
