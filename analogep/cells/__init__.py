"""Nonlinear cells: each has its law in JAX, its SPICE subcircuit and its adjoint."""

from analogep.cells.activation import Activation as Activation
from analogep.cells.activation import Buffer as Buffer
from analogep.cells.cell import Cell as Cell
from analogep.cells.gain_cell import GainCells as GainCells
from analogep.cells.layer_norm import LayerNorm as LayerNorm
from analogep.cells.layer_norm import LayerNormTranspose as LayerNormTranspose
from analogep.cells.multiplier import Multiplier as Multiplier
from analogep.cells.norm_loop import TranslinearNorm as TranslinearNorm
from analogep.cells.nudge import Nudge as Nudge
from analogep.cells.pairs import GilbertMultiplier as GilbertMultiplier
from analogep.cells.pairs import SoftmaxTail as SoftmaxTail
from analogep.cells.pairs import TanhPair as TanhPair
from analogep.cells.pairs import TransistorCell as TransistorCell
from analogep.cells.rectifiers import GatedPair as GatedPair
from analogep.cells.rectifiers import RectifierMirror as RectifierMirror
from analogep.cells.softmax import Softmax as Softmax
from analogep.cells.softmax import causal_mask as causal_mask
from analogep.cells.tap import TappedLoad as TappedLoad
from analogep.cells.transistor import Transistor as Transistor
