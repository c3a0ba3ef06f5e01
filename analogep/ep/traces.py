"""Cheaper ways to carry a run's gradient forward: one random direction, a random rank-one influence, local traces."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from analogep.ep.feedback_alignment import Feedback, fed_back
from analogep.ep.task import Gradient, pushed_by_weights, weight_gradient
from analogep.ep.trajectory import Run, accumulate
from analogep.netlist._types import Array
from analogep.simulate.circuit import Circuit

_FLOOR = 1e-30


@jax.jit
def forward_random(run: Run, key: Array) -> Gradient:
    """Gradient of a run along one random direction of the weights, carried forward: (dL . r) r with random signs r.

    Unbiased for the gradient of the same run; |error|^2 = (p - 1) |gradient|^2 in the mean, for p weights. The price
    is a second copy of the run (n numbers of its linearization) and one sign for each weight, and one number, dL . r,
    broadcast to all. Average over keys with vmap.

    Reference
    ---------
    Silver et al. 2022, "Learning by directional gradient descent"; Baydin et al. 2022, "Gradients without
    backpropagation".
    """
    start, w = run.start, run.w
    signs = jax.random.rademacher(key, w.shape, float)

    def step(state: tuple, when: Array) -> tuple[tuple, None]:
        u, du, total, loss = state
        u, du = jax.jvp(run.step, (u, w), (du, signs))
        return (u, du, total + when * run.slope(u, w, du, signs), loss + when * run.loss(u, w)), None

    begin = (start, jnp.zeros_like(start), jnp.zeros(()), jnp.zeros(()))
    (end, _, total, loss), _ = jax.lax.scan(step, begin, run.reads)
    return run.gradient(total * signs, loss, end, start.size + w.size)


@jax.jit
def uoro(run: Run, key: Array) -> Gradient:
    """Gradient of a run with a random rank-one influence s r^T in the place of RTRL's du/dw (UORO).

    In every step s goes through the linearized circuit, and random signs nu at the nodes are mixed into both factors:
    s <- a J s + b nu, r <- r / a + (nu^T du/dw) / b. The last product is local: nu in the place of lambda. Unbiased
    for the gradient of the same run, because the signs are as often opposite; the variance grows with the number of
    nodes and of steps that the circuit remembers. The price is n + p stored numbers, a linearized second circuit for
    s, a random sign at every node in every step, and the two global norms a and b (which only reduce the variance).

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.

    Reference
    ---------
    Tallec and Ollivier 2018, "Unbiased online recurrent optimization".
    """
    start, w, pull = run.start, run.w, _pull(run)

    def step(state: tuple, drawn: tuple) -> tuple[tuple, None]:
        (u, s, r, total, loss), (when, key) = state, drawn
        nu = jax.random.rademacher(key, u.shape, float)
        local = pull(u, nu)
        u, carried = jax.jvp(lambda u: run.step(u, w), (u,), (s,))
        a, b = _ratio(r, carried), _ratio(local, nu)
        s, r = a * carried + b * nu, r / a + local / b
        now = -jnp.vdot(_push(run, u), s)
        return (u, s, r, total + when * now * r, loss + when * run.loss(u, w)), None

    begin = (start, jnp.zeros_like(start), jnp.zeros_like(w), jnp.zeros_like(w), jnp.zeros(()))
    (end, _, _, total, loss), _ = jax.lax.scan(step, begin, (run.reads, jax.random.split(key, run.steps)))
    return run.gradient(total, loss, end, start.size + w.size)


def _ratio(above: Array, below: Array) -> Array:
    """sqrt(|above| / |below|), 1 where both vanish."""
    return jnp.sqrt((jnp.linalg.norm(above) + _FLOOR) / (jnp.linalg.norm(below) + _FLOOR))


def _push(run: Run, u: Array) -> Array:
    """-dL/du, packed."""
    system = run.task.system
    return system.pack(run.task.push(run.volts(u))) / system.scale.amperes


def _pull(run: Run) -> Callable[[Array, Array], Array]:
    """(u, nu) -> nu^T d(step)/dw: a local product in a circuit whose weights push into states, else dense."""
    system, scale = run.task.system, run.task.system.scale
    if not isinstance(system, Circuit) or system.floating or set(pushed_by_weights(system)) - set(system.states):
        return lambda u, nu: nu @ jax.jacfwd(run.step, 1)(u, run.w)

    def at_terminals(u: Array, nu: Array) -> Array:
        # the step is u - dt tau / volts C^-1 i, so nu weighs di/dg as lambda = -dt tau / volts C^-1 nu would
        post = {
            bus: -run.dt * scale.seconds / scale.volts * values / system.capacitance[bus]
            for bus, values in system.unpack(nu).items()
        }
        per_weight = weight_gradient(system, run.voltages(u, run.w), post, unit=1.0 / scale.siemens)
        return jnp.concatenate([jnp.ravel(per_weight[name]) for name in run.unravel(run.w)])

    return at_terminals


@jax.jit
def eligibility(run: Run, *, feedback: Feedback | None = None) -> Gradient:
    """Gradient of a run from local eligibility traces times a learning signal (e-prop).

    Each weight remembers its influence on the nodes at its own terminals, which leaks as those nodes do by themselves
    (the diagonal of the Jacobian); what passes through other nodes is dropped. The trace is multiplied with the
    instantaneous error at the node. Biased: exact where nodes do not act on one another, and the bias grows with the
    weights (a test measures both). The price is one trace for each weight (and each of its copies), a wire for the
    learning signal, no settles, no variance. (Here the traces are held as a dense n p array.)

    Parameters
    ----------
    feedback : of `random_feedback`; brings a learning signal to nodes that the loss does not look at. None leaves these
        without one.

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.

    Reference
    ---------
    Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons"; Menick
    et al. 2021, "Practical real time recurrent learning with a sparse approximation" (SnAp-1, the same traces).
    """
    directions, still = jnp.eye(run.w.size), jnp.zeros_like(run.start)

    def carry(u: Array, w: Array, influence: Array) -> Array:
        own = jnp.diagonal(jax.jacfwd(run.step)(u, w))
        fresh = jax.vmap(lambda dw: jax.jvp(run.step, (u, w), (still, dw))[1])(directions)
        return own * influence + fresh

    def slope(u: Array, w: Array, influence: Array) -> Array:
        push = run.task.push(run.volts(u))
        signal = push if feedback is None else fed_back(run.task.system, push, feedback)
        return -influence @ run.task.system.pack(signal) / run.task.system.scale.amperes

    return accumulate(run, carry, slope, run.w.size)
