"""Running one lane over the tokens: each settles with the keys and values of those before it held in gain cells."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.compile.schedule import SELECT, UNWRITTEN, held
from analogep.compile.transformer import INPUT
from analogep.netlist._types import Array, Parameters
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions, settle_near

KEYS, VALUES = "k", "v"
DEFAULT = SettleOptions()


class Sequence(NamedTuple):
    """A sequence that settled token after token.

    Attributes
    ----------
    v : voltages of the lane's buses, each token's row after row: [tokens, ...] for `z`, `k`, `logits`, ...
    residual, converged, steps, time : of each token [tokens], as in `Settled`; latencies add up.
    """

    v: dict[str, jax.Array]
    residual: jax.Array
    converged: jax.Array
    steps: jax.Array
    time: jax.Array


@partial(jax.jit, static_argnames=("lane", "options"))
def settle_sequence(lane: Circuit, tokens: Array, theta: Parameters, *, options: SettleOptions = DEFAULT) -> Sequence:
    """Settle the tokens one after another.

    Parameters
    ----------
    lane : circuit of `compile_lane`.
    tokens : input voltages [tokens, inputs].
    theta : conductances (siemens).
    """
    volts, count = lane.scale.volts, len(tokens)
    shapes = {bus: lane.netlist.shape(held(bus)) for bus in (KEYS, VALUES)}
    heads = lane.netlist.shape(UNWRITTEN)[0]
    single = {name for name, bus in lane.netlist.buses.items() if bus.shape[:1] == (1,)}

    def one(store: dict[str, Array], item: tuple[Array, Array]) -> tuple[dict[str, Array], tuple]:
        place, row = item
        later = jnp.broadcast_to(jnp.arange(count) > place, (heads, 1, count))
        x = {
            INPUT: row[None],
            SELECT: volts * (jnp.arange(count) == place),
            UNWRITTEN: volts * later,
            **{held(bus): charges for bus, charges in store.items()},
        }
        done = settle_near(lane, x, theta, options=options)
        v = lane.voltages(done.v, x, theta)
        written = {bus: charges.at[place].set(v[bus][0]) for bus, charges in store.items()}
        kept = {name: v[name][0] for name in single}
        return written, (kept, done.residual, done.converged, done.steps, done.time)

    empty = {bus: jnp.zeros(shape) for bus, shape in shapes.items()}
    _, found = jax.lax.scan(one, empty, (jnp.arange(count), jnp.asarray(tokens)))
    return Sequence(*found)
