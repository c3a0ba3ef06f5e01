"""A Pareto front by gradient: least energy for one error after another, each a small constrained problem.

First each of the two objectives is minimized alone. Then the widest gap between neighbors on the front is halved: the
least energy at the geometric mean of their errors, from the neighbor that is nearer (epsilon constraints: Haimes,
Lasdon and Wismer 1971). Logarithms of knobs and objectives make everything of order one. Each problem is solved by
sequential quadratic programming with the derivatives of the simulator (SLSQP: Kraft 1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from analogep.codesign.objective import Evaluation
from analogep.errors import SpecError

ENERGY, ERROR = "energy_per_token", "cosine_error"
"""The two objectives of a front: joules of inference, and 1 - cosine of learning."""
ITERATIONS, ACCURACY = 20, 3e-4
"""Steps of one problem, and the change of an objective's logarithm at which it counts as solved."""
SLACK = 2e-3
"""How far, in logarithms, a bound may be missed and count as kept."""
PENALTY = 10.0
"""What a design that does not settle is worse by, in logarithms: the line search turns back."""

Evaluate = Callable[[np.ndarray], Evaluation]
"""Logarithms of the knobs -> a design with its derivatives."""


class BudgetSpent(Exception):
    """No evaluations are left."""


@dataclass(frozen=True)
class Ceilings:
    """Largest values of the objectives that a front does not trade.

    Parameters
    ----------
    settling_time : seconds; None, as long as the horizon is.
    loss : nats; None, whatever comes.
    """

    settling_time: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("settling_time", "loss"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SpecError(f"front: {name} = {value:g}; give a number above 0, or leave it out")

    @property
    def given(self) -> dict[str, float]:
        """Those that are asked for."""
        both = {"settling_time": self.settling_time, "loss": self.loss}
        return {name: most for name, most in both.items() if most is not None}

    def margins(self, objectives: Mapping[str, float]) -> dict[str, float]:
        """How far each is kept, in logarithms; negative where it is not."""
        return {name: math.log(most / objectives[name]) for name, most in self.given.items()}

    def kept(self, found: Evaluation) -> bool:
        """Whether a design settles and stays below them, but for `SLACK`."""
        return found.settled and all(margin >= -SLACK for margin in self.margins(found.objectives).values())


@dataclass(frozen=True, eq=False)
class Solution:
    """One point of a front.

    Attributes
    ----------
    evaluation : the design; None where none was seen that keeps the ceilings.
    error : the largest error that was allowed; infinite for the least energy, 0 for the least error.
    converged : whether the solver says so; `reason` is its own word for it.
    evaluations : that it took.
    """

    evaluation: Evaluation | None
    error: float
    converged: bool
    reason: str
    evaluations: int


def trace_front(
    evaluate: Evaluate, start: np.ndarray, box: np.ndarray, *, ceilings: Ceilings, points: int = 12
) -> list[Solution]:
    """Solutions in the order in which they were found.

    Parameters
    ----------
    evaluate : designs with derivatives; it raises `BudgetSpent` when there shall be no more.
    start : logarithms of the knobs, of a design that settles.
    box : logarithms of the bounds [knobs, 2].
    points : at most.
    """
    found: list[Solution] = []
    try:
        found.append(solve(evaluate, start, box, ceilings=ceilings, error=0.0))
        found.append(solve(evaluate, start, box, ceilings=ceilings, error=math.inf))
        while len(found) < points and (gap := _widest(found)) is not None:
            first, second = gap
            wanted = math.sqrt(first.objectives[ERROR] * second.objectives[ERROR])
            # the one that keeps the new bound is a start that is allowed
            found.append(solve(evaluate, first.logs, box, ceilings=ceilings, error=wanted))
    except BudgetSpent:
        pass
    return found


def solve(
    evaluate: Evaluate, start: np.ndarray, box: np.ndarray, *, ceilings: Ceilings, error: float
) -> Solution:  # fmt: skip
    """The least energy with at most this error; the least error where it is 0.

    Raises
    ------
    BudgetSpent
        As `evaluate` does; what was found until then is lost to the solution, not to who evaluates.
    """
    seen: dict[bytes, Evaluation] = {}

    def at(logs: np.ndarray) -> Evaluation:
        key = logs.tobytes()
        if key not in seen:
            seen[key] = evaluate(logs)
        return seen[key]

    goal = ERROR if error == 0 else ENERGY
    bounds = {**ceilings.given, **({ERROR: error} if 0 < error < math.inf else {})}

    def value(logs: np.ndarray) -> float:
        found = at(logs)
        return math.log(found.objectives[goal]) if found.settled else PENALTY

    def slope(logs: np.ndarray) -> np.ndarray:
        found = at(logs)
        return found.slope(goal) / found.objectives[goal] if found.settled else np.zeros(len(logs))

    def constraint(name: str) -> dict:
        def margin(logs: np.ndarray) -> float:
            found = at(logs)
            return math.log(bounds[name] / found.objectives[name]) if found.settled else -PENALTY

        def rise(logs: np.ndarray) -> np.ndarray:
            found = at(logs)
            return -found.slope(name) / found.objectives[name] if found.settled else np.zeros(len(logs))

        return {"type": "ineq", "fun": margin, "jac": rise}

    def allowed(found: Evaluation) -> bool:
        return ceilings.kept(found) and (error == 0 or found.objectives[ERROR] <= error * (1 + SLACK))

    done = minimize(
        value, np.clip(start, *box.T), jac=slope, bounds=box, constraints=[constraint(name) for name in bounds],
        method="SLSQP", options={"maxiter": ITERATIONS, "ftol": ACCURACY},
    )  # fmt: skip
    last = at(done.x)
    if allowed(last):
        return Solution(last, error, bool(done.success), str(done.message), len(seen))
    # the solver stopped outside: the best that it saw inside, which is no solution
    inside = [found for found in seen.values() if allowed(found)]
    best = min(inside, key=lambda found: found.objectives[goal], default=None)
    return Solution(best, error, False, f"{done.message}; {last.reason or 'a ceiling is not kept'}", len(seen))


def _widest(found: list[Solution]) -> tuple[Evaluation, Evaluation] | None:
    """The neighbors on the front, by error, that are farthest apart; None if there are none to go between."""
    tried = {solution.error for solution in found}
    front = sorted((s.evaluation for s in found if s.evaluation is not None), key=lambda e: e.objectives[ERROR])
    best = []
    for first, second in pairwise(front):
        across = [abs(math.log(second.objectives[name] / first.objectives[name])) for name in (ENERGY, ERROR)]
        middle = math.sqrt(first.objectives[ERROR] * second.objectives[ERROR])
        if across[1] > 10 * SLACK and not any(math.isclose(middle, error, rel_tol=SLACK) for error in tried):
            best.append((max(across), first, second))
    return max(best, key=lambda gap: gap[0])[1:] if best else None
