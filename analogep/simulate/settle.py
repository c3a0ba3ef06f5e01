"""Settling: integrate to a steady state as the circuit would, then polish with Newton steps."""

from __future__ import annotations

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
    approach : relative residual at which integration stops and polishing starts.
    tolerance : relative residual that counts as settled.
    rtol : relative tolerance of the integrator; the absolute one is `rtol` of one unit.
    solver : `auto`, `tsit5` (explicit), `cascade` (implicit in the cells) or `kvaerno3` (implicit, dense Jacobians).
    polish : largest number of Newton steps.
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
    converged : reached the steady state within the horizon, and the residual is within tolerance.
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
    inverse: Solve | None = None,
    options: SettleOptions = SettleOptions(),
) -> Settled:
    """Settle a system from `v0` (0 V when None); batch it with vmap.

    Parameters
    ----------
    x : input voltages.
    sources : constant currents into buses.
    inverse : approximate solve with G, as `linear_response` gives; polishing then takes chord steps with it. None
        takes Newton steps on the feedback buses.
    """
    start = {name: jnp.asarray(value) for name, value in (system.zeros() | dict(v0 or {})).items()}
    v, time, steps, arrived = _integrate(system, start, x, theta, sources, options)
    v, residual = _polish(system, v, x, theta, sources, inverse, options)
    return Settled(v, residual, arrived & (residual <= options.tolerance), steps, time)


def _integrate(system: System, start, x, theta, sources, options: SettleOptions):
    tau, unit = system.scale.seconds, system.scale.volts

    def rate(s, v, args):
        return jax.tree.map(lambda r: r * tau, system.rate(v, *args[:2], s * tau, args[2]))

    def steady(t, y, args, **_):
        return system.residual(system.current(y, x, theta, t * tau, sources), y) <= options.approach

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        solver(options.solver, system),
        t0=0.0,
        t1=options.horizon,
        dt0=None,
        y0=start,
        args=(x, theta, sources),
        stepsize_controller=diffrax.PIDController(rtol=options.rtol, atol=options.rtol * unit),
        event=diffrax.Event(steady),
        max_steps=options.max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    v = {name: value[-1] for name, value in solution.ys.items()}
    arrived = steady(solution.ts[-1], v, None)
    return v, solution.ts[-1], solution.stats["num_steps"], arrived


def _polish(system: System, v, x, theta, sources, inverse: Solve | None, options: SettleOptions):
    """Newton (or chord) steps until the residual is an order below tolerance, or stops falling."""
    newton = Reduced(system)

    def improve(v: Voltages) -> dict[str, Array]:
        if inverse is not None:
            moved = inverse(jax.tree.map(jnp.negative, system.current(v, x, theta, 0.0, sources)))
            return {name: v[name] + moved[name] for name in v}
        core = {name: v[name] for name in newton.core}
        solve = newton.inverse(core, x, theta, sources)
        _, leaving = newton.evaluate(core, x, theta, sources)
        core = newton.unflatten(newton.flatten(core) - solve(newton.flatten(leaving)))
        return newton.evaluate(core, x, theta, sources)[0]

    def residual(v: Voltages) -> Array:
        return system.residual(system.current(v, x, theta, 0.0, sources), v)

    def again(state) -> Array:
        _, now, before, count = state
        return (now > 1e-3 * options.tolerance) & (now < 0.5 * before) & (count < options.polish)

    def step(state):
        v, now, _, count = state
        better = improve(v)
        return better, residual(better), now, count + 1

    first = residual(v)
    state = jax.lax.while_loop(again, step, (v, first, jnp.full_like(first, jnp.inf), 0))
    return state[0], state[1]
