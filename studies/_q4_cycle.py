"""Past the Hopf point: a network that never rests, and what estimators say of the state that it has at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from analogep.errors import DataError

from ._q4_networks import circuit, force, local, push
from ._q4_online import STEP, against, conductance_at, finite_gradients, implicit_gradient, judged, programs
from ._q4_phases import BETA, LOOSE, ROWS, multipliers

if TYPE_CHECKING:
    from .q4 import Config

GROWTH, TURN = 0.3, 1.5
"""Growth and angular frequency (1/tau) of the pair that has crossed the axis."""
LAST = 60.0
"""Half the time that is simulated to find a cycle (tau)."""


@cache
def oscillator(nodes: int, seed: int) -> tuple[np.ndarray, ...]:
    """Weights, drive, the unstable state at rest, target, and the period (tau) of the cycle reached from 0 V.

    Of the symmetric part two eigenvalues are -GROWTH and the others positive; the skew part turns their plane.
    """
    from analogep.compile.recurrent import weights_at

    for draw in range(100):
        rng = np.random.default_rng([seed, 6, draw])
        turn = np.linalg.qr(rng.normal(size=(nodes, nodes)))[0]
        skew = 0.2 * rng.normal(size=(nodes, nodes))
        skew[0, 1] += TURN
        values = np.concatenate([[-GROWTH, -GROWTH], rng.uniform(0.5, 1.5, nodes - 2)])
        rest = rng.uniform(-0.3, 0.3, nodes)
        weights, drive = weights_at(turn @ (np.diag(values) + np.triu(skew) - np.triu(skew).T) @ turn.T, rest)
        target = rest + rng.normal(size=nodes)
        if period := cycle(weights, drive):
            return weights, drive, rest, target, np.array(period)
    raise DataError(f"no network of seed {seed} cycles; raise GROWTH")


def cycle(weights: np.ndarray, drive: np.ndarray) -> float:
    """Period (tau) of what the network does at last: 0 if it rests, or does not come back within a quarter of LAST."""
    z, path = np.zeros(len(drive)), []
    for _ in range(round(2 * LAST / STEP)):
        z = z + STEP * (drive - z + weights @ np.tanh(z))
        path.append(z)
    late = np.array(path[-round(LAST / 4 / STEP) :])
    size = np.linalg.norm(late - late.mean(axis=0), axis=1)
    if size.min() < 0.1:
        return 0.0
    away = np.linalg.norm(late - late[0], axis=1) / size.max()
    left = np.argmax(away > 0.5)
    back = left + np.argmin(away[left:])
    return float(back * STEP) if away[back] < 0.1 else 0.0


@cache
def phases(nodes: int) -> Callable:
    """Compiled: lambda by every row at stopped states, from phases of as many steps as are given."""
    import jax

    circuit(nodes)  # before anything is traced

    def one(weights: Any, drive: Any, target: Any, z: Any, steps: Any) -> dict[str, Any]:
        found = multipliers(
            lambda at: force(at, weights, drive), lambda at: push(at, target), z, steps, BETA, STEP, euler=True
        )
        return {row: local(lam, z) for row, lam in found.items()}

    return jax.jit(jax.vmap(one, (None, None, None, 0, 0)))


def measure_cycle(config: Config, seed: int) -> xr.Dataset:
    """Every row over the time at which the cycling network is stopped, against the gradient of the loss at that time.

    `implicit` is the formula's value at the state at rest that the network has left; no phase is near it.
    """
    import jax

    weights, drive, rest, target, period = oscillator(config.nodes, seed)
    times = np.array(config.cycle_times)
    counts = np.rint(times / STEP).astype(int)
    run, along = programs(config.nodes, int(counts.max()))
    states, residual, influence = (np.asarray(part) for part in run(weights, drive))
    z = states[counts - 1]
    finite, implicit = finite_gradients(z, influence[counts - 1], target), implicit_gradient(rest, weights, target)
    keys = jax.random.split(jax.random.key(seed), config.draws)
    found = {name: np.asarray(g) for name, g in along(weights, drive, target, counts - 1, keys).items()}
    after = phases(config.nodes)(weights, drive, target, z, counts)
    late = residual[len(residual) // 2 :]
    data = judged(found, implicit, finite, np.ones(len(times), bool)).rename(stop="time")
    return data.assign_coords(time=times, row=list(ROWS)).assign(
        phase_error=(("row", "time"), np.stack([against(np.asarray(after[name]), finite)[0] for name in ROWS])),
        size=("time", np.linalg.norm(finite, axis=(1, 2)) / np.linalg.norm(implicit)),
        residual=("time", residual[counts - 1]),
        least_residual=late.min(),
        settled=bool(late.min() <= LOOSE),  # the flag: phases that follow a free phase suppose that it is true
        abscissa=float(np.linalg.eigvals(-conductance_at(rest, weights)).real.max()),
        period=float(period),
    )
