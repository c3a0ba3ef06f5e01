"""Rules as data and the engine that runs them, on examples small enough to do by hand."""

import numpy as np
import pytest
from small_blocks import block

from analogep.compile import compile_transformer
from analogep.ep.estimators import (
    ASYM_EP,
    ENERGY_EP,
    RULES,
    TWIN,
    VECTOR_FIELD_EP,
    VECTOR_FIELD_EP_ONE_SIDED,
)
from analogep.errors import NetlistError
from analogep.learning.nudge import with_nudge
from analogep.learning.rule import Phase, Rule, Term, energy_drives, has_energy, local_gradient
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist

PLUS, MINUS, FREE = Phase.NUDGED_PLUS, Phase.NUDGED_MINUS, Phase.FREE
PRODUCT = Rule("product", (Term(1.0, FREE, Phase.TWIN),))
ENERGY = Rule("energy", (Term(1.0, FREE, FREE, "energy"),))


def gradient(rule, netlist, signals, beta=1.0, unit=1.0):
    found = local_gradient(rule, netlist, signals, beta, unit)
    return {name: np.asarray(value) for name, value in found.items()}


def tokens(transpose=False):
    """Two copies of an array of three rows and two columns."""
    bar = Crossbar("x", "in", "y", "w", transpose=transpose)
    return Netlist({"in": Bus((2, 3)), "y": Bus((2, 2))}, {}, {"w": np.ones((2, 3))}).add(bar)


def test_a_crossbar_sums_outer_products_over_its_copies():
    """An injected current is -lambda v: [column, row] entries, both tokens added."""
    free = {"in": np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]), "y": np.zeros((2, 2))}
    twin = {"in": np.zeros((2, 3)), "y": np.array([[1.0, -1.0], [2.0, 0.5]])}
    found = gradient(PRODUCT, tokens(), {FREE: free, Phase.TWIN: twin})
    np.testing.assert_allclose(found["w"], [[-1.0, 0.0, -6.0], [1.0, 2.5, -1.5]], atol=1e-15)


def test_a_transposed_crossbar_is_read_the_other_way_round():
    free = {"in": np.zeros((2, 3)), "y": np.array([[1.0, -1.0], [2.0, 0.5]])}
    twin = {"in": np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]), "y": np.zeros((2, 2))}
    found = gradient(PRODUCT, tokens(transpose=True), {FREE: free, Phase.TWIN: twin})
    np.testing.assert_allclose(found["w"], [[-1.0, 0.0, -6.0], [1.0, 2.5, -1.5]], atol=1e-15)


def test_elements_of_one_array_are_added():
    """The two directions of one array: each contributes what its own terminals show."""
    netlist = tokens().add(Crossbar("back", "in", "y", "w", transpose=True))
    free = {"in": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), "y": np.array([[0.0, 2.0], [0.0, 0.0]])}
    twin = {"in": np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]), "y": np.array([[3.0, 0.0], [0.0, 0.0]])}
    found = gradient(PRODUCT, netlist, {FREE: free, Phase.TWIN: twin})
    np.testing.assert_allclose(found["w"], [[-3.0, 0.0, 0.0], [0.0, 0.0, -10.0]], atol=1e-15)


def test_a_resistor_multiplies_the_two_voltages_across_it():
    netlist = Netlist({"a": Bus((2,)), "b": Bus((2,))}, {}, {"g": np.ones(2), "h": np.ones(2)}).add(
        Resistor("r", "a", "b", "g"), Resistor("s", "b", GROUND, "h")
    )
    free = {"a": np.array([3.0, 1.0]), "b": np.array([1.0, 2.0])}
    twin = {"a": np.array([0.5, 0.0]), "b": np.array([-0.5, 4.0])}
    found = gradient(PRODUCT, netlist, {FREE: free, Phase.TWIN: twin})
    np.testing.assert_allclose(found["g"], [2.0, 4.0])
    np.testing.assert_allclose(found["h"], [-0.5, 8.0])
    energy = gradient(ENERGY, netlist, {FREE: free})  # half the squared voltage across
    np.testing.assert_allclose(energy["g"], [2.0, 0.5])
    np.testing.assert_allclose(energy["h"], [0.5, 2.0])


def test_a_vccs_multiplies_control_and_output():
    names = {name: Bus() for name in "abcd"}
    netlist = Netlist(names, {}, {"g": np.ones(())}).add(VCCS("gm", "a", "b", "c", "d", "g"))
    free = dict.fromkeys("ab", np.zeros(())) | {"c": np.array(5.0), "d": np.array(2.0)}
    twin = dict.fromkeys("cd", np.zeros(())) | {"a": np.array(0.25), "b": np.array(1.25)}
    assert gradient(PRODUCT, netlist, {FREE: free, Phase.TWIN: twin})["g"] == pytest.approx(-3.0)


def test_a_resistive_crossbar_is_many_resistors():
    bar = Crossbar("x", "in", "y", "w", "resistive")
    netlist = Netlist({"in": Bus((2,)), "y": Bus((1,))}, {}, {"w": np.ones((1, 2))}).add(bar)
    free = {"in": np.array([3.0, -1.0]), "y": np.array([1.0])}
    twin = {"in": np.array([1.0, 0.0]), "y": np.array([2.0])}
    np.testing.assert_allclose(gradient(PRODUCT, netlist, {FREE: free, Phase.TWIN: twin})["w"], [[-2.0, 4.0]])
    np.testing.assert_allclose(gradient(ENERGY, netlist, {FREE: free})["w"], [[2.0, 2.0]])


