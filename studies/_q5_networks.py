"""The 200 networks of study q5: one task, trained with the twin's gradient under each stabilizer.

dz/dt = -leak z + W tanh(z) + drive, one drive for each pattern; the loss is sum (tanh(z) - target)^2 / 2 over the
output nodes. The free phase relaxes from where it ended at the last update, as a circuit would, and for a fixed time.
The twin is linear, so its settled state is solved for: G^T lambda = -dL/dz. The update is -lambda tanh(z)^T, the
product of two voltages at each weight's terminals.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from ._q4_phases import relax

if TYPE_CHECKING:
    from .q5 import Config

ROWS = {
    "none": "none",
    "projection": "abscissa projection",
    "monotone": "monotone weights",
    "normalization": "norm ≤ leak - margin",
    "damping": "leak ≥ row sum",
    "log_norm": "log-norm penalty",
    "homeostasis": "Jacobian homeostasis",
}
"""Stabilizers: key of the result -> what figures call it."""
DT = 0.25
"""Step of the relaxation (tau): Runge and Kutta's fourth-order scheme is stable up to |eigenvalue| of 11/tau."""
FINER = 4
"""Steps of the last relaxation, which tells what diverged, are shorter by this factor."""
_PANEL = ("alpha", "omega", "rho", "growth")
SETTLED = 1e-4
"""Residual |F|/|z| up to which a state counts as at rest, after `last` tau at constant weights."""


class Tasks(NamedTuple):
    """Start, drives [networks, patterns, nodes] and targets [networks, patterns, outputs]."""

    weights: np.ndarray
    drives: np.ndarray
    targets: np.ndarray


def tasks(config: Config, seed: int) -> Tasks:
    """Random networks, and for each a regression: targets 0.8 sin(2 A u) of inputs u that a random B feeds in."""
    rng, c = np.random.default_rng([seed, 5]), config
    weights = c.gain * rng.normal(size=(c.networks, c.nodes, c.nodes)) / np.sqrt(c.nodes)
    u = rng.uniform(-1, 1, size=(c.networks, c.patterns, c.inputs))
    feed = rng.normal(size=(c.networks, c.nodes, c.inputs))
    teacher = rng.normal(size=(c.networks, c.outputs, c.inputs))
    targets = 0.8 * np.sin(2 * np.einsum("koi,kpi->kpo", teacher, u))
    return Tasks(weights, np.einsum("kni,kpi->kpn", feed, u), targets)


def force(z: Any, weights: Any, leak: Any, drives: Any) -> Any:
    """F(z) of all patterns [patterns, nodes]."""
    import jax.numpy as jnp

    return -leak * z + jnp.tanh(z) @ weights.T + drives


def residual(z: Any, weights: Any, leak: Any, drives: Any) -> Any:
    """|F| / |z| of the worst pattern."""
    import jax.numpy as jnp

    left = jnp.linalg.norm(force(z, weights, leak, drives), axis=-1)
    return (left / (jnp.linalg.norm(z, axis=-1) + 1e-9)).max()


def loss_and_gradient(z: Any, weights: Any, leak: Any, targets: Any) -> tuple[Any, Any]:
    """Mean loss of the patterns, and dL/dW from the free states and the twin's."""
    import jax.numpy as jnp

    h, outputs = jnp.tanh(z), targets.shape[-1]
    slopes, miss = 1 - h**2, h[:, :outputs] - targets
    pushed = -slopes * jnp.pad(miss, ((0, 0), (0, z.shape[-1] - outputs)))
    conductance = leak * jnp.eye(z.shape[-1]) - weights * slopes[:, None, :]
    lam = jnp.linalg.solve(conductance.swapaxes(1, 2), pushed[..., None])[..., 0]
    return (miss**2).sum(-1).mean() / 2, -lam.T @ h / len(z)


class Trained(NamedTuple):
    """What training one network gives."""

    losses: Any
    loss: Any
    residual: Any
    weights: Any
    leak: Any
    z: Any


