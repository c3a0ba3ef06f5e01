"""Semiconductor devices as SPICE 3 models them: diode, bipolar transistor, MOSFET level 1, and the switch."""

from analogep.netlist.devices.bjt import BJT as BJT
from analogep.netlist.devices.bjt import BJTModel as BJTModel
from analogep.netlist.devices.diode import Diode as Diode
from analogep.netlist.devices.diode import DiodeModel as DiodeModel
from analogep.netlist.devices.mosfet import MOSFET as MOSFET
from analogep.netlist.devices.mosfet_model import MOSFETModel as MOSFETModel
from analogep.netlist.devices.switch import Switch as Switch
from analogep.netlist.devices.switch import SwitchModel as SwitchModel
