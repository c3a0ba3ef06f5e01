"""Gradients from the loss alone: currents or weights are perturbed, and only the change of the settled loss is read.

None of these needs the circuit's structure, a second circuit, or a nudge; they pay in settles or in variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.ep.task import Gradient, Multipliers, Task, pushable
from analogep.errors import NetlistError, SpecError
from analogep.learning.phases import nudge_options
from analogep.netlist._types import Array, Parameters
from analogep.simulate.settle import SettleOptions, settle_batch, settle_near


class _Readings(NamedTuple):
    """Loss in each perturbed phase, and how these settled."""

    loss: Array
    residual: Array
    converged: Array


class _Nodes:
    """The nodes into which current is pushed: those of `buses`, or all that take one."""

    def __init__(self, task: Task, buses: Sequence[str] | None) -> None:
        known = pushable(task.system)
        chosen = known if buses is None else {}
        for name in buses or ():
            if name not in known:
                raise NetlistError(f"no current can be pushed into {name!r}; nodes: {', '.join(known)}")
            chosen[name] = known[name]
        self.buses = chosen
        self.labels = [label for name, bus in chosen.items() for label in bus.labels(name)]

    def spread(self, values: Array) -> dict[str, Array]:
        """[samples, nodes] -> bus -> [samples, ...]; entries that are no nodes are 0."""
        out, start = {}, 0
        for name, bus in self.buses.items():
            part = values[:, start : start + bus.nodes]
            full = jnp.zeros((len(values), bus.size)).at[:, bus.indices].set(part)
            out[name], start = full.reshape(-1, *bus.shape), start + bus.nodes
        return out


def node_perturbation(
    task: Task,
    *,
    strength: float = 1e-3,
    buses: Sequence[str] | None = None,
    nodes: Sequence[str] | None = None,
    noise: float = 0.0,
    key: Array | None = None,
) -> Multipliers:
    """lambda by a small current into each node in turn, of either sign: lambda_k = -dL/dI_k.

    Exact at any asymmetry up to an error of order strength^2; it needs no way back through the circuit. The price is
    two settles for each node (N nodes: 2 N + 1), one wire for a current to each, one stored voltage for each, and that
    the loss is read at one place. Noise of the loss gives lambda the standard deviation noise / (sqrt(2) strength)
    in units of volts, whatever N is.

    Parameters
    ----------
    strength : current in units of the system's amperes.
    buses : into which; all states, and driven buses that weights push into, by default.
    nodes : labels such as `z_3` of the nodes to perturb; the others' lambda is left at 0. All by default.
    noise : standard deviation of one reading of the loss; it then needs `key`.

    Raises
    ------
    NetlistError
        If a bus or a node is not there.
    SpecError
        If noise is asked for without a key.

    Reference
    ---------
    Widrow and Lehr 1990, "30 years of adaptive neural networks", Madaline rule III; Jabri and Flower 1992,
    "Weight perturbation".
    """
    where = _Nodes(task, buses)
    for label in nodes or ():
        if label not in where.labels:
            raise NetlistError(f"no node {label!r} to perturb; nodes: {', '.join(where.labels)}")
    picked = [k for k, label in enumerate(where.labels) if nodes is None or label in nodes]
    one_hot = jnp.eye(len(where.labels))[jnp.asarray(picked, int)]
    slopes, readings = _slopes(task, where, one_hot, strength, noise, key)
    lam = where.spread(-(slopes @ one_hot)[None])
    return _multipliers(task, {bus: values[0] for bus, values in lam.items()}, readings)


def random_nodes(
    task: Task,
    key: Array,
    *,
    directions: int = 1,
    strength: float = 1e-3,
    buses: Sequence[str] | None = None,
    noise: float = 0.0,
) -> Multipliers:
    """lambda by random currents of +-strength into all N nodes at once, averaged over m directions (SPSA).

    Unbiased up to an error of order strength^2. The error of one direction is |error|^2 = (N - 1) |lambda|^2 in the
    mean, 1 / m of it for m directions. The price is 2 m + 1 settles, a random source at each node, and that every node
    keeps its own sign; nothing else is stored. Noise of the loss adds N noise^2 / (2 m strength^2).

    Parameters
    ----------
    directions : m.
    strength, buses, noise : as for `node_perturbation`.

    Reference
    ---------
    Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation";
    Cauwenberghs 1993, "A fast stochastic error-descent algorithm for supervised learning and optimization".
    """
    where = _Nodes(task, buses)
    draw, read = jax.random.split(key)
    signs = jax.random.rademacher(draw, (directions, len(where.labels)), float)
    slopes, readings = _slopes(task, where, signs, strength, noise, read)
    lam = where.spread(-(slopes @ signs / directions)[None])
    return _multipliers(task, {bus: values[0] for bus, values in lam.items()}, readings)


def random_weights(
    task: Task, key: Array, *, directions: int = 1, strength: float = 1e-3, noise: float = 0.0
) -> Gradient:
    """The gradient itself by random changes of +-strength of all P weights at once, over m directions (SPSA).

    Unbiased up to an error of order strength^2; |error|^2 = (P - 1) |gradient|^2 / m in the mean, with P the number of
    weights, so it is far noisier than currents into the nodes. The price is 2 m + 1 settles and that every weight can
    be moved, by a known amount, and back; it needs no wire to any node, and stores one sign for each weight.

    Parameters
    ----------
    strength : change of each conductance in units of the system's siemens.
    directions, noise : as for `random_nodes`.

    Reference
    ---------
    Spall 1992; Dembo and Kailath 1990, "Model-free distributed learning".
    """
    scale, rest = task.system.scale, task.free.settled
    draw, read = jax.random.split(key)
    streams = jax.random.split(draw, len(task.theta))
    signs = {
        name: jax.random.rademacher(stream, (directions, *np.shape(g)), float)
        for stream, (name, g) in zip(streams, task.theta.items(), strict=True)
    }
    options = nudge_options(task.phases.options, strength)
    readings = _weight_losses(task, rest.v, task.theta, signs, strength * scale.siemens, options)
    slopes = _differences(readings.loss, noise, read) / (2 * strength * scale.siemens)
    gradient = {name: jnp.tensordot(slopes, s, 1) / directions for name, s in signs.items()}
    stored = sum(np.size(g) for g in task.theta.values())
    loss = task.loss(rest.v, task.theta)
    residual, converged = _judged(task, readings)
    return Gradient(gradient, loss, residual, converged, 1 + 2 * directions, stored)


@partial(jax.jit, static_argnames=("options",))
def _weight_losses(
    task: Task, start: dict[str, Array], theta: Parameters, signs: dict[str, Array], by: float, options: SettleOptions
) -> _Readings:
    """Readings [m, 2] with all conductances shifted by +-`by` times their sign."""

    def shifted(sign: dict[str, Array], by: Array) -> _Readings:
        moved = {name: theta[name] + by * sign[name] for name in theta}
        settled = settle_near(task.system, task.x, moved, v0=start, options=options)
        return _Readings(task.loss(settled.v, moved), settled.residual, settled.converged)

    def both(sign: dict[str, Array]) -> _Readings:
        return jax.vmap(partial(shifted, sign))(jnp.asarray([by, -by]))

    return jax.lax.map(both, signs)


def _slopes(
    task: Task, where: _Nodes, directions: Array, strength: float, noise: float, key: Array | None
) -> tuple[Array, _Readings]:
    """Change of the loss per unit current along each of `directions` [m, nodes], by centred differences."""
    both = jnp.concatenate([directions, -directions]) * strength * task.system.scale.amperes
    readings = _node_losses(task, where, both, nudge_options(task.phases.options, strength))
    pairs = readings.loss.reshape(2, -1).T
    return _differences(pairs, noise, key) / (2 * strength), readings


def _node_losses(task: Task, where: _Nodes, pushes: Array, options: SettleOptions) -> _Readings:
    """Readings with the currents `pushes` [samples, nodes] (amperes) pushed in."""
    sources = where.spread(pushes)

    def copies(tree):
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(pushes), *jnp.shape(leaf))), tree)

    x, start = copies(dict(task.x)), copies(task.free.settled.v)
    settled = settle_batch(task.system, x, task.theta, v0=start, sources=sources, options=options)
    loss = jax.vmap(lambda v, pushed: task.loss(v, task.theta, pushed))(settled.v, sources)
    return _Readings(loss, settled.residual, settled.converged)


def _differences(pairs: Array, noise: float, key: Array | None) -> Array:
    """Loss with the perturbation less loss with its opposite, of readings [m, 2] with noise added."""
    if noise:
        if key is None:
            raise SpecError("noise of the loss is drawn at random: give `key` (jax.random.key) with `noise`")
        pairs = pairs + noise * jax.random.normal(key, pairs.shape)
    return pairs[:, 0] - pairs[:, 1]


def _judged(task: Task, readings: _Readings) -> tuple[Array, Array]:
    """Worst residual, and whether all phases and the free one settled."""
    free = task.free.settled
    return jnp.maximum(free.residual, jnp.max(readings.residual)), free.converged & jnp.all(readings.converged)


def _multipliers(task: Task, lam: dict[str, Array], readings: _Readings) -> Multipliers:
    """Multipliers in volts from lambda in units of the system's scale."""
    lam = {bus: values * task.system.scale.volts for bus, values in lam.items()}
    residual, converged = _judged(task, readings)
    return Multipliers(lam, task.free.voltages, 1 + readings.loss.size, residual, converged)
