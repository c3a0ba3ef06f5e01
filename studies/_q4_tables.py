"""Numbers of study q4 read from its results, and its tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from analogep.report import Cell
from analogep.study import Results, Rows

from ._q4_online import CARRIED, RANDOM
from ._q4_phases import BETA, FAITHFUL, LOOSE, NUDGE, ROWS, TIGHT
from ._q4_training import MORE

BPTT = "finite_time"
"""The target that BPTT through the free phase has."""
LABELS = (
    {name: row.label for name, row in ROWS.items()} | {"implicit": "implicit", BPTT: "finite-time"} | CARRIED | MORE
)
"""What tables and figures call estimators, targets and rules."""


def classes(results: Results, nudge: float = NUDGE) -> dict[str, xr.Dataset]:
    """Kinds of system, each over its seeds: networks by rho and margin, blocks by attention."""
    networks = results["network"].sel(nudge=nudge)
    found = {
        f"rho {rho:g}, margin {margin:g}": networks.sel(rho=rho, margin=margin)
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


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN if one of them is."""
    return float(np.max(list(errors)))


def median_loss(values: xr.DataArray) -> float:
    """Median over seeds in which a run that diverged counts as an infinite loss."""
    return float(np.median(np.where(np.isfinite(values), values, np.inf)))


def diverged(loss: xr.DataArray) -> int:
    """Runs [seed, update] that end above ten times the loss before, or at none."""
    return int((~(loss.isel(update=-1) <= 10 * loss.isel(update=0))).sum())


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
        "Relative errors, medians over seeds (beta 1e-3), of networks by rho and contraction margin (1/tau) and of "
        "blocks, with the free phase stopped at time T: `gap` between the targets; centred AsymEP and the twin against "
        "the implicit gradient (rest) and BPTT's (T); one-sided AsymEP and centred plain EP against the nearer one."
    )
    out = [Rows("fidelity", caption, rows, {"alpha": "1/tau", "T": "tau"})]
    lengths = results["network"].nudge
    if lengths.size > 1:
        rows = []
        for nudge in lengths.values:
            for kind, data in classes(results, nudge).items():
                near = {to: middle(error(data, "asym_ep", LOOSE, at)) for to, at in (("rest", "implicit"), ("T", BPTT))}
                rows.append({"system": kind, "length": float(nudge), **near})
        caption = (
            "Centred AsymEP at residual 1e-2 by the length of the nudged phases over that of the free one: errors "
            "against the implicit gradient (rest) and BPTT's (T)."
        )
        out.append(Rows("lengths", caption, rows))
    if "training" in results:
        data = results["training"]
        trained = [
            {
                "read at": float(horizon),
                "gradient": LABELS[str(rule)],
                "loss before": middle(data.loss.sel(horizon=horizon, rule=rule).isel(update=0)),
                "loss after": median_loss(data.loss.sel(horizon=horizon, rule=rule).isel(update=-1)),
                "loss after, at rest": median_loss(data.at_rest.sel(horizon=horizon, rule=rule)),
                "diverged": diverged(data.loss.sel(horizon=horizon, rule=rule)),
            }
            for horizon in data.horizon.values
            for rule in data.rule.values
        ]
        caption = (
            "Networks trained on the state at a time, by the gradient of either target (finite-time: BPTT's and "
            "RTRL's) or by an estimator of it; the readout of a fixed reservoir can fit six patterns with its eight "
            "weights for an output. Medians over seeds; `diverged`: those above ten times the first loss."
        )
        out.append(Rows("training", caption, trained, {"read at": "tau"}))
    return out + online_tables(results)


