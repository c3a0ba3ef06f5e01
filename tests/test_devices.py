"""Semiconductor devices, each alone, against ngspice 39; their derivatives; and that no voltage breaks them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_decks import admittances, currents, noise_densities
from hypothesis import given, settings
from hypothesis import strategies as st

from analogep.errors import NetlistError
from analogep.netlist.devices import BJT, MOSFET, BJTModel, Diode, DiodeModel, MOSFETModel, Switch, SwitchModel
from analogep.netlist.devices.bjt import from_card as bjt_card
from analogep.netlist.devices.diode import from_card as diode_card
from analogep.netlist.devices.mosfet import from_card as mosfet_card
from analogep.netlist.devices.switch import from_card as switch_card
from analogep.netlist.elements import Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.waveforms import Pulse
from analogep.simulate.ngspice import run_deck
from analogep.simulate.nodal.system import Nodal
from analogep.simulate.nodal.transient import TransientOptions, transient

pytestmark = pytest.mark.usefixtures("quick_compilation")
spice = pytest.mark.spice

DIODE = DiodeModel(
    is_=2e-14, n=1.2, rs=3, tt=5e-9, cjo=2e-12, vj=0.7, m=0.4, eg=1.2, xti=2.5, bv=6.5, ibv=1e-4, kf=1e-12, af=1.1
)
NPN = BJTModel(
    is_=2e-16, bf=120, nf=1.01, vaf=60, ikf=0.02, ise=1e-14, ne=1.6, br=3, nr=1.02, var=12, ikr=0.01, isc=2e-14, nc=1.9,
    rb=50, re=0.5, rc=5, cje=1e-12, vje=0.8, mje=0.4, tf=3e-10, xtf=2, vtf=3, itf=0.05, cjc=2e-12, vjc=0.6, mjc=0.3,
    xcjc=0.6, tr=5e-9, cjs=1.5e-12, vjs=0.7, mjs=0.4, eg=1.17, xtb=1.3, xti=3.5, kf=1e-14, af=1.2,
)  # fmt: skip
MOS_CARD = {
    "uo": 500, "tox": 2e-8, "gamma": 0.5, "phi": 0.65, "lambda": 0.02, "ld": 1e-7, "rd": 10, "rs": 20, "cgso": 1e-10,
    "cgdo": 2e-10, "cgbo": 3e-10, "cj": 1e-4, "mj": 0.45, "cjsw": 2e-10, "mjsw": 0.3, "pb": 0.75, "js": 1e-3, "fc": 0.4,
    "kf": 1e-26, "af": 1.1,
}  # fmt: skip
SIGNS = {"npn": 1, "pnp": -1, "nmos": 1, "pmos": -1}


def diode(**changes):
    return Diode("d", "a", "b", DIODE, **changes)


def bjt(kind="npn", model=NPN, **changes):
    return BJT("q", "collector", "base", "emitter", replace(model, kind=kind), "substrate", **changes)


def mosfet(kind="nmos", **changes):
    model = mosfet_card(kind, {**MOS_CARD, "vto": 0.6 * SIGNS[kind]})
    geometry = {"width": 2e-5, "length": 2e-6, "ad": 1e-11, "as_": 2e-11, "pd": 1e-5, "ps": 2e-5}
    return MOSFET("m", "drain", "gate", "source", "bulk", model, **{**geometry, **changes})


def switch():
    return Switch("s", "a", "b", "c", "d", SwitchModel(threshold=1.0, on=2.0, off=1e7))


def diode_biases():
    return [[v, 0.0] for v in (*np.linspace(-12, -6.2, 13), *np.linspace(-6, 0.7, 30))]


def bjt_biases(sign=1):
    """Forward active, saturated, cut off, reverse active; the substrate at one end."""
    return sign * np.array([[c, b, 0.0, -1.0] for b in (-1, 0.3, 0.65, 0.75) for c in (-0.4, 0.05, 0.4, 5.0)])


def mos_biases(sign=1):
    """Accumulation to strong inversion, both directions, with and without body bias; bulk junctions reverse biased."""
    rows = []
    for vb in (0.0, -1.0):
        for vg in (-2, -0.2, 0.35, 0.7, 1.5, 4):
            rows += [[vd, vg, 0.0, vb if vd >= 0 else vb - 1.2] for vd in (-0.6, 0.0, 0.05, 0.5, 7)]
    return sign * np.array(rows)


def agree(found, siemens=0.0, volts=12.0, relative=1e-6):
    """Relative to the current, down to the rounding of the drop across a series conductance of so many siemens."""
    ours, theirs = found
    np.testing.assert_allclose(ours, theirs, rtol=relative, atol=1e-19 + 4e-16 * volts * siemens)


@spice
@pytest.mark.parametrize(("area", "m"), [(1.0, 1.0), (2.5, 3.0)])
@pytest.mark.parametrize("kelvin", [250.0, 300.15, 400.0])
def test_diode_current(kelvin, area, m):
    agree(currents(diode(kelvin=kelvin, area=area, m=m), diode_biases()), siemens=area * m / 3)


@spice
def test_diode_options():
    model = DiodeModel(is_=1e-14, ikf=1e-3, nbv=1.5, bv=4.0, tnom=290.0)
    agree(currents(Diode("d", "a", "b", model, kelvin=350.0), [[v, 0.0] for v in np.linspace(-5, 0.9, 30)]))
    recombining = Diode("d", "a", "b", DiodeModel(is_=1e-20, isr=1e-11, nr=2.0))
    agree(currents(recombining, [[v, 0.0] for v in np.linspace(-0.07, 0.9, 20)]))  # ngspice drops it below -3 V_T


@spice
@pytest.mark.parametrize("kind", ["npn", "pnp"])
@pytest.mark.parametrize(("kelvin", "area", "m"), [(300.15, 1.0, 1.0), (250.0, 2.5, 3.0), (390.0, 1.0, 1.0)])
def test_bjt_current(kind, kelvin, area, m):
    device = bjt(kind, kelvin=kelvin, area=area, m=m)
    agree(currents(device, bjt_biases(SIGNS[kind])), siemens=2 * area * m, volts=5)


@spice
@pytest.mark.slow
@pytest.mark.parametrize("crowding", [{"rbm": 10.0}, {"rbm": 10.0, "irb": 1e-5}])
def test_bjt_base_resistance(crowding):
    device = bjt(model=replace(NPN, **crowding))
    rows = bjt_biases()[[0, 1, 2, 3, 6, 7, 10, 11, 14, 15]]
    agree(currents(device, rows), siemens=2, volts=5)
    # ngspice's AC holds the base resistance fixed; its own currents say how they change.
    up, down = (currents(device, [[2.0, 0.7 + step, 0.0, 0.0]])[1] for step in (1e-4, -1e-4))
    ours, _ = admittances(device, [[2.0, 0.7, 0.0, 0.0]], 1e-3)
    np.testing.assert_allclose(ours[0, :3, 1].real, (up - down)[0, :3] / 2e-4, rtol=1e-5)


@spice
@pytest.mark.parametrize("kind", ["nmos", "pmos"])
@pytest.mark.parametrize(("kelvin", "m"), [(300.15, 1.0), (250.0, 3.0), (390.0, 1.0)])
def test_mosfet_current(kind, kelvin, m):
    agree(currents(mosfet(kind, kelvin=kelvin, m=m), mos_biases(SIGNS[kind])), siemens=0.1 * m, volts=7)


@spice
@pytest.mark.parametrize("kind", ["nmos", "pmos"])
def test_mosfet_from_doping(kind):
    card = {"tox": 5e-8, "nsub": 1e16, "nss": 1e10, "tpg": -1, "rsh": 50, "cbd": 1e-14, "cbs": 2e-14, "tnom": 50}
    model = mosfet_card(kind, card)
    device = MOSFET("m", "drain", "gate", "source", "bulk", model, 2e-5, 2e-6, nrd=2.0, nrs=3.0, ad=1e-11)
    agree(currents(device, mos_biases(SIGNS[kind])), siemens=0.02, volts=7)
    # SPICE derives the same numbers from the card as it was given
    bare = MOSFET("m", "drain", "gate", "source", "bulk", mosfet_card(kind, {"tox": 5e-8, "nsub": 1e16}))
    line = f"m1 d g 0 0 x w=100u l=100u\n.model x {kind}(tox=5e-8 nsub=1e16)"
    sign = SIGNS[kind]
    deck = f"* doping\nvd d 0 {sign * 2}\nvg g 0 {sign * 3}\n{line}\n.options reltol=1e-9\n.op\n.end"
    theirs = -run_deck(deck)[0].data["i(vd)"][0]
    ours, _ = currents(bare, [[sign * 2.0, sign * 3.0, 0.0, 0.0]])
    np.testing.assert_allclose(ours[0, 0], theirs, rtol=1e-6)


@spice
def test_switch_settled():
    """ngspice's AC and noise take a switch as open whatever its state, so only the currents are compared."""
    rows = [[v, -0.2, c, 0.1] for v in (-3.0, 0.5) for c in (-5.0, 1.05, 1.15, 4.0)]
    agree(currents(switch(), rows))


