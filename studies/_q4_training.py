"""Training: the same patterns, start and rate; only the gradient differs, or what is trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._q4_networks import circuit, force, local, push
from ._q4_online import CARRIED, STEP, carried, driven, short_nudge, task_of
from ._q4_phases import BETA, ROWS, multipliers, relax

if TYPE_CHECKING:
    from .q4 import Config

ALWAYS = ("implicit", "finite_time", *(name for name, row in ROWS.items() if row.exact))
"""Rules that every profile trains by; `rules` of the configuration are more, of these:"""
MORE = {name: label for name, label in CARRIED.items() if name != "rtrl"} | {
    "short_nudge": "AsymEP, nudge of 1 tau",
    "reservoir": "readout of a fixed reservoir",
}


def measure_training(config: Config, seed: int, horizon: float) -> xr.Dataset:
    """Loss at the horizon over gradient steps, by every rule, and the loss at rest of what was learned."""
    rng = np.random.default_rng([seed, 5])
    nodes, count = config.nodes, config.patterns
    weights = rng.normal(size=(nodes, nodes)) / np.sqrt(nodes)
    drives, targets = rng.normal(size=(count, nodes)), rng.uniform(-1, 1, size=(count, nodes))
    train = trainer(nodes, round(horizon / config.dt), config.updates, config.rate, config.dt)
    rules = [*ALWAYS, *config.rules]
    found = [train(weights, drives, targets, seed, rule) for rule in rules]
    curves, at_rest = (np.stack(part) for part in zip(*found, strict=True))
    coordinates = {"rule": rules, "update": np.arange(config.updates + 1)}
    return xr.Dataset({"loss": (("rule", "update"), curves), "at_rest": ("rule", at_rest)}, coordinates)


@cache
def trainer(nodes: int, steps: int, updates: int, rate: float, dt: float) -> Callable:
    """Compiled: gradient descent on networks read after `steps`; gives the losses there, and the last one at rest."""
    import jax
    import jax.numpy as jnp

    settled = round(40 / dt)
    circuit(nodes), driven(nodes)  # before anything is traced

    def state(w: Any, drive: Any, count: int) -> Any:
        return relax(lambda z: force(z, w, drive), jnp.zeros(nodes), count, dt)

    def loss(w: Any, drive: Any, target: Any, count: int) -> Any:
        return ((state(w, drive, count) - target)[:2] ** 2).sum() / 2

    def gradient(rule: str, w: Any, drive: Any, target: Any, key: Any) -> Any:
        if rule in CARRIED:
            return carried(rule, task_of(w, drive, target), key, round(steps * dt / STEP), STEP)
        if rule == "finite_time":  # forward mode: what BPTT over the horizon gives
            return jax.jacfwd(loss)(w, drive, target, steps)
        z = state(w, drive, settled if rule == "implicit" else steps)
        if rule == "short_nudge":
            return short_nudge(task_of(w, drive, target), z, round(1 / STEP), STEP)[-1]
        if rule == "implicit":
            lam = jnp.linalg.solve(-jax.jacfwd(force)(z, w, drive).T, push(z, target))
        else:
            lam = multipliers(lambda z: force(z, w, drive), lambda z: push(z, target), z, steps, BETA, dt)[rule]
        return local(lam, z)

    def readout(weights: Any, drives: Any, targets: Any) -> tuple[Any, Any]:
        """Only R of R z is trained, by error x state; R z is the first two nodes at first, so the loss is the same."""
        z, at_rest = (jax.vmap(state, (None, 0, None))(weights, drives, count) for count in (steps, settled))

        def error(r: Any, z: Any) -> Any:
            return z @ r.T - targets[:, :2]

        def loss(r: Any, z: Any) -> Any:
            return (error(r, z) ** 2).sum(1).mean() / 2

        def update(r: Any, _: Any) -> tuple[Any, Any]:
            return r - rate * error(r, z).T @ z / len(z), r

        last, path = jax.lax.scan(update, jnp.eye(2, nodes), length=updates)
        return jnp.append(jax.vmap(loss, (0, None))(path, z), loss(last, z)), loss(last, at_rest)

    @partial(jax.jit, static_argnames="rule")
    def train(weights: Any, drives: Any, targets: Any, seed: int, rule: str) -> tuple[Any, Any]:
        if rule == "reservoir":
            return readout(weights, drives, targets)

        def mean_loss(w: Any, count: int) -> Any:
            return jax.vmap(lambda drive, target: loss(w, drive, target, count))(drives, targets).mean()

        def update(w: Any, key: Any) -> tuple[Any, Any]:
            each = jax.random.split(key, len(drives))
            slopes = jax.vmap(lambda *pattern: gradient(rule, w, *pattern))(drives, targets, each)
            return w - rate * slopes.mean(0), mean_loss(w, steps)

        w, losses = jax.lax.scan(update, weights, jax.random.split(jax.random.key(seed), updates))
        return jnp.append(losses, mean_loss(w, steps)), mean_loss(w, settled)

    return train