def online_tables(results: Results) -> list[Rows]:
    """Carried gradients and short nudges by residual; two timescales by duration; the cycle by time."""
    out = []
    if "online" in results:
        caption = (
            "Gradients that are ready when the run ends, medians over seeds: errors of one draw against the implicit "
            "gradient (rest) and BPTT's (T), the error of the mean of all draws, and the draws after which unbiased "
            f"noise would leave {FAITHFUL:g}. Last in each group: the local gradient of a readout of a fixed reservoir."
        )
        out.append(Rows("carried", caption, carried_rows(results["online"])))
        caption = (
            "Corrected nudge of K steps (given as a time) from the stopped state, centred: errors against the implicit "
            "gradient (rest) and BPTT's (T), medians over seeds."
        )
        out.append(Rows("nudges", caption, nudge_rows(results["online"]), {"nudge": "tau"}))
    if "drift" in results:
        caption = (
            "Two timescales: weights that move while circuit and twin relax, a quarter of the contraction margin far "
            "within a duration, against gradient flow on the implicit gradient; medians over seeds. `lag` is the "
            "largest residual on the way."
        )
        rows = [
            {
                "system": f"rho {rho:g}, margin {margin:g}",
                "duration": float(duration),
                "slowness": middle(at.slowness),
                "lag": middle(at.lag),
                "error": middle(at.error),
                "cosine": middle(at.cosine),
            }
            for (rho, margin), data in networks_of(results["drift"])
            for duration in data.duration.values
            for at in (data.sel(duration=duration),)
        ]
        out.append(Rows("drift", caption, rows, {"duration": "tau", "slowness": "tau"}))
    data = results["cycle"]
    caption = (
        "Past the Hopf point: networks that cycle. Errors of every row against the gradient of the loss at time T "
        "(phases as long as the run, one draw of the random ones), medians over seeds; `size` is that gradient's norm "
        "over that of the implicit formula at the unstable state at rest; `unsettled` counts runs that never came to a "
        "residual of 1e-2, so that what needs a settled phase is flagged."
    )
    rows = []
    for time in data.time.values:
        at = data.sel(time=time)
        row: dict[str, Any] = {"T": float(time), "alpha": middle(at.abscissa), "period": middle(at.period)}
        row["unsettled"] = Cell(int((~at.settled.astype(bool)).sum()), "bad")
        row |= {"least residual": middle(at.least_residual), "size": middle(at["size"])}
        row |= {LABELS[name]: middle(at.phase_error.sel(row=name)) for name in ("asym_ep_one_sided", "asym_ep", "twin")}
        row |= {
            LABELS[name]: middle(at.error.sel(carried=name, target=BPTT)) for name in ("rtrl", "uoro", "eligibility")
        }
        rows.append(row)
    return [*out, Rows("cycle", caption, rows, {"T": "tau", "alpha": "1/tau", "period": "tau"})]


def networks_of(data: xr.Dataset) -> list[tuple[tuple[float, float], xr.Dataset]]:
    """(rho, margin) and its measurements."""
    pairs = [(float(rho), float(margin)) for rho in data.rho.values for margin in data.margin.values]
    return [((rho, margin), data.sel(rho=rho, margin=margin)) for rho, margin in pairs]


def carried_rows(online: xr.Dataset) -> list[dict[str, Any]]:
    """One row for each network, residual and way to carry a gradient; and one for the readout."""
    rows = []
    for (rho, margin), data in networks_of(online):
        for level in (LOOSE, TIGHT):
            at = data.sel(residual=level)
            where = {"system": f"rho {rho:g}, margin {margin:g}", "residual": float(level)}
            for name in CARRIED:
                one = at.sel(carried=name)
                draw = middle(one.error.sel(target=BPTT))
                rows.append(
                    {
                        **where,
                        "gradient": CARRIED[name],
                        "rest": middle(one.error.sel(target="implicit")),
                        "T": draw,
                        "cosine, T": middle(one.cosine.sel(target=BPTT)),
                        "mean, T": middle(one.mean_error.sel(target=BPTT)),
                        "draws": int(np.ceil((draw / FAITHFUL) ** 2)) if name in RANDOM and np.isfinite(draw) else "",
                    }
                )
            blank = dict.fromkeys(("cosine, T", "mean, T", "draws"), "")
            # by algebra: the loss at T has exactly the gradient error x state with respect to the readout
            rows.append({**where, "gradient": "readout", "rest": middle(at.readout), "T": 0.0, **blank})
    return rows


def nudge_rows(online: xr.Dataset) -> list[dict[str, Any]]:
    """One row for each network, residual and length of the nudge."""
    return [
        {
            "system": f"rho {rho:g}, margin {margin:g}",
            "residual": float(level),
            "nudge": float(length),
            "rest": middle(at.sel(target="implicit")),
            "T": middle(at.sel(target=BPTT)),
        }
        for (rho, margin), data in networks_of(online)
        for level in (LOOSE, TIGHT)
        for length in data.nudge_time.values
        for at in (data.nudge_error.sel(residual=level, nudge_time=length),)
    ]
