"""Running one lane over the tokens: each settles with the keys and values of those before it held in gain cells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.compile.schedule import SELECT, UNWRITTEN, held
from analogep.compile.transformer import INPUT
from analogep.netlist._types import Array, Parameters, Voltages
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

    def one(store: dict[str, Array], item: tuple[Array, Array]) -> tuple[dict[str, Array], tuple]:
        place, row = item
        x = lane_rails(lane, place, row, store)
        done = settle_near(lane, x, theta, options=options)
        v = lane.voltages(done.v, x, theta)
        written = {bus: charges.at[place].set(v[bus][0]) for bus, charges in store.items()}
        return written, (of_token(lane, v), done.residual, done.converged, done.steps, done.time)

    items = (jnp.arange(len(tokens)), jnp.asarray(tokens))
    return Sequence(*jax.lax.scan(one, empty_stores(lane), items)[1])


def lane_rails(lane: Circuit, place: Array, row: Array, stores: Mapping[str, Array]) -> dict[str, Array]:
    """Voltages of a lane's rails while it stands at one token.

    Parameters
    ----------
    place : the token's number.
    row : its input voltages [inputs].
    stores : charges of `k` and `v`, [tokens, channels] each (volts); rows from `place` on are switched off.
    """
    heads, _, count = lane.netlist.shape(UNWRITTEN)
    later = jnp.broadcast_to(jnp.arange(count) > place, (heads, 1, count))
    return {
        INPUT: row[None],
        SELECT: lane.scale.volts * (jnp.arange(count) == place),
        UNWRITTEN: lane.scale.volts * later,
        **{held(bus): charges for bus, charges in stores.items()},
    }


def empty_stores(lane: Circuit) -> dict[str, Array]:
    """Stores of a lane's keys and values with nothing in them."""
    return {bus: jnp.zeros(lane.netlist.shape(held(bus))) for bus in (KEYS, VALUES)}


def of_token(lane: Circuit, v: Voltages) -> dict[str, Array]:
    """The rows of the token at which a lane stands, of the buses that have one."""
    return {name: v[name][0] for name, bus in lane.netlist.buses.items() if name in v and bus.shape[:1] == (1,)}
