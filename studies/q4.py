"""Q4. Equilibrium or finite time: what does a state that is not at rest cost the gradient?

Two targets compete. The *implicit* gradient belongs to the state at rest; the *finite-time* gradient, what BPTT(T)
gives, to the state at which the free phase is stopped. Here that is where the residual |F|/|z| first falls to a given
value; every other phase starts there and lasts as long as the free one did (or five times as long). What each
estimator then says is held against both targets. The hypotheses of Ernoult et al. (2019), under which EP is BPTT, are
broken one at a time: H1 a reciprocal conductance matrix (rho), H2 a state at rest (residual), H3 a vanishing nudge
(beta). The same is done on transformer blocks F(z), and networks are trained on either target.

Beside them stand other roads (`_q4_online.py`): gradients carried along with the run (RTRL, random forward
accumulation, eligibility traces), nudges of K steps, weights that move while circuit and twin relax, a trained readout
of a fixed reservoir; and networks past the Hopf point, which never rest (`_q4_cycle.py`). They decide nothing: the
verdict is on what was predicted, of the estimators in ROWS (`_q4_phases.py`).
"""

from __future__ import annotations

import numpy as np

from analogep.study import Answer, Check, Configuration, Part, Results, Study, Verdict

from ._q4_blocks import measure_block
from ._q4_cycle import measure_cycle
from ._q4_figures import figures
from ._q4_networks import measure_network
from ._q4_online import measure_drift, measure_online
from ._q4_phases import BETA, FAITHFUL, LOOSE, NUDGE, ROWS, TIGHT
from ._q4_tables import BPTT, classes, error, median_loss, middle, tables, worst
from ._q4_training import MORE, measure_training

EP = [name for name, row in ROWS.items() if row.exact and row.nudges]
"""EP estimators that are exact when settled."""


class Config(Configuration):
    """Networks, where their free phase is stopped, and how hard they are nudged.

    `rhos` are rho(S^-1 A) of the conductance matrix at rest, `margins` the smallest eigenvalue of its symmetric part
    (1/tau). `nudges` are lengths of the other phases over that of the free one, `dt` is the integrator's step (tau).
    TIGHT, LOOSE, BETA and NUDGE are always measured. `blocks` are attention kinds of transformer blocks F(z).
    `horizons` (tau) are the times at which trained networks are read, after `updates` steps of gradient descent at
    `rate` on `patterns` patterns; `rules` are trained by beside the targets and the rows that are exact when settled.

    `online_rhos` (of `rhos`), `online_margins` (of `margins`) and `online_residuals` (TIGHT and LOOSE among them) are
    those of the other roads, with `draws` of each random one, nudges of `nudge_times` (tau), and weights that move for
    `drift_times` (tau). Cycling networks are stopped at `cycle_times` (tau).
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
    rules: tuple[str, ...] = tuple(MORE)
    online_rhos: tuple[float, ...] = (0.0, 1.0, 3.0)
    online_margins: tuple[float, ...] = (0.05, 0.5)
    online_residuals: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
    draws: int = 16
    nudge_times: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    drift_times: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0)
    cycle_times: tuple[float, ...] = (3.0, 10.0, 30.0, 60.0)

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
    rules=("reservoir",),
    online_rhos=(1.0,),
    online_margins=(0.5,),
    online_residuals=(1e-2, 1e-4),
    draws=4,
    nudge_times=(1.0, 10.0),
    drift_times=(30.0,),
    cycle_times=(3.0, 24.0),
)


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
        there. {by_length(results)}"""
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
    beside = (by_waiting(results), by_training(results), by_carrying(results), by_cycling(results))
    beside = (*beside, by_scope(results, len(errors)))
    fundamental, realizable, experiment = (" ".join(text.split()) for text in (fundamental, realizable, experiment))
    return Answer("\n\n".join((fundamental, *filter(None, beside))), realizable, experiment)


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