AC_CASES = {
    "diode": (diode(area=2.5, m=3.0, kelvin=350.0), [[-7.2, 0], [-3, 0], [0.2, 0], [0.5, 0], [0.7, 0]]),
    "npn": (bjt("npn", area=2.5, m=3.0, kelvin=320.0), bjt_biases()[[0, 3, 4, 8, 11, 13, 15]]),
    "pnp": (bjt("pnp"), bjt_biases(-1)[[0, 3, 4, 8, 11, 13, 15]]),
    "nmos": (mosfet("nmos", m=2.0, kelvin=320.0), mos_biases()[[0, 4, 7, 11, 12, 15, 17, 19, 23, 24, 25, 49]]),
    "pmos": (mosfet("pmos"), mos_biases(-1)[[0, 4, 7, 11, 12, 15, 17, 19, 23, 24, 25, 49]]),
}


@spice
@pytest.mark.parametrize("name", AC_CASES)
def test_admittance(name):
    ours, theirs = admittances(*AC_CASES[name], 1e8)
    largest = np.abs(theirs).max(axis=2, keepdims=True)
    assert (np.abs(ours - theirs) < 1e-6 * largest).all()


NOISE_CASES = {
    "diode forward": (diode(), [0.65, 0.0], "a"),
    "diode reverse": (diode(), [-3.0, 0.0], "b"),
    "npn collector": (bjt(), [3.0, 0.72, 0.0, 0.0], "collector"),
    "pnp base": (bjt("pnp", area=2.0, m=3.0), [-3.0, -0.72, 0.0, 0.0], "base"),
    "nmos saturated": (mosfet(m=2.0), [3.0, 1.5, 0.0, -0.5], "drain"),
    "pmos triode": (mosfet("pmos"), [-0.2, -2.5, 0.0, 0.5], "source"),
}


