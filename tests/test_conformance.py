"""One suite that runs every element and cell class through its views: law, SPICE text, adjoint, local update."""

import importlib
import inspect
import pkgutil
from functools import cache

import jax
import jax.numpy as jnp
import nodal_cases
import numpy as np
import pytest
from dense_circuits import (
    EXACT,
    SCALE,
    flatten_nodes,
    load,
    solve_dense,
    spice_name,
    spice_op,
    unflatten_nodes,
    unknown_buses,
    weights,
    worst,
)

import analogep.cells
import analogep.netlist
from analogep.cells import (
    Activation,
    Buffer,
    GainCells,
    GilbertMultiplier,
    LayerNorm,
    LayerNormTranspose,
    Multiplier,
    Nudge,
    Softmax,
    SoftmaxTail,
    TanhPair,
    TappedLoad,
    TransistorCell,
    causal_mask,
)
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar, signed_resistive
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import VCCS, VCVS, BSource, Capacitor, ISource, Resistor, Summer, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.subcircuit import Instance, Subcircuit, flatten
from analogep.netlist.waveforms import PWL, Pulse
from analogep.netlist.wired import WiredCrossbar, fold_wires
from analogep.netlist.wires import Wires, tile
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.transient import transient

pytestmark = pytest.mark.usefixtures("quick_compilation")
UNIT = {"siemens": SCALE.siemens, "volts": SCALE.volts}
CASES = {}


def case(build):
    CASES[build.__name__] = build
    return build


def volts(*shape, seed=7):
    return SCALE.volts * np.random.default_rng(seed).normal(size=shape)


def scalars(*names):
    return {name: Bus() for name in names}


def fed(bus, shape, seed, inputs=2):
    """A loaded bus driven from a rail through a programmable array: buses, elements, arrays."""
    rail, array = f"{bus}.in", f"{bus}.w"
    return (
        {rail: Bus((*shape[:-1], inputs)), bus: Bus(shape)},
        (
            VSource(rail, rail, volts(*shape[:-1], inputs, seed=seed)),
            Crossbar(f"{bus}.x", rail, bus, array),
            *load(bus),
        ),
        {array: weights((shape[-1], inputs), seed)},
    )


def netlist_of(parts, *elements, **buses):
    """Fed buses, further loaded buses, and elements between them."""
    netlist = Netlist()
    for more_buses, more, arrays in parts:
        netlist = netlist.add(*more, buses=more_buses, arrays=arrays)
    loads = [part for bus in buses for part in load(bus, 1.3e-5, 4e-15)]
    return netlist.add(*loads, *elements, buses={k: v if isinstance(v, Bus) else Bus(v) for k, v in buses.items()})


@case
def resistor():
    return Netlist({"in": Bus((3,)), "y": Bus((3,)), "z": Bus((3,))}, {}, {"g": np.array([1e-5, 0.0, 3e-5])}).add(
        VSource("in", "in", volts(3)),
        Resistor("series", "in", "y", "g"),
        Resistor("bridge", "y", "z", np.array([2e-5, 1e-5, 0.0])),
        *load("y"),
        *load("z"),
    )


