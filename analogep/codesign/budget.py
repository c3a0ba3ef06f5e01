"""Error budget: which imperfection costs how much, alone, all together, and in shares that add up to the whole.

A share is a Shapley value: what an imperfection adds when it comes, averaged over the orders in which they may come.
Orders are sampled in pairs, each with its reverse, on the same chip with the same noise; what is added along an order
telescopes, so that the shares of a sample add up to its whole exactly, and so does their mean.

References: Shapley 1953; Castro, Gomez and Tejada 2009 (sampled orders); Mitchell et al. 2022 (antithetic orders).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analogep.errors import SpecError

Evaluate = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
"""(switches bool [n, names], number of the chip [n]) -> measure -> values [n]."""


@dataclass(frozen=True, eq=False)
class Budget:
    """Costs of imperfections in one measure.

    Attributes
    ----------
    names : imperfections.
    none, all : value without any, and with all of them (means over chips).
    alone : what each adds by itself [names].
    share : its share of all - none [names]; they add up to it exactly.
    error : standard error of each share over sampled orders and chips [names].
    spread : standard deviation of the value with all of them from chip to chip.
    chips, lost : chips that were counted, and those left out because a case of theirs has no value (did not settle).
        With fewer than two there is no budget, and its numbers are not-a-number.
    unsettling : imperfections that were enough for that by themselves.
    """

    names: tuple[str, ...]
    none: float
    all: float
    alone: np.ndarray
    share: np.ndarray
    error: np.ndarray
    spread: float
    chips: int
    lost: int = 0
    unsettling: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """all - none."""
        return self.all - self.none

    @property
    def largest(self) -> str:
        """The imperfection with the largest share, whatever its sign."""
        return self.names[int(np.argmax(np.abs(self.share)))]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        rows = zip(self.names, self.alone, self.share, self.error, strict=True)
        effects = {name: {"alone": float(a), "share": float(s), "error": float(e)} for name, a, s, e in rows}
        return {
            "none": self.none, "all": self.all, "total": self.total, "spread": self.spread, "chips": self.chips,
            "lost": self.lost, "unsettling": list(self.unsettling), "effects": effects,
        }  # fmt: skip


def error_budget(
    names: Sequence[str], evaluate: Evaluate, *, chips: int = 6, seed: int = 0
) -> dict[str, Budget]:  # fmt: skip
    """Sample orders on chips and share out every measure.

    Parameters
    ----------
    names : imperfections.
    evaluate : measures of many cases at once; equal chips mean equal devices and noise. A case without a value is
        not-a-number; its chip is left out of the budget and counted as lost.
    chips : samples; each takes 2 len(names) cases along an order and its reverse, and as many alone as are left.
    seed : of the orders.

    Returns
    -------
    Measure -> Budget.

    Raises
    ------
    SpecError
        For fewer than two chips, which give no standard error, or no imperfection.
    """
    if chips < 2 or not names:
        raise SpecError(f"an error budget of {len(names)} effects on {chips} chips; give an effect and 2 chips or more")
    n, rng = len(names), np.random.default_rng(seed)
    cases: dict[tuple[bytes, int], int] = {}
    switches: list[np.ndarray] = []

    def case(on: np.ndarray, chip: int) -> int:
        key = (on.tobytes(), chip)
        if key not in cases:
            cases[key] = len(switches)
            switches.append(on)
        return cases[key]

    alone = np.array([[case(np.arange(n) == k, chip) for k in range(n)] for chip in range(chips)])
    chains = []
    for chip in range(chips):
        order = rng.permutation(n)
        for path in (order, order[::-1]):
            reached = [np.isin(np.arange(n), path[:k]) for k in range(n + 1)]
            chains.append((chip, path, [case(on, chip) for on in reached]))
    numbers = np.array([chip for _, chip in cases])
    values = {measure: np.asarray(found, float) for measure, found in evaluate(np.array(switches), numbers).items()}
    bad = ~np.all([np.isfinite(value) for value in values.values()], axis=0)
    kept = np.setdiff1d(np.arange(chips), numbers[bad])
    single = [on for on in np.array(switches)[bad] if on.sum() == 1]
    unsettling = tuple(name for k, name in enumerate(names) if any(on[k] for on in single))
    return {m: _shared_out(tuple(names), v, alone, chains, (kept, unsettling)) for m, v in values.items()}


def _shared_out(
    names: tuple[str, ...], value: np.ndarray, alone: np.ndarray, chains: list[tuple], counted: tuple
) -> Budget:
    """The budget of one measure over the chips that are kept."""
    kept, unsettling = counted
    lost = len(alone) - len(kept)
    if len(kept) < 2:
        nothing = np.full(len(names), np.nan)
        return Budget(names, np.nan, np.nan, nothing, nothing, nothing, np.nan, len(kept), lost, unsettling)
    added, ends = np.zeros((len(alone), len(names))), np.zeros((len(alone), 2))
    for chip, path, along in chains:
        added[chip, path] += np.diff(value[along]) / 2
        ends[chip] = value[along[0]], value[along[-1]]
    added, ends = added[kept], ends[kept]
    return Budget(
        names=names,
        none=float(ends[:, 0].mean()),
        all=float(ends[:, 1].mean()),
        alone=(value[alone[kept]] - ends[:, :1]).mean(0),
        share=added.mean(0),
        error=added.std(0, ddof=1) / np.sqrt(len(kept)),
        spread=float(ends[:, 1].std(ddof=1)),
        chips=len(kept),
        lost=lost,
        unsettling=unsettling,
    )
