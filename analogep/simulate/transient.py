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
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.elements import Waveform
from analogep.simulate.cascade import solver as make_solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import packed_rate
from analogep.simulate.system import System


class Waveforms(NamedTuple):
    """State voltages over time (leading axis: samples), and what the integration took."""

    times: jax.Array
    v: dict[str, jax.Array]
    steps: jax.Array
    success: jax.Array


def breakpoints(system: System, t_end: float) -> list[float]:
    """Times at which a source's waveform has a corner (seconds), strictly inside the run."""
    if not isinstance(system, Circuit):
        return []
    waves = [w for e in system.netlist if isinstance(w := getattr(e, "value", None), Waveform)]
    corners = {t for wave in waves for t in wave.breakpoints(t_end)}
    return sorted(t for t in corners if 0 < t < t_end)


@partial(jax.jit, static_argnames=("system", "solver", "rtol", "progress", "max_steps", "corners"))
def _integrate(system, times, x, theta, v0, sources, solver, rtol, progress, max_steps, corners):
    tau = system.scale.seconds
    controller = diffrax.PIDController(rtol=rtol, atol=rtol * system.scale.volts)
    if corners:
        controller = diffrax.ClipStepSizeController(controller, jump_ts=jnp.asarray(corners) / tau)
    solution = diffrax.diffeqsolve(
        packed_rate(system),
        make_solver(solver, system),
        t0=0.0,
        t1=times[-1] / tau,
        dt0=1e-3,
        y0=system.pack(v0),
        args=(x, theta, sources),
        saveat=diffrax.SaveAt(ts=times / tau),
        stepsize_controller=controller,
        max_steps=max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
        progress_meter=diffrax.TqdmProgressMeter() if progress else diffrax.NoProgressMeter(),
    )
    success = solution.result == diffrax.RESULTS.successful
    return Waveforms(times, jax.vmap(system.unpack)(solution.ys), solution.stats["num_steps"], success)


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
    start = {k: jnp.asarray(v) for k, v in (system.zeros() | dict(v0 or {})).items()}
    corners = tuple(breakpoints(system, float(samples[-1])))
    waves = _integrate(system, samples, x, theta, start, sources, solver, rtol, progress, max_steps, corners)
    if not bool(waves.success):
        raise ConvergenceError(
            f"the transient gave up after {int(waves.steps)} steps before {float(samples[-1]):.3g} s; for a stiff "
            "circuit choose phases.solver=kvaerno3 or a larger compile.epsilon"
        )
    return waves


def to_dataset(waves: Waveforms, system: System) -> xr.Dataset:
    """Labelled waveforms: one variable in volts for each bus, dimensions (time, <bus>_0, <bus>_1, ...)."""
    arrays = {
        name: (("time", *(f"{name}_{k}" for k in range(len(bus.shape)))), np.asarray(waves.v[name]), {"units": "V"})
        for name, bus in system.states.items()
    }
    times = ("time", np.asarray(waves.times), {"units": "s"})
    return xr.Dataset(arrays, coords={"time": times}, attrs={"steps": int(waves.steps)})
