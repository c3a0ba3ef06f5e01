"""The figures of the page on the simulator; docs/figures.py draws them with the others."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import scipy.signal
from matplotlib.figure import Figure

from analogep.errors import MissingToolError
from analogep.netlist.analyses import Analysis
from analogep.netlist.analyses import Noise as NoiseAnalysis
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.spice.deck import SpiceFile
from analogep.netlist.spice.read import read
from analogep.netlist.wires import Wires
from analogep.plot.analysis import draw
from analogep.plot.style import BLUE, CYCLE, GRAY, INK, describe, dressed, legend, new_figure
from analogep.simulate.deck import simulate_deck
from analogep.simulate.nodal.run import FileRun
from analogep.simulate.nodal.variation import file_paths

NETLISTS = Path(__file__).parents[1] / "netlists"
BOLTZMANN = 1.380649e-23


def _beside_ngspice(file: SpiceFile) -> Figure:
    """The deck's answers over ngspice's, or alone where ngspice is not installed."""
    try:
        both = simulate_deck(file, "both")
    except MissingToolError:
        both = simulate_deck(file)
    return draw(both.datasets, both.references, file.prints)


def inverters() -> Figure:
    """A deck in both simulators: transfer curves and waveforms."""
    return _beside_ngspice(read(NETLISTS / "cmos_inverter_chain.cir"))


def amplifier_noise() -> Figure:
    """Noise of an amplifier by element."""
    return _beside_ngspice(
        read(NETLISTS / "bjt_amplifier.cir", analyses=[".ac dec 5 10 100meg", ".noise v(out) vin dec 5 10 10meg"])
    )


def thermal() -> Figure:
    """Noise in time: sample paths of an RC node against the adjoint's spectrum and kT/C."""
    ohms, farads = 1e3, 1e-12
    text = f"RC\nR1 in out {ohms}\nC1 out 0 {farads}\nV1 in 0 0\n.noise v(out) v1 dec 10 1meg 1g\n.end\n"
    run = FileRun(read(text))
    analysis: Analysis = run.file.analyses[0]
    assert isinstance(analysis, NoiseAnalysis)
    spectrum = run.run(analysis)
    step = ohms * farads / 20
    paths = file_paths(run, step=step, stop=400_000 * step, paths=4, key=jax.random.key(1))["v(out)"].values
    frequency, density = scipy.signal.welch(paths, 1 / step, nperseg=1 << 14)
    keep = (frequency > 1e6) & (frequency < 1e9)
    figure = new_figure((9.6, 3.6))
    left, right = (dressed(ax) for ax in figure.subplots(1, 2))
    left.loglog(frequency[keep], 1e9 * np.sqrt(density.mean(0)[keep]), color=BLUE, linewidth=0.8, label="sample paths")
    left.loglog(
        spectrum["frequency"], 1e9 * spectrum["onoise_spectrum"], color=INK, linewidth=1.4, label="adjoint (.noise)"
    )
    left.set_yticks([0.7, 1, 2, 3, 4], ["0.7", "1", "2", "3", "4"])
    left.minorticks_off()
    describe(left, "frequency (Hz)", "noise at the output (nV/√Hz)", "1 kΩ and 1 pF")
    legend(left, loc="lower left")
    sigma = np.sqrt(BOLTZMANN * 300.15 / farads)
    volts = np.linspace(-4 * sigma, 4 * sigma, 201)
    right.hist(1e6 * paths[:, 1000:].ravel(), bins=80, density=True, color=BLUE, alpha=0.35, label="sample paths")
    bell = np.exp(-(volts**2) / (2 * sigma**2)) / (sigma * 1e6 * np.sqrt(2 * np.pi))
    right.plot(1e6 * volts, bell, color=INK, linewidth=1.4, label=f"√(kT/C) = {1e6 * sigma:.1f} µV")
    right.set_xlim(-4e6 * sigma, 4e6 * sigma)
    describe(right, "voltage (µV)", "density (1/µV)", f"Their deviation: {1e6 * paths[:, 1000:].std():.1f} µV")
    legend(right, loc="upper right")
    return figure


def tile_loss() -> Figure:
    """What wires cost: the effective matrix of a tile against its conductances."""
    rng = np.random.default_rng(0)
    figure = new_figure((9.6, 3.8))
    left, right = figure.subplots(1, 2)
    dressed(left)
    ohms = np.geomspace(1e-2, 30.0, 8)
    for n, color in zip((16, 32, 64, 128), CYCLE, strict=False):
        g = rng.uniform(1e-6, 1e-4, (n, n))
        loss = [100 * np.abs(np.asarray(effective_matrix(g, Wires(r, r))) - g).max() / g.max() for r in ohms]
        left.loglog(ohms, loss, "o-", color=color, markersize=4, label=f"{n} × {n}")
    left.axhline(1, color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)))
    describe(left, "resistance of one pitch of wire (Ω)", "largest error (% of full scale)", "Tiles of 1 ... 100 µS")
    legend(left, loc="lower right")
    g = np.full((64, 64), 50e-6)
    share = 100 * np.asarray(effective_matrix(g, Wires(1.0, 1.0))).T / g
    image = right.imshow(share, cmap="cividis", interpolation="nearest")
    figure.colorbar(image, ax=right, label="effective conductance (% of its own)")
    describe(right, "column", "row", "64 × 64 devices of 50 µS, wires of 1 Ω")
    return figure


FIGURES = {f.__name__: f for f in (inverters, amplifier_noise, thermal, tile_loss)}
"""File stem -> what draws it."""
