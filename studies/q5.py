"""Q5. Does non-normality have to hurt?

Random recurrent networks with a strong initial gain learn a regression by the exact local gradient (the twin's), with
and without each stabilizer: counted is what diverged, and what the stabilizer cost those networks that learned without
one. Passive circuits of resistors, capacitors and gyrators are sampled at rho(S^-1 A) of any size, and one is run in
ngspice as well.

"Diverged" means that, after training, the state of a pattern is not at rest, that its alpha is positive, or that the
loss was not finite. A network may also settle and still have learned nothing; that is a loss, not a divergence.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from analogep.report.content import Cell
from analogep.study import Answer, Check, Configuration, Part, Results, Rows, Study, Verdict

from ._q5_circuits import measure_growth, measure_ringing
from ._q5_figures import figures
from ._q5_networks import ROWS, measure_calm, measure_training

LITTLE = 0.02
"""Part of the loss that a stabilizer may cost."""
NOTHING = 1e-9
"""Growth above 1 that counts as rounding."""


class Config(Configuration):
    """Networks, their task, how they are trained, and the knobs of the stabilizers.

    `networks` for each seed; `gain` is the spread of the initial weights times sqrt(nodes), `calm` that of a second
    set of `calm_networks`. A phase lasts `horizon` (tau), the one after training `last`. `margin` (1/tau) is that of
    every stabilizer; `projections` are eigenvector steps after an update, `log_norm` and `homeostasis` the weights of
    the penalties.
    """

    nodes: int = 16
    networks: int = 50
    patterns: int = 8
    inputs: int = 4
    outputs: int = 4
    gain: float = 2.0
    calm: float = 0.5
    calm_networks: int = 10
    rate: float = 0.3
    updates: int = 100
    horizon: float = 10.0
    last: float = 300.0
    margin: float = 0.1
    projections: int = 5
    log_norm: float = 1.0
    homeostasis: float = 0.1
    stabilizers: tuple[str, ...] = tuple(ROWS)
    rhos: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    samples: int = 25
    ringing: tuple[float, ...] = (10.0,)
    waveform: float = 20.0


QUICK = Config(
    seeds=(0,),
    nodes=8,
    networks=4,
    patterns=4,
    calm_networks=0,
    updates=10,
    stabilizers=("none", "projection", "monotone"),
    rhos=(1.0, 100.0),
    samples=5,
    ringing=(),
)


def divergences(data: xr.Dataset, stabilizer: str) -> int:
    """Networks that diverged, all seeds together."""
    return int(data.diverged.sel(stabilizer=stabilizer).sum())


def cost(data: xr.Dataset, stabilizer: str) -> dict[str, float]:
    """What a stabilizer adds to the loss of the networks that did not diverge without one, as a part of it.

    By the means of both, and by the median of the ratios; `worse` is the larger of the two.
    """
    losses = data.loss.isel(update=-1)
    kept = ~data.diverged.sel(stabilizer="none").astype(bool)
    after, before = (losses.sel(stabilizer=s).where(kept).values.ravel() for s in (stabilizer, "none"))
    after, before = after[~np.isnan(before)], before[~np.isnan(before)]
    if not len(before):
        return dict.fromkeys(("mean", "median", "worse"), np.nan)
    mean, median = float(after.mean() / before.mean() - 1), float(np.median(after / before) - 1)
    return {"mean": mean, "median": median, "worse": max(mean, median)}


def verdict(results: Results) -> Verdict:
    """No growth at any rho, little loss, no divergence under projection."""
    data, grown = results["training"], results["growth"]
    trained = data.sel(stabilizer="monotone")
    growth = max(float(grown.passive_growth.max(skipna=False)), float(trained.passive_growth.max(skipna=False)))
    omega = max(float(grown.passive_omega.max(skipna=False)), float(trained.passive_omega.max(skipna=False)))
    passive, projected = cost(data, "monotone")["worse"], divergences(data, "projection")
    free = [
        s
        for s in data.stabilizer.values
        if s != "none" and not divergences(data, s) and cost(data, s)["worse"] < LITTLE
    ]
    rho = float(grown.rho.max())
    buffered = float(grown.buffered_growth.sel(rho=rho).median())
    found = [
        Check("omega of passive circuits, sampled and trained (largest)", omega, "<=", 0.0, "1/tau"),
        Check("with omega < 0 by construction nothing grows at any rho (largest peak - 1)", growth - 1, "<=", NOTHING),
        Check("passive (monotone) networks: no divergence", divergences(data, "monotone"), "<=", 0),
        Check("omega < 0 by construction costs little loss (worse of mean and median)", passive, "<=", LITTLE),
        Check("spectral-abscissa projection removes divergences (networks)", projected, "<=", 0),
    ]
    if "ringing" in results:
        turned, off = float(results["ringing"].turns.min()), float(results["ringing"].error.max(skipna=False))
        found += [
            Check("a passive circuit rings in ngspice (crossings of its state at rest, fewest)", turned, ">=", 2),
            Check("ngspice's waveform is ours (largest difference of full scale)", off, "<=", 1e-4),
        ]
    return Verdict(
        prediction=found,
        falsifier=[
            Check("growth with omega < 0 (largest peak - 1)", growth - 1, ">=", 1e-6),
            Check("divergences under projection (networks)", projected, ">=", 1),
        ],
        source=[
            Check(
                f"non-normality grows (passive circuits, rho up to {rho:g}: largest peak - 1)", growth - 1, ">=", 0.01
            ),
            Check(
                "stabilizers without a divergence that cost less than 2 % of the loss (how many)", len(free), ">=", 1
            ),
        ],
        answer=answer(results, free, buffered, rho, growth),
    )


def answer(results: Results, free: list[str], buffered: float, rho: float, growth: float) -> Answer:
    """The three parts, with the numbers found."""
    data = results["training"]
    total, lost = int(data.diverged.sel(stabilizer="none").size), divergences(data, "none")
    named = ", ".join(f"{ROWS[s]} ({cost(data, s)['worse']:+.0%})" for s in free) or "no stabilizer"
    told = {
        s: f"{divergences(data, s)} of them, at {cost(data, s)['mean']:+.0%} of the mean loss and "
        f"{cost(data, s)['median']:+.0%} in the median of those that had learned without"
        for s in ("monotone", "projection")
    }
    grew = f"""Passive circuits of resistors, capacitors and gyrators have a peak of ||exp(tJ)|| of {growth:.4g} at most
    (1 is no growth), at every rho up to {rho:g}; a circuit of one buffered crossbar with the same states at rest grew
    {buffered:.2g}-fold in the median at the largest rho."""
    if growth <= 1 + NOTHING and free:
        opening = f"Engineering. {grew} So growth belongs to the circuit, not to the function that it computes."
    else:
        opening = f"Open. {grew}"
    fundamental = f"""{opening} Without a stabilizer {lost} of {total} networks diverged; with monotone weights
    {told["monotone"]}; with abscissa projection {told["projection"]}. Without a divergence, and at less than
    {LITTLE:.0%} of the loss: {named}."""
    realizable = """Yes. Monotone weights are a leak, gyrators between the nodes, and gyrators to loaded nodes: passive
    parts, trained by products of voltages at their own ports, whose poles cannot make the circuit active. Price: a
    loaded node for each row of P, and clamps. Normalization needs one number for the array, row sums one for each
    row; projection needs the ringing mode of the circuit and of its twin, and a trial free phase before an update is
    kept."""
    experiment = """Build four nodes of gyrators and clamps, step the drive, and raise the gyrators tenfold: the answer
    is wrong if the energy stored about the state at rest ever rises in free decay of a small displacement. Or train
    monotone weights on one board at the rate at which free weights break: it is wrong if one state is not at rest."""
    return Answer(*(" ".join(text.split()) for text in (fundamental, realizable, experiment)))


def tables(results: Results) -> list[Rows]:
    """The networks by stabilizer; growth by rho; the waveform."""
    out = []
    rates = {"alpha": "1/tau", "omega": "1/tau"}
    for part, what in (("training", "strong"), ("calm", "small")):
        if part in results:
            out.append(Rows(part, caption(results[part], what), network_rows(results[part]), rates))
    grown = results["growth"]
    rows = [
        {
            "rho": float(rho),
            "passive: omega": float(at.passive_omega.max()),
            "passive: growth": float(at.passive_growth.max()),
            "buffered: omega": float(at.buffered_omega.max()),
            "buffered: growth": float(at.buffered_growth.max()),
            "buffered: bound": float(at.bound.max()),
            "buffered: rho": float(at.buffered_rho.median()),
        }
        for rho in grown.rho.values
        for at in [grown.sel(rho=rho)]
    ]
    text = (
        "Sampled circuits with the same states at rest, passive and with one buffered crossbar: the largest of all "
        "seeds (rho of the buffered one: median; bound: root of the condition of D)."
    )
    out.append(Rows("growth", text, rows, {"passive: omega": "1/tau", "buffered: omega": "1/tau"}))
    if "ringing" in results:
        data = results["ringing"]
        rows = [
            {"rho asked for": float(rho), "seed": int(seed)}
            | {name.replace("_", " "): float(data[name].sel(rho=rho, seed=seed))
               for name in ("rho_at_rest", "alpha", "omega", "growth", "hopf", "turns", "error", "missed")}
            for rho in data.rho.values for seed in data.seed.values
        ]  # fmt: skip
        text = (
            "A passive circuit after a step of its drive, here and in ngspice. `hopf`: frequency of the slowest pair; "
            "`turns`: crossings of the state at rest; `error`: difference from ngspice, of full scale; `missed`: how "
            "far the last state is from rest."
        )
        out.append(Rows("ringing", text, rows, {"alpha": "1/tau", "omega": "1/tau", "hopf": "1/tau"}))
    return out


def caption(data: xr.Dataset, what: str) -> str:
    """What a table of networks shows."""
    none = data.diverged.sel(stabilizer="none")
    return (
        f"{none.size} networks with a {what} initial gain. Cost: loss added to that of the {int((none == 0).sum())} "
        "that did not diverge without a stabilizer, as a part of it, by the means and by the median ratio. Diverged "
        "are networks with a pattern `unsettled`, with `alpha > 0`, or with a loss `not finite`; `no better`: loss not "
        "below that before training. omega, growth, rho: medians; alpha: the largest."
    )


def network_rows(data: xr.Dataset) -> list[dict]:
    """A row for each stabilizer, and one for the passive circuit of the monotone weights."""
    rows = []
    for s in data.stabilizer.values:
        at, added = data.sel(stabilizer=s), cost(data, s)
        losses = at.loss.isel(update=-1)
        row = {
            "stabilizer": ROWS[s],
            "diverged": Cell(divergences(data, s), "bad" if divergences(data, s) else "good"),
            "unsettled": int(at.unsettled.sum()),
            "alpha > 0": int(at.unstable.sum()),
            "not finite": int(at.broken.sum()),
            "no better": int((~(losses < at.loss.isel(update=0))).sum()),
            "mean loss": float(losses.mean()),
            "cost, means": added["mean"],
            "cost, median": added["median"],
            "alpha": float(at.alpha.max()),
            "omega": float(at.omega.median()),
            "growth": float(at.growth.median()),
            "rho": float(at.rho.median()),
        }
        rows.append(row)
        if s == "monotone":
            passive = {name: float(at[f"passive_{name}"].median()) for name in ("omega", "growth", "rho")}
            rows.append(
                {**row, "stabilizer": "monotone, as RC + gyrators", **passive, "alpha": float(at.passive_alpha.max())}
            )
    return rows


STUDY = Study(
    title="does non-normality have to hurt?",
    question="Does a non-reciprocal circuit have to grow, ring out of bounds or diverge while it learns, or is there a "
    "form, a penalty or a projection of its weights that keeps it at rest, and at what cost of loss?",
    prediction="omega < 0 by construction gives zero growth at any rho and costs little loss; spectral-abscissa "
    "projection removes divergences.",
    falsifier="Growth with omega < 0, or divergences under projection.",
    quick=QUICK,
    full=Config(seeds=(0, 1, 2, 3)),
    parts={
        "growth": Part(lambda c: {"rho": c.rhos}, measure_growth),
        "ringing": Part(lambda c: {"rho": c.ringing}, measure_ringing),
        "training": Part(lambda c: {"stabilizer": c.stabilizers}, measure_training),
        "calm": Part(lambda c: {"stabilizer": c.stabilizers if c.calm_networks else ()}, measure_calm),
    },
    verdict=verdict,
    tables=tables,
    figures=figures,
)
