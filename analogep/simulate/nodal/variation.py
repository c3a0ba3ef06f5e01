"""Sensitivities, Monte Carlo and noisy paths of a file's analyses, as labelled datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters
from analogep.netlist.analyses import AC, Analysis, OperatingPoint, Transient
from analogep.simulate.nodal.operating_point import find, operating_point
from analogep.simulate.nodal.run import FileRun, grid, labelled
from analogep.simulate.nodal.sensitivity import monte_carlo, sensitivity
from analogep.simulate.nodal.small_signal import ac
from analogep.simulate.nodal.system import Nodal
from analogep.simulate.nodal.thermal import noisy_path
from analogep.simulate.nodal.transient import sampled

UNITS = {"siemens": "S", "farads": "F", "henries": "H", "ohms": "Ohm", "kelvin": "K", "gain": "1", "area": "1"}
"""Units of numeric fields; one that is not here is named by its field."""


def file_sensitivity(
    run: FileRun, analysis: Analysis, numbers: Sequence[str], times: Sequence[float] | None = None
) -> xr.Dataset:
    """Derivative of an operating point, of AC amplitudes or of waveforms by numbers `element.field`.

    Parameters
    ----------
    times : samples of a transient (seconds).

    Returns
    -------
    Variables as the analysis has them, with a first dimension `number`, in their unit over that of the number.

    Raises
    ------
    NetlistError
        For another analysis, or a number that no element has.
    """
    nodal, states, coords = _traced(run, analysis, times)
    slopes = sensitivity(nodal, states, numbers)
    values = np.stack([np.asarray(slopes[number]) for number in numbers])
    units = [UNITS.get(number.rpartition(".")[2], number.rpartition(".")[2]) for number in numbers]
    data = labelled(nodal, values, {"number": list(numbers), **coords}, analysis=analysis.spice())
    return data.assign_coords(unit=("number", units))


def file_monte_carlo(
    run: FileRun,
    analysis: Analysis,
    spread: Mapping[str, float],
    *,
    count: int,
    key: Array,
    times: Sequence[float] | None = None,
) -> xr.Dataset:
    """An analysis over random circuits, all in one vmapped call.

    Parameters
    ----------
    spread : number `element.field` -> relative standard deviation of its normal distribution.
    count, key : how many circuits, and the random key.

    Returns
    -------
    Variables with a first dimension `sample`, the drawn numbers as further variables over it, and `converged`.
    """
    nodal, states, coords = _traced(run, analysis, times)
    values, drawn = monte_carlo(nodal, states, spread, count=count, key=key)
    data = labelled(nodal, np.asarray(values), {"sample": np.arange(count), **coords}, analysis=analysis.spice())
    axes = tuple(range(1, values.ndim))
    fine = np.isfinite(np.asarray(values)).all(axis=axes)
    return data.assign({**{name: ("sample", part) for name, part in drawn.items()}, "converged": ("sample", fine)})


def file_paths(run: FileRun, *, step: float, stop: float, paths: int, key: Array, every: int = 1) -> xr.Dataset:
    """Sample paths with the thermal and shot noise of the elements, from the operating point.

    Returns
    -------
    Variables over (path, time).
    """
    nodal, steps = run.nodal, round(stop / step)
    x0 = operating_point(nodal, nodesets=run.file.nodesets).x

    def one(key: Array) -> Array:
        return noisy_path(nodal, nodal.theta, x0, key, step=step, steps=steps, every=every)

    values = np.asarray(jax.vmap(one)(jax.random.split(key, paths)))
    times = step * every * np.arange(1, values.shape[1] + 1)
    coords: dict[str, Any] = {"path": np.arange(paths), "time": ("time", times, {"units": "s"})}
    return labelled(nodal, values, coords)


def _traced(
    run: FileRun, analysis: Analysis, times: Sequence[float] | None
) -> tuple[Nodal, Callable[[Parameters], Array], dict[str, Any]]:
    """The system, theta -> states of an analysis (not-a-number where there are none), and their coordinates."""
    if isinstance(analysis, Transient):
        if times is None:
            raise NetlistError("variations of a transient are taken at given times; pass times=")
        wave = run.nodal
        x0 = operating_point(wave, held=run.file.initial, nodesets=run.file.nodesets).x
        samples = np.asarray(times, float)

        def waves(theta: Parameters) -> Array:
            start = x0 if run.file.initial else find(wave, theta, x0).x
            xs, fine = sampled(wave, samples, theta, start, options=run.options)
            return jnp.where(fine, xs, jnp.nan)

        return wave, waves, {"time": ("time", samples, {"units": "s"})}
    still, rest = run.at_rest, run.rest.x

    def settled(theta: Parameters) -> Array:
        root = find(still, theta, rest)
        return jnp.where(root.converged, root.x, jnp.nan)

    if isinstance(analysis, OperatingPoint):
        return still, settled, {}
    if isinstance(analysis, AC):
        frequencies = grid(analysis)

        def amplitudes(theta: Parameters) -> Array:
            return ac(still, settled(theta), theta, jnp.asarray(frequencies))

        return still, amplitudes, {"frequency": ("frequency", frequencies, {"units": "Hz"})}
    raise NetlistError(f"no variations of {analysis.spice()!r}; take .op, .ac or .tran")