@cache
def trainer(config: Config, row: str) -> Callable:
    """Compiled: trains all networks of a seed under one stabilizer; draws of probes follow from the step."""
    import jax
    import jax.numpy as jnp

    from analogep.training import stabilizers as st

    n, margin, rate = config.nodes, config.margin, config.rate

    def rest(z: Any, w: Any, leak: Any, drives: Any, time: float, finer: int = 1) -> Any:
        # leaks above the row sums bound all eigenvalues by twice the largest leak
        count = finer * jnp.maximum(jnp.ceil(DT * leak.max()), 1).astype(int) if row == "damping" else finer
        return relax(lambda at: force(at, w, leak, drives), z, round(time / DT) * count, DT / count)

    def built(parameters: Any) -> tuple[Any, Any]:
        """W and leaks from what is trained."""
        if row == "monotone":
            return st.monotone_weights(parameters, margin), jnp.ones(n)
        return parameters, st.row_damping(parameters, margin=margin) if row == "damping" else jnp.ones(n)

    def start(w: Any, drives: Any) -> Any:
        if row == "monotone":
            return st.monotone_start(w, margin)
        if row == "normalization":
            return st.normalize(w, margin=margin)
        return first_stable(w, drives) if row == "projection" else w

    def holds(w: Any, z: Any, drives: Any) -> tuple[Any, Any]:
        """Whether the states that z relaxes to decay, with half the margin; and these states."""
        z = rest(z, w, jnp.ones(n), drives, config.horizon)
        decays = st.abscissa(w, 1 - jnp.tanh(z) ** 2).max() <= -margin / 2
        return decays & (residual(z, w, 1.0, drives) <= 1e-2), z

    def first_stable(w: Any, drives: Any) -> Any:
        """The start scaled by 0.9 until its states from 0 decay."""

        def found(factor: Any) -> Any:
            zero = rest(jnp.zeros_like(drives), factor * w, jnp.ones(n), drives, config.last)
            return holds(factor * w, zero, drives)[0]

        return w * jax.lax.while_loop(lambda f: ~found(f), lambda f: 0.9 * f, jnp.asarray(1.0))

    def projected(old: Any, new: Any, z: Any, drives: Any) -> Any:
        """alpha <= -margin at the slopes of the present states; then as much of the move as keeps it below 0."""
        aim = st.project_abscissa(new, 1 - jnp.tanh(z) ** 2, margin=margin, steps=config.projections).weights

        def shorter(part: Any) -> Any:
            return jnp.where(part > 1e-3, part / 4, 0.0)  # 1, 1/4 ... 1/1024, then the weights stay as they were

        def fails(part: Any) -> Any:
            return (part > 0) & ~holds(old + part * (aim - old), z, drives)[0]

        return old + jax.lax.while_loop(fails, shorter, jnp.asarray(1.0)) * (aim - old)

    def slope(gradient: Any, parameters: Any, w: Any, z: Any, key: Any) -> Any:
        slopes = 1 - jnp.tanh(z) ** 2
        if row == "monotone":
            return st.monotone_gradient(parameters, gradient)
        if row == "log_norm":
            more = jax.vmap(lambda d: st.log_norm_penalty(w, d, margin=margin)[1])(slopes)
            return gradient + config.log_norm * more.mean(0)
        if row == "homeostasis":
            probes = jax.random.normal(key, slopes.shape)
            more = jax.vmap(lambda d, u: st.asymmetry_penalty(w, d, u)[1])(slopes, probes)
            return gradient + config.homeostasis * more.mean(0)
        return gradient

    def train(weights: Any, drives: Any, targets: Any, key: Any) -> Trained:
        def update(carry: Any, step: Any) -> Any:
            parameters, z = carry
            w, leak = built(parameters)
            z = rest(z, w, leak, drives, config.horizon)
            loss, gradient = loss_and_gradient(z, w, leak, targets)
            down = slope(gradient, parameters, w, z, jax.random.fold_in(key, step))
            moved = jax.tree.map(lambda p, g: p - rate * g, parameters, down)
            if row == "normalization":
                moved = st.normalize(moved, margin=margin)
            if row == "projection":
                moved = projected(parameters, moved, z, drives)
            return (moved, z), loss

        parameters = start(weights, drives)
        z = rest(jnp.zeros_like(drives), *built(parameters), drives, config.last)
        (parameters, z), losses = jax.lax.scan(update, (parameters, z), jnp.arange(config.updates))
        w, leak = built(parameters)
        z = rest(z, w, leak, drives, config.last, FINER)
        loss = loss_and_gradient(z, w, leak, targets)[0]
        return Trained(losses, loss, residual(z, w, leak, drives), w, leak, z)

    return jax.jit(jax.vmap(train))