@spice
@pytest.mark.parametrize("name", NOISE_CASES)
def test_noise(name):
    ours, theirs = noise_densities(*NOISE_CASES[name])
    assert len(theirs) == 8
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


def test_switch_noise_is_thermal():
    (source,) = switch().noise({"a": 0.1, "b": 0.0, "c": 2.0, "d": 0.0}, {}, 1.0)
    assert (source.kind, source.a, source.b) == ("thermal", "a", "b")
    np.testing.assert_allclose(source.density, 4 * 1.380649e-23 * 300.15 / 2.0, rtol=1e-6)


DEVICES = {"diode": diode(), "npn": bjt(), "pnp": bjt("pnp"), "nmos": mosfet(), "pmos": mosfet("pmos")}
DEVICES["npn crowded"] = bjt(model=replace(NPN, rbm=10.0, irb=1e-5))
DEVICES["switch"] = switch()


def law(device):
    """Stamp and charge of every unknown, and both Jacobians, at a vector of all unknowns."""
    names = list(device.unknowns.values())

    def vectors(x):
        v = dict(zip(names, x, strict=True))
        parts = device.stamp(v, {}, 0.0), device.charges(v)
        return jnp.stack([jnp.asarray(part.get(name, 0.0), float) for part in parts for name in names])

    return len(names), jax.jit(vectors), jax.jit(jax.jacfwd(vectors))


LAWS = {name: law(device) for name, device in DEVICES.items()}


