"""Cases of the conformance suite: the cells, by formula and out of transistors."""

import numpy as np
from conformance import UNIT, case, fed, netlist_of, volts
from dense_circuits import SCALE, weights

from analogep.cells import (
    Activation,
    Buffer,
    GainCells,
    GatedPair,
    GilbertMultiplier,
    LayerNorm,
    LayerNormTranspose,
    Multiplier,
    Nudge,
    RectifierMirror,
    Softmax,
    SoftmaxTail,
    TanhPair,
    TappedLoad,
    TransistorCell,
    TranslinearNorm,
    causal_mask,
)
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource, Resistor, VSource
from analogep.netlist.graph import Bus


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
def rectifier_mirror():
    """With a loop through it."""
    netlist = netlist_of([fed("h", (2, 3), 1)], RectifierMirror("act", ("h",), "a", **UNIT, gain=1.2), a=(2, 3))
    return with_taps(netlist.add(Crossbar("fb", "a", "h", "fb"), arrays={"fb": weights((3, 3), 5, 0.5)}))


@case
def gated_pair():
    netlist = netlist_of([fed("h", (2, 3), 1)], GatedPair("act", ("h",), "a", **UNIT, gain=1.2), a=(2, 3))
    return with_taps(netlist.add(Crossbar("fb", "a", "h", "fb"), arrays={"fb": weights((3, 3), 5, 0.5)}))


@case
def translinear_norm():
    """Two norms of one bus; a loop through one of them. ngspice finds its rest for a negative one only."""
    given = {**UNIT, "epsilon": 0.1}
    return with_taps(
        netlist_of(
            [fed("z", (2, 3), 1)],
            TranslinearNorm("ln", ("z",), "y", **given, gain=0.5),
            TranslinearNorm("other", ("z",), "n", **given),
            Buffer("back", ("y",), "z", **UNIT, gain=-0.6),
            y=(2, 3),
            n=(2, 3),
        )
    )


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
