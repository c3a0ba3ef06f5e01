"""Transients of nodal systems: from the operating point or from initial conditions, on the integrator's own steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters
from analogep.netlist.elements import Capacitor, Inductor
from analogep.netlist.waveforms import Waveform
from analogep.simulate.nodal.dae import Implicit
from analogep.simulate.nodal.newton import newton
from analogep.simulate.nodal.operating_point import _held, operating_point, tolerances
from analogep.simulate.nodal.system import Nodal

CHUNK = 1024
"""Steps that one compiled call takes; a run is as many calls as it needs."""


@dataclass(frozen=True)
class TransientOptions:
    """Accuracy and limits of a transient.

    Parameters
    ----------
    rtol : error of a step over the unknown's largest value so far in the step.
    volts, amperes : absolute errors of a step that do not count (node voltages; inductor currents).
    max_step : longest step (seconds); a fiftieth of the run when None, as in SPICE.
    max_steps : steps after which the run is given up.
    """

    rtol: float = 1e-6
    volts: float = 1e-7
    amperes: float = 1e-12
    max_step: float | None = None
    max_steps: int = 1_000_000


class Waves(NamedTuple):
    """States over time: `times` [points] in seconds, `x` [points, unknowns], and steps taken and refused."""

    times: np.ndarray
    x: np.ndarray
    steps: int
    rejected: int


def corners(nodal: Nodal, stop: float) -> tuple[float, ...]:
    """Times at which the waveform of a source has a corner, strictly inside the run."""
    waves = [w for e in nodal.netlist if isinstance(w := getattr(e, "value", None), Waveform)]
    return tuple(sorted({t for wave in waves for t in wave.breakpoints(stop) if 0 < t < stop}))


def initial_state(nodal: Nodal, theta: Parameters, conditions: Mapping[str, float], step: float) -> Array:
    """State at t = 0 from initial conditions (`uic`): nodes as given and the others 0 V, capacitors and inductors as
    their `initial` says; then what has no memory is made to fit them, by one implicit Euler step of length `step`."""
    guess = jnp.zeros(nodal.size)
    given = _held(nodal, conditions)
    if given is not None:
        guess = jnp.where(given.mask, given.value, guess)
    for element in nodal.netlist:
        value = getattr(element, "initial", None)
        if value is None:
            continue
        if isinstance(element, Inductor):
            guess = guess.at[nodal.place[element.branch]].set(value)
        elif isinstance(element, Capacitor):
            guess = _across(nodal, guess, element, value, conditions)
    return _euler(nodal, theta, guess, step)


def _across(nodal: Nodal, guess: Array, element: Capacitor, volts: float, conditions: Mapping[str, float]) -> Array:
    """The capacitor's voltage, put on the terminal that no initial condition holds."""
    full = jnp.append(guess, 0.0)
    a, b = nodal.place[element.a], nodal.place[element.b]
    if element.a != "0" and element.a not in conditions:
        return guess.at[a].set(full[b] + volts)
    return guess.at[b].set(full[a] - volts) if element.b != "0" else guess


@partial(jax.jit, static_argnames=("nodal",))
def _euler(nodal: Nodal, theta: Parameters, x0: Array, step: Array | float) -> Array:
    """One implicit Euler step."""
    q0 = nodal.charge(x0, theta)

    def equations(x: Array) -> tuple[Array, Array]:
        i, q, di, dq = nodal.linearized(x, theta, 0.0)
        return (q - q0) / step + i, di + dq / step

    return newton(equations, nodal.pattern, x0, absolute=tolerances(nodal)).x


def _measured(nodal: Nodal) -> np.ndarray:
    """Unknowns whose error steers the step: nodes and inductor currents; a source's current follows from them."""
    inductors = {e.branch for e in nodal.netlist if isinstance(e, Inductor)}
    return np.array([k < len(nodal.nodes) or name in inductors for k, name in enumerate(nodal.unknowns)])


def _solution(nodal, theta, x0, span, first, options, clock, differentiated, saveat, steps, jumps):
    """diffrax's solution over `span` (units of `clock` seconds)."""
    measured = _measured(nodal)
    absolute = np.where(nodal.is_node, options.volts, options.amperes)
    # the current of a source is a small difference of large ones: rounding must not keep a step from being accepted
    small = np.where(measured, 1e-2 * absolute, np.inf)
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(
        rtol=options.rtol,
        atol=absolute,
        dtmax=(np.inf if options.max_step is None else options.max_step / clock),
        dtmin=1e-14,
        # the worst unknown decides, not the mean: one switching node among many at rest must be resolved
        norm=lambda e: jnp.max(jnp.where(measured, jnp.abs(e), 0.0)),
    )
    if jumps:
        controller = diffrax.ClipStepSizeController(controller, jump_ts=jnp.asarray(jumps) / clock)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: jnp.zeros_like(y)),
        Implicit(nodal, clock, small, differentiated=differentiated),
        t0=span[0],
        t1=span[1],
        dt0=first,
        y0=x0,
        args=theta,
        saveat=saveat,
        stepsize_controller=controller,
        max_steps=steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )


