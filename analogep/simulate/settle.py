"""Settling: integrate to a steady state as the circuit would, then polish with Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import diffrax
import jax
import jax.numpy as jnp

from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.cascade import solver
from analogep.simulate.linear import Reduced, Solve
from analogep.simulate.system import System


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
    start = system.pack({name: jnp.asarray(value) for name, value in (system.zeros() | dict(v0 or {})).items()})
    reached, time, steps = _integrate(system, start, x, theta, sources, options)
    v, residual = _polish(system, reached, x, theta, sources, inverse, options)
    # polishing may only finish what integration began: a state that it has to carry far was not approached
    near = 0.05 * jnp.linalg.norm(v - start) + options.tolerance * jnp.linalg.norm(v)
    settled = jnp.linalg.norm(v - reached) <= near
    return Settled(system.unpack(v), residual, settled & (residual <= options.tolerance), steps, time)


def packed_rate(system: System, *, still: bool = False) -> diffrax.ODETerm:
    """dv/d(t/tau) of the packed state, with args (x, theta, sources); `still` holds waveforms at t = 0."""
    tau = system.scale.seconds
    clock = 0.0 if still else tau

    def rate(s, y, args):
        x, theta, sources = args
        return system.pack(system.rate(system.unpack(y), x, theta, s * clock, sources)) * tau

    return diffrax.ODETerm(rate)


def _integrate(
    system: System, start: Array, x: Voltages, theta: Parameters, sources: Voltages | None, options: SettleOptions
) -> tuple[Array, Array, Array]:
    def residual(y: Array) -> Array:
        return system.residual(system.pack(system.current(system.unpack(y), x, theta, 0.0, sources)), y)

    goal = jnp.maximum(jnp.minimum(options.approach, 1e-3 * residual(start)), options.tolerance)
    solution = diffrax.diffeqsolve(
        packed_rate(system, still=True),
        solver(options.solver, system, still=True),
        t0=0.0,
        t1=options.horizon,
        dt0=1e-3,  # the controller finds its own step; probing for one would cost two more evaluations to compile
        y0=start,
        args=(x, theta, sources),
        stepsize_controller=diffrax.PIDController(rtol=options.rtol, atol=options.rtol * system.scale.volts),
        event=diffrax.Event(lambda t, y, args, **_: residual(y) <= goal),
        max_steps=options.max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    return solution.ys[-1], solution.ts[-1], solution.stats["num_steps"]


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
