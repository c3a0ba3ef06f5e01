"""Conductances listed element by element, and solves with S by static condensation, against dense matrices."""

import numpy as np
import pytest
import scipy.sparse
from small_blocks import phases, sample

from analogep import diagnostics as dx
from analogep.diagnostics import condensation, pencil
from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.condensation import Condensed, TooLarge
from analogep.diagnostics.iterative import symmetric_range
from analogep.diagnostics.operators import Operators
from analogep.diagnostics.sparse import sparse_conductance
from analogep.errors import NetlistError
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VCCS, Capacitor, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.circuit import Circuit
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCALE = Scale(0.1, 1e-5, 1e-14)


def at_rest(kind):
    x, theta = sample(kind)
    circuit = phases(kind).circuit
    rng = np.random.default_rng(0)
    v = {bus: 0.1 * rng.standard_normal(shape.shape) for bus, shape in circuit.states.items()}  # anywhere will do
    return circuit, v, x, theta


@pytest.mark.parametrize("kind", ["free", "mixed", "energy"])
def test_the_listed_conductances_are_the_jacobian(kind):
    circuit, v, x, theta = at_rest(kind)
    dense = Analyzed(circuit).conductance(v, x, theta)
    listed = sparse_conductance(circuit, v, x, theta)
    assert np.max(np.abs(listed.toarray() - dense)) < 1e-13 * np.max(np.abs(dense))
    assert listed.nnz < 0.1 * dense.size


@pytest.mark.parametrize("kind", ["free", "mixed", "energy"])
def test_solves_and_rho_are_those_of_dense_matrices(kind):
    circuit, v, x, theta = at_rest(kind)
    G = Analyzed(circuit).conductance(v, x, theta) / SCALE.siemens
    S, A = (G + G.T) / 2, (G - G.T) / 2
    factors = Operators(circuit, v, x, theta).condensed
    b = np.random.default_rng(1).standard_normal(len(S))
    assert np.linalg.norm(S @ factors.solve(b) - b) < 1e-9 * np.linalg.norm(b)
    lanes, scores = 4 * 8, 2 * 10  # nodes of a bus of vectors; and of two heads' causal scores
    # free: scores (fewer than keys) and values; energy: keys, read as values too, and the way back to them
    free, energy = scores + lanes, 2 * lanes
    assert factors.aside == {"free": free, "energy": energy, "mixed": free + energy}[kind]
    operators = Operators(circuit, v, x, theta)
    ends = symmetric_range(operators)
    assert ends[0].value < 0 < ends[1].value  # else conjugate gradients were at work
    found = pencil.rho_sinv_a(operators, ends)
    assert found.converged
    assert "condensation" in found.method
    assert found.value == pytest.approx(np.max(np.abs(np.linalg.eigvals(np.linalg.solve(S, A)))), rel=1e-7)


def test_the_sparse_jacobian_serves_the_resolvent_and_the_departure():
    circuit, v, x, theta = at_rest("free")
    part = Analyzed(circuit)
    dense = dx.in_metric(part.conductance(v, x, theta) / SCALE.siemens, part.capacitance / SCALE.farads)
    J = dx.sparse_jacobian(circuit, v, x, theta)
    assert np.max(np.abs(J.toarray() - dense)) < 1e-12 * np.max(np.abs(dense))
    points = np.array([0.5j, 0.1 + 3j, 2.0, -0.3 + 1j])
    svd = [np.linalg.svd(z * np.eye(len(dense)) - dense, compute_uv=False)[-1] for z in points]
    assert dx.smallest_singular(J, points) == pytest.approx(svd, rel=1e-6)
    assert dx.departure_bounds(J) == pytest.approx(dx.departure_bounds(dense), rel=1e-9)
    bounds = dx.departure_bounds(J)
    assert bounds.lower <= dx.henrici_departure(dense) <= bounds.upper


