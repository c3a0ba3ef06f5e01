"""The textbook elements: R, C, L, independent and controlled sources, behavioral sources, the ideal summing stage."""

from analogep.netlist.elements.behavioral import BSource as BSource
from analogep.netlist.elements.controlled import CCCS as CCCS
from analogep.netlist.elements.controlled import CCVS as CCVS
from analogep.netlist.elements.controlled import VCCS as VCCS
from analogep.netlist.elements.controlled import VCVS as VCVS
from analogep.netlist.elements.passive import Capacitor as Capacitor
from analogep.netlist.elements.passive import Coupling as Coupling
from analogep.netlist.elements.passive import Inductor as Inductor
from analogep.netlist.elements.passive import Resistor as Resistor
from analogep.netlist.elements.sources import ISource as ISource
from analogep.netlist.elements.sources import VSource as VSource
from analogep.netlist.elements.summer import Summer as Summer
from analogep.netlist.elements.terminals import TwoTerminal as TwoTerminal
