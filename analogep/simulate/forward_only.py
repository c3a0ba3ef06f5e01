"""An identity that forward mode passes and reverse mode cannot: the guard against hidden backpropagation.

The primitive has a JVP rule, so linearizations run, and no transpose rule, so jax.grad or jax.vjp through anything
wrapped in it raises. Local learning runs the circuit behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Tree = TypeVar("Tree")

_primitive = Primitive("forward_only")
_primitive.def_impl(lambda x: x)
_primitive.def_abstract_eval(lambda x: x)
batching.primitive_batchers[_primitive] = lambda args, dims: (_primitive.bind(args[0]), dims[0])
mlir.register_lowering(_primitive, lambda ctx, x: [x])


def _jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    # the tangent passes the barrier as well: transposing it is what must fail
    return _primitive.bind(x), dx if isinstance(dx, ad.Zero) else _primitive.bind(dx)


_refused = Primitive("reverse_mode_refused")


def _refuse(*_arguments, **_settings):
    raise NotImplementedError(
        "reverse-mode differentiation through a forward-only system: a local learning path may not backpropagate "
        "through the circuit; use the oracle for reference gradients"
    )


_refused.def_impl(_refuse)
_refused.def_abstract_eval(lambda x: x)
batching.primitive_batchers[_refused] = lambda args, dims: (_refused.bind(args[0]), dims[0])
mlir.register_lowering(_refused, _refuse)

_in_advance: ContextVar[bool] = ContextVar("transpose traced in advance", default=False)


@contextmanager
def transpose_in_advance() -> Iterator[None]:
    """Around a linear solve of jax, which traces the transpose of its matrix for a reverse mode that may never come.

    That transpose is refused where it is run or compiled, not where it is traced.
    """
    token = _in_advance.set(True)
    try:
        yield
    finally:
        _in_advance.reset(token)


def _transposed(cotangent, _):
    return [_refused.bind(cotangent) if _in_advance.get() else _refuse()]


ad.primitive_jvps[_primitive] = _jvp
ad.primitive_transposes[_primitive] = _transposed


def forward_only(tree: Tree) -> Tree:
    """The same arrays, opaque to reverse-mode differentiation."""
    return jax.tree.map(lambda x: _primitive.bind(x if isinstance(x, jax.Array) else np.asarray(x)), tree)
