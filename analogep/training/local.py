"""Training by local updates: settle, settle the twin, multiply signals at each weight's own terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from analogep.compile.stages import to_conductances
from analogep.compile.transformer import LOGITS, Compiled
from analogep.ep.estimators import TWIN
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import cross_entropy
from analogep.netlist._types import Array
from analogep.simulate.settle import SettleOptions

Weights = Mapping[str, Array]
GradientOf = Callable[[Weights, dict[str, Array]], tuple[Array, dict[str, Array], Array]]


class Step(NamedTuple):
    """One update: the batch's loss before it, and whether every phase settled."""

    loss: float
    converged: bool


def twin_gradient(compiled: Compiled, options: SettleOptions) -> GradientOf:
    """Loss and local gradient of a batch by the free phase and the twin; returns (loss, gradient, converged)."""
    phases = CircuitPhases(compiled, options)
    scale, netlist = compiled.scale, compiled.netlist

    def one(weights: Weights, x: dict[str, Array]) -> tuple[Array, dict[str, Array], Array]:
        theta = to_conductances(weights, scale)
        free = phases.free(x, theta)
        twin = phases.twin(free, x, theta)
        signals = {Phase.FREE: free.voltages, Phase.TWIN: twin.voltages}
        gradient = local_gradient(TWIN, netlist, signals, 1.0, phases.unit)
        return _loss(free.voltages, x, scale.volts), gradient, free.settled.converged & twin.settled.converged

    def batch(weights: Weights, x: dict[str, Array]) -> tuple[Array, dict[str, Array], Array]:
        loss, gradient, converged = jax.vmap(one, (None, 0))(weights, x)
        return loss.mean(), {name: g.mean(0) * scale.siemens for name, g in gradient.items()}, converged.all()

    return batch


def settled_loss(compiled: Compiled, options: SettleOptions) -> Callable[[Weights, dict[str, Array]], Array]:
    """Mean loss of a batch at the settled states of the circuit, jitted."""
    phases, scale = CircuitPhases(compiled, options), compiled.scale

    def one(weights: Weights, x: dict[str, Array]) -> Array:
        return _loss(phases.free(x, to_conductances(weights, scale)).voltages, x, scale.volts)

    return jax.jit(lambda weights, x: jax.vmap(one, (None, 0))(weights, x).mean())


def _loss(voltages: Mapping[str, Array], x: Mapping[str, Array], volts: float) -> Array:
    return cross_entropy(voltages[LOGITS] / volts, x["target"] / volts, x["weight"] / volts)


def descend(
    gradient: GradientOf, weights: Weights, batches: Iterable[dict[str, Array]], rate: float
) -> Iterator[tuple[Step, Weights]]:
    """Adam on a stream of batches; yields each step and the weights after it.

    Adam keeps two numbers beside each weight and needs nothing else, so it does not break locality (Kingma and
    Ba 2015).
    """
    optimizer = optax.adam(rate)
    weights = {name: jnp.asarray(w) for name, w in weights.items()}
    state: Any = optimizer.init(weights)

    @jax.jit
    def update(weights, state, x):
        loss, slope, converged = gradient(weights, x)
        change, state = optimizer.update(slope, state, weights)
        return optax.apply_updates(weights, change), state, loss, converged

    for x in batches:
        weights, state, loss, converged = update(weights, state, x)
        yield Step(float(loss), bool(converged)), weights
