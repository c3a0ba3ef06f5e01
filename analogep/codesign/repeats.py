"""How many readings a wanted gradient costs, and what no number of them can buy.

An estimate g0 + e, whose error e is drawn anew for each reading, has after R readings

    cosine = ceiling / sqrt(1 + rho / R),        rho = E|e|^2 / |g0|^2,

for errors of many independent entries: they are orthogonal to everything. For n entries of standard deviation sigma
that is 1 / sqrt(1 + n sigma^2 / (R |g|^2)). The ceiling is the cosine of g0, the mean of infinitely many readings:
below 1 by what does not average out, such as a finite nudge, an unsettled phase, a copy's mismatch, or a converter's
steps where noise is too small to smear them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from analogep.codesign.on_devices import flat, measured_gradients
from analogep.ep.estimators import RULES, Estimators, Phases
from analogep.errors import SpecError
from analogep.learning.phases import PhaseRun
from analogep.learning.readout import Readout
from analogep.learning.rule import Phase, Rule, Term, displacement, local_gradient
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.graph import Netlist


class ReadError(NamedTuple):
    """What independent measurements of one gradient say about it.

    Attributes
    ----------
    noise_to_signal : rho of one measurement.
    ceiling : cosine of the mean of infinitely many.
    ceiling_error : standard error of the ceiling, about: what is left of the noise in the mean.
    """

    noise_to_signal: float
    ceiling: float
    ceiling_error: float


def read_error(measured: Array, reference: Array) -> ReadError:
    """rho and ceiling from measurements of a gradient against its reference, both without bias by the noise.

    Parameters
    ----------
    measured : [measurements, weights], at least 2 of them, independent.
    reference : [weights].

    Raises
    ------
    SpecError
        If there are too few measurements, or if noise hides the mean.
    """
    found, truth = np.asarray(measured, float), np.asarray(reference, float)
    count = len(found)
    if count < 2:
        raise SpecError(f"{count} measurement of a gradient shows no noise; give 2 or more keys")
    mean = found.mean(0)
    power = float(found.var(0, ddof=1).sum())
    signal = float(mean @ mean) - power / count  # |mean|^2 holds a part of the noise
    if signal <= power / count:
        raise SpecError(
            f"the mean of {count} measurements is mostly noise; give more keys or more repeats, or a larger beta"
        )
    # the part of the noise that lies along the reference shifts the cosine at first order
    along = found @ truth / np.linalg.norm(truth)
    error = along.std(ddof=1) / math.sqrt(count * signal)
    return ReadError(power / signal, float(along.mean()) / math.sqrt(signal), float(error))


def cosine_law(repeats: Array | float, noise_to_signal: float, ceiling: float = 1.0) -> np.ndarray:
    """Cosine after a number of readings: ceiling / sqrt(1 + rho / R)."""
    return np.asarray(ceiling / np.sqrt(1.0 + noise_to_signal / np.asarray(repeats, float)))


def repeats_for(cosine: float, noise_to_signal: float, ceiling: float = 1.0) -> int:
    """Readings that a wanted cosine costs, at least 1.

    Raises
    ------
    SpecError
        If no number of readings reaches it, because what is left without noise does not.
    """
    if not 0 < cosine < 1:
        raise SpecError(f"a cosine of {cosine:g} cannot be bought with readings; ask for one between 0 and 1")
    if cosine >= ceiling:
        raise SpecError(
            f"cosine {cosine:g} is out of reach: without any noise it is {ceiling:.6g}; repeats do not average what is "
            "left: a finite beta, the estimator's own bias, unsettled phases, steps of a converter"
        )
    # a hair off, so that the law's own value is not rounded up to one more
    return max(1, math.ceil(noise_to_signal / ((ceiling / cosine) ** 2 - 1) * (1 - 1e-12)))


def white_noise_to_signal(
    phases: Phases, name: str, runs: Mapping[Phase, PhaseRun], *, volts: float, beta: float
) -> float:
    """rho of one reading in closed form, for white noise of `volts` on every sampled signal and no converter.

    With a drive a and the contrast D of a sink, whose variance is 2 volts^2 for two phases and volts^2 for one, an
    entry of the gradient is the sum of a D over tokens; its variance is that of a^2 var(D) + volts^2 (D^2 + var(D)).

    Parameters
    ----------
    runs : as `Estimators.run` returns them.

    Raises
    ------
    SpecError
        For a rule that multiplies two nudged phases, or weights that are not plain arrays: neither has this form.
    """
    rule, netlist = RULES[name], phases.netlist
    pre = {term.pre for term in rule.terms}
    plain = all(isinstance(e, Crossbar) and e.coupling == "buffered" for e in netlist if e.array is not None)
    if not plain or len(pre) != 1 or any(term.form != "product" for term in rule.terms):
        raise SpecError(
            f"the closed form is for products with one drive phase on buffered arrays, not for {name!r} here"
        )
    drive = runs[pre.pop()].voltages
    contrast = displacement(rule, {phase: runs[phase].voltages for phase in rule.phases}, 1.0 / (rule.nudges or 1.0))
    of_difference = len({term.post for term in rule.terms}) * volts**2

    def one(a: Voltages, d: Voltages) -> Array:
        return products_noise(netlist, a, d, dict.fromkeys(a, volts**2), dict.fromkeys(d, of_difference))

    samples = len(next(iter(drive.values())))
    power = float(jnp.sum(jax.vmap(one)(dict(drive), contrast))) / samples**2
    step = phases.unit * (rule.nudges * beta if rule.nudges else 1.0)
    clean = Estimators(phases).gradient(name, dict(runs), beta).gradient
    return power / step**2 / sum(float(jnp.sum(g**2)) for g in clean.values())


_PRODUCT = Rule("product", (Term(1.0, Phase.FREE, Phase.TWIN),))


def products_noise(
    netlist: Netlist, drive: Voltages, contrast: Voltages, of_drive: Parameters, of_contrast: Parameters
) -> Array:
    """Summed variance of all products a D of one sample (volts^4): a^2 var(D) + var(a) (D^2 + var(D)).

    Parameters
    ----------
    drive, contrast : bus -> a and D without noise (volts).
    of_drive, of_contrast : bus -> their variances (volts^2), of independent errors.
    """

    def summed(pre: Voltages, post: Voltages) -> Array:
        # an array pushes current into its sink: its product has a minus sign, which squares have not
        parts = local_gradient(_PRODUCT, netlist, {Phase.FREE: pre, Phase.TWIN: post}, 1.0, -1.0)
        return sum((jnp.sum(g) for g in parts.values()), start=jnp.zeros(()))

    return summed(
        {bus: a**2 + of_drive[bus] for bus, a in drive.items()},
        {bus: d * 0 + of_contrast[bus] for bus, d in contrast.items()},
    ) + summed(
        {bus: a * 0 + of_drive[bus] for bus, a in drive.items()}, {bus: d**2 for bus, d in contrast.items()}
    )  # fmt: skip


def cosines_with_repeats(
    phases: Phases,
    name: str,
    x: Voltages,
    theta: Parameters,
    reference: Mapping[str, Array],
    *,
    readout: Readout,
    betas: Sequence[float],
    repeats: Sequence[int],
    keys: Array,
    chip: Array | None = None,
) -> xr.Dataset:
    """Cosine of an estimator against repeats and nudging strength, measured and by the law.

    Phases are settled once for each beta, and measured anew for each key and number of repeats.

    Parameters
    ----------
    x, theta : inputs of a batch and conductances.
    reference : the gradient that is wanted, such as `ep.oracle.implicit` gives (any unit).
    readout : how phases are measured; its own `repeats` are not used.
    keys : of the measurements, 2 or more.
    chip : key of the amplifiers.

    Returns
    -------
    Over `beta`, `repeats` and `measurement`: `cosine`. Over `beta` and `repeats`: `law`, from `noise_to_signal` and
    `ceiling` over `beta`, which are found at the largest number of repeats, whose noise the law scales to one reading;
    NaN where noise hides them. Over `beta`: `converged`, whether all phases settled; a low ceiling has its reason there
    where a nudge was too large.
    """
    truth = flat({array: jnp.asarray(g)[None] for array, g in reference.items()})[0]
    most = max(repeats)
    cosine = np.empty((len(betas), len(repeats), len(keys)))
    rho, ceiling = np.full((2, len(betas)), np.nan)
    converged = np.empty(len(betas), bool)
    for i, beta in enumerate(betas):
        all_runs = Estimators(phases).run((name,), x, theta, beta)
        runs = {phase: all_runs[phase] for phase in RULES[name].phases | {Phase.FREE}}
        converged[i] = all(bool(jnp.all(run.settled.converged)) for run in runs.values())
        for j, count in enumerate(repeats):
            found = flat(
                measured_gradients(phases, name, readout, runs=runs, keys=keys, beta=beta, repeats=count, chip=chip)
            )
            cosine[i, j] = found @ truth / jnp.linalg.norm(found, axis=1) / jnp.linalg.norm(truth)
            if count == most:
                with contextlib.suppress(SpecError):
                    error = read_error(found, truth)
                    rho[i], ceiling[i] = error.noise_to_signal * most, error.ceiling
    law = np.stack([cosine_law(np.asarray(repeats), *pair) for pair in zip(rho, ceiling, strict=True)])
    return xr.Dataset(
        {
            "cosine": (("beta", "repeats", "measurement"), cosine),
            "law": (("beta", "repeats"), law),
            "noise_to_signal": ("beta", rho),
            "ceiling": ("beta", ceiling),
            "converged": ("beta", converged),
        },
        {"beta": list(betas), "repeats": list(repeats), "measurement": np.arange(len(keys))},
        {"estimator": name},
    )
