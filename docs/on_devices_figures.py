"""The figures of the page on learning on devices; docs/figures.py draws them with the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analogep.codesign.repeats import cosines_with_repeats
from analogep.compile import Compiled, compile_transformer, to_conductances
from analogep.compile.transformer import STATE
from analogep.ep import oracle
from analogep.ep.estimators import Estimators
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.learning.readout import Readout
from analogep.learning.rule import Phase
from analogep.models import EquilibriumTransformer, make_batch
from analogep.plot.repeats import cosine_against_repeats
from analogep.plot.style import CYCLE, describe, dressed, legend
from analogep.simulate.settle import SettleOptions
from analogep.technology import Preset, PulseResponse, ThermalNoise, preset
from analogep.training.device import PulsedPairs, descend_on_devices
from analogep.training.local import twin_gradient
from analogep.units import Scale

SCALE = Scale(0.1, 8e-6, 1e-14)
SYMBOLS, TOKENS, STEPS, RATE = 11, 4, 60, 0.3

PCM_LIKE = PulseResponse(step_up=0.016, step_down=0.016, step_spread=0.2, bound_spread=(0.0, 0.05), cycle_spread=0.6)
"""Middle step and spreads near those of aihwkit's `PCMPresetDevice` (a fit of Nandakumar et al. 2020), which has larger
steps where it is empty: 0.01 (1 + 27.2 exp(-2.5 w)) for w in 0 ... 2."""


@contextmanager
def hasty() -> Iterator[None]:
    """XLA without its costlier optimizations: most of the time here goes into compiling programs that run briefly."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@cache
def small_block(seed: int = 0, level: str = "ideal") -> tuple[Compiled, dict[str, np.ndarray]]:
    """A block of 4 tokens and 8 channels, and its first weights."""
    model = EquilibriumTransformer(TOKENS, 8, 2, 12, SYMBOLS, 1.0, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(seed)).items()}
    return compile_transformer(model, weights, level=level, scale=SCALE), weights


def counting(seed: int, samples: int) -> np.ndarray:
    """Windows of a sequence that goes on in steps of 3, modulo the alphabet."""
    first = np.random.default_rng(seed).integers(SYMBOLS, size=(samples, 1))
    return (first + 3 * np.arange(TOKENS + 1)) % SYMBOLS


def repeats_at(level: str = "parasitic", name: str = "asym_ep") -> xr.Dataset:
    """Cosines of an estimator of the small block through samples on 1 pF and a converter of 8 bits."""
    compiled, weights = small_block(0, level)
    batch = make_batch(counting(0, 1), "next_token", SYMBOLS)
    circuits, x = CircuitPhases(compiled), rails(batch, SCALE.volts)
    theta = to_conductances(weights, SCALE)
    z = Estimators(circuits).run((name,), x, theta, 1e-3)[Phase.FREE].settled.v[STATE] / SCALE.volts
    truth = oracle.implicit(compiled.model, weights, z, batch.inputs, batch.targets, batch.weights)
    return cosines_with_repeats(
        circuits,
        name,
        x,
        theta,
        truth.gradient,
        readout=Readout(noise=ThermalNoise(1e-12), bits=8),
        betas=[3e-4, 1e-3, 1e-2],
        repeats=[1, 4, 16, 64, 256, 1024],
        keys=jax.random.split(jax.random.key(1), 12),
    )


@hasty()
def learning_repeats() -> Figure:
    """Cosine of AsymEP against repeats, for three nudging strengths."""
    ax = cosine_against_repeats(repeats_at(), wanted=0.95, title="AsymEP of a small block, 64 µV of noise, 8 bits")
    return ax.get_figure(root=True)


def kinds() -> dict[str, PulsedPairs]:
    """Devices that learn: ideal, ReRAM as fitted, ReRAM without noise of what is seen after a write, PCM-like."""
    reram = preset("reram")
    assert reram.pulses is not None
    quiet = replace(reram, pulses=replace(reram.pulses, write_noise=0.0))
    pcm: Preset = replace(preset("pcm"), pulses=PCM_LIKE)
    return {
        "ideal": PulsedPairs(preset("ideal").at(gmax=40e-6)),
        "reram": PulsedPairs(reram),
        "reram without write noise": PulsedPairs(quiet),
        "pcm-like": PulsedPairs(pcm, "one_way", rewrite=pcm.programming),
    }


def learn(pairs: PulsedPairs, seed: int, gradient, steps: int = STEPS, rate: float = RATE):
    """Loss, pulses and refreshed pairs of each step; all of a seed's chances differ from those of the next."""
    _, weights = small_block(seed)
    devices = pairs.start(to_conductances(weights, SCALE))
    batches = (rails(make_batch(counting(100 * seed + k, 8), "next_token", SYMBOLS), SCALE.volts) for k in range(steps))
    done = descend_on_devices(
        gradient,
        devices,
        batches,
        pairs=pairs,
        rate=rate,
        siemens=SCALE.siemens,
        key=jax.random.key(seed),
        chip=jax.random.key(1000 + seed),
    )
    return [step for step, _ in done]


@hasty()
def learning_curves() -> Figure:
    """Losses of the small block learning by pulses, three seeds each."""
    gradient = twin_gradient(small_block()[0], SettleOptions())
    ax = dressed(None, (6.8, 3.8))
    for (name, pairs), color in zip(kinds().items(), CYCLE, strict=False):
        for seed in range(3):
            losses = [step.loss for step in learn(pairs, seed, gradient)]
            ax.plot(losses, color=color, linewidth=1.2, label=name if seed == 0 else None)
    ax.axhline(np.log(SYMBOLS), color="#626b76", linewidth=0.9, linestyle=(0, (5, 3)))
    ax.annotate("chance", (1, np.log(SYMBOLS)), (-2, 3), xycoords=ax.get_yaxis_transform(), ha="right",
                textcoords="offset points", fontsize=8.5, color="#626b76")  # fmt: skip
    ax.set_ylim(0, None)
    describe(ax, "update (1)", "cross-entropy before the update (nats)", "Local updates by pulses, 3 seeds")
    legend(ax, loc="lower left")
    return ax.get_figure(root=True)


FIGURES = {f.__name__: f for f in (learning_repeats, learning_curves)}
