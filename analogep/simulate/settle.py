"""Settling: integrate to a steady state as the circuit would, then polish with Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.cascade import controller, solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import Reduced, Solve
from analogep.simulate.system import System

GROUP = 8
"""Samples that a batch settles together on a CPU: enough to fill the kernels, few enough to stay in its cache."""


@dataclass(frozen=True)
class SettleOptions:
    """How to settle.

    Parameters
    ----------
    horizon : longest time, in units of the system's tau.
    approach : relative residual at which integration stops and polishing starts; at most 1e-3 of the initial one.
    tolerance : relative residual that counts as settled.
    rtol : relative tolerance of the integrator; the absolute one is `rtol` of one unit.
    solver : `auto`, `tsit5` (explicit), `cascade` (implicit in the cells) or `kvaerno3` (implicit, dense Jacobians).
    polish : largest number of Newton steps (twenty times as many chord steps).
    max_steps : largest number of integrator steps.
    """

    horizon: float = 60.0
    approach: float = 1e-4
    tolerance: float = 1e-10
    rtol: float = 1e-6
    solver: Literal["auto", "tsit5", "cascade", "kvaerno3"] = "auto"
    polish: int = 12
    max_steps: int = 200_000


class Settled(NamedTuple):
    """A settled state and how well it settled.

    Attributes
    ----------
    v : state voltages.
    residual : rms of the leaving currents over g0 times the rms voltage.
    converged : integration reached the steady state within the horizon (polishing moved the state by less than 5 % of
        its way), and the residual is within tolerance.
    steps : integrator steps.
    time : settling time in units of tau.
    """

    v: dict[str, jax.Array]
    residual: jax.Array
    converged: jax.Array
    steps: jax.Array
    time: jax.Array

    def require(self, what: str) -> Settled:
        """Itself, if all of it converged.

        Raises
        ------
        ConvergenceError
            Otherwise, with the residual reached.
        """
        if not bool(jnp.all(self.converged)):
            worst = float(jnp.max(jnp.where(jnp.isfinite(self.residual), self.residual, jnp.inf)))
            raise ConvergenceError(
                f"{what} did not settle: relative residual {worst:.2e} after {float(jnp.max(self.time)):.1f} time "
                "constants; raise model.damping or phases.horizon, or lower model.gain"
            )
        return self


@partial(jax.jit, static_argnames=("system", "options"))
def settle(
    system: System,
    x: Voltages,
    theta: Parameters,
    *,
    v0: Voltages | None = None,
    sources: Voltages | None = None,
    options: SettleOptions = SettleOptions(),
) -> Settled:
    """Settle a system from `v0` (0 V when None), sources held at their value at t = 0; batch it with vmap.

    Parameters
    ----------
    x : input voltages.
    sources : constant currents into buses.
    """
    return settle_near(system, x, theta, v0=v0, sources=sources, options=options)


def settle_near(
    system: System,
    x: Voltages,
    theta: Parameters,
    *,
    v0: Voltages | None = None,
    sources: Voltages | None = None,
    inverse: Solve | None = None,
    options: SettleOptions = SettleOptions(),
) -> Settled:
    """`settle`, to be traced inside another jitted function.

    Parameters
    ----------
    inverse : approximate solve with G, as `linear_response` gives about a state nearby; polishing then takes chord
        steps with it. None takes Newton steps on the feedback buses.
    """
    start = {name: jnp.asarray(value) for name, value in (system.zeros() | dict(v0 or {})).items()}
    reached, time, steps = _integrate(system, start, x, theta, sources, options)
    return _finish(system, start, reached, x, theta, sources, inverse, options, time, steps)


@partial(jax.jit, static_argnames=("system", "options"))
def settle_batch(
    system: System,
    x: Voltages,
    theta: Parameters,
    *,
    v0: Voltages | None = None,
    sources: Voltages | None = None,
    options: SettleOptions = SettleOptions(),
) -> Settled:
    """Settle samples side by side, in groups with common steps; under vmap each would wait for the slowest.

    Steps are controlled by the worst sample of a group, and end when all have come near to rest; each is then polished
    by itself, so states agree with those of `settle` to its tolerance.

    Parameters
    ----------
    x, sources, v0 : as for `settle`, every array with a leading axis of samples.

    Returns
    -------
    Every field has a leading axis of samples; `steps` and `time` are those of the group.

    Raises
    ------
    ValueError
        If the arrays disagree in the number of samples.
    """
    given = (dict(v0 or {}), dict(x), dict(sources or {}))
    samples = common_samples(given)
    # an accelerator has no such cache to leave: there a launch costs the same for one sample and for all
    largest = GROUP if jax.default_backend() == "cpu" else samples
    groups = -(-samples // largest)
    size = -(-samples // groups)
    # the last group is filled up with copies of the last sample
    taken = np.minimum(np.arange(groups * size), samples - 1).reshape(groups, size)

    def group(given: tuple[Voltages, Voltages, Voltages]) -> Settled:
        v0, x, sources = given
        zeros = {name: jnp.zeros((size, *bus.shape)) for name, bus in system.states.items()}
        start = {**zeros, **v0}
        reached, time, steps = _integrate(system, start, x, theta, sources, options)

        def finish(start: Voltages, reached: Voltages, x: Voltages, sources: Voltages) -> Settled:
            return _finish(system, start, reached, x, theta, sources, None, options, time, steps)

        return jax.vmap(finish)(start, reached, x, sources)

    done = jax.lax.map(group, jax.tree.map(lambda leaf: jnp.asarray(leaf)[taken], given))
    return jax.tree.map(lambda leaf: leaf.reshape(groups * size, *leaf.shape[2:])[:samples], done)


def common_samples(given: object) -> int:
    """Length of the leading axis that all arrays share.

    Raises
    ------
    ValueError
        If they do not share one.
    """
    counts = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(given)}
    if len(counts) != 1 or () in counts:
        raise ValueError(f"all arrays of a batch must have the same leading axis of samples; found {sorted(counts)}")
    return counts.pop()[0]


def _finish(
    system: System,
    v0: Voltages,
    reached: Voltages,
    x: Voltages,
    theta: Parameters,
    sources: Voltages | None,
    inverse: Solve | None,
    options: SettleOptions,
    time: Array,
    steps: Array,
) -> Settled:
    """One sample, polished and judged."""
    if missing := set(system.states) - set(reached):
        core = Reduced(system)
        follows = core.evaluate({name: reached[name] for name in core.core}, x, theta, sources)[0]
        reached = {**reached, **{name: follows[name] for name in missing}}
    start, reached = system.pack(v0), system.pack(reached)
    v, residual = _polish(system, reached, x, theta, sources, inverse, options)
    # polishing may only finish what integration began: a state that it has to carry far was not approached
    near = 0.05 * jnp.linalg.norm(v - start) + options.tolerance * jnp.linalg.norm(v)
    settled = jnp.linalg.norm(v - reached) <= near
    return Settled(system.unpack(v), residual, settled & (residual <= options.tolerance), steps, time)


def packed_rate(system: System, *, still: bool = False) -> diffrax.ODETerm:
    """dv/d(t/tau) of the packed state, with args (x, theta, sources); `still` holds waveforms at t = 0.

    A batch is a state [samples, states], with x and sources that have the same leading axis.
    """
    tau = system.scale.seconds
    clock = 0.0 if still else tau

    def rate(s, y, args):
        x, theta, sources = args

        def one(y, x, sources):
            return system.pack(system.rate(system.unpack(y), x, theta, s * clock, sources)) * tau

        return (jax.vmap(one) if y.ndim > 1 else one)(y, x, sources)

    return diffrax.ODETerm(rate)


def _integrate(
    system: System, v0: Voltages, x: Voltages, theta: Parameters, sources: Voltages | None, options: SettleOptions
) -> tuple[dict[str, Array], Array, Array]:
    """Voltages reached, time and steps; of one sample, or of a batch with a leading axis."""
    # what only follows the rest, such as the readout, is left out: it takes no part in settling
    part = system.acting if isinstance(system, Circuit) else system
    each = jax.vmap if any(jnp.ndim(v0[name]) > len(bus.shape) for name, bus in part.states.items()) else (lambda f: f)
    start = each(part.pack)({name: v0[name] for name in part.states})
    left = set(system.states) - set(part.states)
    inside = {bus: current for bus, current in (sources or {}).items() if bus not in left}

    def residual(y: Array, x: Voltages, sources: Voltages) -> Array:
        return part.residual(part.pack(part.current(part.unpack(y), x, theta, 0.0, sources)), y)

    goal = jnp.clip(1e-3 * each(residual)(start, x, inside), options.tolerance, options.approach)
    solution = diffrax.diffeqsolve(
        packed_rate(part, still=True),
        solver(options.solver, part, rtol=options.rtol, still=True),
        t0=0.0,
        t1=options.horizon,
        dt0=1e-3,  # the controller finds its own step; probing for one would cost two more evaluations to compile
        y0=start,
        args=(x, theta, inside),
        stepsize_controller=controller(part, options.rtol),
        event=diffrax.Event(lambda t, y, args, **_: jnp.all(each(residual)(y, x, inside) <= goal)),
        max_steps=options.max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    return each(part.unpack)(solution.ys[-1]), solution.ts[-1], solution.stats["num_steps"]


def _polish(
    system: System,
    v: Array,
    x: Voltages,
    theta: Parameters,
    sources: Voltages | None,
    inverse: Solve | None,
    options: SettleOptions,
) -> tuple[Array, Array]:
    """Newton steps on the feedback buses, or chord steps with `inverse`, while they make the residual fall."""

    def current(v: Array) -> Array:
        return system.pack(system.current(system.unpack(v), x, theta, 0.0, sources))

    if inverse is not None:

        def chord(v: Array) -> tuple[Array, Array]:
            i = current(v)
            return v - system.pack(inverse(system.unpack(i))), system.residual(i, v)

        # cheap steps that gain little where the nudge has moved the state far from the matrix they use: allow many
        v = _repeat(chord, v, options, gain=0.95, most=20 * options.polish)
    else:
        newton = Reduced(system)
        size = jnp.linalg.norm(v)

        def step(core: Array) -> tuple[Array, Array]:
            leaving, move = newton.newton(core, x, theta, sources)
            # the dependent buses are at rest by construction: what leaves the feedback buses is the whole residual
            return core + move, jnp.linalg.norm(leaving) / (system.scale.siemens * size + 1e-300)

        at = system.unpack(v)
        core = newton.flatten({name: at[name] for name in newton.core})
        core = _repeat(step, core, options, gain=0.5, most=options.polish)
        v = system.pack(newton.evaluate(newton.unflatten(core), x, theta, sources)[0])
    return v, system.residual(current(v), v)


def _repeat(
    step: Callable[[Array], tuple[Array, Array]], start: Array, options: SettleOptions, *, gain: float, most: int
) -> Array:
    """Apply v -> (next v, residual at v), at most `most` times, until the residual is far below tolerance or a step
    leaves more than `gain` of it."""

    def again(state: tuple[Array, Array, Array, Array]) -> Array:
        _, now, before, count = state
        return (now > 1e-3 * options.tolerance) & (now < gain * before) & (count < most)

    def body(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        v, now, _, count = state
        v, residual = step(v)
        return v, residual, now, count + 1

    big = jnp.asarray(1e300)
    return jax.lax.while_loop(again, body, (start, big, 4 * big, jnp.asarray(0)))[0]
