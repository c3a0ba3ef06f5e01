"""Circuits that have no answer end with a message that names the element or the node, and soon."""

import time

import jax
import jax.numpy as jnp
import pytest

from analogep.errors import ConvergenceError, NetlistError
from analogep.netlist.elements import CCCS, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.read import read
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import find
from analogep.simulate.nodal.run import run_file
from analogep.simulate.nodal.sensitivity import gradient, monte_carlo, sensitivity

pytestmark = pytest.mark.usefixtures("quick_compilation")

STRUCTURE = {
    "node 'c' floats": "Vin a 0 1\nR1 a b 1k\nC1 b c 1n\nC2 c 0 1n\n.op",
    "node 'x' floats": "Vin a 0 1\nR1 a 0 1k\nR2 x y 1k\nR3 x y 2k\n.op",
    "node 'a' floats.*'i1', 'i2'": "I1 0 a 1m\nI2 a b 1m\nR1 b 0 1k\n.op",
    "node 'a' floats.*'i1', 'c1'": "I1 0 a 1m\nC1 a 0 1n\n.op",
    "node 's' floats": "V1 a 0 1\nC1 a s 1n\nB1 b 0 V=v(s)\nR1 b 0 1k\n.op",
    "loop.*'v2', 'v1'": "V1 a 0 1\nV2 a 0 1\nR1 a 0 1k\n.op",
    "loop.*'l1', 'v1'": "V1 a 0 1\nL1 a 0 1m\nR1 a 0 1k\n.op",
    "loop.*'e2', 'e1'": "V1 a 0 1\nE1 b 0 a 0 2\nE2 b 0 a 0 3\nR1 b 0 1k\n.op",
    "loop.*'v1'": "V1 a a 1\nR1 a 0 1k\n.op",
    "no node but ground": ".op",
    "needs a source with an AC value": "V1 a 0 1\nR1 a 0 1k\n.ac dec 1 1 10",
}
CONDITIONS = {
    "node 'a'.*'v1' fixes it at 1 V": "V1 a 0 1\nR1 a b 1k\nC1 b 0 1n\n.ic v(a)=2\n.tran 1n 10n",
    "node 'c'.*fixes it at 3 V": "V1 a 0 1\nV2 c b 2\nR1 a b 1k\nC1 b 0 1n\n.ic v(b)=1 v(c)=5\n.tran 1n 10n",
    "'c2' starts at 2 V, but 'c1'": "V1 a 0 1\nR1 a b 1k\nC1 b 0 1n ic=1\nC2 b 0 1n ic=2\n.tran 1n 10n uic",
    "'c1' starts at 1 V.*node 'b'": "V1 a 0 1\nR1 a b 1k\nC1 b 0 1n ic=1\n.ic v(b)=2\n.tran 1n 10n uic",
}
SINGULAR = {
    "operating point.*undetermined: a": "I1 0 a 1m\nR1 a 0 1k\nG1 a 0 a 0 -1m\n.op",
    "operating point.*singular": "V1 a 0 0\nI1 0 b 1m\nB1 b 0 I=1m*v(b)*(1-v(a))\n.dc V1 0 2 0.5",
    "transient after 0 s.*singular": "V1 a 0 pulse(0 1 5n 1n 1n 1u 2u)\nG1 b 0 a 0 1m\nB1 b 0 I=1m*v(b)*(1-v(a))\n"
    ".tran 1n 10n",
}
HOPELESS = {
    "node 'a' lacks": "B1 0 a I=1m\nB2 a 0 I=-exp(v(a))\nR1 a 0 1e12\n.op",
    "i\\(b1\\)": "B1 b 0 V=u(0.5-v(b))\nR1 b 0 1k\nC1 b 0 1n\n.op",
    "'b1' gave no finite number": "V1 a 0 -1\nB1 0 b I=sqrt(v(a))\nR1 b 0 1\n.op",
    "'b2' gives no finite number": "V1 a 0 sin(0 1 1meg)\nB2 0 b I=sqrt(v(a)+0.5)\nR1 b 0 1\nC1 b 0 1n\n.tran 10n 1u",
    # v' = 1 + v^2 from v = 1 is infinite at pi/4
    "gave up at 7.8540.e-07.*node 'b'": "I1 0 b 1m\nC1 b 0 1n ic=1\nB1 0 b I=1m*v(b)*v(b)\nR1 b 0 1g\n.tran 1n 10u uic",
}  # fmt: skip


