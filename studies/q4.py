"""Q4. Equilibrium or finite time: what does a state that is not at rest cost the gradient?

Two targets compete. The *implicit* gradient belongs to the state at rest; the *finite-time* gradient, what BPTT(T)
gives, to the state at which the free phase is stopped. Here that is where the residual |F|/|z| first falls to a given
value; every other phase starts there and lasts as long as the free one did (or five times as long). What each
estimator then says is held against both targets. The hypotheses of Ernoult et al. (2019), under which EP is BPTT, are
broken one at a time: H1 a reciprocal conductance matrix (rho), H2 a state at rest (residual), H3 a vanishing nudge
(beta). The same is done on transformer blocks F(z), and networks are trained on either target.

Not in it yet: random forward accumulation, traces, two timescales, a limit cycle, a fixed reservoir. An estimator is
one more entry of ROWS in _q4_phases.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from analogep.study import Answer, Check, Configuration, Part, Results, Rows, Study, Verdict

from ._q4_blocks import measure_block
from ._q4_figures import figures
from ._q4_networks import measure_network, measure_training
from ._q4_phases import BETA, FAITHFUL, LOOSE, NUDGE, ROWS, TIGHT

EP = [name for name, row in ROWS.items() if row.exact and row.nudges]
"""EP estimators that are exact when settled."""
BPTT = "finite_time"
"""The target that BPTT through the free phase has."""


class Config(Configuration):
    """Networks, where their free phase is stopped, and how hard they are nudged.

    `rhos` are rho(S^-1 A) of the conductance matrix at rest, `margins` the smallest eigenvalue of its symmetric part
    (1/tau). `nudges` are lengths of the other phases over that of the free one, `dt` is the integrator's step (tau).
    TIGHT, LOOSE, BETA and NUDGE are always measured. `blocks` are attention kinds of transformer blocks F(z).
    `horizons` (tau) are the times at which trained networks are read, after `updates` steps of gradient descent at
    `rate` on `patterns` patterns.
    """

    nodes: int = 8
    rhos: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0)
    margins: tuple[float, ...] = (0.05, 0.5)
    residuals: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-6, 1e-8)
    betas: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    nudges: tuple[float, ...] = (1.0, 5.0)
    dt: float = 0.1
    blocks: tuple[str, ...] = ("free", "energy")
    block_residuals: tuple[float, ...] = (1e-1, 1e-2, 1e-4, 1e-6)
    horizons: tuple[float, ...] = (1.0, 3.0, 10.0)
    updates: int = 200
    rate: float = 0.2
    patterns: int = 6

    @property
    def stops(self) -> list[float]:
        """Residuals at which networks are stopped, the largest first."""
        return sorted({*self.residuals, TIGHT, LOOSE}, reverse=True)


QUICK = Config(
    seeds=(0, 1),
    rhos=(0.0, 1.0),
    residuals=(1e-1, 1e-2, 1e-4, 1e-8),
    betas=(1e-3, 1e-1),
    nudges=(),
    blocks=(),
    horizons=(1.0,),
    updates=20,
)


def classes(results: Results, nudge: float = NUDGE) -> dict[str, xr.Dataset]:
    """Kinds of system, each over its seeds: networks by rho and margin, blocks by attention."""
    networks = results["network"].sel(nudge=nudge)
    found = {
        f"network, rho {rho:g}, margin {margin:g}": networks.sel(rho=rho, margin=margin)
        for rho in networks.rho.values
        for margin in networks.margin.values
    }
    if "block" in results and nudge == NUDGE:
        blocks = results["block"]
        found |= {f"block, {kind} attention": blocks.sel(attention=kind) for kind in blocks.attention.values}
    return found


def error(data: xr.Dataset, row: str, at: float, target: str | None = None, variable: str = "error") -> xr.DataArray:
    """An estimator's error over seeds, with the free phase stopped at residual `at`; to the nearer target if None."""
    found = data[variable].sel(row=row, residual=at, beta=BETA)
    return found.min("target") if target is None else found.sel(target=target)


def middle(values: xr.DataArray) -> float:
    """Median over seeds; NaN if one is missing, so that nothing is decided by the rest."""
    return float(values.median("seed", skipna=False))