def looped():
    """An array used in both directions, whose drives are `in` from the rows and `act` from the columns."""
    bars = Crossbar("x", "in", "y", "w"), Crossbar("x.back", "r", "act", "w", transpose=True)
    shapes = {"in": Bus((2,)), "r": Bus((2,)), "y": Bus((3,)), "act": Bus((3,))}
    return Netlist(shapes, {}, {"w": np.ones((3, 2))}).add(*bars)


def test_energy_drives_of_an_array_used_in_both_directions():
    netlist = looped()
    assert energy_drives(netlist, "w") == ("in", "act")
    assert has_energy(netlist)
    v = {"in": np.array([1.0, -2.0]), "act": np.array([0.5, 0.0, 3.0]), "y": np.full(3, 9.0), "r": np.full(2, 9.0)}
    found = gradient(ENERGY, netlist, {FREE: v})
    np.testing.assert_allclose(found["w"], [[-0.5, 1.0], [0.0, 0.0], [-3.0, 6.0]])


def test_energy_drives_of_an_input_array_are_rail_and_state():
    netlist = Netlist({"in": Bus((2,)), "z": Bus((3,))}, {}, {"w": np.ones((3, 2))}).add(
        VSource("in", "in", 0.0), Crossbar("x", "in", "z", "w")
    )
    assert energy_drives(netlist, "w") == ("in", "z")
    assert has_energy(netlist)


def test_one_way_arrays_have_no_energy():
    netlist = looped()
    for broken in (
        tokens(),
        Netlist(netlist.buses, {}, netlist.arrays).add(netlist.elements["x.back"]),
        netlist.add(Crossbar("again", "in", "y", "w")),
    ):
        assert not has_energy(broken)
        with pytest.raises(NetlistError, match=r"array 'w' is not used in both directions.*energy_ep"):
            energy_drives(broken, "w")
        with pytest.raises(NetlistError, match="array 'w'"):
            gradient(ENERGY, broken, {FREE: {name: np.zeros(bus.shape) for name, bus in broken.buses.items()}})


def test_one_one_way_array_spoils_the_energy_of_a_circuit():
    assert not has_energy(looped().add(Crossbar("more", "in", "y", "v"), arrays={"v": np.ones((3, 2))}))


@pytest.mark.parametrize(("kind", "found"), [("free", False), ("energy", True), ("mixed", False)])
def test_which_blocks_have_an_energy(kind, found):
    model, weights, _ = block(kind)
    compiled = compile_transformer(model, weights)
    assert has_energy(with_nudge(compiled, return_path=True)) == found
    assert not has_energy(with_nudge(compiled, return_path=False))  # the readout is one-way without its return path


def two_nodes():
    netlist = Netlist({"a": Bus(), "b": Bus()}, {}, {"g": np.ones(())}).add(VCCS("gm", "a", GROUND, "b", GROUND, "g"))
    return netlist, lambda a, b: {"a": np.array(a), "b": np.array(b)}


def test_beta_and_unit_scale_the_contrast():
    netlist, at = two_nodes()
    signals = {FREE: at(1.0, 2.0), PLUS: at(1.3, 2.5), MINUS: at(0.9, 1.0)}
    centred = gradient(VECTOR_FIELD_EP, netlist, signals, beta=0.1, unit=4.0)["g"]
    assert centred == pytest.approx(2.0 * (1.3 - 0.9) / (2 * 0.1 * 4.0))
    one_sided = gradient(VECTOR_FIELD_EP_ONE_SIDED, netlist, signals, beta=0.1, unit=4.0)["g"]
    assert one_sided == pytest.approx(2.0 * (1.3 - 1.0) / (0.1 * 4.0))
    twin = gradient(TWIN, netlist, {FREE: at(1.0, 2.0), Phase.TWIN: at(0.3, 7.0)}, beta=0.1, unit=4.0)["g"]
    assert twin == pytest.approx(2.0 * 0.3 / 4.0)  # beta does not scale the adjoint network


def test_signs_and_phases_of_terms_are_obeyed():
    netlist, at = two_nodes()
    rule = Rule("contrast", (Term(2.0, PLUS, PLUS), Term(-0.5, MINUS, FREE)), 1.0)
    signals = {FREE: at(3.0, 0.0), PLUS: at(2.0, 5.0), MINUS: at(0.0, 7.0)}
    assert gradient(rule, netlist, signals, beta=2.0)["g"] == pytest.approx((2 * 10.0 - 0.5 * 21.0) / 2.0)
    with pytest.raises(KeyError):
        gradient(rule, netlist, {PLUS: at(1.0, 1.0)})


def test_phases_of_the_rules():
    assert VECTOR_FIELD_EP.phases == {FREE, PLUS, MINUS}
    assert VECTOR_FIELD_EP_ONE_SIDED.phases == {FREE, PLUS}
    assert ASYM_EP.phases == {FREE, Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS}
    assert TWIN.phases == {FREE, Phase.TWIN}
    assert ENERGY_EP.phases == {PLUS, MINUS}
    assert {name: rule.name for name, rule in RULES.items()} == {name: name for name in RULES}


def test_fixed_elements_are_left_out():
    netlist, at = two_nodes()
    netlist = netlist.add(Resistor("r", "a", "b", 1.0), VCCS("fixed", "a", GROUND, "b", GROUND, 2.0))
    assert set(gradient(PRODUCT, netlist, {FREE: at(1.0, 1.0), Phase.TWIN: at(1.0, 1.0)})) == {"g"}
