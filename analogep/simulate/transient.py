"""Waveforms: error-controlled integration, sampled at given times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from analogep.errors import ConvergenceError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.waveforms import Waveform
from analogep.simulate.cascade import controller
from analogep.simulate.cascade import solver as make_solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import packed_rate
from analogep.simulate.system import System


class Waveforms(NamedTuple):
    """State voltages over time (leading axis: samples), and what the integration took."""

    times: jax.Array
    v: dict[str, jax.Array]
    steps: jax.Array


def breakpoints(system: System, t_end: float) -> list[float]:
    """Times at which a source's waveform has a corner (seconds), strictly inside the run."""
    if not isinstance(system, Circuit):
        return []
    waves = [w for e in system.netlist if isinstance(w := getattr(e, "value", None), Waveform)]
    corners = {t for wave in waves for t in wave.breakpoints(t_end)}
    return sorted(t for t in corners if 0 < t < t_end)


class DenseWaveforms(NamedTuple):
    """State voltages as a function of time, by the integrator's own interpolation between its steps."""

    path: diffrax.AbstractPath
    system: System
    t_end: float

    def __call__(self, t: float | Array) -> dict[str, jax.Array]:
        """Voltages at the time t (seconds, from 0 to `t_end`)."""
        return self.system.unpack(self.path.evaluate(t / self.system.scale.seconds))


@partial(jax.jit, static_argnames=("system", "solver", "rtol", "progress", "max_steps", "corners"))
def _integrate(system, times, t_end, x, theta, v0, sources, solver, rtol, progress, max_steps, corners):
    """diffrax's solution of the packed state, sampled at `times`, or dense when they are None."""
    tau = system.scale.seconds
    steps = controller(system, rtol)
    if corners:
        steps = diffrax.ClipStepSizeController(steps, jump_ts=jnp.asarray(corners) / tau)
    return diffrax.diffeqsolve(
        packed_rate(system),
        make_solver(solver, system, rtol=rtol),
        t0=0.0,
        t1=t_end / tau,
        dt0=1e-3,
        y0=system.pack(v0),
        args=(x, theta, sources),
        saveat=diffrax.SaveAt(dense=True) if times is None else diffrax.SaveAt(ts=times / tau),
        stepsize_controller=steps,
        max_steps=max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
        progress_meter=diffrax.TqdmProgressMeter() if progress else diffrax.NoProgressMeter(),
    )


def _checked(system, times, t_end, x, theta, v0, sources, solver, rtol, progress, max_steps):
    start = {k: jnp.asarray(v) for k, v in (system.zeros() | dict(v0 or {})).items()}
    corners = tuple(breakpoints(system, t_end))
    end = jnp.asarray(t_end)
    solution = _integrate(system, times, end, x, theta, start, sources, solver, rtol, progress, max_steps, corners)
    if not bool(solution.result == diffrax.RESULTS.successful):
        raise ConvergenceError(
            f"the transient gave up after {int(solution.stats['num_steps'])} steps before {t_end:.3g} s; for a stiff "
            "circuit choose phases.solver=cascade or a larger compile.epsilon"
        )
    return solution


def transient(
    system: System,
    times: Sequence[float] | np.ndarray,
    x: Voltages,
    theta: Parameters,
    *,
    v0: Voltages | None = None,
    sources: Voltages | None = None,
    solver: str = "auto",
    rtol: float = 1e-6,
    progress: bool = False,
    max_steps: int = 1_000_000,
) -> Waveforms:
    """Integrate from `v0` (0 V when None) at t = 0 and sample at `times` (seconds, rising).

    Parameters
    ----------
    rtol : relative tolerance; the absolute one is `rtol` of one unit.
    progress : show a progress bar on stderr.

    Raises
    ------
    ConvergenceError
        If the integrator gives up; the message has the step count.
    """
    samples = jnp.asarray(times, float)
    end = float(samples[-1])
    solution = _checked(system, samples, end, x, theta, v0, sources, solver, rtol, progress, max_steps)
    return Waveforms(samples, _unpack_times(system, solution.ys), solution.stats["num_steps"])


@partial(jax.jit, static_argnames=("system",))
def _unpack_times(system: System, values: jax.Array) -> dict[str, jax.Array]:
    return jax.vmap(system.unpack)(values)


def dense_transient(
    system: System,
    t_end: float,
    x: Voltages,
    theta: Parameters,
    *,
    v0: Voltages | None = None,
    sources: Voltages | None = None,
    solver: str = "auto",
    rtol: float = 1e-6,
    progress: bool = False,
    max_steps: int = 4096,
) -> DenseWaveforms:
    """Integrate from `v0` to `t_end` (seconds) and keep every step, to be evaluated at any time.

    Memory grows with `max_steps` times the number of states; otherwise as `transient`.

    Raises
    ------
    ConvergenceError
        If the integrator needs more than `max_steps`.
    """
    solution = _checked(system, None, t_end, x, theta, v0, sources, solver, rtol, progress, max_steps)
    return DenseWaveforms(solution.interpolation, system, t_end)


def to_dataset(waves: Waveforms, system: System) -> xr.Dataset:
    """Labelled waveforms: one variable in volts for each bus, dimensions (time, <bus>_0, <bus>_1, ...)."""
    arrays = {
        name: (("time", *(f"{name}_{k}" for k in range(len(bus.shape)))), np.asarray(waves.v[name]), {"units": "V"})
        for name, bus in system.states.items()
    }
    times = ("time", np.asarray(waves.times), {"units": "s"})
    return xr.Dataset(arrays, coords={"time": times}, attrs={"steps": int(waves.steps)})