def verdict(results: Results) -> Verdict:
    """Settled, targets agree and EP follows; at 1e-2 the targets differ, and the question is whether EP has one."""
    kinds = classes(results)
    tight = [data.sel(residual=data.residual <= TIGHT) for data in kinds.values()]
    agree = worst(float(data.gap.max(skipna=False)) for data in tight)
    settled = [data.error.sel(row="asym_ep", target="implicit", beta=BETA) for data in tight]
    follow = worst(float(error.max(skipna=False)) for error in settled)
    differ = [middle(data.gap.sel(residual=LOOSE)) for data in kinds.values()]
    away = {row: [middle(error(data, row, LOOSE)) for data in kinds.values()] for row in EP}
    best = min(EP, key=lambda row: worst(away[row]))  # the one whose worst kind of system is best
    faithful, tracks = worst(away[best]), float(np.min(list(away.values())))
    one_sided, centred = "asym_ep_one_sided", "asym_ep"
    drift = {at: worst(middle(error(data, one_sided, at, BPTT)) for data in kinds.values()) for at in (TIGHT, LOOSE)}
    noise = {row: worst(middle(error(data, row, LOOSE, BPTT, "cosine")) for data in kinds.values()) for row in EP}
    near, far = "residual <= 1e-4:", "residual 1e-2:"
    return Verdict(
        prediction=[
            Check(f"{near} the two targets agree (worst of all systems)", agree, "<=", FAITHFUL),
            Check(f"{near} centred AsymEP follows the implicit one (worst of all systems)", follow, "<=", FAITHFUL),
            Check(
                f"{far} the targets differ (in every kind of system: least median)",
                float(np.min(differ)),
                ">=",
                FAITHFUL,
            ),
            Check(f"{far} EP tracks neither (best EP estimator, best kind of system)", tracks, ">=", FAITHFUL),
        ],
        falsifier=[
            Check(f"{far} an EP estimator stays near a target in every kind of system", faithful, "<=", FAITHFUL),
        ],
        source=[
            Check("residual 1e-4: one-sided EP (beta 1e-3) is BPTT's gradient", drift[TIGHT], "<=", FAITHFUL),
            Check(f"{far} one-sided EP (beta 1e-3) is noise: cosine with BPTT's", noise[one_sided], "<=", 0.5),
            Check(f"{far} centred EP is noise: cosine with BPTT's", noise[centred], "<=", 0.5),
        ],
        answer=answer(results, best, away[best], worst(differ), drift[LOOSE]),
    )


def answer(results: Results, best: str, errors: list[float], gap: float, drift: float) -> Answer:
    """The three parts, with the numbers found: `errors` are those of the best EP estimator, one for each kind."""
    near = sum(one <= FAITHFUL for one in errors)
    found = f"""{ROWS[best].label} is within {FAITHFUL:g} of a target in {near} of {len(errors)} kinds of system, and
        {worst(errors):.2g} away at worst"""
    if 2 * near >= len(errors):
        fundamental = f"""Engineering. At residual 1e-2 a one-sided contrast errs by up to {drift:.3g} times the
        gradient, because it divides by beta what the unfinished free phase still drifts. A centred contrast cancels
        that drift: {found}. What remains is a choice, not an obstruction: the two targets are up to {gap:.2g} apart
        there. {by_length(results)} {by_training(results)}"""
        realizable = """Yes, with the same circuit and no state at rest: two nudged phases of opposite sign, each as
        long as the free phase and started where it stopped (AsymEP: with the 2A injection about that state), or one
        phase of the twin. Price: a held copy of the stopped state, and a second nudged phase where one-sided EP has
        one; no more wires than the settled estimator has."""
    else:
        fundamental = f"Open. At residual 1e-2 {found}; nothing here shows whether another rule would do better."
        realizable = "Only near rest: the free phase must have settled before the nudge. That costs time, not parts."
    experiment = """On one board, stop the free phase at a residual of 1e-2 and take the contrast one-sided, centred,
    and centred with half of beta. The answer is wrong if halving beta changes the centred contrast as it changes the
    one-sided one, or if phases as long as the free one do not point along finite differences of the loss at that
    same stopping time."""
    return Answer(*(" ".join(text.split()) for text in (fundamental, realizable, experiment)))


def by_length(results: Results) -> str:
    """What the length of the nudged phases does to the target; nothing if one length was measured."""
    networks, said = results["network"], []
    for nudge in networks.nudge.values:
        data = networks.sel(nudge=nudge, margin=float(networks.margin.min()), rho=float(networks.rho.max()))
        near, far = (middle(error(data, "asym_ep", LOOSE, target)) for target in (BPTT, "implicit"))
        said.append(f"{nudge:g} times as long, they end {near:.2g} from BPTT's and {far:.2g} from the implicit one")
    if len(said) < 2:
        return ""
    return f"The length of the nudged phases chooses (largest rho, smallest margin): {'; '.join(said)}."