def by_waiting(results: Results) -> str:
    """How long a nudge from a state at residual 1e-2 must be to end near a target in every kind of network."""
    if "online" not in results:
        return ""
    errors = results["online"].nudge_error.sel(residual=LOOSE).median("seed", skipna=False)
    worst_of = errors.max(("rho", "margin"), skipna=False)  # target x nudge_time
    to, when = (int(k) for k in np.unravel_index(np.argmin(worst_of.values), worst_of.shape))
    name = {"implicit": "implicit", BPTT: "finite-time"}[str(worst_of.target.values[to])]
    kinds = errors.rho.size * errors.margin.size
    return (
        "Beside the verdict, which was fixed beforehand to phases as long as the free one: of nudges of one length in "
        f"all networks (kinds of them: {kinds}), those of {float(errors.nudge_time[when]):g} tau end nearest to one "
        f"target, {float(worst_of.values[to, when]):.2g} from the {name} gradient at worst "
        "(residual 1e-2, centred AsymEP)."
    )


def by_training(results: Results) -> str:
    """Which target trains better at the earliest reading; nothing if no training was measured."""
    if "training" not in results:
        return ""
    early = results["training"].isel(horizon=0)
    loss = {rule: f"{median_loss(early.loss.sel(rule=rule).isel(update=-1)):.2g}" for rule in early.rule.values}
    before = middle(early.loss.sel(rule=BPTT).isel(update=0))
    return (
        f"Read after {float(early.horizon):g} tau, networks learn from a loss of {before:.2g} to {loss[BPTT]} by BPTT, "
        f"{loss['asym_ep']} by centred AsymEP, {loss['twin']} by the twin, {loss['implicit']} on the implicit gradient"
        f"{''.join(f', {value} by {MORE[rule]}' for rule, value in loss.items() if rule in MORE)}."
    )


def by_carrying(results: Results) -> str:
    """What the other roads to a gradient come to; nothing if they were not measured."""
    if not {"online", "drift"} <= set(results):
        return ""
    online, drift = results["online"].error.sel(target=BPTT).median("seed", skipna=False), results["drift"]

    def span(row: str, level: float = LOOSE) -> str:
        ends = [f"{float(end(online.sel(carried=row, residual=level))):.2g}" for end in (np.min, np.max)]
        return " to ".join(dict.fromkeys(ends))

    late = drift.error.isel(duration=-1).median("seed", skipna=False)
    return (
        f"Carried along with the run, at the same residual: RTRL has BPTT's gradient (off by {span('rtrl')}), for n p "
        f"stored numbers; one draw of a random direction errs by {span('forward_random')}, of rank one by "
        f"{span('uoro')}, both without bias; local traces by {span('eligibility')} (at 1e-4 by "
        f"{span('eligibility', TIGHT)}). Weights that never wait are within {worst(late.values.ravel()):.2g} of where "
        f"the implicit gradient leads them after {float(drift.duration[-1]):g} tau."
    )


def by_cycling(results: Results) -> str:
    """What is left past the Hopf point."""
    data = results["cycle"]
    late = data.isel(time=-1)
    asym, twin = (f"{middle(late.phase_error.sel(row=row)):.2g}" for row in ("asym_ep", "twin"))
    carried = middle(late.error.sel(carried="rtrl", target=BPTT))
    never = int((~data.settled.astype(bool)).sum())
    return (
        f"Past the Hopf point {never} of {data.seed.size} networks never settle: after {float(late.time):g} tau "
        f"centred AsymEP misses the gradient of the loss at that time by {asym} times its length, the twin by {twin} "
        f"and RTRL by {carried:.1g}, while the gradient itself has grown to {middle(late['size']):.2g} times the "
        "implicit formula's. A trained readout of a fixed reservoir needs no lambda, at rest or not."
    )


def by_scope(results: Results, kinds: int) -> str:
    """On how much the verdict stands, so that a quick run is not taken for the full one."""
    networks = results["network"]
    said = f"Judged on {kinds} kinds of system with {networks.seed.size} seeds."
    if "block" in results:
        return said
    return f"{said} No transformer block is among them; few kinds of system meet the falsifier more easily than many."


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
        "online": Part(lambda c: {"rho": c.online_rhos, "margin": c.online_margins}, measure_online),
        "drift": Part(lambda c: {"rho": c.online_rhos, "margin": c.online_margins}, measure_drift),
        "cycle": Part(lambda c: {}, measure_cycle),
    },
    verdict=verdict,
    tables=tables,
    figures=figures,
)
