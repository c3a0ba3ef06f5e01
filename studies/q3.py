"""Q3. Can hardware run its own adjoint, when copies are never equal and nothing is instantaneous?

Four paths to lambda = -G^-T dL/dv: the transposed twin beside the circuit, the 2A injection (AsymEP), every one-way
coupling REVERSED in place, and a passive network of resistors and gyrators with the gyrators flipped. They are held
against mismatch, lag, weak amplifiers and noise. Twin and injection are trimmed from local probes
(`analogep.learning.calibration`). The twin is exported as a netlist and run in ngspice, exact, mismatched and trimmed.
The other way to run an adjoint, reversing time, is measured as a Hamiltonian echo over damping and time.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from analogep.study import Answer, Check, Configuration, Part, Results, Study, Verdict

from ._q3_blocks import measure_block
from ._q3_circuits import measure_echo, measure_netlist, measure_price
from ._q3_figures import figures
from ._q3_networks import measure_imperfection, measure_mismatch
from ._q3_tables import cell_ratio, exposure, largest, least, slowest, tables

EXACT, SPICE = 1e-3, 1e-6
"""Relative error up to which an estimator counts as exact; difference from ngspice, of full scale."""
FAITHFUL, FAILED = 0.1, 0.5
"""Relative error up to which a gradient follows another, and from which it has failed."""
WIDE = 0.2
"""The mismatch that the question names; it is always measured."""


class Config(Configuration):
    """Circuits, what is wrong with their adjoint paths, and how long they are calibrated.

    `rhos` are rho(S^-1 A) of the states' conductance matrix, whose S has eigenvalues 0.5 ... 1.5; `circuits` of
    `nodes` states are drawn for each and each seed. `epsilon` is tau_cell / tau; `lag_epsilon` that of the lag
    measurements, `ratios` are lags of the copies over tau_cell, looked at after `wait` (tau); `blocks` are kinds of
    attention of transformer blocks, lagged by `block_ratios`. `spreads` are standard deviations of mismatch, `probes`
    the counts at which calibration is looked at. `loop_gains` and `noises` (of full scale) are those of the copies and
    of reading lambda. `dampings` c go with the twin; `losses` (damping of the oscillators) and `times` with the echo,
    at steps of `dt`.
    """

    nodes: int = 6
    circuits: int = 24
    rhos: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    epsilon: float = 0.001
    spreads: tuple[float, ...] = (0.01, 0.05, 0.1, WIDE, 0.4)
    probes: tuple[int, ...] = (10, 30, 100, 300, 1000)
    lag_epsilon: float = 0.01
    lag_rhos: tuple[float, ...] = (0.3, 1.0, 3.0)
    ratios: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    wait: float = 30.0
    loop_gains: tuple[float, ...] = (10.0, 30.0, 100.0, 1000.0)
    noises: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    blocks: tuple[str, ...] = ("free",)
    block_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 10.0, 100.0)
    dampings: tuple[float, ...] = (0.0, 0.5, 1.0, 4.0)
    twin_rhos: tuple[float, ...] = (0.3, 3.0)
    losses: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
    times: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    dt: float = 0.1
    priced: tuple[str, ...] = ("recurrent", "block", "passive")


QUICK = Config(
    seeds=(0,),
    rhos=(1.0, 10.0),
    spreads=(0.05, WIDE),
    probes=(100, 300),
    lag_rhos=(1.0,),
    ratios=(0.01, 1.0, 100.0),
    blocks=(),
    dampings=(0.0, 4.0),
    twin_rhos=(3.0,),
    losses=(0.0, 1.0),
    times=(1.0,),
    priced=("recurrent", "passive"),
)


def verdict(results: Results) -> Verdict:
    """The twin at every damping, the echo on both sides of damping times time = 1, and the cells of the twin."""
    twin, mismatch = results["netlist"], results["mismatch"]
    echo = results["echo"].error.median("seed", skipna=False)
    passive, through = echo.sel(echo="passive"), exposure(results["echo"])
    passive, through = passive.transpose(*through.dims).values, through.values
    late, early = passive[through >= 1], passive[(through > 0) & (through <= 0.1)]
    lossless = passive[through == 0]
    cells = cell_ratio(results)
    prediction = [
        Check("the twin is exact at every damping (largest relative error)", largest(twin.error), "<=", EXACT),
        Check("its netlist says the same in ngspice (largest difference)", largest(twin.spice), "<=", SPICE),
        Check("without damping the echo is exact (largest error)", largest(lossless), "<=", EXACT),
        Check("damping x time >= 1: the echo has failed (least error)", least(late), ">=", FAILED),
    ]
    if early.size:
        text = "damping x time <= 0.1: it has not failed yet (largest error)"
        prediction.append(Check(text, largest(early), "<=", FAILED))
    per, narrow = "1/tau", mismatch.built.sel(path="twin", spread=0.05).mean("circuit")
    trimmed = mismatch.cosine.sel(calibrated="twin", spread=WIDE).isel(probes=-1).mean("circuit")
    source = [
        Check("mismatch 20 %: twin after calibration (worst mean cosine)", least(trimmed), ">=", 0.99),
        Check("mismatch 20 %: without it (worst circuit)", least(mismatch.built.sel(spread=WIDE)), "<=", 0.0),
        Check("mismatch 5 %: twin without it (worst mean cosine)", least(narrow), ">=", 0.966),
        Check("2A injection as slow as cells: unstable (largest alpha)", slowest(results, "injection"), ">=", 0.0, per),
        Check("REVERSED as slow as cells: stable (largest alpha)", slowest(results, "reversed"), "<=", 0.0, per),
    ]
    return Verdict(
        prediction=prediction,
        falsifier=[
            Check("damping x time >= 1: the echo is still exact (largest error)", largest(late), "<=", FAITHFUL),
            Check("circuit and twin have more than twice the circuit's cells", cells, ">=", 2.01),
        ],
        source=source,
        answer=answer(results, cells),
    )


def answer(results: Results, cells: float) -> Answer:
    """The three parts, with the numbers found."""
    mismatch, echo = results["mismatch"], results["echo"]
    wide = mismatch.sel(spread=WIDE)
    probes = int(wide.probes[-1])
    trimmed = wide.cosine.isel(probes=-1).mean(["circuit", "seed"])
    before = wide.built.mean(["circuit", "seed"])
    enough = reached(mismatch, 0.99)
    injection = trimmed.sel(calibrated="injection")
    fundamental = f"""Engineering, for the transposed network: it needs copies, and copies can be made equal without
        reading one of them. At 20 % mismatch the twin's mean cosine is {least(before.sel(path="twin")):.2f} ...
        {largest(before.sel(path="twin")):.2f} as built (by rho) and {least(trimmed.sel(calibrated="twin")):.4f} ...
        {largest(trimmed.sel(calibrated="twin")):.4f} after {probes} local probes. {enough}
        Onsager's relations make a network of passive reciprocal parts its own adjoint, losses included: they exchange
        ports, and do not run backward. One-way amplifiers and gyrators break that; the transpose then belongs to the
        time-reversed network (couplings reversed, gyrators flipped; resistors stay as they are). A Hamiltonian echo
        wants more, that the motion itself be retraced, and a resistor does not give back what it took.
        {by_echo(echo)} {by_gain(echo)}"""
    realizable = f"""Yes. Circuit and twin have {cells:.2g} times the circuit's cells and its devices twice; the
        twin takes one settle of the same length. REVERSED needs no second array, only switches and stand-ins for the
        cell gains; its mean cosine is {least(before.sel(path="reversed")):.3f} or more with 20 % mismatch of those.
        Flipped gyrators need crossed wires and two equal halves of each gyrator
        ({least(before.sel(path="gyrator_flip")):.3f} or more when the halves are off by 20 % each). The 2A injection is
        the fragile one, because it cancels. With a pole like the cells' the largest alpha is
        {slowest(results, "injection"):+.2g}/tau against {slowest(results, "reversed"):+.2g}/tau for REVERSED; after
        the same probes its mean cosine is {largest(injection):.3f} at best and {least(injection):.2f} at worst (over
        rho), because a path that does not settle cannot be probed. It is read less well, too: it acts on the nonlinear
        circuit, so its nudge must be small, while a linear path may fill the converter's range."""
    experiment = """Two crossbars of six nodes with 20 % devices: inject one random pattern into each, subtract the two
        inner products, and pulse every device of the twin by the product at its own terminals. The answer is wrong if a
        few hundred such probes do not make the responses reciprocal to 1 %, or if the trims must be redone when
        the operating point moves. For the echo: one LC ladder, rung down for one decay time before the reversal."""
    return Answer(*(" ".join(text.split()) for text in (fundamental, realizable, experiment)))


