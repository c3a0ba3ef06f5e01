"""Local estimators of the gradient, as programs of phases: each is a rule over signals, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.errors import SpecError
from analogep.learning.nudge import with_nudge
from analogep.learning.phases import CircuitPhases, PhaseRun
from analogep.learning.rule import Phase, Rule, Term, has_energy, local_gradient
from analogep.netlist._types import Array, Parameters, Voltages

_FREE, _TWIN = Phase.FREE, Phase.TWIN


def _contrast(plus: Phase, minus: Phase) -> tuple[Term, ...]:
    """Difference of two nudged phases, with the drive side held at its free value."""
    return (Term(1.0, _FREE, plus), Term(-1.0, _FREE, minus))


VECTOR_FIELD_EP = Rule("vector_field_ep", _contrast(Phase.NUDGED_PLUS, Phase.NUDGED_MINUS), 2.0)
"""Plain EP, centred: the displacement at a weight's own node in the place of lambda (Scellier et al. 2018)."""

VECTOR_FIELD_EP_ONE_SIDED = Rule("vector_field_ep_one_sided", _contrast(Phase.NUDGED_PLUS, _FREE), 1.0)
"""Plain EP with one nudged phase; an error of order beta remains."""

ASYM_EP = Rule("asym_ep", _contrast(Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS), 2.0)
"""AsymEP, centred: nudged with +2 A (v - v*) injected, so that the displacement is lambda (Scurria et al. 2026)."""

TWIN = Rule("twin", (Term(1.0, _FREE, _TWIN),))
"""Transposed twin: lambda is the voltage of the adjoint network (Director and Rohrer 1969)."""

ENERGY_EP = Rule(
    "energy_ep",
    (
        Term(1.0, Phase.NUDGED_PLUS, Phase.NUDGED_PLUS, "energy"),
        Term(-1.0, Phase.NUDGED_MINUS, Phase.NUDGED_MINUS, "energy"),
    ),
    2.0,
)
"""Energy contrast: nudged minus free of row drive times column drive (Scellier and Bengio 2017, eq. 9)."""

RULES = {rule.name: rule for rule in (VECTOR_FIELD_EP, VECTOR_FIELD_EP_ONE_SIDED, ASYM_EP, TWIN, ENERGY_EP)}


class Estimate(NamedTuple):
    """A gradient and how well the phases behind it settled.

    Attributes
    ----------
    gradient : array name -> dL/dg (1/siemens), averaged over samples.
    residual : largest relative residual of any phase and sample.
    converged : whether every phase of every sample settled.
    """

    gradient: dict[str, Array]
    residual: Array
    converged: Array


@dataclass(frozen=True, eq=False)
class Estimators:
    """All estimators on one compiled circuit; the phases that several of them read are run once.

    Parameters
    ----------
    phases : the circuit's phases.
    """

    phases: CircuitPhases

    @property
    def available(self) -> tuple[str, ...]:
        """Estimators that this circuit supports.

        AsymEP reads lambda at states; at `ideal` the internal nodes are none, so only the twin learns there. The
        energy contrast needs every array to be used in both directions.
        """
        netlist = with_nudge(self.phases.compiled, return_path=True)
        without = set() if has_energy(netlist) else {ENERGY_EP.name}
        if self.phases.compiled.level == "ideal":
            without.add(ASYM_EP.name)
        return tuple(name for name in RULES if name not in without)

    def run(self, names: tuple[str, ...], x: Voltages, theta: Parameters, beta: float) -> dict[Phase, PhaseRun]:
        """All phases that the named estimators read, for a batch of inputs (leading axis)."""
        unknown = sorted(set(names) - set(self.available))
        if unknown:
            raise SpecError(
                f"estimator {unknown[0]!r} does not exist for this circuit; available: {', '.join(self.available)}"
            )
        phases = frozenset(phase for name in names for phase in RULES[name].phases)
        return self.phases.run(x, theta, phases, beta)

    def gradient(self, name: str, runs: dict[Phase, PhaseRun], beta: float) -> Estimate:
        """The local gradient by one rule from the signals of a batch."""
        rule = RULES[name]
        netlist = self.phases.compiled.netlist
        if any(term.form == "energy" for term in rule.terms):
            netlist = with_nudge(self.phases.compiled, return_path=True)

        def one(signals):
            return local_gradient(rule, netlist, signals, beta, self.phases.unit)

        batched = jax.vmap(one)({phase: run.voltages for phase, run in runs.items() if phase in rule.phases})
        used = [runs[phase].settled for phase in {*rule.phases, Phase.FREE}]
        return Estimate(
            jax.tree.map(lambda g: g.mean(0), batched),
            jnp.max(jnp.stack([jnp.max(s.residual) for s in used])),
            jnp.all(jnp.stack([jnp.all(s.converged) for s in used])),
        )
