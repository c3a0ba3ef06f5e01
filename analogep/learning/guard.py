"""A search for hidden backpropagation: reverse mode leaves its mark on every equation that it makes.

The barrier of `simulate.forward_only` refuses reverse mode through a circuit; this finds it anywhere in a program,
whatever it goes through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

_TRANSPOSED = re.compile(r"\btranspose\(")
"""How a name stack shows that an equation came out of transposing a program: `transpose(jvp())` for a gradient."""

_UNUSED = {"vecmat", "transpose_solve"}
"""What a linear solve brings along for the case that reverse mode should come by; nothing else runs it."""


def reverse_mode_uses(fn: Callable, *args: Any) -> list[str]:
    """Equations of a program that reverse-mode differentiation made.

    The program is traced, not run. Jitted functions, loops, branches and linear solves inside it are searched as well;
    functions that jax keeps unevaluated, such as the backward rule of a custom derivative, are not.

    Parameters
    ----------
    fn, args : the program and its arguments.

    Returns
    -------
    `primitive at name stack` of each such equation; empty for a program that goes forward only.
    """
    equations = _equations(jax.make_jaxpr(fn)(*args).jaxpr)
    return [f"{name} at {stack}" for name, stack in equations if _TRANSPOSED.search(stack)]


def _equations(jaxpr: Jaxpr) -> Iterator[tuple[str, str]]:
    """Primitive and name stack of every equation, those of nested programs included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, str(equation.source_info.name_stack)
        for value in equation.params.values():
            for inner in _programs(value):
                yield from _equations(inner)


def _programs(value: Any) -> Iterator[Jaxpr]:
    """Programs in a parameter of an equation, which may be one, several or none."""
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, list | tuple):
        names = getattr(value, "_fields", [""] * len(value))
        for name, item in zip(names, value, strict=True):
            if name not in _UNUSED:
                yield from _programs(item)