def by_echo(echo: xr.Dataset) -> str:
    """Where the passive echo fails, and what becomes of it when the run comes to rest."""
    error, through = echo.error.sel(echo="passive").median("seed"), exposure(echo)
    flat, product = error.transpose(*through.dims).values.ravel(), through.values.ravel()
    wrong, peak, last = product[flat > FAITHFUL], int(np.argmax(flat)), int(np.argmax(product))
    if not wrong.size:
        return ""
    said = (
        f"The passive echo errs by more than {FAITHFUL:g} from damping x time = {wrong.min():.2g} on, and most at "
        f"{product[peak]:.2g} (by {flat[peak]:.2g})."
    )
    if flat[last] < FAILED < flat[peak]:
        said += (
            f" Longer is not worse: at {product[last]:.2g} the error is {flat[last]:.2g}. A run that has come to rest "
            "has nothing to retrace, its kicked echo is a relaxation, and Onsager makes that the adjoint: "
            "the echo has become equilibrium propagation."
        )
    return said


def by_gain(echo: xr.Dataset) -> str:
    """What gain on the way back does, and where it blows up."""
    error = echo.error.sel(echo="active")
    grown = exposure(echo).where(error.isnull().any("seed"))
    said = (
        "With gain in the place of damping on the way back, which no passive part has, the echo is exact (largest "
        f"error {float(error.max()):.1e}; amplifiers matched, no noise): what damping destroys there is signal over "
        "noise, by exp(damping x time), not the gradient."
    )
    if grown.notnull().any():
        said += f" At damping x time = {float(grown.min()):.2g} even rounding errors grow without bound."
    return said


