"""Model + scale -> netlist."""

from analogep.compile.device import DeviceOptions as DeviceOptions
from analogep.compile.reciprocal import compile_reciprocal as compile_reciprocal
from analogep.compile.schedule import compile_lane as compile_lane
from analogep.compile.stages import to_conductances as to_conductances
from analogep.compile.stages import to_weights as to_weights
from analogep.compile.transformer import Compiled as Compiled
from analogep.compile.transformer import compile_transformer as compile_transformer
