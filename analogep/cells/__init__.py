"""Nonlinear cells: each has its law in JAX, its SPICE subcircuit and its adjoint."""

from analogep.cells.activation import Activation as Activation
from analogep.cells.activation import Buffer as Buffer
from analogep.cells.cell import Cell as Cell
from analogep.cells.layer_norm import LayerNorm as LayerNorm
from analogep.cells.layer_norm import LayerNormTranspose as LayerNormTranspose
from analogep.cells.multiplier import Multiplier as Multiplier
from analogep.cells.nudge import Nudge as Nudge
from analogep.cells.softmax import Softmax as Softmax
from analogep.cells.softmax import causal_mask as causal_mask
