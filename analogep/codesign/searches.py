"""The ways to look for designs: by gradient, and with samplers of optuna, which see values only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analogep.codesign.descent import ENERGY, ERROR, PENALTY, BudgetSpent, Ceilings, Solution, trace_front
from analogep.codesign.knobs import Knobs
from analogep.codesign.objective import Designs, Evaluation
from analogep.errors import ConvergenceError, MissingToolError, SpecError

METHODS = ("gradient", "nsga2", "tpe")
"""SLSQP with derivatives; NSGA-II (Deb et al. 2002) and a tree of Parzen estimators (Ozaki et al. 2022) of optuna."""
PATIENCE = 20
"""Starts that are tried for the first one that settles."""
FAR = 4
"""Samplers go on until they have taken as long as the gradient did, to this many times its evaluations at most."""


@dataclass(frozen=True, eq=False)
class Search:
    """What one method did from one seed.

    Attributes
    ----------
    evaluations : in their order.
    seconds : from the start to the end of each, what the method itself takes included.
    solutions : of the gradient's problems; empty for samplers.
    lost_starts : starts that do not settle.
    """

    method: str
    seed: int
    evaluations: list[Evaluation]
    seconds: list[float]
    solutions: list[Solution]
    lost_starts: int


class _Counted:
    """Evaluations with their number and time; a design that is known costs nothing."""

    def __init__(self, designs: Designs, budget: int, *, gradient: bool) -> None:
        self.designs, self.budget, self.gradient = designs, budget, gradient
        self.evaluations: list[Evaluation] = []
        self.seconds: list[float] = []
        self.known: dict[bytes, Evaluation] = {}
        self.begin = time.perf_counter()

    def __call__(self, logs: np.ndarray) -> Evaluation:
        if (known := self.known.get(logs.tobytes())) is not None:
            return known
        if len(self.evaluations) >= self.budget:
            raise BudgetSpent
        found = self.known[logs.tobytes()] = self.designs.evaluate(logs, gradient=self.gradient)
        self.evaluations.append(found)
        self.seconds.append(time.perf_counter() - self.begin)
        return found


def by_gradient(designs: Designs, *, ceilings: Ceilings, budget: int, seed: int = 0) -> Search:
    """Descend from the block as it is (seed 0), or from a random design, until the budget is spent.

    Once the front has no gaps left, random designs are descended from.

    Raises
    ------
    ConvergenceError
        If no start settles.
    """
    count, rng, knobs = _Counted(designs, budget, gradient=True), np.random.default_rng(seed), designs.knobs
    solutions: list[Solution] = []
    lost, start = 0, starting(knobs, seed)
    try:
        before = -1
        while len(count.evaluations) > before:  # nothing new where bounds leave no room
            before = len(count.evaluations)
            if count(start).settled:
                solutions += trace_front(count, start, knobs.box, ceilings=ceilings)
            else:
                lost += 1
                if lost > PATIENCE and not solutions:
                    raise ConvergenceError(f"none of {lost} random designs settles; narrow the bounds of the knobs")
            start = rng.uniform(*knobs.box.T)
    except BudgetSpent:
        pass
    return Search("gradient", seed, count.evaluations, count.seconds, solutions, lost)


def by_sampler(
    designs: Designs, method: str, *, ceilings: Ceilings, budget: int, seconds: float = 0.0, seed: int = 0
) -> Search:  # fmt: skip
    """Sample designs with optuna, the same start first.

    Parameters
    ----------
    method : `nsga2` or `tpe`.
    budget : evaluations at least; `FAR` times as many at most.
    seconds : time that is filled at least, if the most evaluations allow.

    Raises
    ------
    MissingToolError
        If optuna is not installed.
    """
    optuna = load_optuna()
    samplers: dict[str, Callable[[], Any]] = {
        "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=20, seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
    }
    if method not in samplers:
        raise SpecError(f"front: there is no method {method!r}; choose of {', '.join(METHODS)}")
    knobs = designs.knobs
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=samplers[method]())
    study.enqueue_trial(dict(zip(knobs.names, starting(knobs, seed).tolist(), strict=True)))
    count = _Counted(designs, FAR * budget, gradient=False)
    for _ in range(FAR * count.budget):  # of which some may be known
        done = len(count.evaluations)
        if done >= count.budget or (done >= budget and count.seconds[-1] >= seconds):
            break
        trial = study.ask()
        box = zip(knobs.names, knobs.box.tolist(), strict=True)
        found = count(np.array([trial.suggest_float(name, low, high) for name, (low, high) in box]))
        for name, margin in (ceilings.margins(found.objectives) if found.settled else {"settled": -PENALTY}).items():
            trial.set_constraint(name, -margin)
        goals = [math.log(found.objectives[name]) if found.settled else PENALTY for name in (ENERGY, ERROR)]
        study.tell(trial, goals)
    return Search(method, seed, count.evaluations, count.seconds, [], 0)


def starting(knobs: Knobs, seed: int) -> np.ndarray:
    """Where every method starts: the block as it is for seed 0, else a random design."""
    return knobs.start if seed == 0 else np.random.default_rng([seed, 1]).uniform(*knobs.box.T)


def load_optuna() -> Any:
    """optuna, quiet; it is an extra of its own."""
    try:
        import optuna
    except ImportError:
        raise MissingToolError(
            "a front by sampling needs optuna; install analogep[codesign], or ask for the gradient alone"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
