"""Would hardware do it: limits in, pass or fail for each out, the binding one named, with reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from analogep.codesign.budget import Budget
from analogep.codesign.cost import Costs
from analogep.codesign.hardware import Hardware
from analogep.errors import SpecError


@dataclass(frozen=True)
class Limits:
    """What is wanted; None is not asked for.

    Parameters
    ----------
    cosine : least cosine of the measured gradient with the exact one at the conductances as they are.
    loss_change : largest change of the loss by imperfections (nats).
    energy_per_token : of inference (joules). energy_per_learned_token : of a learning step, by token.
    latency_per_token, latency_per_step, settling_time : longest (seconds).
    area : largest (m^2).
    decay : least -alpha (1/tau). growth : largest peak of ||exp(tJ)||. numerical_abscissa : largest omega (1/tau).
    nudge_to_noise : least rms of the nudged displacement over that of thermal noise.

    Raises
    ------
    SpecError
        For a limit that nothing can meet or that means nothing.
    """

    cosine: float | None = 0.9
    loss_change: float | None = 0.1
    energy_per_token: float | None = None
    energy_per_learned_token: float | None = None
    latency_per_token: float | None = None
    latency_per_step: float | None = None
    settling_time: float | None = None
    area: float | None = None
    decay: float | None = 0.1
    growth: float | None = 10.0
    numerical_abscissa: float | None = None
    nudge_to_noise: float | None = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name == "numerical_abscissa":
                continue
            if not (math.isfinite(value) and value > 0):
                raise SpecError(f"feasibility: {field.name} = {value:g}; give a number above 0, or leave it out")
        if self.cosine is not None and self.cosine >= 1:
            raise SpecError(
                f"feasibility: cosine = {self.cosine:g}; noise keeps any cosine below 1: ask for 0.999 or less"
            )
        if self.growth is not None and self.growth < 1:
            raise SpecError(f"feasibility: growth = {self.growth:g}; ||exp(tJ)|| is 1 at t = 0: ask for 1 or more")


@dataclass(frozen=True)
class Check:
    """One limit and what was found.

    Attributes
    ----------
    margin : distance to the limit over the limit, negative where it fails. For a cosine it is that of 1 - cosine: an
        error may be a part of what is allowed.
    """

    name: str
    value: float
    limit: float
    relation: Literal["<=", ">="]
    unit: str
    margin: float
    reason: str

    @property
    def passed(self) -> bool:
        """Whether it holds; a value that is not a number does not."""
        return self.margin >= 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "value": self.value, "limit": self.limit, "relation": self.relation, "unit": self.unit,
            "margin": self.margin, "passed": self.passed, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """All checks.

    Attributes
    ----------
    checks : in the order of `Limits`.
    """

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all hold."""
        return all(check.passed for check in self.checks)

    @property
    def word(self) -> str:
        """`feasible` or `not feasible`."""
        return "feasible" if self.passed else "not feasible"

    @property
    def binding(self) -> Check:
        """The limit with the smallest margin."""
        return min(self.checks, key=lambda check: check.margin if math.isfinite(check.margin) else -math.inf)

    def to_dict(self) -> dict[str, Any]:
        """The keys `verdict`, `binding`, `specs` of `analogep feasibility`."""
        return {
            "verdict": self.word,
            "binding": {"spec": self.binding.name, "margin": self.binding.margin, "reason": self.binding.reason},
            "specs": {check.name: check.to_dict() for check in self.checks},
        }


def refuse_contradictions(limits: Limits, hardware: Hardware, *, rows: int, tokens: int) -> None:
    """Raise for limits that arithmetic alone rules out, before anything is simulated.

    Parameters
    ----------
    rows : of the largest array.

    Raises
    ------
    SpecError
        Naming the limit, the least that is possible, and what would have to change.
    """
    delay = hardware.adc_seconds(rows)
    _refuse(
        "latency_per_token", limits.latency_per_token, delay, f"one conversion of {hardware.adc_bits} bits",
        "fewer adc_bits",
    )  # fmt: skip
    # parallel: a window's tokens take turns at the converters; sequential: tokens do, a step is all of them as well
    reading = hardware.repeats * tokens * delay
    what = f"{hardware.repeats} readings of {tokens} tokens"
    _refuse("latency_per_step", limits.latency_per_step, 3 * reading, f"three phases of {what}", "fewer repeats")
    _refuse(
        "energy_per_token", limits.energy_per_token, hardware.adc_joules, "one conversion", "fewer adc_bits"
    )  # fmt: skip


def _refuse(name: str, limit: float | None, least: float, what: str, instead: str) -> None:
    if limit is not None and limit < least:
        raise SpecError(
            f"feasibility: {name} = {limit:.3g} contradicts the rest: {what} alone take{'s' if what[0] == 'o' else ''} "
            f"{least:.3g}; ask for more, or give {instead}"
        )


