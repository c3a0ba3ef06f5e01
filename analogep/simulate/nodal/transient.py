"""Transients of nodal systems: from the operating point or from initial conditions, on the integrator's own steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from analogep.errors import ConvergenceError, NetlistError
from analogep.netlist._types import Array, Parameters
from analogep.netlist.elements import Capacitor, Inductor
from analogep.netlist.waveforms import Waveform
from analogep.simulate.nodal.conditions import check_capacitors
from analogep.simulate.nodal.dae import Implicit
from analogep.simulate.nodal.failures import settled, singular_named, without_number
from analogep.simulate.nodal.newton import Root, newton
from analogep.simulate.nodal.operating_point import operating_point, tolerances
from analogep.simulate.nodal.system import Nodal

CHUNK, NUMBERS = 1024, 4_000_000
"""Steps that one compiled call takes, and numbers that it returns, at most; a run is as many calls as it needs."""
SHORTEST = 1e-14
"""A refused step of this share of the run ends it; corners closer than a hundred of them are one."""


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
    return _apart([t for wave in waves for t in wave.breakpoints(stop)], stop)


def _apart(times: Sequence[float], stop: float) -> tuple[float, ...]:
    """Those strictly inside the run, rising, without neighbors that differ by rounding."""
    found: list[float] = []
    for t in sorted(times):
        if (t - (found[-1] if found else 0.0)) > 100 * SHORTEST * stop and t < stop * (1 - 100 * SHORTEST):
            found.append(t)
    return tuple(found)


def initial_state(nodal: Nodal, theta: Parameters, conditions: Mapping[str, float], step: float) -> Array:
    """State at t = 0 from initial conditions (`uic`).

    As in SPICE, nodes start at their condition or else at 0 V, and a capacitor or an inductor with an `initial` of its
    own has the charge or flux of that. One implicit Euler step of length `step` keeps all charge and flux, and makes
    what has no memory fit them.

    Raises
    ------
    NetlistError
        If conditions contradict each other, or name a node that is not in the circuit.
    ConvergenceError
        If no state fits them.
    """
    check_capacitors(nodal.netlist, conditions)
    guess, extra = np.zeros(nodal.size + 1), np.zeros(nodal.size + 1)
    for node, volts in conditions.items():
        if node not in nodal.nodes:
            raise NetlistError(f"initial condition for node {node!r}, which is not in the circuit")
        guess[nodal.place[node]] = volts
    for element in nodal.netlist:
        if isinstance(element, Inductor) and element.initial is not None:
            guess[nodal.place[element.branch]] = element.initial
        elif isinstance(element, Capacitor) and element.initial is not None:
            a, b = nodal.place[element.a], nodal.place[element.b]
            lacking = float(nodal.value(f"{element.name}.farads", theta)) * (element.initial - guess[a] + guess[b])
            extra[a] += lacking
            extra[b] -= lacking
    x0 = jnp.asarray(guess[:-1])
    with singular_named("initial conditions", nodal, x0, theta):
        root = settled(_euler(nodal, theta, x0, jnp.asarray(extra[:-1]), step))
    if not bool(root.converged):
        raise ConvergenceError("no state fits the initial conditions (uic); give .ic values, or leave uic out")
    return root.x


@partial(jax.jit, static_argnames=("nodal",))
def _euler(nodal: Nodal, theta: Parameters, x0: Array, extra: Array, step: Array | float) -> Root:
    """One implicit Euler step from the charges at x0 and some more."""
    q0 = nodal.charge(x0, theta) + extra

    def equations(x: Array) -> tuple[Array, Array]:
        i, q, di, dq = nodal.linearized(x, theta, 0.0)
        return (q - q0) / step + i, di + dq / step

    return newton(equations, nodal.pattern, x0, absolute=tolerances(nodal), junctions=nodal.junctions)


def _measured(nodal: Nodal) -> np.ndarray:
    """Unknowns whose error steers the step: nodes and inductor currents; a source's current follows from them."""
    inductors = {e.branch for e in nodal.netlist if isinstance(e, Inductor)}
    return np.array([k < len(nodal.nodes) or name in inductors for k, name in enumerate(nodal.unknowns)])


class _Controller(diffrax.PIDController):
    """Ends steps at `stops` without leaving slivers before them, and gives up when a short step is refused.

    A sliver of a few roundings would divide charges by nothing, and currents would be noise.
    """

    stops: Any = None
    """Rising times, the last one the end of the run."""

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        end, state = super().init(terms, t0, t1, y0, dt0, args, func, error_order)
        return self._fitted(t0, end), state

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        keep, start, end, jumped, state, result = super().adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
        )
        result = diffrax.RESULTS.where(~keep & (t1 - t0 < SHORTEST), diffrax.RESULTS.dt_min_reached, result)
        return keep, start, self._fitted(start, end), jumped, state, result

    def _fitted(self, start, end):
        """End of a step: at the next stop where it is near, halfway to it where a sliver would remain."""
        place = jnp.searchsorted(self.stops, start + 10 * SHORTEST, side="right")
        stop = self.stops[jnp.minimum(place, len(self.stops) - 1)]
        ahead, step = stop - start, end - start
        return jnp.where(ahead <= 1.1 * step, stop, jnp.where(ahead < 2 * step, start + ahead / 2, end))


