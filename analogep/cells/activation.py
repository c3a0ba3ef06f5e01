"""Pointwise nonlinearities: GELU, ReLU, tanh, and the unit buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from analogep.cells.cell import Pointwise
from analogep.netlist._types import Array
from analogep.netlist.expression import literal

_GELU = literal(math.sqrt(2 / math.pi))

_EXPRESSIONS = {
    # the tanh form of Hendrycks and Gimpel (2016), eq. 2, which SPICE can write without erf
    "gelu": f"0.5*v(a1)*(1+tanh({_GELU}*(v(a1)/{{u}}+0.044715*v(a1)*v(a1)*v(a1)/({{u}}*{{u}}*{{u}}))))",
    "relu": "max(v(a1),0)",
    "tanh": "{u}*tanh(v(a1)/{u})",
}


@dataclass(frozen=True, eq=False)
class Activation(Pointwise):
    """Pointwise `kind` of the input: gelu (tanh form), relu or tanh."""

    kind: Literal["gelu", "relu", "tanh"] = "gelu"

    def law(self, h: Array) -> Array:
        if self.kind == "gelu":
            return jax.nn.gelu(h, approximate=True)
        return jax.nn.relu(h) if self.kind == "relu" else jnp.tanh(h)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        lines = [f".subckt {self.kind} a1 y gm=1 u=1", f"By 0 y I={{gm}}*({_EXPRESSIONS[self.kind]})", ".ends"]
        return self.kind, lines


class Buffer(Pointwise):
    """Copies its input: a transconductor into the load."""

    def law(self, x: Array) -> Array:
        return jnp.asarray(x)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        return "buffer", [".subckt buffer a1 y gm=1 u=1", "Gy 0 y a1 0 {gm}", ".ends"]