def test_a_sparse_resolvent_at_an_eigenvalue_is_infinite():
    J = scipy.sparse.csr_array(np.diag([-1.0, -2.0, -3.0]))
    assert dx.smallest_singular(J, [-2.0, -1.5]) == pytest.approx([0.0, 0.5])


def test_no_sparse_jacobian_at_ideal():
    x, theta = sample("free", level="ideal")
    circuit = phases("free", "ideal").circuit
    with pytest.raises(NetlistError, match="parasitic"):
        dx.sparse_jacobian(circuit, circuit.zeros(), x, theta)


def test_resistive_arrays_and_nodes_left_out():
    g = np.random.default_rng(0).uniform(1, 2, (3, 4)) * 1e-5
    exists = np.array([True, False, True])
    net = Netlist({"a": Bus((2, 4)), "b": Bus((2, 3)), "c": Bus((3,), exists)}, {}, {"w": g})
    net = net.add(
        Crossbar("bar", "a", "b", "w", "resistive"),
        *(Capacitor(f"C{bus}", bus, "0", 1e-14) for bus in "abc"),
        *(Resistor(f"R{bus}", bus, "0", 1e-5) for bus in "abc"),
        VCCS("self", "c", "0", "c", "0", 2e-6),
    )
    circuit = Circuit(net, SCALE)
    v, theta = circuit.zeros(), dict(circuit.theta)
    listed = sparse_conductance(circuit, v, {}, theta).toarray()
    assert np.allclose(listed, Analyzed(circuit).conductance(v, {}, theta), rtol=1e-13, atol=0)
    assert np.allclose(listed, listed.T, rtol=1e-13, atol=0)


def test_what_joins_lanes_is_the_smallest_cover():
    """Two wide buses whose lanes meet through a narrow one, and a matrix that says so by its entries alone."""
    buses = (Bus((3, 5)), Bus((3, 1)), Bus((3, 4)))
    rng, sizes = np.random.default_rng(2), [15, 3, 12]
    lane = np.concatenate([np.repeat(np.arange(3), n // 3) for n in sizes])
    narrow = np.repeat([0, 1, 0], sizes).astype(bool)
    near = (lane[:, None] == lane) | narrow[:, None] | narrow
    M = rng.standard_normal((30, 30)) * near
    S = M + M.T  # indefinite
    factors = Condensed(scipy.sparse.csr_array(S), buses)
    assert factors.aside == 3
    b = rng.standard_normal(30)
    assert np.linalg.norm(S @ factors.solve(b) - b) < 1e-10 * np.linalg.norm(b)


def test_one_lane_needs_nothing_set_aside():
    S = np.random.default_rng(3).standard_normal((20, 20))
    S = S + S.T
    factors = Condensed(scipy.sparse.csr_array(S), (Bus((20,)),))
    assert factors.aside == 0
    assert np.allclose(S @ factors.solve(np.ones(20)), np.ones(20))


def test_too_large_is_left_to_minres(monkeypatch):
    circuit, v, x, theta = at_rest("free")
    monkeypatch.setattr(condensation, "LARGEST", 51)
    G = sparse_conductance(circuit, v, x, theta)
    with pytest.raises(TooLarge, match="52 nodes between lanes"):
        Condensed((G + G.T).tocsr(), tuple(Analyzed(circuit).buses.values()))
    operators = Operators(circuit, v, x, theta)
    assert operators.condensed is None
    assert "MINRES" in pencil.rho_sinv_a(operators, symmetric_range(operators)).method


def test_ideal_stages_are_not_listed():
    x, theta = sample("free", level="ideal")
    circuit = phases("free", "ideal").circuit
    assert sparse_conductance(circuit, circuit.zeros(), x, theta) is None


def test_a_singular_rest_is_said_to_be_singular():
    S = scipy.sparse.csr_array(np.kron(np.ones((2, 2)), np.ones((1, 1))) * 1.0)  # both nodes in both lanes: all aside
    factors = Condensed(S, (Bus((2, 1)),))
    assert factors.singular