@pytest.mark.parametrize("name", DEVICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_finite_at_any_voltage(name, data):
    size, vectors, jacobian = LAWS[name]
    edges = st.sampled_from([0.0, -6.5, 1.0, -0.0776, 100.0, -100.0])
    x = jnp.array(data.draw(st.lists(st.one_of(st.floats(-100, 100), edges), min_size=size, max_size=size)))
    assert jnp.isfinite(vectors(x)).all()
    assert jnp.isfinite(jacobian(x)).all()


@pytest.mark.parametrize("name", DEVICES)
def test_jacobian_against_differences(name):
    size, vectors, jacobian = LAWS[name]
    rng = np.random.default_rng(5)
    for _ in range(20):
        x, step = rng.uniform(-1, 1, size), 1e-6
        found = np.asarray(jacobian(jnp.asarray(x)))
        wanted = np.stack(
            [np.asarray(vectors(x + step * e) - vectors(x - step * e)) / (2 * step) for e in np.eye(size)], axis=1
        )
        scale = np.abs(wanted).max(axis=1, keepdims=True) + np.abs(np.asarray(vectors(x)))[:, None]
        assert (np.abs(found - wanted) <= 1e-5 * scale + 1e-25).all()


@pytest.mark.parametrize("name", DEVICES)
def test_currents_and_charges_sum_to_zero(name):
    device, (size, vectors, _) = DEVICES[name], LAWS[name]
    rates = [k for k, node in enumerate(device.unknowns.values()) if "#dv" in node]
    out = np.array(vectors(jnp.asarray(np.random.default_rng(1).uniform(-1, 1, size)))).reshape(2, size)
    out[:, rates] = 0.0  # the equations of rate nodes, which stand for no current
    assert (np.abs(out.sum(axis=1)) < 1e-12 * np.abs(out).max(axis=1) + 1e-30).all()


def test_inner_nodes():
    assert bjt().internals == ("q#collector", "q#base", "q#emitter")
    assert BJT("q", "c", "b", "e", BJTModel()).internals == ()
    moved = bjt().renamed("x1.q", {"collector": "c", "base": "b", "emitter": "e", "substrate": "0"}, {}, {})
    assert moved.internals == ("x1.q#collector", "x1.q#base", "x1.q#emitter")
    assert moved.terminals["collector"] == "c"
    assert mosfet().internals == ("m#drain", "m#source", "m#dvgs", "m#dvgd", "m#dvgb")


def test_one_card_in_the_deck():
    buses = {"x": Bus(), "y": Bus()}
    models = DIODE, DIODE, replace(DIODE, n=1.3)
    text = write(Netlist(buses).add(*(Diode(f"d{k}", "x", "y", m) for k, m in enumerate(models))), [".op"])
    assert sum(line.startswith(".model") for line in text.splitlines()) == 2


@pytest.mark.parametrize(
    ("read", "kind", "parameters", "message"),
    [
        (diode_card, "d", {"is": 1e-14, "wrong": 1.0}, "'wrong'"),
        (diode_card, "d", {"JSW": 1e-9}, "'jsw'"),
        (diode_card, "d", {"level": 3}, "level 1"),
        (diode_card, "d", {"n": 0.0}, "n = 0"),
        (bjt_card, "npn", {"rco": 10.0}, "'rco'"),
        (bjt_card, "npn", {"mje": 1.0}, "mje"),
        (bjt_card, "npn", {"bf": float("nan")}, "'bf'"),
        (mosfet_card, "nmos", {"level": 8}, "level 8"),
        (mosfet_card, "nmos", {"theta": 0.1}, "'theta'"),
        (mosfet_card, "nmos", {"tox": 1e-8, "nsub": 1.0}, "nsub"),
        (mosfet_card, "njf", {}, "njf"),
        (switch_card, "sw", {"vh": 0.1}, "hysteresis"),
        (switch_card, "sw", {"width": 0.1}, "'width'"),
        (switch_card, "csw", {}, "csw"),
    ],
)
def test_cards_refused(read, kind, parameters, message):
    with pytest.raises(NetlistError, match=message):
        read(kind, parameters)


def test_cards_in_spice_units():
    assert diode_card("D", {"IS": 1e-15, "CJ0": 1e-12, "TNOM": 50.0}) == DiodeModel(is_=1e-15, cjo=1e-12, tnom=323.15)
    assert bjt_card("PNP", {"va": 50.0, "bf": 80.0}) == BJTModel(kind="pnp", vaf=50.0, bf=80.0)
    assert mosfet_card("PMOS", {"level": 1, "vto": -0.7, "kp": 5e-5}) == MOSFETModel(kind="pmos", vto=-0.7, kp=5e-5)
    assert switch_card("SW", {"vt": 2.5, "ron": 10.0}) == SwitchModel(threshold=2.5, on=10.0)


def test_channel_too_short():
    with pytest.raises(NetlistError, match="channel"):
        mosfet(length=1e-7)


def inverters():
    """Three CMOS inverters in a row, Meyer's capacitances and a resistor at the first gate."""
    pulse = Pulse(0.0, 3.0, 1e-9, 2e-10, 2e-10, 1e-9, 1e-8)
    elements = [VSource("vdd", "vdd", 3.0), VSource("vin", "in", pulse), Resistor("r", "in", "g", 1e-3)]
    nodes = ("g", "o1", "o2", "o3")
    for k in range(3):
        for kind, rail, uo, width in (("nmos", "0", 500, 4e-6), ("pmos", "vdd", 200, 1e-5)):
            card = {"vto": 0.6 * SIGNS[kind], "uo": uo, "tox": 2e-8, "gamma": 0.4, "cgso": 2e-10, "cgdo": 2e-10}
            model = mosfet_card(kind, {**card, "lambda": 0.02})
            elements.append(MOSFET(f"m{kind[0]}{k}", nodes[k + 1], nodes[k], rail, rail, model, width, 1e-6))
        elements.append(Capacitor(f"c{k}", nodes[k + 1], "0", 1e-14))
    return Netlist({node: Bus() for node in ("vdd", "in", *nodes)}).add(*elements)


@spice
@pytest.mark.slow
def test_inverters_switch_as_in_ngspice():
    netlist = inverters()
    nodal = Nodal(netlist)
    waves = transient(nodal, 3e-9, first_step=1e-12, options=TransientOptions(rtol=1e-7, max_step=3e-12))
    options = {"method": "gear", "reltol": 1e-5, "abstol": 1e-13, "vntol": 1e-8, "chgtol": 1e-16}
    data = run_deck(write(netlist, [".tran 1p 3n 0 1p"], options=options))[0].data
    for node in ("g", "o1", "o2", "o3"):
        ours = np.interp(data["time"], waves.times, waves.x[:, nodal.place[node]])
        assert np.abs(ours - data[f"v({node})"]).max() < 3e-3


def test_switch_between_its_states():
    """Threshold 1 V, width 0.01 V, 2 Ohm and 10 MOhm: the logarithm of the conductance goes from one to the other."""
    nothing, quarter = np.log(1e-7), 0.25**2 * (3 - 2 * 0.25)
    for control, log in (
        (0.99, nothing),
        (0.99 + 1e-9, nothing),
        (0.995, nothing + quarter * np.log(0.5 / 1e-7)),
        (1.0, np.log(0.5 * 1e-7) / 2),
        (1.01 - 1e-9, np.log(0.5)),
        (1.01, np.log(0.5)),
    ):
        found = switch().siemens({"a": 0.0, "b": 0.0, "c": control + 0.2, "d": 0.2})
        assert float(jnp.log(found)) == pytest.approx(log, abs=1e-10), control


@pytest.mark.parametrize(("kind", "drain"), [("nmos", 2.0), ("nmos", 0.1), ("nmos", -0.5), ("pmos", -2.0)])
def test_thermal_noise_of_a_mosfet(kind, drain):
    """8/3 k T gm with gm a difference of the current, and 4 k T / R; in `test_noise` flicker noise hides them."""
    device, gate = mosfet(kind, kelvin=320.0, m=2.0), 1.5 * SIGNS[kind]
    inner, source = device.drain_inner, device.source_inner

    def at(volts):
        return dict.fromkeys(device.unknowns.values(), 0.0) | {"drain": drain, inner: drain, "gate": volts}

    up, down = (float(device.stamp(at(gate + step), {}, 0.0)[inner]) for step in (1e-4, -1e-4))
    noises = device.noise(at(gate), {}, 1e3)
    found = {(s.a, s.b): float(s.density) for s in noises if s.kind == "thermal"}
    siemens = {(inner, source): 2 / 3 * abs(up - down) / 2e-4, ("drain", inner): 2 / 10, ("source", source): 2 / 20}
    assert found == pytest.approx({ends: 4 * 1.380649e-23 * 320.0 * g for ends, g in siemens.items()}, rel=1e-6, abs=0)