@case
def resistor_scalar():
    return Netlist(scalars("in", "y"), {}, {"g": np.array(2e-5), "leak": np.array(1e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("series", "y", "in", "g"),
        Resistor("leak", GROUND, "y", "leak"),
        Capacitor("c", "y", GROUND, 1e-14),
    )


@case
def capacitor_floating():
    return Netlist({"in": Bus((2,)), "y": Bus((2,)), "z": Bus((2,))}).add(
        VSource("in", "in", volts(2)),
        Resistor("series", "in", "y", 1e-5),
        Capacitor("couple", "y", "z", np.array([1e-14, 5e-15])),
        *load("y"),
        *load("z"),
    )


@case
def isource_dc():
    return Netlist({"y": Bus((2, 2)), "z": Bus((2, 2))}).add(
        ISource("i", "y", "z", 1e-6 * np.arange(1.0, 5.0).reshape(2, 2)),
        ISource("one", GROUND, "z", 2e-7),
        *load("y"),
        *load("z"),
    )


@case
def vsource_dc():
    """One value for a whole bus, read by an array."""
    return Netlist({"in": Bus((3,)), "y": Bus((2,))}, {}, {"w": weights((2, 3))}).add(
        VSource("in", "in", 0.1), Crossbar("x", "in", "y", "w"), *load("y")
    )


@case
def waveforms():
    """Every waveform on both kinds of source; at rest they stand at their value at t = 0."""
    pulse = Pulse(1e-7, 1.1e-6, 0.5e-9, 0.2e-9, 0.3e-9, 1e-9, 4e-9)
    return Netlist(scalars("p", "q") | {"pulse": Bus((2,)), "ramp": Bus(), "y": Bus((2,)), "z": Bus()}).add(
        ISource("i", GROUND, "p", pulse),
        ISource("j", "q", GROUND, PWL((0.0, 1e-9, 2e-9), (1e-7, 1e-6, 0.0))),
        VSource("pulse", "pulse", Pulse(0.03, 0.11, 0.5e-9, 0.2e-9, 0.3e-9, 1e-9, 4e-9)),
        VSource("ramp", "ramp", PWL((0.0, 1e-9, 2.5e-9), (0.07, -0.04, 0.05))),
        Resistor("ry", "pulse", "y", np.array([1e-5, 2e-5])),
        Resistor("rz", "ramp", "z", 1e-5),
        *(part for bus in ("p", "q", "y", "z") for part in load(bus)),
    )


@case
def vccs():
    parts = [fed("c", (3,), 1), fed("d", (3,), 2)]
    netlist = netlist_of(
        parts,
        VCCS("gm", "a", "b", "c", "d", "gm"),
        VCCS("back", GROUND, "c", "a", GROUND, 0.4e-5),
        VCCS("single", "b", GROUND, "c", GROUND, np.array([1e-5, -1e-5, 2e-5])),
        a=(3,),
        b=(3,),
    )
    return netlist.add(arrays={"gm": np.array([1e-5, -2e-5, 0.7e-5])})


@case
def vcvs():
    """A differential amplifier, loaded by a resistor, by a pushed current and by an array."""
    parts = [fed("c", (2,), 1), fed("d", (2,), 2)]
    netlist = netlist_of(
        parts,
        VCVS("e", "e", "c", "d", np.array([2.5, -1.5]), reference=2e-5),
        VCVS("follow", "f", "y", GROUND, 0.5),
        Resistor("drive", "e", "y", 1e-5),
        Resistor("between", "e", "f", 1e-5),
        ISource("lost", GROUND, "e", 1e-6),
        VCCS("half", "e", "c", "f", GROUND, 0.6e-5),
        Crossbar("x", "e", "y", "w"),
        y=(2,),
    )
    return netlist.add(buses={"e": Bus((2,)), "f": Bus((2,))}, arrays={"w": weights((2, 2))})


@case
def bsource_current():
    return Netlist(scalars("in", "a", "b"), {}, {"g": np.array(1e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("r", "in", "a", "g"),
        BSource("diode", "a", GROUND, current="2e-6*tanh(V(a)/0.0512345678901234)"),
        BSource("mul", "a", "b", current="1e-4*v(a)*(v(in)-v(b)) + 1.23456789012345678e-7"),
        BSource("time", GROUND, "b", current="3e-7*cos(time)"),
        *load("a"),
        *load("b"),
    )


@case
def bsource_voltage():
    """An amplifier that saturates, a constant rail and a feedback through them."""
    return Netlist(scalars("in", "a", "p", "q"), {}, {"g": np.array(1e-5), "k": np.array(2e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("r", "in", "a", "g"),
        BSource("amp", "p", GROUND, voltage="0.1*tanh(v(a)*4.3456789012345678)-v(in)/3"),
        BSource("rail", "q", GROUND, voltage="0.0123456789012345678"),
        VCCS("back", GROUND, "a", "p", "q", "k"),
        Resistor("load", "p", GROUND, 1e-5),
        *load("a"),
    )


@case
def summer():
    netlist = netlist_of([fed("z", (2, 3), 1)])
    return netlist.add(
        Crossbar("in", "z", "s", "a"),
        VCCS("direct", "s", GROUND, "z", GROUND, 0.3e-5),
        Summer("s", "s", np.array([[1e-5, 2e-5, 1e-5]] * 2)),
        Resistor("more", "s", GROUND, 0.5e-5),
        Crossbar("out", "s", "z", "b"),
        buses={"s": Bus((2, 3))},
        arrays={"a": weights((3, 3), 2), "b": weights((3, 3), 3, 0.5)},
    )


@case
def crossbar_buffered():
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w"), y=(2, 4))
    return netlist.add(Crossbar("fb", "y", "z", "fb"), arrays={"w": weights((4, 3), 3), "fb": weights((3, 4), 4, 0.4)})


@case
def crossbar_transposed():
    """One array in both directions."""
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w"), y=(2, 4))
    return netlist.add(Crossbar("x.back", "z", "y", "w", transpose=True), arrays={"w": weights((4, 3), 3, 0.3)})


@case
def crossbar_resistive():
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w", "resistive"), y=(2, 4))
    return netlist.add(arrays={"w": np.abs(weights((4, 3), 3)) * (np.arange(12).reshape(4, 3) % 5 > 0)})


@case
def crossbar_resistive_self():
    """An array that joins a bus to itself."""
    netlist = netlist_of([fed("z", (3,), 1)], Crossbar("x", "z", "z", "w", "resistive"))
    return netlist.add(arrays={"w": np.abs(weights((3, 3), 3))})


@case
def crossbar_signed():
    bars, arrays = signed_resistive("w", ("zp", "zn"), ("yp", "yn"), weights((2, 3), 3))
    netlist = netlist_of([fed("zp", (3,), 1), fed("zn", (3,), 2)], *bars, yp=(2,), yn=(2,))
    return netlist.add(arrays=arrays)


@case
def tile_with_wires():
    """Explicit wires, driven and sensed at both ends, into an amplifier's input resistance."""
    piece = tile("t", "in", "y", np.abs(weights((2, 3), 3)), Wires(3e4, 5e4, 1e-15, 2e-15, 1e3, 2e3, "both", "both"))
    netlist = Netlist({"in": Bus((3,)), "y": Bus((2,))}).add(VSource("in", "in", volts(3)), *load("y"))
    return netlist.add(*piece, buses=piece.buses, arrays=piece.arrays)


@case
def crossbar_wired():
    """In both directions over wires; solved with the wires folded into effective matrices."""
    wires = Wires(2e3, 3e3, driver_ohms=1e3, sense_ohms=2e3, sensing="both")
    netlist = netlist_of([fed("z", (2, 3), 1)], WiredCrossbar("x", "z", "y", "w", wires, 1e-6), y=(2, 4))
    back = WiredCrossbar("x.back", "z", "y", "w", wires, 1e-6, transpose=True)
    return netlist.add(back, arrays={"w": weights((4, 3), 3, 0.3)})


@case
def instances():
    """A subcircuit used twice, with another one inside."""
    cell = Netlist(scalars("i", "o"), {}, {"g": np.array(0.5e-5)}).add(
        VCCS("gm", GROUND, "o", "i", GROUND, "g"),
        BSource("sat", "o", GROUND, current="1e-5*v(o)*v(o)/0.1-1e-6*tanh(v(i)/0.1)"),
        Resistor("r", "o", GROUND, 1e-5),
        Capacitor("c", "o", GROUND, 2e-15),
    )
    inner = Subcircuit("cell", ("i", "o"), cell)
    pair = Netlist(scalars("a", "m", "b")).add(
        Instance("first", inner, ("a", "m")),
        Instance("second", inner, ("m", "b")),
        VCVS("amp", "amp", "m", "a", 2.0),
        Resistor("ramp", "amp", "b", 1e-5),
        buses=scalars("amp"),
    )
    outer = Subcircuit("pair", ("a", "b"), pair)
    return Netlist(scalars("in", "y", "z"), title="two levels").add(
        VSource("in", "in", 0.1), Instance("one", outer, ("in", "y")), Instance("two", outer, ("y", "z"))
    )


@case
def layer_norm():
    """Two norms of unequal epsilon; a loop through one of them."""
    return netlist_of(
        [fed("z", (2, 3), 1)],
        LayerNorm("ln", ("z",), "y", **UNIT, epsilon=0.1 / 3, gain=0.5),
        LayerNorm("other", ("z",), "n", **UNIT, epsilon=0.2),
        Buffer("back", ("y",), "z", **UNIT),
        y=(2, 3),
        n=(2, 3),
    )


@case
def layer_norm_transpose():
    cell = LayerNormTranspose("lnt", ("z", "f"), "y", **UNIT, epsilon=0.1 / 3)
    chain = LayerNormTranspose("chain", ("z", "f"), "z", **UNIT, epsilon=0.5, gain=-0.3)
    return netlist_of([fed("z", (2, 3), 1), fed("f", (2, 3), 2)], cell, chain, y=(2, 3))


@case
def softmax_full():
    return netlist_of([fed("s", (2, 4), 1)], Softmax("sm", ("s",), "p", **UNIT, gain=1.5), p=(2, 4))


def scores_bus(heads=2, tokens=3):
    mask = np.broadcast_to(causal_mask(tokens), (heads, tokens, tokens))
    return Bus(mask.shape, np.ascontiguousarray(mask))


@case
def softmax_causal():
    push = ISource("i", GROUND, "s", 1e-6 * np.tril(np.random.default_rng(3).normal(size=(2, 3, 3))))
    return netlist_of([], push, Softmax("sm", ("s",), "p", **UNIT, causal=True), s=scores_bus(), p=scores_bus())


def activation(kind):
    return netlist_of(
        [fed("h", (2, 3), 1)],
        Activation("act", ("h",), "a", **UNIT, gain=1.2, kind=kind),
        Crossbar("fb", "a", "h", "fb"),
        a=(2, 3),
    ).add(arrays={"fb": weights((3, 3), 5, 0.5)})


@case
def activation_gelu():
    return activation("gelu")


@case
def activation_relu():
    return activation("relu")


@case
def activation_tanh():
    return activation("tanh")


@case
def buffer():
    return netlist_of([fed("x", (2, 3), 1)], Buffer("b", ("x",), "y", **UNIT, gain=0.7), y=(2, 3))


@case
def multiplier_scores():
    score = Multiplier("score", ("q", "k"), "s", **UNIT, heads=2, gain=0.7)
    return netlist_of([fed("q", (3, 4), 1), fed("k", (3, 4), 2)], score, s=scores_bus())


@case
def multiplier_square():
    """Both operands on one bus, all pairs of tokens."""
    square = Multiplier("score", ("q", "q"), "s", **UNIT, heads=2, causal=False)
    return netlist_of([fed("q", (2, 4), 1)], square, s=(2, 2, 2))


def weighting(subscripts):
    mix = Multiplier("mix", ("p", "v"), "o", **UNIT, heads=2, subscripts=subscripts)
    push = ISource("i", GROUND, "p", 1e-6 * np.tril(np.random.default_rng(3).uniform(size=(2, 3, 3))))
    back = Crossbar("fb", "o", "v", "fb")
    netlist = netlist_of([fed("v", (3, 4), 2)], push, mix, back, p=scores_bus(), o=(3, 4))
    return netlist.add(arrays={"fb": weights((4, 4), 5, 0.4)})


@case
def multiplier_values():
    return weighting("hts,shc->thc")


@case
def multiplier_reverse():
    return weighting("hts,thc->shc")


def with_taps(netlist):
    """The netlist with taps in the loads of what its transistor cells read."""
    ratios = {bus: e.ratio for e in netlist if isinstance(e, TransistorCell) for bus in e.inputs}
    loads = [e for e in netlist if isinstance(e, Resistor) and e.shunts in ratios]
    return netlist.replace_elements(*(TappedLoad(**vars(e), ratio=ratios[e.shunts]) for e in loads))


@case
def tanh_pair():
    return with_taps(netlist_of([fed("h", (2, 3), 1)], TanhPair("act", ("h",), "a", **UNIT, gain=1.2), a=(2, 3)))


@case
def softmax_tail():
    return with_taps(netlist_of([fed("s", (2, 4), 1)], SoftmaxTail("sm", ("s",), "p", **UNIT, gain=1.5), p=(2, 4)))


@case
def softmax_tail_causal():
    push = ISource("i", GROUND, "s", 1e-6 * np.tril(np.random.default_rng(3).normal(size=(2, 3, 3))))
    cell = SoftmaxTail("sm", ("s",), "p", **UNIT, causal=True)
    return with_taps(netlist_of([], push, cell, s=scores_bus(), p=scores_bus()))


@case
def gilbert_scores():
    score = GilbertMultiplier("score", ("q", "k"), "s", **UNIT, heads=2, gain=0.7)
    return with_taps(netlist_of([fed("q", (3, 4), 1), fed("k", (3, 4), 2)], score, s=scores_bus()))


@case
def gilbert_values():
    mix = GilbertMultiplier("mix", ("p", "v"), "o", **UNIT, heads=2, subscripts="hts,shc->thc")
    push = ISource("i", GROUND, "p", 1e-6 * np.tril(np.random.default_rng(3).uniform(size=(2, 3, 3))))
    return with_taps(netlist_of([fed("v", (3, 4), 2)], push, mix, p=scores_bus(), o=(3, 4)))


@case
def gain_cells():
    """The middle row of the store follows the token, the others keep what they hold."""
    rails = [
        VSource("held", "held", volts(3, 2)),
        VSource("select", "select", SCALE.volts * np.array([0.0, 1.0, 0.2])),
    ]
    store = GainCells("store", ("held", "k", "select"), "read", **UNIT)
    netlist = netlist_of([fed("k", (1, 2), 1)], store, *rails, read=(3, 2))
    return netlist.add(buses={"held": Bus((3, 2)), "select": Bus((3,))})


@case
def nudge():
    error = Nudge("nudge", ("p", "t", "w", "beta"), "e", **UNIT)
    rails = [
        VSource("t", "t", SCALE.volts * np.eye(3)[:2]),
        VSource("w", "w", SCALE.volts * np.array([0.25, 0.75])),
        VSource("beta", "beta", SCALE.volts * 0.8),
    ]
    netlist = netlist_of([fed("p", (2, 3), 1)], error, *rails, Crossbar("back", "e", "p", "back"), e=(2, 3))
    return netlist.add(
        buses={"t": Bus((2, 3)), "w": Bus((2,)), "beta": Bus()}, arrays={"back": weights((3, 3), 4, 0.5)}
    )


STEP = 1e-4 * SCALE.siemens


class Solved:
    """A case, its operating point, G there, a loss L = slope . v of fitting size, its multipliers and its gradient."""

    def __init__(self, name):
        self.netlist = CASES[name]()
        self.flat = fold_wires(flatten(self.netlist)).netlist
        arrays = self.flat.arrays
        size = sum(g.size for g in arrays.values())
        batch, start = {}, 1
        for array, g in arrays.items():  # row 0 as built, then every conductance a step up, then down
            rows = np.repeat(g[None], 1 + 2 * size, axis=0)
            bumps = STEP * np.eye(g.size).reshape(g.size, *g.shape)
            rows[start : start + g.size] += bumps
            rows[start + size : start + size + g.size] -= bumps
            batch[array], start = rows, start + g.size
        self.v, x, rest, g = solve_dense(self.flat, batch)
        assert np.abs(rest / np.abs(g).max(axis=-1)).max() < 1e-12 * SCALE.volts
        self.g = g[0]
        self.slope = 0.1 * np.abs(np.diag(self.g)) * np.random.default_rng(11).normal(size=len(self.g))
        self.multipliers = -np.linalg.solve(self.g.T, self.slope)
        loss = x[1:] @ self.slope
        self.gradient = (loss[:size] - loss[size:]) / (2 * STEP)


built = cache(Solved)


every_case = pytest.mark.parametrize("name", CASES)


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


@pytest.mark.parametrize("name", [name for name, build in CASES.items() if build().arrays or name == "instances"])
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
