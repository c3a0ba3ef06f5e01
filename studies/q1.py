"""Q1. Is the obstruction fundamental? What experiments at the outputs can and cannot tell of the gradient.

A ladder of estimators climbs rho(S^-1 A) from 0.1 to 10 on three kinds of circuit: one-way couplings with S definite,
the same with S indefinite (stable all the same), and passive networks of resistors and gyrators. Each is held against
a dense implicit gradient, and its price is counted on the circuit. Beside it stand pairs of circuits J and J' that no
output nudge tells apart although their gradients are opposite, and the error that no rule of output nudges avoids.
The statement and its proof are in docs/no_go.md.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from analogep.study import Answer, Check, Configuration, Part, Results, Rows, Study, Verdict

from ._q1_figures import NAMES, figures
from ._q1_ladder import BETAS, EXACT, GENERAL, PLAIN, PRICES, ROWS, measure_ladder
from ._q1_pairs import measure_circuits, measure_floor, measure_pair

BETA = BETAS[-1]
OFF = 0.1
"""Relative error from which a gradient counts as wrong."""
GOOD = 1e-3
"""Relative error up to which an estimator counts as exact at beta = 1e-3."""


class Config(Configuration):
    """Circuits of the ladder, of the pairs, and of the floor.

    `rows` are measured in networks of one-way couplings, `passive` in passive ones; `draws` are repetitions of random
    rows. `pair_rhos` are those of J; `circuits` the explicit pairs.
    """

    kinds: tuple[str, ...] = ("definite", "indefinite", "passive")
    rhos: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    rows: tuple[str, ...] = GENERAL
    passive: tuple[str, ...] = tuple(ROWS)
    draws: int = 20
    pair_rhos: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0)
    floor_rhos: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 1.0, 3.0, 10.0)
    circuits: tuple[str, ...] = ("bridge", "paths")


QUICK = Config(
    seeds=(0, 1),
    kinds=("definite", "indefinite"),
    rhos=(0.1, 1.0, 3.0),
    rows=tuple(row for row in GENERAL if row not in ("holomorphic_ep", "reversed", "random_nodes")),
    draws=4,
    pair_rhos=(0.0, 1.0),
    floor_rhos=(0.01, 0.1, 1.0),
    circuits=(),
)


def verdict(results: Results) -> Verdict:
    """The ladder, the pairs and the floor decide; the answer is written with their numbers."""
    ladder, pairs, floor = results["ladder"], results["pair"], results["floor"].floor
    error = ladder.error.sel(beta=BETA)
    plain, exact = error.sel(row=PLAIN), error.sel(row=EXACT)
    above, at_one = plain.sel(rho=plain.rho > 1), plain.sel(rho=plain.rho >= 1)
    tells = np.isin(pairs.said, EXACT)
    growth = float(np.min([correlation(error.sel(row="vector_field_ep", kind=kind)) for kind in error.kind.values]))
    least = smallest(floor.sel(rho=floor.rho >= 1))
    limit = float(ladder.limit.sel(row="asym_ep").max(skipna=False))
    below = error.sel(row="vector_field_ep", rho=error.rho < 1).median("seed", skipna=False)
    asym_above = exact.sel(row="asym_ep", rho=exact.rho > 1)
    return Verdict(
        prediction=[
            Check("rho >= 1: rules of output nudges are off (best rule, best network)", smallest(at_one), ">=", OFF),
            Check("rho >= 1: an error that no rule of output nudges avoids (least of networks)", least, ">=", 0.5),
            Check("the error of plain EP grows with rho (rank correlation, least of kinds)", growth, ">=", 0.5),
            *(
                Check(f"exact at any rho: {ROWS[row].label} (worst network)", largest(exact.sel(row=row)), "<=", GOOD)
                for row in EXACT
                if bool(exact.sel(row=row).notnull().any())
            ),
            Check(
                "J and J' share state, responses and weights (largest difference)", largest(pairs.shared), "<=", 1e-9
            ),
            Check(
                "their gradients at hidden weights are opposite (largest cosine)", largest(pairs.opposed), "<=", -0.99
            ),
            Check("rules of output nudges say the same of both", largest(pairs.same.isel(said=~tells)), "<=", GOOD),
            Check(
                "exact estimators tell them apart (least cosine)", smallest(pairs.cosine.isel(said=tells)), ">=", 0.999
            ),
            *explicit(results),
        ],
        falsifier=[
            Check("a plain two-phase rule is exact at rho > 1 (best rule, best network)", smallest(above), "<=", 1e-2),
            Check("AsymEP's settled error grows with rho (at beta = 0, worst network)", limit, ">=", 1e-6),
        ],
        source=[
            Check(
                "AsymEP is first order in S^-1 A: wrong at rho > 1 (its best network)", smallest(asym_above), ">=", OFF
            ),
            Check("rho < 1 keeps plain EP near the gradient (worst median)", largest(below), "<=", OFF),
        ],
        answer=answer(results, least, growth, largest(exact)),
    )


def explicit(results: Results) -> list[Check]:
    """What the explicit circuits add; nothing if they were not simulated."""
    if "circuits" not in results:
        return []
    found = results["circuits"]
    same = max(largest(found.state_apart), largest(found.responses_apart))
    ratio = found.gradient.sel(by="twin", circuit="J'") / found.gradient.sel(by="twin", circuit="J")
    return [
        Check("explicit circuits share state and responses to nudges of any size", same, "<=", 1e-9),
        Check("the two paths share every transient too", largest(found.waves_apart.sel(circuits="paths")), "<=", 1e-6),
        Check("and dL/dw has another sign (largest ratio)", largest(ratio), "<=", -0.1),
    ]


def largest(values: xr.DataArray) -> float:
    """Largest of what was measured; NaN if nothing was, or if an estimator that a kind of circuit has is missing."""
    return float(values.max(skipna="row" in values.dims or "kind" in values.dims)) if complete(values) else np.nan


def smallest(values: xr.DataArray) -> float:
    """Least of what was measured, as `largest`."""
    return float(values.min(skipna="row" in values.dims or "kind" in values.dims)) if complete(values) else np.nan


def complete(values: xr.DataArray) -> bool:
    """Whether a row that was measured in one network of a kind was measured in all of them."""
    there = values.notnull()
    over = [dim for dim in there.dims if dim in ("rho", "seed")]
    return bool((there.any(over) == there.all(over)).all() and there.any())


def correlation(error: xr.DataArray) -> float:
    """Spearman's rank correlation of an error with rho, over all networks of a kind; NaN if all errors are equal."""
    if float(error.max() - error.min()) == 0:
        return np.nan
    rho = error.rho.broadcast_like(error)
    return float(spearmanr(np.ravel(rho.transpose(*error.dims)), np.ravel(error)).statistic)