def reached(mismatch: xr.Dataset, level: float) -> str:
    """After how many probes the twin's mean cosine is at a level for every rho and seed, and at other states."""
    mean = mismatch.cosine.sel(calibrated="twin", spread=WIDE).mean("circuit").min(["rho", "seed"])
    there = mean.probes.values[mean.values >= level]
    count = f"{int(there[0])} probes are enough" if len(there) else f"Not even {int(mean.probes[-1])} probes are enough"
    other = float(mismatch.elsewhere.sel(spread=WIDE).mean("circuit").min())
    return f"{count} for {level:g} at every rho and seed; held at states that no probe saw, the trims give {other:.4f}."


STUDY = Study(
    title="can hardware run its own adjoint?",
    question="Can a circuit compute lambda = -G^-T dL/dv by itself, with a transposed twin, an injected -2A, couplings "
    "reversed in place, or gyrators flipped, when copies are mismatched, slow, weak and read with noise? And can "
    "reversing time (a Hamiltonian echo) do it in a damped system?",
    prediction="Twin exact at any damping; Hamiltonian echo fails once damping x time exceeds about 1.",
    falsifier="Echo stays exact in the damped system, or the twin needs more than twice the cells.",
    quick=QUICK,
    full=Config(),
    parts={
        "mismatch": Part(lambda c: {"rho": c.rhos}, measure_mismatch),
        "imperfection": Part(lambda c: {"rho": c.lag_rhos}, measure_imperfection),
        "block": Part(lambda c: {"attention": c.blocks}, measure_block),
        "netlist": Part(lambda c: {"rho": c.twin_rhos, "damping": c.dampings}, measure_netlist),
        "echo": Part(lambda c: {"damping": c.losses, "time": c.times}, measure_echo),
        "price": Part(lambda c: {"circuit": c.priced}, measure_price),
    },
    verdict=verdict,
    tables=tables,
    figures=figures,
)
