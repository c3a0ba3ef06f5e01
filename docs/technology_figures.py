"""The figures of the page on technology; docs/figures.py draws them with the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from analogep.plot.style import CYCLE, describe, dressed, legend, new_figure
from analogep.technology import ProgrammingError, PulsedUpdate, PulseResponse, preset

DAY = 86_400.0


def technology_errors() -> Figure:
    """Programming errors over conductance, and what a device still holds as time passes."""
    jax.config.update("jax_enable_x64", True)
    figure = new_figure((9.6, 3.9))
    left, right = map(dressed, figure.subplots(1, 2))
    styles = {"reram": [(1.0, "1 s"), (2 * DAY, "2 d")], "hfo2": [(0.0, "")], "pcm": [(0.0, "")]}
    styles["sonos"] = [(0.0, "0 d"), (5 * DAY, "5 d")]
    for (name, times), color in zip(styles.items(), CYCLE, strict=False):
        for (seconds, label), line in zip(times, ("-", "--"), strict=False):
            device = preset(name).at(seconds=seconds)
            error = next(e for e in device.written() if isinstance(e, ProgrammingError))
            g = np.linspace(device.gmin, device.gmax, 200)
            mean = g if error.shift is None else g + error.shift(g)
            spread = np.maximum(error.spread(mean), 0.0)
            left.plot(g / device.gmax, 100 * spread / device.gmax, line, color=color, label=f"{name} {label}".strip())
    left.set_ylim(0, 13.5)
    describe(left, "g / gmax", "standard deviation (% of gmax)", "Errors of written devices")
    legend(left, loc="upper right", ncols=3)
    times = np.geomspace(1e-6, 3e7, 150)
    for share, color in zip((1.0, 0.1, 0.01), CYCLE, strict=False):
        g = np.array([share * 25e-6])
        nu = float(preset("pcm").drift_mean(g)[0])
        kept = ((times + 20.0) / 20.0) ** -nu
        right.semilogx(times, kept, color=color, label=f"pcm at {share:g} gmax (ν = {nu:.3f})")
    tau = preset("capacitor").retention or 0.0
    right.semilogx(times, np.exp(-times / tau), color=CYCLE[3], label=f"capacitor (τ = {tau * 1e3:.2f} ms)")
    describe(right, "time since the first reading (s)", "g(t) / g(0)", "What is left")
    legend(right, loc="lower center", bbox_to_anchor=(0.58, 0.06))
    return figure


def technology_pulses() -> Figure:
    """Trains of pulses up and down."""
    jax.config.update("jax_enable_x64", True)
    ax = dressed(None, (7.4, 3.6))
    cases = {"linear": PulseResponse(0.01, 0.01, 0.0, 0.0), "bend 0.5": PulseResponse(0.01, 0.01, 0.5, 0.5)}
    cases["soft bounds"] = PulseResponse(0.01, 0.01)
    cases["soft bounds, noisy devices"] = PulseResponse(
        0.01, 0.01, step_spread=0.3, bound_spread=(0.05, 0.05), cycle_spread=1.0
    )
    train = np.repeat([1.0, -1.0], 150)
    for (name, response), color in zip(cases.items(), CYCLE, strict=False):
        noisy = name.endswith("devices")
        update = PulsedUpdate(response, 0.0, 1.0, jax.random.key(3) if noisy else None)
        keys = jax.random.split(jax.random.key(1), len(train))

        def pulse(g: jax.Array, each: tuple, update: PulsedUpdate = update) -> tuple[jax.Array, jax.Array]:
            g = update.give(g, jnp.full(g.shape, each[0]), each[1]).devices
            return g, g

        start = jnp.full(4 if noisy else 1, 0.1)
        states = np.vstack([start, jax.lax.scan(pulse, start, (train, keys))[1]])
        ax.plot(states, color=color, label=[name] + [None] * (states.shape[1] - 1), linewidth=0.8 if noisy else 1.6)
    describe(ax, "pulse (150 up, then 150 down)", "(g − gmin) / (gmax − gmin)", "Answers to pulses, steps of 1 %")
    legend(ax, loc="lower center")
    return ax.get_figure(root=True)


FIGURES = {f.__name__: f for f in (technology_errors, technology_pulses)}