def answer(results: Results, least: float, growth: float, worst: float) -> Answer:
    """The three parts, with the numbers found."""
    floor, ladder = results["floor"].floor, results["ladder"]
    lost = floor.rho.values[np.asarray((floor >= 1).all("seed"))]
    sign = f"from rho {lost.min():g} on not even its sign" if lost.size else f"at worst {float(floor.max()):.2g} of it"
    plain = ladder.error.sel(row="vector_field_ep", beta=BETA).median("seed")
    spans = "; ".join(f"{kind}: {span(plain.sel(kind=kind))}" for kind in plain.kind.values)
    price = ladder.price.sel(what="settles", kind=ladder.kind[0]).max(("rho", "seed"))
    settles = ", ".join(f"{ROWS[row].label} {price.sel(row=row):.0f}" for row in EXACT if price.sel(row=row) > 0)
    fundamental = f"""Both. For rules that nudge only the outputs of a circuit at rest, and know no law that relates it
        to its transpose, it is fundamental: J and J' agree in all that such a rule can see, and their gradients are
        opposite (docs/no_go.md). One rule for all circuits of that asymmetry errs by {least:.2g} of the gradient on
        some of them at rho >= 1, and {sign} is known. Plain EP's median error: {spans} (rank correlation with rho
        {growth:.2g} in the kind where it is least); where S is indefinite rho does not measure it, and rho < 1 does not
        make it small. Beyond these rules it is engineering:
        each exact estimator breaks one assumption, and errs by {worst:.1g} at most at beta 1e-3, whatever rho."""
    realizable = f"""Yes. Price in settles for one sample: {settles}. Currents into every node ask for a wire each and
        settles that grow with the number of nodes; the twin and Dyadic EP for a second circuit of the same size;
        AsymEP for every one-way part twice; reversing for switches and held currents; gyrators for two crossed lines
        each. {random_part(ladder)}"""
    experiment = """Two nodes: a resistor from a hidden node to the output, or a gyrator of the same conductance with
        adjusted loads. Nudge the output in both and read both nodes; then move the weight at the hidden node a little
        and read the output. The answer is wrong if the first readings differ, or the second move the same way."""
    return Answer(*(" ".join(text.split()) for text in (fundamental, realizable, experiment)))


def random_part(ladder: xr.Dataset) -> str:
    """What random directions cost, if they were measured."""
    error = ladder.error.sel(row="random_nodes", beta=BETA)
    if not bool(error.notnull().any()):
        return ""
    return (
        "Random directions are right in the mean only: at the price of node perturbation one estimate errs by "
        f"{float(error.median()):.2g} of the gradient."
    )