def measure_training(config: Config, seed: int, stabilizer: str) -> xr.Dataset:
    """Losses of a seed's networks under one stabilizer, whether they diverged, and the panel of where they ended."""
    import jax

    task = tasks(config, seed)
    keys = jax.random.split(jax.random.key(seed), config.networks)
    done = Trained(*(np.asarray(part) for part in trainer(config, stabilizer)(*task, keys)))
    passive = stabilizer == "monotone"
    ends = zip(done.weights, done.leak, done.z, strict=True)
    panels = [panel(w, leak, z, passive=passive) for w, leak, z in ends]
    found = {name: ("network", np.array([p[name] for p in panels])) for name in panels[0]}
    losses = np.column_stack([done.losses, done.loss])
    data = xr.Dataset(
        {"loss": (("network", "update"), losses), "residual": ("network", done.residual), **found},
        {"network": np.arange(config.networks), "update": np.arange(config.updates + 1)},
    )
    broken = ~np.isfinite(losses).all(1)
    unsettled = ~(done.residual <= SETTLED)
    unstable = ~(data.alpha.values <= 0)
    return data.assign(
        broken=("network", broken),
        unsettled=("network", unsettled),
        unstable=("network", unstable),
        diverged=("network", broken | unsettled | unstable),
    )


def measure_calm(config: Config, seed: int, stabilizer: str) -> xr.Dataset:
    """The same for networks with a small initial gain, most of which learn without a stabilizer."""
    calm = config.model_copy(update={"gain": config.calm, "networks": config.calm_networks})
    return measure_training(calm, seed, stabilizer)


def panel(weights: np.ndarray, leak: np.ndarray, z: np.ndarray, *, passive: bool) -> dict[str, float]:
    """Panel of the worst pattern; if `passive`, also of the passive circuit with these states at rest."""
    slopes = 1 - np.tanh(z) ** 2
    out = dict.fromkeys((*_PANEL, *(f"passive_{name}" for name in _PANEL)), np.nan)
    jacobians = weights * slopes[:, None, :] - np.diag(leak)
    if not np.isfinite(jacobians).all():
        return out
    out |= numbers(jacobians)
    with np.errstate(divide="ignore"):
        clamps = 1 / slopes - 1
    if passive and np.isfinite(clamps).all():
        turned = np.stack([weights - np.eye(len(leak)) - np.diag(clamp) for clamp in clamps])
        out |= {f"passive_{name}": value for name, value in numbers(turned).items()}
    return out


def numbers(jacobians: np.ndarray) -> dict[str, float]:
    """Largest alpha, omega and rho of J [patterns, n, n]; growth at the pattern with the largest omega."""
    from analogep.diagnostics import peak_growth, rho_sinv_a, split

    alphas = np.linalg.eigvals(jacobians).real.max(1)
    omegas = np.array([np.linalg.eigvalsh(split(j)[0])[-1] for j in jacobians])
    return {
        "alpha": float(alphas.max()),
        "omega": float(omegas.max()),
        "rho": max(rho_sinv_a(-j) for j in jacobians),
        "growth": peak_growth(jacobians[int(np.argmax(omegas))]) if alphas.max() < 0 else float("inf"),
    }
