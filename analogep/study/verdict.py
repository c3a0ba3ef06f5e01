"""A verdict: sentences that numbers decide, and the answer in three parts that follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analogep.errors import DataError

Relation = Literal["<=", ">="]


@dataclass(frozen=True)
class Check:
    """A sentence, and the number that makes it true or false.

    Parameters
    ----------
    claim : the sentence, so that it reads well when the number meets the limit.
    value : what was measured, made from the results alone.
    relation, limit : `value relation limit` makes the sentence true.
    unit : of value and limit.
    """

    claim: str
    value: float
    relation: Relation
    limit: float
    unit: str = ""

    @property
    def decided(self) -> bool:
        """Whether there is a number: NaN makes a sentence neither true nor false."""
        return not math.isnan(self.value)

    @property
    def true(self) -> bool:
        """Whether the number meets the limit; never true of NaN."""
        return bool(self.value <= self.limit if self.relation == "<=" else self.value >= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `true` is None where nothing was decided."""
        return {
            "claim": self.claim,
            "value": float(self.value),
            "relation": self.relation,
            "limit": float(self.limit),
            "unit": self.unit,
            "true": self.true if self.decided else None,
        }


@dataclass(frozen=True)
class Answer:
    """What a study says to its question, in three parts; each is written with the numbers that were found.

    Parameters
    ----------
    fundamental : whether the obstruction is fundamental (with the argument) or engineering (with the construction).
    realizable : whether it runs on a relaxation substrate with local updates, and at what price.
    experiment : the cheapest experiment that would falsify this.
    """

    fundamental: str
    realizable: str
    experiment: str

    def to_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"fundamental": self.fundamental, "realizable": self.realizable, "experiment": self.experiment}


@dataclass(frozen=True)
class Verdict:
    """What the numbers say of a prediction.

    Parameters
    ----------
    prediction : the prediction holds if all of these are true.
    falsifier : the prediction is falsified if one of these is true.
    answer : the answer in three parts.
    source : claims of the source documents as they stand there; they do not decide the verdict.

    Raises
    ------
    DataError
        If there is no check of the prediction, or none of the falsifier.
    """

    prediction: Sequence[Check]
    falsifier: Sequence[Check]
    answer: Answer
    source: Sequence[Check] = ()

    def __post_init__(self) -> None:
        if not self.prediction or not self.falsifier:
            raise DataError("a verdict needs at least one check of the prediction and one of the falsifier")

    @property
    def holds(self) -> bool:
        """Whether all that was predicted was found."""
        return all(check.true for check in self.prediction)

    @property
    def falsified(self) -> bool:
        """Whether what was to falsify the prediction was found."""
        return any(check.true for check in self.falsifier)

    @property
    def undecided(self) -> bool:
        """Whether a number is missing: nothing false was found, yet something was not measured."""
        return not self.falsified and not all(check.decided for check in (*self.prediction, *self.falsifier))

    @property
    def passed(self) -> bool:
        """Whether the prediction holds, and what would falsify it was looked for and not found."""
        return self.word == "holds"

    @property
    def word(self) -> Literal["holds", "falsified", "undecided", "not supported"]:
        """The verdict in a word: `not supported` if part of the prediction failed without the falsifier being seen."""
        if self.falsified:
            return "falsified"
        if self.undecided:
            return "undecided"
        return "holds" if self.holds else "not supported"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        checks = {name: [c.to_dict() for c in getattr(self, name)] for name in ("prediction", "falsifier", "source")}
        return {
            "word": self.word,
            "passed": self.passed,
            "prediction_holds": self.holds,
            "falsified": self.falsified,
            "checks": checks,
            "answer": self.answer.to_dict(),
        }