def fails(deck, error, message, seconds):
    begin = time.perf_counter()
    with pytest.raises(error, match=message):
        run_file(read(f"* bad\n{deck}\n.end\n"))
    assert time.perf_counter() - begin < seconds


@pytest.mark.parametrize("message", STRUCTURE)
def test_structure_is_checked_before_anything_is_solved(message):
    fails(STRUCTURE[message], NetlistError, message, 10)


@pytest.mark.parametrize("message", CONDITIONS)
def test_contradictory_initial_conditions(message):
    fails(CONDITIONS[message], NetlistError, message, 10)


@pytest.mark.parametrize("message", SINGULAR)
def test_a_singular_matrix_is_named_in_every_analysis(message):
    fails(SINGULAR[message], NetlistError, message, 120)


@pytest.mark.parametrize("message", HOPELESS)
def test_what_has_no_solution_is_given_up(message):
    fails(HOPELESS[message], ConvergenceError, message, 120)


def test_a_current_sensed_in_a_missing_source():
    missing = Netlist({"a": Bus()}).add(Resistor("r", "a", "0", 1.0), CCCS("f", "a", "0", "vx", 2.0))
    with pytest.raises(NetlistError, match="'vx'"):
        Nodal(missing)


def test_what_is_swept_must_exist():
    nodal = Nodal(Netlist({"a": Bus()}).add(Resistor("r", "a", "0", 1.0), VSource("v", "a", 1.0)))
    with pytest.raises(NetlistError, match=r"no independent source 'w'.*has v"):
        nodal.source_value("w")
    with pytest.raises(NetlistError, match=r"no number 'r.ohms'.*r.siemens"):
        nodal.places("r.ohms")


def test_a_condition_that_a_source_meets_is_no_contradiction():
    deck = "* supply\nV1 a 0 2\nR1 a b 1k\nR2 b 0 1k\nC1 b 0 1n\n.ic v(a)=2 v(b)=0.3\n.tran 1n 10n\n.end\n"
    (waves,) = run_file(read(deck))
    assert float(waves["v(b)"][0]) == pytest.approx(0.3)


def test_corners_at_a_node_of_inductors_and_current_sources():
    """Voltage and current that follow from derivatives of sources jump at corners (index 2), and the run goes on."""
    pulse = "pulse(0 1m 1n 1n 1n 5n 20n)"
    deck = f"* index 2\nI1 0 a {pulse}\nL1 a b 1u\nR1 b 0 1\nV1 c 0 {pulse}\nC1 c 0 1n\n.tran 1n 10n\n.end\n"
    (waves,) = run_file(read(deck))
    rising = waves.sel(time=1.6e-9, method="nearest")
    assert float(rising["v(a)"] - rising["v(b)"]) == pytest.approx(1e-6 * 1e-3 / 1e-9, rel=1e-6)
    assert float(rising["i(v1)"]) == pytest.approx(-1e-9 * 1e-3 / 1e-9, rel=1e-6)


VARIATIONS = {
    "sensitivity": lambda nodal, result: sensitivity(nodal, result, ["i1.value"]),
    "gradient": gradient,
    "Monte Carlo": lambda nodal, result: monte_carlo(nodal, result, {"i1.value": 0.1}, count=2, key=jax.random.key(0)),
}


@pytest.mark.parametrize("what", VARIATIONS)
def test_a_singular_circuit_is_named_in_variations(what):
    nodal = Nodal(read("* bad\nI1 0 a 1m\nR1 a 0 1k\nG1 a 0 a 0 -1m\n.op\n.end\n").netlist)

    def voltage(theta):
        return find(nodal, theta, jnp.zeros(nodal.size)).x[0]

    with pytest.raises(NetlistError, match=rf"{what}.*singular \(undetermined: a\)"):
        VARIATIONS[what](nodal, voltage)
