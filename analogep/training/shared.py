"""Circuits of one structure share one compiled program: what they differ in goes along as numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from analogep.compile import Compiled
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.models.objective import Batch
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.elements import Capacitor, VSource
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions
from analogep.spec import Spec
from analogep.training.problem import Problem, build

Model = TypeVar("Model", bound=EquilibriumTransformer)

KEPT = 8
"""Structures whose compiled programs a process keeps."""

_kept: OrderedDict[Hashable, CircuitPhases] = OrderedDict()


_last: tuple[Hashable, Shared] | None = None


@dataclass(frozen=True, eq=False)
class Shared:
    """A point as arguments of programs that are compiled once for its structure.

    Attributes
    ----------
    phases : of the first circuit of this structure that was met.
    theta : conductances and numbers of this point's own circuit.
    """

    problem: Problem
    phases: CircuitPhases
    theta: Parameters
    batch: Batch

    @property
    def circuit(self) -> Circuit:
        """The circuit that stands for all of its structure; with `theta` it is this point's."""
        return self.phases.circuit

    @property
    def rails(self) -> Voltages:
        """Input voltages of the batch, leading axis samples."""
        return rails(self.batch, self.problem.spec.technology.volts)


def share(spec: Spec) -> Shared:
    """The point of a spec, on the programs of an earlier one where the two differ in numbers only.

    The same spec again, with files that have not changed, gives the same point.
    """
    global _last
    key = fingerprint(spec)
    if _last is None or _last[0] != key:
        _last = (key, _share(spec))
    return _last[1]


def fingerprint(spec: Spec) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The spec in JSON, and times and sizes of its files: equal for equal specs whose files were not written since."""
    files = [path.stat() for path in (spec.data.text, spec.model.checkpoint) if path is not None and path.exists()]
    return spec.model_dump_json(), tuple((file.st_mtime_ns, file.st_size) for file in files)


def _share(spec: Spec) -> Shared:
    problem = build(spec)
    compiled, options = problem.compiled(), problem.settle
    key = _key(compiled, options)
    phases = _kept.pop(key, None) or CircuitPhases(compiled, options)
    _kept[key] = phases
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    own = Circuit(compiled.netlist, compiled.scale)
    theta = {name: jnp.asarray(value) for name, value in {**own.theta, **own.numbers}.items()}
    return Shared(problem, phases, theta, problem.batch())


def _key(compiled: Compiled, options: SettleOptions) -> Hashable:
    """Equal for circuits that differ in conductances and in `Circuit.numbers` only."""
    netlist = compiled.netlist
    buses = tuple((name, bus.shape, _bytes(bus.exists)) for name, bus in netlist.buses.items())
    fixed = tuple(
        (e.name, tuple((name, _bytes(value)) for name, value in e.numbers.items()))
        for e in netlist
        if isinstance(e, Capacitor | VSource)
    )
    elements = tuple((e.name, e.kind, tuple(e.terminals.items()), e.array) for e in netlist)
    shapes = tuple((name, np.shape(value)) for name, value in netlist.arrays.items())
    # the nudge is built from the model, whose damping and asymmetry it does not use
    beside = (compiled.scale, compiled.level, compiled.model.layer_norm_epsilon, options)
    key = (buses, fixed, elements, shapes, beside)
    try:
        hash(key)
    except TypeError:  # an element with settings that cannot be compared shares with none
        return id(compiled)
    return key


def _bytes(value: Any) -> bytes:
    return b"" if value is None else np.asarray(value).tobytes()


class Dialed(EquilibriumTransformer):
    """F(z) with the dials in theta, as `damping` [d] and `asymmetry`: (1 - a) F_energy + a F_free - c z at damping 0.

    The oracle compiles anew for every model; this one stands for all that differ in their dials.
    """

    @classmethod
    def of(cls, model: EquilibriumTransformer) -> Dialed:
        """The dialed model of which `model` is one setting."""
        attention = {0.0: "energy", 1.0: "free"}.get(model.free_share, "mixed")
        return _without_dials(cls, model, attention)

    @staticmethod
    def setting(model: EquilibriumTransformer) -> dict[str, Array]:
        """The dials of a model, for theta."""
        return {"damping": jnp.asarray(model.leak - 1.0), "asymmetry": jnp.asarray(model.free_share)}

    def force(self, z: Array, x: Array, theta: Parameters) -> Array:
        a, total = theta["asymmetry"], -theta["damping"] * z
        for attention, share in (("free", a), ("energy", 1 - a)):
            if self.attention in (attention, "mixed"):
                total = total + share * _without_dials(EquilibriumTransformer, self, attention).force(z, x, theta)
        return total


def _without_dials(kind: type[Model], model: EquilibriumTransformer, attention: Any) -> Model:
    sizes = (model.tokens, model.channels, model.heads, model.ffn, model.vocabulary)
    return kind(*sizes, 0.0, attention, None, model.activation, model.layer_norm_epsilon)
