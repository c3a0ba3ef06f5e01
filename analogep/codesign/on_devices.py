"""What local estimators still find of the gradient on imperfect devices, read by imperfect instruments.

Learning in place follows the gradient of the loss at the conductances as they are, whatever was meant to be written. So
each chip is compared with the implicit gradient at its own conductances; what it lost by being written badly is told
apart, as the change of its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from analogep.compile.stages import to_conductances
from analogep.compile.transformer import STATE
from analogep.ep import oracle
from analogep.ep.estimators import RULES, Estimators, Phases
from analogep.ep.fidelity import fidelity
from analogep.errors import ConvergenceError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun, over_samples
from analogep.learning.readout import EXACT, Readout, place
from analogep.learning.rule import Phase
from analogep.models.objective import Batch
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.technology import Between, Devices, Effect, Preset, apply, from_pairs, moments, named_key, to_pairs

Runs = dict[Phase, PhaseRun]
MEASURES = ("cosine", "relative_error", "norm_ratio")


def on_devices(
    phases: CircuitPhases,
    weights: Parameters,
    batch: Batch,
    preset: Preset,
    *,
    keys: Array,
    written: Effect | None = None,
    reading: Effect | None = None,
    between: Iterable[Between] = (),
    gap: float = 0.0,
    readout: Readout = EXACT,
    beta: float = 1e-3,
    estimators: Iterable[str] | None = None,
) -> xr.Dataset:
    """Estimators on chips of devices, against the implicit gradient at the conductances that each chip holds.

    Chips differ in their conductances only, so the phases are compiled once for all of them, and for later calls.

    Parameters
    ----------
    phases : of the compiled block; its options and `nudge_bits` count among the imperfections.
    weights : dimensionless; they must fit the preset's range.
    preset : of the devices in pairs.
    keys : one for each chip [chips].
    written : effect on programmed devices, fixed for a chip, such as `preset.written()`.
    reading : effect on devices that is drawn anew in every phase, such as `preset.reading()`: noise that is slower than
        a phase and forgotten until the next one. Noise much faster than the nodes averages out, and is none.
    between : what devices do from phase to phase (`technology.Wander`, `aging(preset)`, `Warming`): a nudged phase
        comes `gap` seconds after the free one, the opposite nudge as much later (`learning.readout.place`). The
        reversed circuit is held at rest anew in each phase.
    gap : seconds from phase to phase.
    readout : of the phases' signals.
    beta : nudging strength.
    estimators : names; all that the circuit supports when None.

    Returns
    -------
    Over `estimator` and `chip`: `cosine`, `relative_error`, `norm_ratio`, and `converged` of the phases. Over `chip`:
    `loss`, and `loss_change` from the block as it was meant. NaN for a chip that does not settle. Attributes: `beta`,
    `nominal_loss`.

    Raises
    ------
    SpecError
        For an unknown estimator, or weights that do not fit the devices.
    ConvergenceError
        If the block as it was meant does not settle.
    """
    names = Estimators(phases).available if estimators is None else tuple(estimators)
    meant, scale = to_conductances(weights, phases.compiled.scale), phases.compiled.scale
    pairs, courses = to_pairs(meant, preset), tuple(between)
    # phases that are cut off say nothing of where the circuit would settle, which the reference is about
    settling = phases if phases.options.polish else CircuitPhases(phases.compiled)
    x = rails(batch, scale.volts)
    nominal = _truth(settling, over_samples(settling.free, (x,), meant), weights, batch)
    if not nominal.converged:
        raise ConvergenceError("the block as it was meant does not settle; raise model.damping or phases.horizon")
    rows, losses = [], []
    # one after another: a batch of adaptive solves is no faster, and so all calls share the compiled phases
    for key in keys:
        devices = pairs if written is None else apply(written, pairs, named_key(key, "written"))
        held = from_pairs(devices)
        there = {name: g / scale.siemens for name, g in held.items()}
        free = over_samples(settling.free, (x,), held)
        truth = _truth(settling, free, there, batch)
        losses.append((truth.loss, truth.loss - nominal.loss))
        if not truth.converged:
            rows.append([dict.fromkeys(MEASURES, math.nan) | {"converged": False} for _ in names])
            continue
        if reading is None and not courses:
            wanted = frozenset(phase for name in names for phase in RULES[name].phases)
            runs = phases.run(x, held, wanted, beta, free=free if settling is phases else None)
        else:
            runs = _run_changing(phases, names, x, partial(_held_in, devices, reading, courses, gap, key), beta)
        rows.append([_row(phases, name, readout, runs, key, beta, truth) for name in names])
    found = {
        what: (("estimator", "chip"), np.array([[chip[k][what] for chip in rows] for k in range(len(names))]))
        for what in (*MEASURES, "converged")
    }
    loss = {what: ("chip", np.array(losses)[:, k]) for k, what in enumerate(("loss", "loss_change"))}
    coordinates = {"estimator": list(names), "chip": np.arange(len(rows))}
    return xr.Dataset({**found, **loss}, coordinates, {"beta": beta, "nominal_loss": nominal.loss})


class _Truth(NamedTuple):
    """The implicit gradient (per unit weight) and the loss at rest; NaN where there is no rest."""

    gradient: dict[str, Array]
    loss: float
    converged: bool


def _truth(phases: CircuitPhases, free: PhaseRun, weights: Parameters, batch: Batch) -> _Truth:
    z = free.settled.v[STATE] / phases.compiled.scale.volts
    found = oracle.implicit(phases.compiled.model, dict(weights), z, batch.inputs, batch.targets, batch.weights)
    converged = bool(jnp.all(free.settled.converged))
    return _Truth(found.gradient, float(found.loss) if converged else math.nan, converged)


def _held_in(
    devices: Devices, reading: Effect | None, between: tuple[Between, ...], gap: float, key: Array, phase: Phase
) -> Devices:
    """Signed conductances of a chip in one of its phases."""
    # both moments are drawn every time, so that phases see one course
    after = moments(between, devices, named_key(key, "between"), (gap, 2 * gap)) if place(phase) else {}
    changed = {name: both[place(phase) - 1] for name, both in after.items()} or devices
    return from_pairs(changed if reading is None else apply(reading, changed, named_key(key, phase)))


def _run_changing(
    phases: CircuitPhases, names: tuple[str, ...], x: Voltages, held: Callable[[Phase], Devices], beta: float
) -> Runs:
    """All phases of a chip, each with the conductances that it has then."""
    runs = phases.run(x, held(Phase.FREE), frozenset(), beta)
    for phase in sorted({phase for name in names for phase in RULES[name].phases} - {Phase.FREE}):
        runs |= phases.run(x, held(phase), frozenset({phase}), beta, free=runs[Phase.FREE])
    return runs


def _row(
    phases: CircuitPhases, name: str, readout: Readout, runs: Runs, key: Array, beta: float, truth: _Truth
) -> dict[str, float | bool]:
    """One estimator on one chip."""
    used = {phase: runs[phase] for phase in RULES[name].phases | {Phase.FREE}}
    found = measured_gradients(
        phases,
        name,
        readout,
        runs=used,
        keys=named_key(key, "readout")[None],
        beta=beta,
        repeats=readout.repeats,
        chip=named_key(key, "amplifier"),
    )
    gradient = {array: g[0] * phases.compiled.scale.siemens for array, g in found.items()}
    converged = all(bool(jnp.all(run.settled.converged)) for run in used.values())
    return {**fidelity(gradient, truth.gradient)[0].to_dict(), "converged": converged}


def flat(gradients: Parameters) -> Array:
    """Gradients [first axis, ...] of all arrays as one matrix [first axis, weights], arrays by name."""
    return jnp.concatenate([jnp.reshape(g, (len(g), -1)) for _, g in sorted(gradients.items())], axis=1)


@partial(jax.jit, static_argnames=("phases", "name", "readout"))
def measured_gradients(
    phases: Phases,
    name: str,
    readout: Readout,
    *,
    runs: Runs,
    keys: Array,
    beta: Array | float,
    repeats: Array | int,
    chip: Array | None = None,
) -> dict[str, Array]:
    """Gradients of one estimator from the same phases, measured anew for each key [keys, columns, rows] (1/siemens).

    Parameters
    ----------
    readout : how; it is compiled in.
    runs : those that the estimator reads, and the free one.
    repeats : in the place of `readout.repeats`; another number compiles nothing anew, nor does another beta.
    chip : key of the amplifiers.
    """
    estimators, repeated, rule = Estimators(phases), replace(readout, repeats=repeats), RULES[name]
    energies = any(term.form == "energy" for term in rule.terms)
    netlist = phases.return_netlist if energies else phases.netlist

    def one(key: Array) -> dict[str, Array]:
        return estimators.gradient(name, repeated(rule, netlist, runs, key=key, chip=chip), beta).gradient

    return jax.vmap(one)(keys)