@partial(jax.jit, static_argnames=("nodal", "options", "clock", "steps", "jumps"))
def _chunk(nodal, theta, x0, span, first, options, clock, steps, jumps):
    """At most `steps` steps, all of them kept."""
    saveat = diffrax.SaveAt(steps=True)
    return _solution(nodal, theta, x0, span, first, options, clock, False, saveat, steps, jumps)


def transient(
    nodal: Nodal,
    stop: float,
    *,
    theta: Parameters | None = None,
    x0: Array | None = None,
    first_step: float | None = None,
    options: TransientOptions = TransientOptions(),
    progress: bool = False,
) -> Waves:
    """Integrate to `stop` seconds and keep every step.

    Parameters
    ----------
    x0 : state at t = 0; the operating point when None.
    first_step : seconds; a millionth of the run when None. The controller finds its own from there.
    progress : a progress bar on stderr.

    Raises
    ------
    ConvergenceError
        If the steps become too small or too many; the message has the time reached and the node.
    """
    theta = nodal.theta if theta is None else theta
    x = operating_point(nodal, theta).x if x0 is None else x0
    options = _limited(options, stop)
    jumps = corners(nodal, stop)
    step = 1e-6 if first_step is None else first_step / stop
    pieces_t, pieces_x = [np.zeros(1)], [np.asarray(x)[None]]
    now, taken, rejected = 0.0, 0, 0
    with tqdm(total=1.0, disable=not progress, desc="transient", unit="run", leave=False) as bar:
        while now < 1.0:
            done = _chunk(nodal, theta, x, jnp.asarray([now, 1.0]), step, options, stop, CHUNK, jumps)
            count = int(done.stats["num_accepted_steps"])
            rejected += int(done.stats["num_rejected_steps"])
            taken += count
            ts, xs = np.asarray(done.ts)[:count], np.asarray(done.ys)[:count]
            if count:
                step = float(ts[-1] - (ts[-2] if count > 1 else now)) or step
                now, x = float(ts[-1]), done.ys[count - 1]
                pieces_t.append(ts * stop)
                pieces_x.append(xs)
                bar.update(now - bar.n)
            stuck = not count or not bool(jnp.all(jnp.isfinite(x)))
            unfinished = done.result not in (diffrax.RESULTS.successful, diffrax.RESULTS.max_steps_reached)
            if stuck or unfinished or taken > options.max_steps:
                raise _gave_up(nodal, np.concatenate(pieces_x), now * stop, taken, rejected)
    return Waves(np.concatenate(pieces_t), np.concatenate(pieces_x), taken, rejected)


def sampled(
    nodal: Nodal,
    times: Array,
    theta: Parameters,
    x0: Array,
    *,
    options: TransientOptions = TransientOptions(),
    first_step: float | None = None,
    differentiated: bool = True,
) -> tuple[Array, Array]:
    """States at `times` (seconds, rising, the first one >= 0), and whether the run succeeded.

    To be traced: batch it with vmap, differentiate it by theta and x0 in forward mode. Steps end at every sample, so
    nothing is interpolated. Without `differentiated` it compiles faster and its derivatives are zero.
    """
    stop = float(times[-1])
    options = _limited(options, stop)
    first = 1e-6 if first_step is None else first_step / stop
    jumps, saveat = corners(nodal, stop), diffrax.SaveAt(t1=True)

    def interval(carry, ends):
        x, step, fine = carry
        done = _solution(
            nodal, theta, x, ends, step, options, stop, differentiated, saveat, options.max_steps, jumps
        )
        fine = fine & (done.result == diffrax.RESULTS.successful)
        # the last step was cut at the sample, so the next interval starts with the mean of this one's
        step = 2 * (ends[1] - ends[0]) / jnp.maximum(done.stats["num_accepted_steps"], 1)
        return (done.ys[-1], step, fine), done.ys[-1]

    edges = np.concatenate([[0.0], np.asarray(times) / stop])
    ends = jnp.asarray(np.stack([edges[:-1], edges[1:]], axis=1))
    (_, _, fine), xs = jax.lax.scan(interval, (jnp.asarray(x0, float), jnp.asarray(first), jnp.asarray(True)), ends)
    return xs, fine


def _limited(options: TransientOptions, stop: float) -> TransientOptions:
    longest = stop / 50 if options.max_step is None else options.max_step
    return TransientOptions(options.rtol, options.volts, options.amperes, longest, options.max_steps)


def _gave_up(nodal: Nodal, xs: np.ndarray, time: float, taken: int, rejected: int) -> ConvergenceError:
    moved = np.abs(np.diff(xs[-2:], axis=0)).max(0) if len(xs) > 1 else np.zeros(nodal.size)
    node = nodal.unknowns[int(np.argmax(moved * nodal.is_node))]
    return ConvergenceError(
        f"the transient gave up at {time:.6g} s after {taken} steps ({rejected} refused); node {node!r} moved fastest: "
        "look for a jump that nothing limits there, or loosen rtol"
    )
