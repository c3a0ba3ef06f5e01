"""One suite that runs every element and cell class through its views: law, SPICE text, adjoint, local update.

The cases are in `conformance_elements` and `conformance_cells`.
"""

import importlib
import inspect
import pkgutil

import conformance_cells
import conformance_elements
import jax
import jax.numpy as jnp
import nodal_cases
import numpy as np
import pytest
from conformance import CASES, built
from dense_circuits import EXACT, SCALE, flatten_nodes, spice_name, spice_op, unflatten_nodes, unknown_buses, worst

import analogep.cells
import analogep.netlist
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import ISource
from analogep.netlist.spice.write import write
from analogep.netlist.subcircuit import Instance, flatten
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.transient import transient

pytestmark = pytest.mark.usefixtures("quick_compilation")
assert {build.__module__ for build in CASES.values()} == {conformance_elements.__name__, conformance_cells.__name__}


def over(names):
    """Tests over cases; the norm out of transistors, an option that is off by default, takes 45 s to compile."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "translinear_norm")) for name in names]
    )


every_case = over(CASES)


def covered_classes():
    found = set()
    for build in CASES.values():
        netlist = build()
        flat = flatten(netlist)
        inner = [part.subcircuit.netlist for part in netlist if isinstance(part, Instance)]
        found |= {type(part) for some in (netlist, flat, adjoint(flat), *inner) for part in some}
    return found | {type(part) for build in nodal_cases.CASES.values() for part in build().netlist}


def concrete_classes(base=Element):
    for package in (analogep.netlist, analogep.cells):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    subclasses = set(base.__subclasses__())
    subclasses |= {deeper for one in subclasses for deeper in concrete_classes(one)}
    ours = ("analogep.netlist.", "analogep.cells.")
    return {one for one in subclasses if one.__module__.startswith(ours) and not inspect.isabstract(one)}


def test_every_class_has_a_case():
    missing = {one.__name__ for one in concrete_classes() - covered_classes()}
    assert not missing, f"add a conformance case for {', '.join(sorted(missing))}"


@every_case
def test_circuit_is_at_rest_where_the_laws_say(name):
    """The compiled evaluation order against the elements' laws written out as dense equations."""
    case = built(name)
    circuit = Circuit(case.netlist, SCALE)
    states = {bus: case.v[bus] for bus in circuit.states}
    v, currents = jax.jit(circuit._evaluate)(states, {}, circuit.theta)
    assert worst(case.v, v) < 1e-12
    assert max((np.abs(i).max() for i in currents.values()), default=0) < 1e-12 * SCALE.amperes


@pytest.mark.spice
@every_case
def test_law_against_ngspice(name):
    case = built(name)
    assert worst(case.v, spice_op(case.netlist)) < 1e-9


@pytest.mark.spice
def test_flattened_deck_against_ngspice():
    case = built("instances")
    assert worst(case.v, spice_op(case.flat)) < 1e-9


@every_case
def test_adjoint_is_the_transpose(name):
    case = built(name)
    twin = Circuit(adjoint(case.flat), SCALE)
    held = {HELD + bus: value for bus, value in case.v.items()}
    buses = unknown_buses(case.flat)
    assert set(buses) == set(twin.full.unknowns)

    def currents(x):
        return flatten_nodes(case.flat, twin.full(unflatten_nodes(case.flat, x), held, twin.theta)[1], buses)

    g, zero = case.g, jnp.zeros(len(case.g))
    transposed, at_zero = jax.jit(lambda x: (jax.jacfwd(currents)(x), currents(x)))(zero)
    rows = np.abs(g).max(axis=1)[:, None]  # driven nodes may have 1 S, the others 1e-5 S: each row to its own scale
    np.testing.assert_allclose(transposed.T / rows, g / rows, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(at_zero, 0)


@pytest.mark.spice
@every_case
def test_adjoint_deck_against_ngspice(name):
    case = built(name)
    pushed = unflatten_nodes(case.flat, jnp.asarray(-case.slope))
    twin = adjoint(case.flat).add(*(ISource(f"push.{bus}", GROUND, bus, np.asarray(i)) for bus, i in pushed.items()))
    found = np.asarray(flatten_nodes(case.flat, spice_op(twin, held=case.v)))
    assert np.abs(found - case.multipliers).max() < 1e-9 * np.abs(case.multipliers).max()


@over(name for name, build in CASES.items() if build().arrays or name == "instances")
def test_local_product_is_the_gradient(name):
    case = built(name)
    lam = {bus: np.zeros(case.flat.shape(bus)) for bus in case.flat.buses}
    lam |= unflatten_nodes(case.flat, jnp.asarray(case.multipliers))
    local = []
    for array, g in case.flat.arrays.items():
        product = sum(np.asarray(e.local_product(case.v, lam)) for e in case.flat if e.array == array)
        assert product.shape == g.shape
        local.append(product.ravel())
    assert np.abs(case.gradient).max() > 0
    assert np.abs(np.concatenate(local) - case.gradient).max() < 1e-6 * np.abs(case.gradient).max()


def primitive_names(deck):
    """(subcircuit, instance name) of every primitive of a deck."""
    scope, names = "", []
    for line in deck.splitlines()[1:]:
        word = line.split()[0].lower()
        if word in (".subckt", ".ends"):
            scope = line.split()[1] if word == ".subckt" else ""
        elif word[0] not in ".+*":
            names.append((scope, word))
    return names


@every_case
def test_instance_names_are_unique(name):
    case = built(name)
    for deck in (write(case.netlist, [".op"]), write(case.flat, [".op"]), write(adjoint(case.flat), [], held=case.v)):
        names = primitive_names(deck)
        assert len(set(names)) == len(names) > 0


@pytest.mark.spice
@pytest.mark.parametrize("name", ["capacitor_floating", "waveforms", "instances"])
def test_waveform_against_ngspice(name):
    """From 0 V, where both sides start: what capacitors and waveforms do."""
    netlist, end = CASES[name](), 5e-9
    (plot,) = run_deck(write(netlist, [f".tran {end / 500:g} {end:g} 0 {end / 1000:g} uic"], options=EXACT))
    circuit = Circuit(netlist, SCALE)
    times = np.linspace(0, end, 201)[1:]
    waves = transient(circuit, times, {}, circuit.theta, rtol=1e-9)
    full = max(float(jnp.abs(wave).max()) for wave in waves.v.values())
    for bus, wave in waves.v.items():
        columns = np.asarray(wave).reshape(len(times), -1)
        for column, node in zip(columns.T, circuit.states[bus].labels(spice_name(netlist, bus)), strict=True):
            found = np.interp(times, plot.data["time"], plot.data[f"v({node.lower()})"])
            assert np.abs(found - column).max() < 1e-4 * full
