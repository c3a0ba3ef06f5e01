"""A device alone, between voltage sources of its own, in ngspice and in ours: one copy for each bias."""

import numpy as np

from analogep.netlist.elements import CCVS, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.simulate.ngspice import run_deck
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.nodal.small_signal import ac, noise
from analogep.simulate.nodal.system import Nodal

OPTIONS = {"reltol": 1e-9, "abstol": 1e-19, "vntol": 1e-13, "itl1": 2000}


class Bench:
    """Copies of a device, one a row of `biases` [rows, terminals]; for AC one more for each terminal that is driven."""

    def __init__(self, device, biases, small_signal=False):
        self.roles = list(device.terminals)
        biases = np.atleast_2d(np.asarray(biases, float))
        self.rows = len(biases)
        self.driven = range(len(self.roles)) if small_signal else (None,)
        elements, buses, self.sources = [], {}, []
        for row, volts in enumerate(np.repeat(biases, len(self.driven), axis=0)):
            nodes = {role: f"{role}{row}" for role in self.roles}
            buses |= {node: Bus() for node in nodes.values()}
            named = {device.terminals[role]: node for role, node in nodes.items()}
            elements.append(device.renamed(f"x{row}", named, {}, {}))
            active = self.driven[row % len(self.driven)]
            for index, (role, value) in enumerate(zip(self.roles, volts, strict=True)):
                elements.append(VSource(f"v{role}{row}", nodes[role], float(value), ac=float(index == active)))
                self.sources.append(f"v{role}{row}")
        self.netlist = Netlist(buses).add(*elements)

    def _shaped(self, leaving):
        table = -np.array(leaving).reshape(self.rows, len(self.driven), len(self.roles))
        return table[:, 0] if self.driven == (None,) else table.swapaxes(1, 2)

    def spice(self, analysis, name, **options):
        deck = write(self.netlist, [analysis], options={**OPTIONS, **options})
        plot = next(p for p in run_deck(deck) if p.name == name)
        data = {key.lower(): value[0] for key, value in plot.data.items()}
        return self._shaped([data[f"i({source})"] for source in self.sources])

    def nodal(self):
        nodal = Nodal(self.netlist)
        return nodal, operating_point(nodal).x, [nodal.place[f"i({source})"] for source in self.sources]


def currents(device, biases, **options):
    """Currents into the terminals, [row, terminal]: ours, ngspice's."""
    bench = Bench(device, biases)
    _, x, places = bench.nodal()
    return bench._shaped(np.asarray(x)[places]), bench.spice(".op", "Operating Point", **options)


def admittances(device, biases, hertz):
    """Small-signal admittances, [row, terminal, driven terminal]: ours, ngspice's."""
    bench = Bench(device, biases, small_signal=True)
    nodal, x, places = bench.nodal()
    ours = np.asarray(ac(nodal, x, nodal.theta, np.array([hertz])))[0, places]
    return bench._shaped(ours), bench.spice(f".ac lin 1 {hertz:g} {hertz:g}", "AC Analysis")


def noise_densities(device, volts, terminal):
    """Noise current at a short-circuited terminal at 1, 10 ... 1e7 Hz (A/sqrt(Hz)): ours, ngspice's."""
    bench = Bench(device, volts)
    sensed, source = f"v{terminal}0", f"v{bench.roles[0]}0"
    netlist = bench.netlist.add(CCVS("h", "out", "0", sensed, 1.0), buses={"out": Bus()})
    netlist = netlist.replace_elements(VSource(source, f"{bench.roles[0]}0", float(volts[0]), ac=1.0))
    nodal = Nodal(netlist)
    x = operating_point(nodal).x
    ours = noise(nodal, x, nodal.theta, 10.0 ** np.arange(8), output="out", source=source)
    deck = write(netlist, [f".noise v(out) {source} dec 1 1 1e7"], options=OPTIONS)
    data = next(p.data for p in run_deck(deck) if "onoise_spectrum" in p.data)
    return np.sqrt(ours.output), np.real(data["onoise_spectrum"])
