"""Growth of passive circuits at any rho, and one of them ringing in both simulators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from .q5 import Config


def sample(rng: np.random.Generator, nodes: int, rho: float, margin: float) -> tuple[np.ndarray, np.ndarray, Any]:
    """States h, W and its P and Q, with rho(S^-1 A) = rho of the passive circuit's conductance matrix at h."""
    from analogep.diagnostics import rho_sinv_a
    from analogep.training.stabilizers import Monotone, monotone_weights

    h = rng.uniform(-0.95, 0.95, nodes)
    dampers, gyrators = rng.normal(size=(2, nodes, nodes)) / np.sqrt(nodes)
    gyrators *= rho / rho_sinv_a(
        -passive_jacobian(np.asarray(monotone_weights(Monotone(dampers, gyrators), margin)), h)
    )
    at = Monotone(dampers, gyrators)  # rho is linear in the gyrators
    return h, np.asarray(monotone_weights(at, margin)), at


def passive_jacobian(weights: np.ndarray, h: np.ndarray) -> np.ndarray:
    """J [n, n] of C dh/dt = -(atanh(h) - h) - (1 - W) h + drive."""
    return weights - np.diag(1 / (1 - h**2))


def buffered_jacobian(weights: np.ndarray, h: np.ndarray) -> np.ndarray:
    """J [n, n] of dz/dt = -z + W tanh(z) + drive where tanh(z) = h."""
    return weights * (1 - h**2) - np.eye(len(h))


def measure_growth(config: Config, seed: int, rho: float) -> xr.Dataset:
    """omega and the peak of ||exp(tJ)|| of sampled passive circuits, and of buffered ones with the same states."""
    from analogep.diagnostics import eigenvalues, numerical_abscissa, peak_growth, rho_sinv_a, spectral_abscissa

    rng = np.random.default_rng([seed, 6])
    found: dict[str, list[float]] = {}
    for _ in range(config.samples):
        h, weights, _ = sample(rng, config.nodes, rho, config.margin)
        for kind, jacobian in (("passive", passive_jacobian), ("buffered", buffered_jacobian)):
            j = jacobian(weights, h)
            for name, value in (
                ("rho", rho_sinv_a(-j)),
                ("alpha", spectral_abscissa(eigenvalues(j))),
                ("omega", numerical_abscissa(j)),
                ("growth", peak_growth(j)),
            ):
                found.setdefault(f"{kind}_{name}", []).append(value)
        found.setdefault("bound", []).append(np.sqrt((1 - h**2).max() / (1 - h**2).min()))
    return xr.Dataset({name: ("sample", np.array(values)) for name, values in found.items()})


def measure_ringing(config: Config, seed: int, rho: float) -> xr.Dataset:
    """A step of the drive in a passive circuit of four nodes: our transient, and ngspice's of the exported deck."""
    from analogep.diagnostics import (
        eigenvalues,
        hopf_frequency,
        in_metric,
        numerical_abscissa,
        peak_growth,
        rho_sinv_a,
        spectral_abscissa,
    )
    from analogep.simulate.circuit import Circuit
    from analogep.simulate.reference import check_transient
    from analogep.training.stabilizers import passive_network
    from analogep.units import Scale

    scale, rng = Scale(0.1, 1e-5, 1e-14), np.random.default_rng([seed, 7])
    rest, weights, at = sample(rng, 4, rho, config.margin)
    rest = 0.5 * rest
    drive = np.arctanh(rest) - weights @ rest
    netlist = passive_network(at, drive, margin=config.margin, scale=scale)
    circuit = Circuit(netlist, scale)
    seen = check_transient(circuit, {}, {}, horizon=config.waveform, points=400, step=config.waveform / 40000)
    v = {name: seen.ours[-1, seen.names.index(name)] for name in circuit.states}
    g = np.asarray(circuit.conductance(v, {}, {})) / scale.siemens
    j = in_metric(g, circuit.capacitances / scale.farads)
    values = eigenvalues(j)
    wave = seen.ours[:, seen.names.index("h0")] / scale.volts
    return xr.Dataset(
        {
            "h": ("instant", wave),
            "ngspice": ("instant", seen.theirs[:, seen.names.index("h0")] / scale.volts),
            "time": ("instant", seen.times / scale.seconds, {"units": "tau"}),
            "error": seen.agreement.error,
            "at_rest": float(rest[0]),
            "missed": float(abs(wave[-1] - rest[0])),
            "turns": turns(wave - rest[0]),
            "alpha": spectral_abscissa(values),
            "omega": numerical_abscissa(j),
            "growth": peak_growth(j),
            "rho_at_rest": rho_sinv_a(g),
            "hopf": hopf_frequency(values),
        }
    )


def turns(away: np.ndarray, floor: float = 1e-3) -> int:
    """How often a waveform crosses its state at rest, counted between excursions above a part of the largest."""
    large = away[np.abs(away) > floor * np.abs(away).max()]
    return int(np.sum(np.sign(large[1:]) != np.sign(large[:-1])))