def span(medians: xr.DataArray) -> str:
    """An error at the smallest and at the largest rho."""
    first, last = medians.isel(rho=0), medians.isel(rho=-1)
    return f"{float(first):.2g} at rho {float(first.rho):g}, {float(last):.2g} at {float(last.rho):g}"


def tables(results: Results) -> list[Rows]:
    """The ladder for each kind, prices, pairs, the floor, explicit circuits."""
    ladder, out = results["ladder"], []
    for kind in ladder.kind.values:
        data = ladder.sel(kind=kind)
        rows = []
        for name, row in ROWS.items():
            error = data.error.sel(row=name, beta=BETA).median("seed")
            cosine = data.cosine.sel(row=name, beta=BETA).median("seed")
            if error.notnull().any():
                errors = {f"error, rho {float(one.rho):g}": float(one) for one in error}
                rows.append({"estimator": row.label, **errors, "least cosine": float(cosine.min())})
        caption = (
            f"Relative error against the implicit gradient at beta 1e-3 ({NAMES[str(kind)]}; medians over seeds), and "
            "the least of the median cosines."
        )
        out.append(Rows(f"ladder-{kind}", caption, rows))
    for kind in ladder.kind.values:
        price = ladder.price.sel(kind=kind).max(("rho", "seed"))
        priced = [
            {"estimator": row.label, **{what.replace("_", " "): int(price.sel(row=name, what=what)) for what in PRICES}}
            for name, row in ROWS.items()
            if price.sel(row=name).notnull().all()
        ]
        out.append(
            Rows(
                f"prices-{kind}",
                f"What each asks for besides the circuit and its output nudge ({NAMES[str(kind)]}).",
                priced,
            )
        )
    pairs, rows = results["pair"], []
    for rho in pairs.rho.values:
        data = pairs.sel(rho=rho)
        shared = {f"difference of {what}": float(data.shared.sel(thing=what).max()) for what in data.thing.values}
        found = {"rho of J'": float(data.found_rho.sel(circuit="J'").median()), "cosine": float(data.opposed.max())}
        rows.append({"rho of J": float(rho), **found, **shared})
    out.append(Rows("pairs", "J and J': what they share, and the cosine of their gradients at hidden weights.", rows))
    said = [
        {"estimator": ROWS[row].label}
        | {
            f"cosine, {c}": float(pairs.cosine.sel(said=row, circuit=c).isel(rho=0).median())
            for c in pairs.circuit.values
        }
        | {"difference": float(pairs.same.sel(said=row).max())}
        for row in pairs.said.values
    ]
    out.append(
        Rows(
            "said",
            "What estimators say at hidden weights: cosine with the gradient of J and of J' at the smallest rho of J "
            "(medians), and the largest relative difference of what they say of the two at any rho.",
            said,
        )
    )
    floor = results["floor"].floor
    rows = [
        {"rho": float(f.rho), "least": float(f.min()), "median": float(f.median())} for f in floor.transpose("rho", ...)
    ]
    out.append(Rows("floor", "Relative error that no rule of output nudges avoids, if asymmetry may reach rho.", rows))
    if "circuits" in results:
        found = results["circuits"]
        rows = [
            {"pair": str(one), "seed": int(seed)}
            | {
                what: float(found[f"{what}_apart"].sel(circuits=one, seed=seed))
                for what in ("state", "responses", "waves")
            }
            | {
                f"{ROWS[str(by)].label}, {c}": float(found.gradient.sel(by=by, circuit=c, circuits=one, seed=seed))
                for by in found.by.values
                for c in found.circuit.values
            }
            for one in found.circuits.values
            for seed in found.seed.values
        ]
        caption = "Explicit circuits: differences of J and J', and dL/dw by the twin and by plain EP."
        out.append(Rows("circuits", caption, rows))
    return out


STUDY = Study(
    title="is the obstruction fundamental?",
    question="Equilibrium propagation reads the response to a nudge of the outputs, and in a circuit that is not "
    "reciprocal that is not the gradient. Is this fundamental, and for which rules, or is it engineering, and at what "
    "price?",
    prediction="Output-nudge-only two-phase rules have an error floor that grows with asymmetry; AsymEP, twin, Dyadic, "
    "node perturbation do not.",
    falsifier="A plain two-phase rule is exact at rho > 1, or AsymEP's settled error grows with rho.",
    quick=QUICK,
    full=Config(seeds=(0, 1, 2, 3, 4)),
    parts={
        "ladder": Part(lambda c: {"kind": c.kinds, "rho": c.rhos}, measure_ladder),
        "pair": Part(lambda c: {"rho": c.pair_rhos}, measure_pair),
        "floor": Part(lambda c: {"rho": c.floor_rhos}, measure_floor),
        "circuits": Part(lambda c: {"circuits": c.circuits}, measure_circuits),
    },
    verdict=verdict,
    tables=tables,
    figures=figures,
)
