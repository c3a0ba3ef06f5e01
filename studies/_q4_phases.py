"""Phases that start where a free phase was stopped, what estimators make of them, and the two targets beside them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

FAITHFUL = 0.1
"""Relative error up to which a gradient follows another: cosine >= 0.995 and lengths within 10 %."""
TIGHT, LOOSE = 1e-4, 1e-2
"""The residuals that the question names."""
BETA, NUDGE = 1e-3, 1.0
"""Of the main curves: analogep's default nudge, and phases as long as the free one."""


@dataclass(frozen=True)
class Row:
    """An estimator as the state of phases: lambda from the stopped state, the ends of the phases, and beta.

    `exact` : equal to the implicit gradient at any asymmetry, once settled and for beta -> 0.
    `nudges` : whether it is an EP estimator, a contrast of nudged states.
    """

    label: str
    multiplier: Callable[[Any, dict[str, Any], Any], Any]
    exact: bool
    nudges: bool = True


ROWS = {
    "vector_field_ep_one_sided": Row("plain EP, one-sided", lambda z, end, b: (end["nudged+"] - z) / b, False),
    "vector_field_ep": Row("plain EP, centred", lambda z, end, b: (end["nudged+"] - end["nudged-"]) / (2 * b), False),
    "asym_ep_one_sided": Row("AsymEP, one-sided", lambda z, end, b: (end["corrected+"] - z) / b, True),
    "asym_ep": Row("AsymEP, centred", lambda z, end, b: (end["corrected+"] - end["corrected-"]) / (2 * b), True),
    "twin": Row("transposed twin", lambda z, end, b: end["twin"], True, nudges=False),
}


def relax(rate: Callable, start: Any, steps: Any, dt: float, *, euler: bool = False) -> Any:
    """A tree of states after `steps` steps of d state/dt = rate(state): Runge and Kutta's four stages, or Euler's."""
    import jax

    def ahead(state: Any, slope: Any, by: float) -> Any:
        return jax.tree.map(lambda s, k: s + by * dt * k, state, slope)

    def step(_: Any, state: Any) -> Any:
        a = rate(state)
        if euler:
            return ahead(state, a, 1.0)
        b = rate(ahead(state, a, 0.5))
        c = rate(ahead(state, b, 0.5))
        d = rate(ahead(state, c, 1.0))
        return jax.tree.map(lambda s, a, b, c, d: s + dt / 6 * (a + 2 * b + 2 * c + d), state, a, b, c, d)

    return jax.lax.fori_loop(0, steps, step, start)


def multipliers(
    force: Callable, push: Callable, z: Any, steps: Any, beta: Any, dt: float, **how: bool
) -> dict[str, Any]:
    """lambda by every row: the phases start at the stopped state z [n] and last `steps`.

    `force` is F(z), `push` the nudge -dL/dz. What AsymEP injects and the twin's network are taken at z, as a circuit
    that stopped there would have them.
    """
    import jax
    import jax.numpy as jnp

    conductance = -jax.jacfwd(force)(z)
    twice_a = conductance - conductance.T
    ahead = push(z)

    def rate(at: dict[str, Any]) -> dict[str, Any]:
        out = {"twin": ahead - conductance.T @ at["twin"]}
        for sign, strength in (("+", beta), ("-", -beta)):
            plain, corrected = at[f"nudged{sign}"], at[f"corrected{sign}"]
            out[f"nudged{sign}"] = force(plain) + strength * push(plain)
            out[f"corrected{sign}"] = force(corrected) + twice_a @ (corrected - z) + strength * push(corrected)
        return out

    start = {**dict.fromkeys(("nudged+", "nudged-", "corrected+", "corrected-"), z), "twin": jnp.zeros_like(z)}
    end = relax(rate, start, steps, dt, **how)
    return {name: row.multiplier(z, end, beta) for name, row in ROWS.items()}


def stopped(residual: np.ndarray, levels: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which the residual first falls to each level, and whether it ever does."""
    below = residual <= np.array(levels)[:, None]
    return below.argmax(axis=1), below.any(axis=1)


def nudged_steps(nudge: float, stops: np.ndarray) -> np.ndarray:
    """Steps of the phases that follow a free phase stopped at `stops`."""
    return np.maximum(1, np.rint(nudge * (stops + 1))).astype(int)


def compared(
    found: dict[str, np.ndarray],
    implicit: np.ndarray,
    finite: np.ndarray,
    residuals: list[float],
    betas: np.ndarray,
    ok: np.ndarray,
) -> xr.Dataset:
    """Fidelity of every row to both targets, and of the targets to each other.

    Parameters
    ----------
    found : row -> gradients [residual, beta, ...].
    implicit, finite : targets [...] and [residual, ...].
    ok : residuals [residual] that were reached; the others become NaN.
    """
    from analogep.ep.fidelity import fidelity

    targets = {"implicit": np.broadcast_to(implicit, finite.shape), "finite_time": finite}
    shape = (len(ROWS), len(targets), len(residuals), len(betas))
    cosine, error, ratio = (np.full(shape, np.nan) for _ in range(3))
    gap, gap_cosine = np.full(len(residuals), np.nan), np.full(len(residuals), np.nan)
    for k in np.flatnonzero(ok):
        between = fidelity({"w": finite[k]}, {"w": implicit})[0]
        gap[k], gap_cosine[k] = between.relative_error, between.cosine
        for (i, row), (j, target), b in itertools.product(enumerate(ROWS), enumerate(targets), range(len(betas))):
            one = fidelity({"w": found[row][k, b]}, {"w": targets[target][k]})[0]
            cosine[i, j, k, b], error[i, j, k, b], ratio[i, j, k, b] = one.cosine, one.relative_error, one.norm_ratio
    dims = ("row", "target", "residual", "beta")
    return xr.Dataset(
        {
            "cosine": (dims, cosine, {"long_name": "cosine with the target"}),
            "error": (dims, error, {"long_name": "relative error against the target"}),
            "norm_ratio": (dims, ratio),
            "gap": ("residual", gap, {"long_name": "relative error of the finite-time gradient against the implicit"}),
            "gap_cosine": ("residual", gap_cosine),
        },
        {"row": list(ROWS), "target": list(targets), "residual": residuals, "beta": betas},
    )