def judge(
    limits: Limits,
    costs: Costs,
    budgets: Mapping[str, Budget],
    *,
    stability: Mapping[str, float],
    hardware: Hardware,
) -> Verdict:
    """Every limit that is asked for, and those that the devices set themselves.

    Parameters
    ----------
    budgets : `angle` (1 - cosine) and `loss`.
    stability : `spectral_abscissa`, `numerical_abscissa`, `peak_growth` (units of tau).
    """
    angle, loss = budgets["angle"], budgets["loss"]
    least = None if limits.cosine is None else 1 - limits.cosine
    checks = []
    there = angle.chips > 1
    if limits.cosine is not None and least is not None and there:
        reason = f"largest share of 1 - cosine: {_largest(angle)}"
        thermal = dict(zip(angle.names, angle.alone, strict=True)).get("thermal noise", 0.0)
        if thermal > least:
            needed = math.ceil(hardware.repeats * thermal / least)
            reason += f"; thermal noise alone needs about {needed} repeats, or a larger beta or capacitor"
        margin = (least - angle.all) / least
        checks.append(Check("cosine", 1 - angle.all, limits.cosine, ">=", "1", margin, reason))
    change = f"largest share: {_largest(loss)}; {loss.spread:.2g} from chip to chip" if there else ""
    energy = f"largest part of the power: {_part(costs, 'power_')}"
    alpha = -stability["spectral_abscissa"]
    upper: list[tuple[str, float, float | None, str, str]] = [
        ("loss_change", loss.total, limits.loss_change if there else None, "nats", change),
        ("energy_per_token", costs["energy_per_token"], limits.energy_per_token, "J", energy),
        ("energy_per_learned_token", costs["energy_per_learned_token"], limits.energy_per_learned_token, "J",
         f"{energy}, over {costs['latency_per_step']:.2g} s"),
        ("latency_per_token", costs["latency_per_token"], limits.latency_per_token, "s",
         f"settling takes {costs['settling_time']:.2g} s"),
        ("latency_per_step", costs["latency_per_step"], limits.latency_per_step, "s", f"{hardware.repeats} repeats"),
        ("settling_time", costs["settling_time"], limits.settling_time, "s",
         f"slowest mode decays at {alpha:.2g} / tau; to half an LSB of {hardware.adc_bits} bits"),
        ("area", costs["area"], limits.area, "m^2", f"largest part: {_part(costs, 'area_')}"),
        ("growth", stability["peak_growth"], limits.growth, "1", "transient growth in the C norm"),
        ("numerical_abscissa", stability["numerical_abscissa"], limits.numerical_abscissa, "1/tau", "initial growth"),
        ("read_volts", costs["peak_read_volts"], _read_limit(hardware), "V",
         f"valid reading of {hardware.device.name}; lower technology.volts"),
    ]  # fmt: skip
    lower: list[tuple[str, float, float | None, str, str]] = [
        ("decay", alpha, limits.decay, "1/tau", "spectral abscissa of the circuit at rest"),
        ("nudge_to_noise", costs["nudge_to_noise"], limits.nudge_to_noise, "1",
         f"beta {hardware.beta:g}, {hardware.repeats} repeats; grows with beta, sqrt(repeats), sqrt(farads)"),
    ]  # fmt: skip
    for name, value, limit, unit, reason in upper:
        if limit is not None:
            scale = abs(limit) or 1.0
            checks.append(Check(name, float(value), limit, "<=", unit, (limit - float(value)) / scale, reason))
    for name, value, limit, unit, reason in lower:
        if limit is not None:
            checks.append(Check(name, float(value), limit, ">=", unit, (float(value) - limit) / limit, reason))
    made = angle.chips + angle.lost
    if angle.lost:
        why = f": {', '.join(angle.unsettling)} alone" if angle.unsettling else " with some imperfections"
        rest = "the budget is of the rest" if there else "too few are left for a cosine and a loss"
        reason = f"{angle.lost} of {made} chips do not settle{why}; {rest}"
        checks.append(Check("settled_chips", angle.chips / made, 1.0, ">=", "1", angle.chips / made - 1, reason))
    return Verdict(tuple(checks))


def _read_limit(hardware: Hardware) -> float | None:
    valid = hardware.device.valid.get("read_volts")
    return None if valid is None else valid[1]


def _largest(budget: Budget) -> str:
    share = budget.share[budget.names.index(budget.largest)]
    return f"{budget.largest} ({share:.2g} of {budget.total:.2g})"


def _part(costs: Costs, prefix: str) -> str:
    parts = {name: entry.value for name, entry in costs.entries.items() if name.startswith(prefix)}
    name = max(parts, key=parts.__getitem__)
    return f"{name.removeprefix(prefix)} ({parts[name] / sum(parts.values()):.0%})"
