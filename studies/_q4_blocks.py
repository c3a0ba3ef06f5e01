"""Transformer blocks: F(z) as written, with its own oracle, in Euler steps as BPTT takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._blocks import SIZES, random_block
from ._q4_phases import BETA, LOOSE, NUDGE, TIGHT, compared, multipliers, nudged_steps, relax, stopped

if TYPE_CHECKING:
    from .q4 import Config


def measure_block(config: Config, seed: int, attention: str) -> xr.Dataset:
    """The same on an equilibrium transformer with random weights; lambda is contracted with dF/dtheta."""
    import jax
    import jax.numpy as jnp

    from analogep.ep import oracle
    from analogep.models.objective import cross_entropy

    model, weights, batch = random_block(attention, seed, 4)
    data = (batch.inputs, batch.targets, batch.weights)
    x, y, w = (jnp.asarray(part[0]) for part in data)
    shape, dt, residuals = (
        (SIZES["tokens"], SIZES["channels"]),
        0.2,
        sorted({*config.block_residuals, TIGHT, LOOSE})[::-1],
    )

    def at(z: Any) -> Any:
        return model.force(z.reshape(shape), x, weights).ravel()

    def downhill(z: Any) -> Any:
        return -jax.jacfwd(lambda z: cross_entropy(model.logits(z.reshape(shape), weights), y, w))(z)

    @jax.jit
    def free() -> tuple[Any, Any]:
        def ahead(z: Any, _: Any) -> tuple[Any, Any]:
            z = relax(at, z, 1, dt, euler=True)
            return z, (z, jnp.linalg.norm(at(z)) / jnp.linalg.norm(z))

        return jax.lax.scan(ahead, jnp.zeros(shape[0] * shape[1]), length=1000)[1]

    def estimates(z: Any, steps: Any) -> dict[str, Any]:
        return multipliers(at, downhill, z, steps, BETA, dt, euler=True)

    def flat(gradient: dict[str, Any]) -> np.ndarray:
        return np.concatenate([np.ravel(gradient[name]) for name in sorted(gradient)])

    states, residual = (np.asarray(part) for part in free())
    stops, reached = stopped(residual, residuals)
    multiplied = jax.jit(jax.vmap(estimates))(states[stops], nudged_steps(NUDGE, stops))
    z = states[stops].reshape(-1, 1, *shape)
    found = {
        name: np.stack([[flat(oracle.contract(model, weights, at_stop, each.reshape(1, *shape), *data))]
                        for at_stop, each in zip(z, lam, strict=True)])
        for name, lam in multiplied.items()
    }  # fmt: skip
    unrolled = [oracle.bptt(model, weights, *data, steps=int(stop) + 1, dt=dt).gradient for stop in stops]
    implicit = oracle.implicit(model, weights, states[-1].reshape(1, *shape), *data)
    out = compared(found, flat(implicit.gradient), np.stack([flat(g) for g in unrolled]), residuals, [BETA], reached)
    jacobian = np.asarray(jax.jacfwd(at)(states[-1]))
    return out.assign(
        time=("residual", (stops + 1) * dt, {"units": "tau"}), abscissa=float(np.linalg.eigvals(jacobian).real.max())
    )