def _solution(nodal, theta, x0, span, first, options, clock, differentiated, saveat, steps, jumps):
    """diffrax's solution over `span` (units of `clock` seconds)."""
    measured = _measured(nodal)
    absolute = np.where(nodal.is_node, options.volts, options.amperes)
    # the current of a source is a small difference of large ones: rounding must not keep a step from being accepted
    small = np.where(measured, 1e-2 * absolute, np.inf)
    controller: diffrax.AbstractStepSizeController = _Controller(
        rtol=options.rtol,
        atol=absolute,
        dtmax=(np.inf if options.max_step is None else options.max_step / clock),
        stops=jnp.sort(jnp.append(jumps / clock, span[1])),
        # the worst unknown decides, not the mean: one switching node among many at rest must be resolved
        norm=lambda e: jnp.max(jnp.where(measured, jnp.abs(e), 0.0)),
    )
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


@partial(jax.jit, static_argnames=("nodal", "options", "clock", "steps"))
def _chunk(nodal, theta, x0, span, first, options, clock, steps, jumps):
    """At most `steps` steps, all of them kept."""
    saveat = diffrax.SaveAt(steps=True)
    return _solution(nodal, theta, x0, span, first, options, clock, False, saveat, steps, jumps)


def chunk(size: int) -> int:
    """Steps of one compiled call for a circuit of `size` unknowns."""
    return int(np.clip(NUMBERS // size, 16, CHUNK))


def transient(
    nodal: Nodal,
    stop: float,
    *,
    theta: Parameters | None = None,
    x0: Array | None = None,
    first_step: float | None = None,
    options: TransientOptions = TransientOptions(),
    stops: Sequence[float] = (),
    progress: bool = False,
) -> Waves:
    """Integrate to `stop` seconds and keep every step.

    Parameters
    ----------
    x0 : state at t = 0; the operating point when None.
    first_step : seconds; a millionth of the run when None. The controller finds its own from there.
    stops : times at which a step must end, so that nothing is interpolated there (seconds).
    progress : a progress bar on stderr.

    Raises
    ------
    ConvergenceError
        If the steps become too small or too many; the message has the time reached and the node.
    NetlistError
        If a matrix is singular.
    """
    theta = nodal.theta if theta is None else theta
    x = operating_point(nodal, theta).x if x0 is None else x0
    options = _limited(options, stop)
    jumps = jnp.asarray(_apart([*corners(nodal, stop), *stops], stop), float)
    most = chunk(nodal.size)
    step = 1e-6 if first_step is None else first_step / stop
    pieces_t, pieces_x = [np.zeros(1)], [np.asarray(x)[None]]
    now, taken, rejected = 0.0, 0, 0
    with tqdm(total=1.0, disable=not progress, desc="transient", unit="run", leave=False) as bar:
        while now < 1.0:
            span = jnp.asarray([now, 1.0])
            with singular_named(f"transient after {now * stop:.6g} s", nodal, x, theta):
                done = settled(_chunk(nodal, theta, x, span, step, options, stop, most, jumps))
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
                raise _gave_up(nodal, theta, np.concatenate(pieces_x)[-2:], now * stop, taken, rejected)
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
    jumps, saveat = jnp.asarray(corners(nodal, stop), float), diffrax.SaveAt(t1=True)

    def interval(carry, ends):
        x, step, fine = carry
        done = _solution(nodal, theta, x, ends, step, options, stop, differentiated, saveat, options.max_steps, jumps)
        fine = fine & (done.result == diffrax.RESULTS.successful)
        # the last step was cut at the sample, so the next interval starts with the mean of this one's
        step = jnp.maximum(2 * (ends[1] - ends[0]) / jnp.maximum(done.stats["num_accepted_steps"], 1), first)
        return (done.ys[-1], step, fine), done.ys[-1]

    edges = np.concatenate([[0.0], np.asarray(times) / stop])
    ends = jnp.asarray(np.stack([edges[:-1], edges[1:]], axis=1))
    (_, _, fine), xs = jax.lax.scan(interval, (jnp.asarray(x0, float), jnp.asarray(first), jnp.asarray(True)), ends)
    return xs, fine


def _limited(options: TransientOptions, stop: float) -> TransientOptions:
    longest = stop / 50 if options.max_step is None else options.max_step
    return TransientOptions(options.rtol, options.volts, options.amperes, longest, options.max_steps)


def _gave_up(
    nodal: Nodal, theta: Parameters, last: np.ndarray, time: float, taken: int, rejected: int
) -> ConvergenceError:
    """The error at the last two states."""
    begun = f"the transient gave up at {time:.6g} s after {taken} steps ({rejected} refused)"
    ahead = 2 * last[-1] - last[0]
    wrong = without_number(nodal, last[-1], theta, time) or without_number(nodal, ahead, theta, time)
    if wrong:
        return ConvergenceError(f"{begun}: {wrong} gives no finite number there; limit the arguments of its functions")
    moved = np.abs(last[-1] - last[0]) * nodal.is_node
    return ConvergenceError(
        f"{begun}; node {nodal.unknowns[int(np.argmax(moved))]!r} moved fastest: look for a jump that nothing limits "
        "there, or loosen rtol"
    )
