"""Modified nodal analysis of any netlist: operating point, sweeps, transients, small signals, noise, sensitivities."""

from analogep.simulate.nodal.system import Nodal as Nodal