def by_training(results: Results) -> str:
    """Which target trains better at the earliest reading; nothing if no training was measured."""
    if "training" not in results:
        return ""
    early = results["training"].isel(horizon=0)
    rules = ("implicit", BPTT, "asym_ep", "twin")
    loss = {rule: f"{median_loss(early.loss.sel(rule=rule).isel(update=-1)):.2g}" for rule in rules}
    before = middle(early.loss.sel(rule=BPTT).isel(update=0))
    return (
        f"Read after {float(early.horizon):g} tau, networks learn from a loss of {before:.2g} to {loss[BPTT]} by BPTT, "
        f"{loss['asym_ep']} by centred AsymEP, {loss['twin']} by the twin, {loss['implicit']} on the implicit gradient."
    )


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN if one of them is."""
    return float(np.max(list(errors)))


def tables(results: Results) -> list[Rows]:
    """Both targets at both residuals for every kind of system; training."""
    rows = []
    for kind, data in classes(results).items():
        for level in (LOOSE, TIGHT):
            errors = {
                f"{short}, {to}": middle(error(data, row, level, target))
                for short, row in (("AsymEP", "asym_ep"), ("twin", "twin"))
                for to, target in (("rest", "implicit"), ("T", BPTT))
            }
            rows.append(
                {
                    "system": kind,
                    "residual": level,
                    "alpha": middle(data.abscissa),
                    "T": middle(data.time.sel(residual=level)),
                    "gap": middle(data.gap.sel(residual=level)),
                    **errors,
                    "one-sided": middle(error(data, "asym_ep_one_sided", level)),
                    "plain EP": middle(error(data, "vector_field_ep", level)),
                }
            )
    caption = (
        "Relative errors, medians over seeds (beta 1e-3), with the free phase stopped at time T: `gap` between the "
        "targets; centred AsymEP and the twin against the implicit gradient (rest) and BPTT's (T); one-sided AsymEP "
        "and centred plain EP against the nearer one."
    )
    out = [Rows("fidelity", caption, rows, {"alpha": "1/tau", "T": "tau"})]
    lengths = results["network"].nudge
    if lengths.size > 1:
        rows = []
        for nudge in lengths.values:
            for kind, data in classes(results, nudge).items():
                near = {to: middle(error(data, "asym_ep", LOOSE, at)) for to, at in (("rest", "implicit"), ("T", BPTT))}
                rows.append({"system": kind, "length": float(nudge), **near})
        caption = "Centred AsymEP at residual 1e-2 by the length of the nudged phases over that of the free one."
        out.append(Rows("lengths", caption, rows))
    if "training" in results:
        data = results["training"]
        trained = [
            {
                "read at": float(horizon),
                "gradient": rule,
                "loss before": middle(data.loss.sel(horizon=horizon, rule=rule).isel(update=0)),
                "loss after": median_loss(data.loss.sel(horizon=horizon, rule=rule).isel(update=-1)),
                "loss after, at rest": median_loss(data.at_rest.sel(horizon=horizon, rule=rule)),
                "diverged": int((~np.isfinite(data.loss.sel(horizon=horizon, rule=rule).isel(update=-1))).sum()),
            }
            for horizon in data.horizon.values
            for rule in data.rule.values
        ]
        caption = "Networks trained on the state at a time, by the gradient of either target; medians over seeds."
        out.append(Rows("training", caption, trained, {"read at": "tau"}))
    return out


def median_loss(values: xr.DataArray) -> float:
    """Median over seeds in which a run that diverged counts as an infinite loss."""
    return float(np.median(np.where(np.isfinite(values), values, np.inf)))


STUDY = Study(
    title="equilibrium or finite time?",
    question="Is a state at rest the right primitive for learning, or the state at a finite time? When the free phase "
    "is stopped early, which gradient does a local estimator still find: the implicit one of the state at rest, the "
    "finite-time one that BPTT(T) gives, or neither?",
    prediction="With residual <= 1e-4 all targets agree; at 1e-2 the finite-time gradient differs and EP tracks "
    "neither.",
    falsifier="EP stays faithful at residual 1e-2: a nudge-based estimator that is exact when settled stays within "
    f"{FAITHFUL:.0%} of one of the targets, in the median over seeds, in every kind of system measured.",
    quick=QUICK,
    full=Config(seeds=(0, 1, 2, 3, 4)),
    parts={
        "network": Part(
            lambda c: {"rho": c.rhos, "margin": c.margins, "nudge": sorted({*c.nudges, NUDGE})}, measure_network
        ),
        "block": Part(lambda c: {"attention": c.blocks}, measure_block),
        "training": Part(lambda c: {"horizon": c.horizons}, measure_training),
    },
    verdict=verdict,
    tables=tables,
    figures=figures,
)
