"""Two ways to a Pareto front of energy and gradient error, held against each other at equal cost.

The same designs, bounds and ceilings: by gradient, and by optuna's samplers (`searches`). Every evaluation counts, also
those between the points of a front: hypervolumes are those of all designs so far.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analogep.codesign.assess import fitted_scale
from analogep.codesign.descent import ENERGY, ERROR, Ceilings
from analogep.codesign.feasibility import Limits
from analogep.codesign.hardware import Hardware
from analogep.codesign.knobs import Knobs
from analogep.codesign.objective import OBJECTIVES, Designs, Evaluation
from analogep.codesign.searches import METHODS, Search, by_gradient, by_sampler, load_optuna
from analogep.compile import compile_transformer
from analogep.errors import ConvergenceError, SpecError
from analogep.learning.phases import CircuitPhases
from analogep.spec import Spec
from analogep.training.problem import Problem

ROOM = 3.0
"""The reference point of hypervolumes is so many times worse than the block as it is in both; 1 - cosine at most 1."""


def compare(
    designs: Designs, *, ceilings: Ceilings, budget: int = 100, seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = METHODS, progress: Callable[[str], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Run every method from every seed.

    Parameters
    ----------
    budget : evaluations of each.
    progress : is told what comes next.

    Returns
    -------
    Over `search`, `seed` and `evaluation` (not-a-number beyond the last one): each knob and objective in SI units,
    `seconds`, `kept` (it settles and keeps the ceilings), `front` (nothing of that search is better in both),
    `solution` (it solves one of the gradient's problems), `hypervolume` of all until then (decades^2). Over `search`
    and `seed`: `solved` and `unsolved` problems and `lost_starts` of the gradient, `at_equal_evaluations` and
    `at_equal_seconds`: hypervolume after `budget` evaluations, and after the time that the gradient took from that
    seed. Attributes: the block as it is, the reference point, the ceilings.

    Raises
    ------
    ConvergenceError
        If the block as it is does not settle.
    SpecError
        For an unknown method, or too small a budget.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise SpecError(f"front: there is no method {unknown[0]!r}; choose of {', '.join(METHODS)}")
    if set(methods) - {"gradient"}:
        load_optuna()
    if budget < 2 or not seeds:
        raise SpecError(f"front: {budget} evaluations from {len(seeds)} seeds; give 2 and 1 or more")
    # once before the clock runs: programs are compiled
    own = designs.evaluate(designs.knobs.start)
    if not own.settled:
        raise ConvergenceError(f"the block as it is: {own.reason}; raise model.damping")
    if "gradient" in methods:
        designs.evaluate(designs.knobs.start, gradient=True)
    reference = ROOM * own.objectives[ENERGY], min(ROOM * own.objectives[ERROR], 1.0)
    searches = []
    for seed in seeds:
        spent = 0.0
        for method in sorted(methods, key=METHODS.index):  # the gradient first: the others get its time
            if progress is not None:
                progress(f"{method}, seed {seed}")
            if method == "gradient":
                searches.append(by_gradient(designs, ceilings=ceilings, budget=budget, seed=seed))
                spent = searches[-1].seconds[-1]
            else:
                searches.append(
                    by_sampler(designs, method, ceilings=ceilings, budget=budget, seconds=spent, seed=seed)
                )  # fmt: skip
    return _dataset(searches, designs, ceilings, reference, own, budget)


def designs_of(problem: Problem, hardware: Hardware) -> Designs:
    """The designs of a problem: its block at level `parasitic`, at the scale that `assess` takes."""
    scale = fitted_scale(problem, hardware)
    compiled = compile_transformer(
        problem.model, problem.weights, level="parasitic", scale=scale, epsilon=problem.spec.compile.epsilon
    )
    phases, knobs = CircuitPhases(compiled, problem.settle), Knobs(compiled, hardware.device)
    return Designs(phases, knobs, problem.batch(), hardware=hardware, seed=problem.spec.seed)


def require_parasitic(spec: Spec) -> None:
    """Raise SpecError for another level than `parasitic`."""
    if spec.compile.level != "parasitic":
        raise SpecError(f"front: compile.level = {spec.compile.level!r}; use 'parasitic', whose cells are formulas")


def fronts(
    problem: Problem, hardware: Hardware, limits: Limits, *, budget: int = 100, seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = METHODS, progress: Callable[[str], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """`compare` for a problem: its limits on settling time and loss are ceilings, those on energy and cosine attributes
    `limit_energy_per_token` and `limit_cosine_error`.

    Raises
    ------
    SpecError
        For another level than `parasitic`.
    """
    require_parasitic(problem.spec)
    designs = designs_of(problem, hardware)
    own = designs.evaluate(designs.knobs.start)
    loss = None if limits.loss_change is None or not own.settled else own.objectives["loss"] + limits.loss_change
    ceilings = Ceilings(limits.settling_time, loss)
    data = compare(designs, ceilings=ceilings, budget=budget, seeds=seeds, methods=methods, progress=progress)
    wanted = {ENERGY: limits.energy_per_token, ERROR: None if limits.cosine is None else 1 - limits.cosine}
    return data.assign_attrs({f"limit_{name}": value for name, value in wanted.items() if value is not None})


def summary(data: xr.Dataset) -> dict[str, Any]:
    """Plain data: hypervolumes (mean, and least and largest of the seeds), problems, and the front of all searches."""
    names = [name for name in data if set(data[name].dims) == {"search", "seed", "evaluation"}]
    flat = data[names].stack(design=("search", "seed", "evaluation"))
    flat = flat.isel(design=np.flatnonzero(flat["kept"].values))
    flat = flat.isel(design=np.flatnonzero(nondominated(np.stack([flat[ENERGY].values, flat[ERROR].values], 1))))
    flat = flat.sortby(ENERGY)
    shown = [name for name in names if name not in ("seconds", "kept", "front", "solution", "hypervolume")]
    rows = [
        {"search": str(flat["search"].values[k]), **{name: float(flat[name].values[k]) for name in shown}}
        for k in range(flat.sizes["design"])
    ]
    searches = {}
    for name in data["search"].values:
        one = data.sel(search=name)
        ends = {key: one[key].values for key in ("at_equal_evaluations", "at_equal_seconds")}
        volumes = {k: {"mean": v.mean(), "least": v.min(), "largest": v.max()} for k, v in ends.items()}
        counts = {key: int(one[key].sum()) for key in ("solved", "unsolved", "lost_starts")}
        searches[str(name)] = {"hypervolume": volumes, **(counts if name == "gradient" else {})}
    units = {name: data[name].attrs.get("units", "1") for name in shown}
    return {"searches": searches, "front": rows, "units": units, **data.attrs, "seeds": data.sizes["seed"]}


def nondominated(points: np.ndarray) -> np.ndarray:
    """Which of the points [n, 2], both to be small, no other is better than; not-a-number never is one. Equal ones
    stay."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    kept, best = np.zeros(len(points), bool), math.inf
    for k in order:
        value = points[k, 1]
        if np.isfinite(points[k]).all() and (value < best or (points[kept] == points[k]).all(1).any()):
            kept[k], best = True, value
    return kept


def hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """Area between a front and a reference point: of the points [n, 2], both to be small, that are better in both.

    Reference
    ---------
    Zitzler and Thiele 1999, "Multiobjective evolutionary algorithms: a comparative case study".
    """
    inside = points[np.isfinite(points).all(1) & (points < reference).all(1)]
    if not len(inside):
        return 0.0
    x, y = inside[nondominated(inside)].T
    order = np.argsort(x)
    x, y = x[order], y[order]
    heights = np.concatenate([[reference[1]], y[:-1]]) - y
    return float(np.sum((reference[0] - x) * heights))


def _dataset(
    searches: list[Search], designs: Designs, ceilings: Ceilings, reference: tuple[float, float], own: Evaluation,
    budget: int,
) -> xr.Dataset:  # fmt: skip
    knobs, bound = designs.knobs, (math.log10(reference[0]), math.log10(reference[1]))
    methods = list(dict.fromkeys(search.method for search in searches))
    seeds = list(dict.fromkeys(search.seed for search in searches))
    longest = max(len(search.evaluations) for search in searches)
    shape, dims = (len(methods), len(seeds), longest), ("search", "seed", "evaluation")
    units = {**{knob.name: knob.unit for knob in knobs.knobs}, **OBJECTIVES, "seconds": "s", "hypervolume": "decades^2"}
    table = {name: np.full(shape, np.nan) for name in units}
    flags = {name: np.zeros(shape, bool) for name in ("kept", "front", "solution")}
    ends = {name: np.full(shape[:2], np.nan) for name in ("at_equal_evaluations", "at_equal_seconds")}
    counts = {name: np.zeros(shape[:2], int) for name in ("solved", "unsolved", "lost_starts")}
    for search in searches:
        at = methods.index(search.method), seeds.index(search.seed)
        n = len(search.evaluations)
        values = knobs.values(np.array([e.logs for e in search.evaluations]))
        for name in knobs.names:
            table[name][at][:n] = values[name]
        for name in OBJECTIVES:
            table[name][at][:n] = [e.objectives[name] for e in search.evaluations]
        kept = np.array([ceilings.kept(e) for e in search.evaluations])
        both = np.log10([[e.objectives[ENERGY], e.objectives[ERROR]] for e in search.evaluations])
        both[~kept] = np.nan
        flags["kept"][at][:n], flags["front"][at][:n] = kept, nondominated(both)
        solved = {id(solution.evaluation) for solution in search.solutions if solution.converged}
        flags["solution"][at][:n] = [id(e) in solved for e in search.evaluations]
        table["seconds"][at][:n] = search.seconds
        volume = [hypervolume(both[: k + 1], bound) for k in range(n)]
        table["hypervolume"][at][:n] = volume
        ends["at_equal_evaluations"][at] = volume[min(budget, n) - 1]
        spent = next((s.seconds[-1] for s in searches if (s.method, s.seed) == ("gradient", search.seed)), math.inf)
        ends["at_equal_seconds"][at] = ([0.0, *itertools.compress(volume, np.array(search.seconds) <= spent)])[-1]
        counts["solved"][at] = sum(solution.converged for solution in search.solutions)
        counts["unsolved"][at] = sum(not solution.converged for solution in search.solutions)
        counts["lost_starts"][at] = search.lost_starts
    own_values = {name: float(value) for name, value in knobs.values(knobs.start).items()}
    limits = {f"ceiling_{name}": most for name, most in ceilings.given.items()}
    return xr.Dataset(
        {
            **{name: (dims, values, {"units": units[name]}) for name, values in table.items()},
            **{name: (dims, values) for name, values in flags.items()},
            **{name: (dims[:2], values, {"units": "decades^2"}) for name, values in ends.items()},
            **{name: (dims[:2], values) for name, values in counts.items()},
        },
        {"search": methods, "seed": seeds, "evaluation": np.arange(1, longest + 1)},
        {
            **{f"own_{name}": value for name, value in {**own_values, **own.objectives}.items()},
            "reference_energy_per_token": reference[0], "reference_cosine_error": reference[1], "budget": budget,
            **limits,
        },
    )  # fmt: skip
